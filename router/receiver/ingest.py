"""The path of one webhook: authenticate, append, answer.

A status is final for Twilio: 200 means that the event is durable, in Redis or in the spool, or was before (a
duplicate); 403, 400, 413 and 415 mean that it will never be accepted; 503 means later. The body of an answer never says
why, because Twilio may pass it on to a customer; the log line does, masked.
"""

from __future__ import annotations

import asyncio
import time
from http import HTTPStatus
from typing import TYPE_CHECKING, Any, Final

from router import metrics
from router.core.errors import AccountError, NotDurableError, WebhookError
from router.core.events import SharedBody, SourceName
from router.core.printable import masked, masked_key
from router.core.sealing import NO_KEYS, SealedKind
from router.core.signing.twilio import base_urls
from router.core.stories import StageName, event_id, resource_of
from router.core.values import replace
from router.inbound.sources import SOURCES
from router.logs import describe, log_soon
from router.receiver.answers import Answer, make_constant
from router.receiver.authentication import Authenticator, RefusalContext, SignatureAuthenticator
from router.receiver.mail_authentication import make_mail_authenticator
from router.receiver.misrouted import MisroutedAuthenticator
from router.receiver.refusals import Quarantine, make_refused
from router.streams.store.append import Appender, InboundFields, is_outage
from router.streams.store.stories import StoryAbout

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Mapping

    from aiohttp import web

    from router.core.sealing import Sealer
    from router.inbound.sources import Source
    from router.inbound.webhook import Piece
    from router.receiver.authentication import Responder
    from router.receiver.spool.spool import Spool
    from router.settings.model import Settings
    from router.streams.store.stories import StoryWriter

#: Seconds that an event which the spool cannot take waits for older ones of its subject to be drained, before 503.
DRAINING: Final = 3.0
#: Seconds after which a caller that got 503 is asked to try again.
RETRY_AFTER: Final = "5"
#: The result of a webhook with several events is the first of these that one of them has.
_RESULTS: Final = ("spooled", "accepted", "duplicate")
#: Events of a webhook whose ids its log line has.
SHOWN: Final = 20
_LEVELS: Final[dict[int, str]] = {HTTPStatus.OK: "info", HTTPStatus.INTERNAL_SERVER_ERROR: "error"}


def make_authenticators(
    settings: Settings,
    *,
    responders: Mapping[SourceName, Responder] | None = None,
    shadow: Collection[SourceName] = (),
    clock: Callable[[], float] = time.time,
) -> tuple[dict[SourceName, Authenticator], MisroutedAuthenticator]:
    """Return the authenticator of each event source, and that of what comes to no route.

    `clock` gives seconds since 1970.
    """
    bases = base_urls(settings.public_base_url or "")
    signed = SignatureAuthenticator(
        settings.accounts,
        bases,
        max_body_bytes=settings.max_body_bytes,
        responders=responders,
        shadow=shadow,
    )
    mail = make_mail_authenticator(settings, clock=clock)
    by_source: dict[SourceName, Authenticator] = {**dict.fromkeys(SOURCES, signed), SourceName.EMAIL: mail}
    return by_source, MisroutedAuthenticator(signed, mail, bases[0])


