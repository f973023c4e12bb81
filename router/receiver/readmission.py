"""Puts refused webhooks in after all: the door checks again with today's settings, and what it admits is appended.

The entry gets the time at which the webhook came and the idempotency key that it would have had, so whatever else told
of the event meanwhile makes it a duplicate, as long as that key lives (Source.key_ttl). It is appended first and leaves
the quarantine afterwards: a crash between the two makes the next replay a duplicate. Shadow mode has no say here, or
replaying everything would let in every forgery.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from multidict import CIMultiDict

from router.core.errors import AccountError, NotDurableError, UnreadableError, WebhookError
from router.core.events import SourceName
from router.core.signing.twilio import base_urls
from router.core.timestamps import to_text
from router.inbound.sources import SOURCES
from router.process.apis import make_replication
from router.receiver.authentication import Authenticator, RawRequest, RefusalContext, SignatureAuthenticator
from router.receiver.ingest import to_fields
from router.receiver.mail_authentication import make_mail_door
from router.streams.client.scripts import NO_REPLICATION, Replication
from router.streams.store.append import Appender
from router.streams.store.quarantine import Kept, remove

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from router.core.keys import Keys
    from router.settings.model import Settings
    from router.streams.client.connection import Redis


@dataclass(frozen=True, slots=True)
class ReadmissionOutcome:
    """What became of one replay; `text` is for the operator. What is not in is still in the quarantine."""

    is_in: bool
    text: str


class Readmission:
    """Replays entries of the quarantine; `doors` as in Ingest, `clock` gives microseconds since 1970."""

    def __init__(
        self,
        redis: Redis,
        keys: Keys,
        *,
        door: Authenticator,
        doors: Mapping[SourceName, Authenticator] | None = None,
        clock: Callable[[], int],
        replication: Replication = NO_REPLICATION,
    ) -> None:
        self._redis = redis
        self._keys = keys
        self._door = door
        self._doors = doors or {}
        self._clock = clock
        self._appender = Appender(redis, keys, replication=replication)

    async def replay(self, kept: Kept, *, is_trusted: bool = False) -> ReadmissionOutcome:
        """Check and append one webhook, and take it out of the quarantine; raises RedisError if that cannot be done.

        With `is_trusted` an operator vouches for its signature, which is then not checked.
        """
        try:
            count = await self._take_in(kept, is_trusted=is_trusted)
        except WebhookError as error:
            return ReadmissionOutcome(is_in=False, text=f"still refused: {error.status} {error.reason}: {error}")
        except NotDurableError as error:
            return ReadmissionOutcome(is_in=False, text=f"not taken in, Redis failed: {error}")
        await remove(self._redis, self._keys, kept)
        return ReadmissionOutcome(is_in=True, text=_tell(*count))

    async def _take_in(self, kept: Kept, *, is_trusted: bool) -> tuple[int, int]:
        """Return how many events it has and how many of them are new; raises WebhookError, NotDurableError."""
        refused = kept.refused
        source = next((one for one in SOURCES.values() if one.name == refused.source), None)
        if source is None:
            raise UnreadableError(f"there is no event source {refused.source[:32]}")
        if not refused.is_whole:
            raise UnreadableError("its body was not kept")
        knock = RawRequest(refused.raw_path, CIMultiDict(refused.headers), refused.body)
        door = self._doors.get(source.name, self._door)
        admission = await door.readmit(knock, source, RefusalContext(refused.body), is_trusted=is_trusted)
        pieces = admission.pieces
        replayed_at = to_text(self._clock())
        fields = [to_fields(piece, source, refused.received_at, replayed_at) for piece in pieces]
        new = sum([await self._appender.append(one) for one in fields])
        if admission.note is not None:
            raise AccountError(admission.note)
        return len(pieces), new


def make_readmission(settings: Settings, redis: Redis, clock: Callable[[], int]) -> Readmission:
    """Return what replays with these settings, at the doors that the receiver has."""
    bases = base_urls(settings.public_base_url or "")
    door = SignatureAuthenticator(settings.accounts, bases, max_body_bytes=settings.max_body_bytes)
    doors = {SourceName.EMAIL: make_mail_door(settings)}
    replication = make_replication(settings)
    return Readmission(redis, settings.keys, door=door, doors=doors, clock=clock, replication=replication)


def _tell(events: int, new: int) -> str:
    if events == 1:
        return "taken in" if new else "a duplicate: the event had come by another way"
    return f"taken in, {new} of {events} events are new"
