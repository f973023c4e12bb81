"""Webhooks of the classic product: signed forms to one pre-action and one post-action URL of the service.

An event that is not in the filters never fires, and an empty list is none. What the account's own REST calls do is
told only with `X-Twilio-Webhook-Enabled: true`. A post-action webhook is sent once, in order per conversation unless
shuffled; duplicates, delay and drops as the switches of status callbacks say. A pre-action one is waited for: 4xx and
5xx reject, 200 with JSON changes the fields that may be changed, no answer in time lets everything pass unchanged.
"""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final, Literal
from urllib.parse import urlencode, urlsplit, urlunsplit

import aiohttp
import orjson
from yarl import URL

from router.core.signing.form import parse_form
from router.core.signing.twilio import sign
from router.sandbox.callbacks import CallbackDelivery, Deliverer

if TYPE_CHECKING:
    from collections.abc import Mapping

    from router.sandbox.options import SandboxOptions

#: What the answer to a pre-action webhook may change, by its event.
CHANGEABLE: Final = {
    "onConversationAdd": frozenset({"friendly_name"}),
    "onConversationUpdate": frozenset({"friendly_name"}),
    "onMessageAdd": frozenset({"body", "author", "attributes"}),
    "onMessageUpdate": frozenset({"body", "author", "attributes"}),
}
_OK: Final = range(200, 300)
_REJECTED: Final = range(400, 600)


@dataclass(frozen=True, slots=True)
class Origin:
    """Who caused an event: the REST API, or what is not REST (SDK, a message that comes in, a timer)."""

    source: Literal["API", "SDK"] = "SDK"
    identity: str | None = None
    is_told: bool = True


@dataclass(frozen=True, slots=True)
class Verdict:
    """What a pre-action webhook said."""

    is_rejected: bool = False
    changes: dict[str, str] = field(default_factory=dict)


class ClassicHooks(Deliverer):
    """Tells of events after, and asks before they happen; `counts` tells what became of the post-action webhooks."""

    def publish_event(
        self, conversation_sid: str, event_type: str, fields: Mapping[str, str | None], origin: Origin
    ) -> None:
        """Send a post-action webhook some time later, if anybody wants it; never raises."""
        if self._session is None:
            return
        options = self._options()
        url = options.classic_post_webhook_url
        if url is None or not is_wanted(options, event_type, origin):
            return
        body = urlencode(_all_fields(options, event_type, fields, origin)).encode()
        due = self._due(options)
        for _ in range(1 + options.callback_duplicates):
            self._enqueue(
                conversation_sid, CallbackDelivery(url, body, "", event_type, due), options.callback_drop_fraction
            )

    async def ask(self, event_type: str, fields: Mapping[str, str | None], origin: Origin) -> Verdict:
        """Send a pre-action webhook and wait for what it says; at once unchanged where nobody wants it."""
        if self._session is None:
            return Verdict()
        options = self._options()
        url = options.classic_pre_webhook_url
        if url is None or not is_wanted(options, event_type, origin):
            return Verdict()
        body = urlencode(_all_fields(options, event_type, fields, origin)).encode()
        answer = await self._exchange(url, body, options)
        if answer is None or answer[0] not in _REJECTED:
            return Verdict(changes=_read_changes(event_type, answer))
        return Verdict(is_rejected=True)

    def forget(self) -> None:
        """Drop what is pending, and the counts, without waiting for it."""
        for task in self._tasks:
            task.cancel()
        self._queues.clear()
        self.counts.clear()

    async def _deliver(self, delivery: CallbackDelivery) -> bool:
        answer = await self._exchange(delivery.url, delivery.body, self._options())
        return answer is not None and answer[0] in _OK

    async def _exchange(self, url: str, body: bytes, options: SandboxOptions) -> tuple[int, bytes] | None:
        """Post once; the status and body of the answer, None without one in time."""
        if self._session is None:
            return None
        parts = urlsplit(url)
        called = urlunsplit((parts.scheme, parts.netloc.rpartition("@")[2], parts.path or "/", parts.query, ""))
        headers = {
            "Content-Type": "application/x-www-form-urlencoded",
            "User-Agent": "TwilioProxy/1.1",
            "X-Twilio-Signature": sign(options.auth_token, called.encode(), parse_form(body)),
        }
        self.counts["attempts"] += 1
        timeout = aiohttp.ClientTimeout(total=options.classic_webhook_timeout_seconds)
        target = URL(called, encoded=True)
        with suppress(aiohttp.ClientError, TimeoutError, OSError, ValueError):  # ValueError: a URL that is none
            async with (
                self._slots,
                self._session.post(target, data=body, headers=headers, timeout=timeout, allow_redirects=False) as got,
            ):
                return got.status, await got.read()
        return None


def is_wanted(options: SandboxOptions, event_type: str, origin: Origin) -> bool:
    """Tell whether the filters and the origin let an event out."""
    return origin.is_told and event_type in options.classic_webhook_filters


def _all_fields(
    options: SandboxOptions, event_type: str, fields: Mapping[str, str | None], origin: Origin
) -> dict[str, str]:
    """Return the form: the common parameters and those of the event that have a value."""
    common = {
        "AccountSid": options.account_sid,
        "EventType": event_type,
        "Source": origin.source,
        "ClientIdentity": origin.identity,
    }
    return {name: value for name, value in (common | dict(fields)).items() if value is not None}


def _read_changes(event_type: str, answer: tuple[int, bytes] | None) -> dict[str, str]:
    if answer is None or answer[0] not in _OK:
        return {}
    try:
        data: Any = orjson.loads(answer[1])
    except orjson.JSONDecodeError:
        return {}
    allowed = CHANGEABLE.get(event_type, frozenset())
    given = data if isinstance(data, dict) else {}
    return {name: value for name, value in given.items() if name in allowed and isinstance(value, str)}