class Ingest:
    """Handles the webhooks of all sources; `authenticators` has one for each.

    Refused webhooks go to the `quarantine`, events that Redis cannot take to the `spool`, and duplicates are told in
    the `stories`; all three are optional. `sealer` seals the bodies, if it has keys.
    `clock` gives microseconds since 1970: the time of Redis, so that the times of all receivers can be compared.
    """

    def __init__(
        self,
        appender: Appender,
        authenticators: Mapping[SourceName, Authenticator],
        quarantine: Quarantine | None = None,
        spool: Spool | None = None,
        *,
        sealer: Sealer = NO_KEYS,
        stories: StoryWriter | None = None,
        clock: Callable[[], int] = lambda: time.time_ns() // 1000,
    ) -> None:
        self._to_fields = fields_maker(sealer)
        self._spool = spool
        self._stories = stories
        self._appender = appender
        self._authenticators = authenticators
        self._quarantine = quarantine
        self._clock = clock
        self._constants = {one.name: make_constant(one.answer, one.answer_type) for one in SOURCES.values()}
        self._not_stored = {"webhooks": 0, "last": 0}

    def describe(self) -> dict[str, int]:
        """Return how many webhooks nothing could store since the start, and when the last one came (µs)."""
        return dict(self._not_stored)

    async def handle(self, request: web.Request, source: Source) -> Answer:
        """Answer one webhook of `source`, and write its log line in every case."""
        begun, received_at = time.perf_counter(), self._clock()
        status, result, reason, key = 500, "failed", None, None
        names: dict[str, Any] = {}
        context = RefusalContext()
        try:
            accepted = await self._authenticators[source.name].authenticate(request, source, context)
            pieces, reason = accepted.pieces, accepted.note
            if len(pieces) == 1:  # the usual case
                key = pieces[0].identity.key
                names = {"event_id": event_id(key)}
                result = await self._append(pieces[0], source, received_at)
            else:
                key = f"{len(pieces)} events"
                names = {"event_ids": [event_id(piece.identity.key) for piece in pieces[:SHOWN]]}
                result = await self._append_all(pieces, source, received_at)
            status = 200
            if accepted.note is not None:
                self._keep(request, source, AccountError(accepted.note), context, received_at)
            if accepted.answer is None:
                return self._constants[source.name]
            return Answer(200, await accepted.answer(), source.answer_type or "text/plain")
        except WebhookError as error:
            status, result, reason = error.status, error.reason, masked(str(error), has_ids=False)
            self._keep(request, source, error, context, received_at)
            return Answer(error.status)
        except NotDurableError as error:
            status, result, reason = 503, "not-durable", str(error)
            self._not_stored = {"webhooks": self._not_stored["webhooks"] + 1, "last": received_at}
            return Answer(503, headers={"Retry-After": RETRY_AFTER})
        except Exception as error:  # noqa: BLE001 - the root of a webhook: it always ends in an answer and a log line
            status, result, reason = 500, "failed", describe(error)
            return Answer(500)
        finally:
            metrics.count("router_webhooks", source.name, str(status), result)
            why = {} if reason is None else {"reason": reason}  # log_soon searches a line with a None for such fields
            log_soon(
                "webhook",
                level=_LEVELS.get(status, "warning"),
                source=source.name,
                status=status,
                result=result,
                **why,
                **names,
                key=key and masked_key(key),
                ms=round((time.perf_counter() - begun) * 1000, 2),
            )

    def _keep(
        self, request: web.Request, source: Source, error: WebhookError, context: RefusalContext, received_at: int
    ) -> None:
        """Store a webhook in the quarantine that is refused, or of which some events were left out."""
        if self._quarantine is not None:
            self._quarantine.put(make_refused(request, source, error, context, received_at))

    async def _append_all(self, pieces: list[Piece], source: Source, received_at: int) -> str:
        """Return the result once all events are durable; raises NotDurableError if one is not."""
        results = await asyncio.gather(*[self._append(piece, source, received_at) for piece in pieces])
        return next((result for result in _RESULTS if result in results), source.empty)

    async def _append(self, piece: Piece, source: Source, received_at: int) -> str:
        """Return the result of one event once it is in Redis or, while Redis cannot take it, in the spool."""
        fields, spool = self._to_fields(piece, source, received_at), self._spool
        if spool is not None and spool.is_active and not await spool.can_bypass():
            try:
                return await _put(spool, fields)
            except NotDurableError:  # the disk is full or has failed: Redis may answer again
                await spool.wait_for_turn(fields, DRAINING)
        try:
            return "accepted" if await self._appender.append(fields) else self._told_duplicate(fields)
        except NotDurableError as error:
            if spool is None or not is_outage(error):
                raise
            spool.activate(str(error))
            return await _put(spool, fields)

    def _told_duplicate(self, fields: InboundFields) -> str:
        if self._stories is not None:
            detail = f"the event had arrived before, by {fields.source} or under another key"
            about = StoryAbout(event_id(fields.key), fields.account_id, resource_of(fields.key))
            self._stories.tell(0, about, StageName.DUPLICATE, detail)
        return "duplicate"


async def _put(spool: Spool, fields: InboundFields) -> str:
    return "spooled" if await spool.put(fields) else "duplicate"


def to_fields(piece: Piece, source: Source, received_at: int, replayed_at: str = "") -> InboundFields:
    """Return the inbound entry of one event; `received_at` in µs, `replayed_at` (ISO 8601) marks a replay."""
    identity = piece.identity
    return InboundFields(
        source=source.name,
        account_id=identity.account_id,
        key=identity.key,
        subject=identity.subject,
        received_at=received_at,
        body=piece.body,
        ttl=source.key_ttl,
        aliases=identity.aliases,
        replayed_at=replayed_at,
        shared=piece.shared,
    )


class SealedFields:
    """Makes inbound entries as `to_fields` does, with sealed bodies. The body that events share is sealed once."""

    def __init__(self, sealer: Sealer) -> None:
        self._sealer = sealer
        self._last: tuple[SharedBody, SharedBody] | None = None  # the events of one webhook come one after another

    def __call__(self, piece: Piece, source: Source, received_at: int, replayed_at: str = "") -> InboundFields:
        """Return the inbound entry of one event."""
        fields = to_fields(piece, source, received_at, replayed_at)
        body = self._sealer.seal_body(fields.body, SealedKind.INBOUND)
        return replace(fields, body=body, shared=piece.shared and self._share(piece.shared))

    def _share(self, shared: SharedBody) -> SharedBody:
        if self._last is None or self._last[0] is not shared:
            data = self._sealer.seal_body(shared.data, SealedKind.SHARED)
            self._last = (shared, SharedBody(shared.name, data))
        return self._last[1]


def fields_maker(sealer: Sealer) -> Callable[..., InboundFields]:
    """Return the maker of inbound entries: SealedFields if there are keys, else `to_fields`, which costs nothing."""
    return SealedFields(sealer) if sealer.has_keys else to_fields
