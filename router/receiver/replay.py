"""Replay of refused webhooks: each is checked again with the current settings and, if accepted, appended.

The entry gets the time at which the webhook was received and the idempotency key that it would have had, so it is a
duplicate if the event has arrived by another way meanwhile, as long as that key lives (Source.key_ttl). It is appended
first and removed from the quarantine afterwards: after a crash in between, the next replay is a duplicate. Shadow mode
does not apply here, or replaying everything would accept every forgery.

One that came to no route (reason `route`) is checked for the URL that it came to, and read as a webhook of the source
that it was meant for; of a GET the query is the form.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

from multidict import CIMultiDict

from router.core.errors import AccountError, NotDurableError, RouteError, UnreadableError, WebhookError
from router.core.timestamps import to_text
from router.inbound.sources import SOURCES
from router.process.apis import make_replication
from router.receiver.authentication import RefusalContext
from router.receiver.ingest import fields_maker, make_authenticators
from router.receiver.requests import RawRequest
from router.streams.store.append import Appender
from router.streams.store.quarantine import Kept, remove

if TYPE_CHECKING:
    from collections.abc import Callable

    from router.inbound.sources import Source
    from router.receiver.authentication import AcceptedWebhook
    from router.settings.model import Settings
    from router.streams.client.connection import Redis


@dataclass(frozen=True, slots=True)
class ReplayOutcome:
    """The outcome of one replay, with a `text` for the operator; without `is_accepted` the webhook is still kept.

    `kind` sums up outcomes whose texts differ; it quotes nothing of the webhook.
    """

    is_accepted: bool
    text: str
    kind: str = ""


class QuarantineReplay:
    """Replays entries of the quarantine with these settings; `clock` gives microseconds since 1970."""

    def __init__(
        self, settings: Settings, redis: Redis, *, clock: Callable[[], int] = lambda: time.time_ns() // 1000
    ) -> None:
        self._redis = redis
        self._keys = settings.keys
        self._authenticators, self._misrouted = make_authenticators(settings)
        self._clock = clock
        self._to_fields = fields_maker(settings.sealer)
        self._appender = Appender(redis, settings.keys, replication=make_replication(settings))

    async def replay(self, kept: Kept, *, is_trusted: bool = False) -> ReplayOutcome:
        """Check and append one webhook, then remove it from the quarantine; raises RedisError if that fails.

        With `is_trusted` an operator has confirmed the webhook, and its signature is not checked.
        """
        try:
            events, new = await self._append(kept, is_trusted=is_trusted)
        except WebhookError as error:
            return _still_refused(error)
        except NotDurableError as error:
            kind = "not accepted, Redis failed"
            return ReplayOutcome(is_accepted=False, text=f"{kind}: {error}", kind=kind)
        await remove(self._redis, self._keys, kept)
        return ReplayOutcome(is_accepted=True, text=_describe(events, new))

    async def preview(self, kept: Kept, *, is_trusted: bool = False) -> ReplayOutcome:
        """Check one webhook as a replay does, and change nothing; only a replay shows if its event is a duplicate."""
        try:
            _, accepted = await self._check(kept, is_trusted=is_trusted)
            if accepted.note is not None:
                raise AccountError(accepted.note)
        except WebhookError as error:
            return _still_refused(error)
        events = len(accepted.pieces)
        kind = "would be accepted"
        return ReplayOutcome(is_accepted=True, text=kind + (f" ({events} events)" if events > 1 else ""), kind=kind)

    async def _check(self, kept: Kept, *, is_trusted: bool) -> tuple[Source, AcceptedWebhook]:
        """Return the source of a webhook, and what is in it; raises WebhookError."""
        refused = kept.refused
        source = next((one for one in SOURCES.values() if one.name == refused.source), None)
        if source is None:
            raise UnreadableError(f"there is no event source {refused.source[:32]}")
        if kept.problem:
            raise UnreadableError(kept.problem)
        if not refused.is_whole:
            raise UnreadableError("its body was not kept")
        raw = RawRequest(refused.raw_path, CIMultiDict(refused.headers), refused.body)
        checker = self._misrouted if refused.reason == RouteError.reason else self._authenticators[source.name]
        return source, await checker.recheck(raw, source, RefusalContext(refused.body), is_trusted=is_trusted)

    async def _append(self, kept: Kept, *, is_trusted: bool) -> tuple[int, int]:
        """Return the number of its events and of the new ones among them; raises WebhookError, NotDurableError."""
        source, accepted = await self._check(kept, is_trusted=is_trusted)
        replayed_at = to_text(self._clock())
        fields = [self._to_fields(piece, source, kept.refused.received_at, replayed_at) for piece in accepted.pieces]
        new = sum([await self._appender.append(one) for one in fields])
        if accepted.note is not None:
            raise AccountError(accepted.note)
        return len(fields), new


def _still_refused(error: WebhookError) -> ReplayOutcome:
    kind = f"still refused: {error.status} {error.reason}"
    return ReplayOutcome(is_accepted=False, text=f"{kind}: {error}", kind=f"{kind}, other details")


def _describe(events: int, new: int) -> str:
    if events == 1:
        return "accepted" if new else "a duplicate: the event had arrived by another way"
    return f"accepted, {new} of {events} events are new"
