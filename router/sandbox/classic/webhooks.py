"""Webhooks of classic conversations: signed forms, to one pre-action and one post-action URL of the service.

A conversation may have webhooks of its own, which are post-action only. Only events in the filters are sent; an empty
list sends none. By GET the form is in the query. REST calls send webhooks only with the header
`X-Twilio-Webhook-Enabled: true`. A post-action webhook is sent once, with the order, duplicates, delay and drops of
the status callbacks' switches. A pre-action webhook is waited for: 4xx and 5xx reject the change, 200 with JSON
modifies the fields that may be modified, and without a response in time the change proceeds unmodified. Rules:
https://www.twilio.com/docs/conversations-classic/conversations-webhooks.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final, Literal
from urllib.parse import urlencode

import orjson

from router.core.lenient_json import load_json
from router.core.signing.form import parse_form
from router.core.signing.twilio import sign
from router.sandbox.deliveries import OK, Deliverer, called_url

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Mapping

    from router.sandbox.classic.records import ClassicConversationRecord, ScopedWebhookRecord
    from router.sandbox.deliveries import CallbackDelivery
    from router.sandbox.options import SandboxOptions

#: The fields that the response to a pre-action webhook may modify, by event type.
MODIFIABLE: Final = {
    "onConversationAdd": frozenset({"friendly_name"}),
    "onConversationUpdate": frozenset({"friendly_name"}),
    "onMessageAdd": frozenset({"body", "author", "attributes"}),
    "onMessageUpdate": frozenset({"body", "author", "attributes"}),
}
_CHANGES: Final = ("Message", "Conversation", "Participant")
#: Every event, and those after a change, which the webhooks of a conversation may have.
POST_ACTIONS: Final = frozenset(
    {
        *(f"on{what}{how}" for what in _CHANGES for how in ("Added", "Updated", "Removed")),
        *("onConversationStateUpdated", "onDeliveryUpdated", "onUserAdded", "onUserUpdated"),
    }
)
EVENTS: Final = POST_ACTIONS | {
    *(f"on{what}{how}" for what in _CHANGES for how in ("Add", "Update", "Remove")),
    "onUserUpdate",
}
_FORM_TYPE: Final = "application/x-www-form-urlencoded"
_REJECTED: Final = range(400, 600)


@dataclass(frozen=True, slots=True)
class Origin:
    """The cause of an event: the REST API, or anything else (SDK, an inbound message, a timer)."""

    source: Literal["API", "SDK"] = "SDK"
    identity: str | None = None
    has_webhooks: bool = True


@dataclass(frozen=True, slots=True)
class Verdict:
    """The response to a pre-action webhook."""

    is_rejected: bool = False
    changes: dict[str, str] = field(default_factory=dict)


class ClassicWebhooks(Deliverer):
    """Publishes events after a change, and asks for a verdict before it; `counts` is about post-action webhooks."""

    def publish(
        self,
        conversation: ClassicConversationRecord,
        event_type: str,
        fields: Mapping[str, str | None],
        origin: Origin,
    ) -> None:
        """Send post-action webhooks in the background to those that are subscribed; never raises."""
        if self._session is None or not origin.has_webhooks:
            return
        options = self._options()
        url, body = options.classic_post_webhook_url, _form(options, event_type, fields, origin)
        if url is not None and event_type in options.classic_webhook_filters:
            self._enqueue(conversation.id, url, body, event_type, method=options.classic_webhook_method)
        for webhook in conversation.webhooks:
            self._send_scoped(webhook, body, event_type, fields)

    def replay(
        self, webhook: ScopedWebhookRecord, event_type: str, fields: Mapping[str, str | None], origin: Origin
    ) -> None:
        """Send an earlier event to a webhook of its conversation only."""
        if self._session is not None:
            self._send_scoped(webhook, _form(self._options(), event_type, fields, origin), event_type, fields)

    def _send_scoped(
        self, webhook: ScopedWebhookRecord, body: bytes, event_type: str, fields: Mapping[str, str | None]
    ) -> None:
        if webhook.url is not None and webhook.takes(event_type, fields):
            self._enqueue(webhook.conversation_sid, webhook.url, body, event_type, method=webhook.method.upper())

    async def ask(self, event_type: str, fields: Mapping[str, str | None], origin: Origin) -> Verdict:
        """Send a pre-action webhook and wait for its verdict; without a subscription nothing is modified."""
        if self._session is None:
            return Verdict()
        options = self._options()
        url = options.classic_pre_webhook_url
        if url is None or not origin.has_webhooks or event_type not in options.classic_webhook_filters:
            return Verdict()
        form = _form(options, event_type, fields, origin)
        response = await self._exchange(url, form, options, options.classic_webhook_method)
        if response is None or response[0] not in _REJECTED:
            return Verdict(changes=_read_changes(event_type, response))
        return Verdict(is_rejected=True)

    async def _deliver(self, delivery: CallbackDelivery, slots: asyncio.Semaphore) -> bool:
        async with slots:
            response = await self._exchange(delivery.url, delivery.body, self._options(), delivery.method)
        return response is not None and response[0] in OK

    async def _exchange(self, url: str, body: bytes, options: SandboxOptions, method: str) -> tuple[int, bytes] | None:
        """Sign and send a form once; returns status and body of the response, None without one in time."""
        headers, patience = {"Content-Type": _FORM_TYPE}, options.classic_webhook_timeout_seconds
        if method == "GET":
            url = called_url(url, body.decode())
            headers = {"X-Twilio-Signature": sign(options.auth_token, url.encode())}
            return await self._send(url, None, headers, patience=patience, is_read=True)
        url = called_url(url)
        headers["X-Twilio-Signature"] = sign(options.auth_token, url.encode(), parse_form(body))
        return await self._send(url, body, headers, patience=patience, is_read=True)


def _form(options: SandboxOptions, event_type: str, fields: Mapping[str, str | None], origin: Origin) -> bytes:
    """Return the form: the common parameters, and those of the event that have a value."""
    common = {
        "AccountSid": options.account_sid,
        "EventType": event_type,
        "Source": origin.source,
        "ClientIdentity": origin.identity,
    }
    given = {name: value for name, value in (common | dict(fields)).items() if value is not None}
    return urlencode(given).encode()


def _read_changes(event_type: str, response: tuple[int, bytes] | None) -> dict[str, str]:
    if response is None or response[0] not in OK:
        return {}
    try:
        data: Any = load_json(orjson.loads, response[1])
    except orjson.JSONDecodeError:
        return {}
    allowed = MODIFIABLE.get(event_type, frozenset())
    given = data if isinstance(data, dict) else {}
    return {name: value for name, value in given.items() if name in allowed and isinstance(value, str)}
