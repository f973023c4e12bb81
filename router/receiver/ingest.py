"""The path of one webhook: authenticate, append, answer.

A status is final for Twilio: 200 means that the event is durable, in Redis or in the spool, or was before (a
duplicate); 403, 400, 413 and 415 mean that it will never be accepted; 503 means later. The body of an answer never says
why, because Twilio may pass it on to a customer; the log line does, masked.
"""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING, Final, NamedTuple

from router.core.errors import AccountError, NotDurableError, WebhookError
from router.core.events import SharedBody, SourceName
from router.core.printable import masked
from router.core.sealing import NO_KEYS, SealedKind
from router.core.signing.twilio import base_urls
from router.core.stories import StageName, event_id, resource_of
from router.core.values import replace
from router.inbound.sources import SOURCES
from router.logs import describe
from router.receiver.answers import Answer, make_constant
from router.receiver.authentication import AcceptedWebhook, Authenticator, RefusalContext, SignatureAuthenticator
from router.receiver.mail_authentication import make_mail_authenticator
from router.receiver.misrouted import MisroutedAuthenticator
from router.receiver.refusals import Quarantine, make_refused
from router.receiver.webhook_record import WebhookRecord
from router.streams.store.append import Appender, InboundFields, is_outage
from router.streams.store.stories import StoryAbout

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Mapping

    from aiohttp import web

    from router.core.sealing import Sealer
    from router.inbound.sources import Source
    from router.inbound.webhook import Piece
    from router.receiver.authentication import Responder, Steps
    from router.receiver.requests import RawRequest
    from router.receiver.spool.spool import Spool
    from router.settings.model import Settings
    from router.streams.store.append import Resolve
    from router.streams.store.stories import StoryWriter

#: Seconds that an event which the spool cannot take waits for older ones of its subject to be drained, before 503.
DRAINING: Final = 3.0
#: Seconds after which a caller that got 503 is asked to try again.
RETRY_AFTER: Final = "5"
#: The result of a webhook with several events is the first of these that one of them has.
_RESULTS: Final = ("spooled", "accepted", "duplicate")


class JudgedWebhook(NamedTuple):
    """A webhook before its append, with the verdict about it: accepted, refused, or steps to it; None: not judged."""

    record: WebhookRecord
    context: RefusalContext
    verdict: AcceptedWebhook | Steps[AcceptedWebhook] | Exception | None = None


class BegunWebhook(NamedTuple):
    """A webhook whose event is being appended."""

    record: WebhookRecord
    fields: InboundFields


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

    async def handle(self, request: web.Request, source: Source, judged: JudgedWebhook | None = None) -> Answer:
        """Answer one webhook of `source`, and write its log line in every case; `begin` may have `judged` it."""
        if judged is None:
            judged = JudgedWebhook(WebhookRecord(source, self._clock()), RefusalContext())
        record, context = judged.record, judged.context
        try:
            accepted = await self._accept(request, source, judged)
            pieces, record.reason = accepted.pieces, accepted.note
            if len(pieces) == 1:  # the usual case
                record.note_event(pieces[0])
                record.result = await self._append(pieces[0], source, record.received_at)
            else:
                record.note_events(pieces)
                record.result = await self._append_all(pieces, source, record.received_at)
            record.status = 200
            if accepted.note is not None:
                self._keep(request, source, AccountError(accepted.note), context, record.received_at)
            if accepted.answer is None:
                return self._constants[source.name]
            return Answer(200, await accepted.answer(), source.answer_type or "text/plain")
        except WebhookError as error:
            record.status, record.result, record.reason = error.status, error.reason, masked(str(error), has_ids=False)
            self._keep(request, source, error, context, record.received_at)
            return Answer(error.status)
        except Exception as error:  # noqa: BLE001 - the root of a webhook: it always ends in an answer and a log line
            return self._fail(record, error)
        finally:
            record.write()

    async def _accept(self, request: web.Request, source: Source, judged: JudgedWebhook) -> AcceptedWebhook:
        """Return the events of an authentic webhook; raises WebhookError for any other, and what judging it raised."""
        authenticator, verdict = self._authenticators[source.name], judged.verdict
        if verdict is None or not isinstance(authenticator, SignatureAuthenticator):
            return await authenticator.authenticate(request, source, judged.context)
        if isinstance(verdict, Exception):
            raise verdict
        return verdict if isinstance(verdict, AcceptedWebhook) else await authenticator.share.run(verdict)

    def _fail(self, record: WebhookRecord, error: Exception) -> Answer:
        """Return the answer to a webhook that nothing could store, or that failed."""
        if isinstance(error, NotDurableError):
            record.status, record.result, record.reason = 503, "not-durable", str(error)
            self._not_stored = {"webhooks": self._not_stored["webhooks"] + 1, "last": record.received_at}
            return Answer(503, headers={"Retry-After": RETRY_AFTER})
        record.status, record.result, record.reason = 500, "failed", describe(error)
        return Answer(500)

    def begin(self, raw: RawRequest, source: Source, resolve: Resolve) -> BegunWebhook | JudgedWebhook | None:
        """Judge a small webhook that Twilio signs and, if it has one event and the constant answer, append that.

        Waits for nothing. `resolve` takes the outcome of the append; `finish` or `finish_late` must follow. What is
        judged only, `handle` must take. None, with nothing done: the spool is active, or the body too large.
        """
        signed, spool = self._authenticators[source.name], self._spool
        if not isinstance(signed, SignatureAuthenticator) or (spool is not None and spool.is_active):
            return None
        record, context = WebhookRecord(source, self._clock()), RefusalContext()
        try:
            verdict = signed.judge_at_once(raw, source, context)
        except Exception as error:  # noqa: BLE001 - `handle` answers and logs it
            return JudgedWebhook(record, context, error)
        if verdict is None:
            return None
        if isinstance(verdict, AcceptedWebhook) and len(verdict.pieces) == 1 and not (verdict.answer or verdict.note):
            record.note_event(verdict.pieces[0])
            try:
                fields = self._to_fields(verdict.pieces[0], source, record.received_at)
                self._appender.append_soon(fields, resolve)
            except Exception:  # noqa: BLE001 - `handle` comes to the same, and answers and logs it
                return JudgedWebhook(record, context, verdict)
            return BegunWebhook(record, fields)
        return JudgedWebhook(record, context, verdict)

    def finish(self, webhook: BegunWebhook, *, is_new: bool) -> Answer:
        """Return the answer to a webhook whose event is durable, and write its log line."""
        record = webhook.record
        try:
            record.result = "accepted" if is_new else self._told_duplicate(webhook.fields)
            record.status = 200
            return self._constants[record.source.name]
        except Exception as error:  # noqa: BLE001 - the root of a webhook, as in `handle`
            return self._fail(record, error)
        finally:
            record.write()

    async def finish_late(self, webhook: BegunWebhook, error: NotDurableError) -> Answer:
        """Return the answer to a webhook whose event Redis did not take; write its log line."""
        record = webhook.record
        try:
            record.result = await self._spool_after(webhook.fields, error)
            record.status = 200
            return self._constants[record.source.name]
        except Exception as problem:  # noqa: BLE001 - the root of a webhook, as in `handle`
            return self._fail(record, problem)
        finally:
            record.write()

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
            return await self._spool_after(fields, error)

    async def _spool_after(self, fields: InboundFields, error: NotDurableError) -> str:
        """Return the result of an event that Redis could not take; raises the error if the spool cannot help."""
        spool = self._spool
        if spool is None or not is_outage(error):
            raise error
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
