"""The path of one webhook: type, size, signature, key, append, answer.

Answers are final statements to Twilio: 200 means durable, in Redis or in the spool (also for a duplicate), 403, 400,
413 and 415 mean never, 503 means later. A body never says why: Twilio may send it on to a customer. The log line does,
masked.
"""

from __future__ import annotations

import asyncio
import time
from http import HTTPStatus
from typing import TYPE_CHECKING, Final

from router import metrics
from router.core.errors import AccountError, NotDurableError, WebhookError
from router.inbound.sources import SOURCES
from router.logs import describe, log_soon
from router.receiver.answers import Answer, usual_answer
from router.receiver.authentication import Authenticator, RefusalContext
from router.receiver.refusals import Quarantine, make_refused
from router.streams.store.append import Appender, InboundFields, is_outage

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from aiohttp import web

    from router.core.events import SourceName
    from router.inbound.sources import Source
    from router.inbound.webhook import Piece
    from router.receiver.spool.spool import Spool

#: Seconds after which a caller that was told 503 shall come again.
RETRY_AFTER: Final = "5"
#: Of several results the first of these is that of the whole webhook.
_RESULTS: Final = ("spooled", "accepted", "duplicate")
_LEVELS: Final[dict[int, str]] = {HTTPStatus.OK: "info", HTTPStatus.INTERNAL_SERVER_ERROR: "error"}


class Ingest:
    """Takes webhooks of all sources in; `doors` are those that are not the usual one.

    What is refused goes to the `quarantine`, what Redis cannot take to the `spool`, where there is one. `clock` gives
    microseconds since 1970.
    """

    def __init__(
        self,
        *,
        appender: Appender,
        door: Authenticator,
        doors: Mapping[SourceName, Authenticator] | None = None,
        quarantine: Quarantine | None = None,
        spool: Spool | None = None,
        clock: Callable[[], int] = lambda: time.time_ns() // 1000,
    ) -> None:
        self._spool = spool
        self._appender = appender
        self._door = door
        self._doors = doors or {}
        self._quarantine = quarantine
        self._clock = clock
        self._usual = {one.name: usual_answer(one.answer, one.answer_type or "text/plain") for one in SOURCES.values()}

    async def take(self, request: web.Request, source: Source) -> Answer:
        """Answer one webhook of `source`, and write its log line whatever happens."""
        begun, received_at = time.perf_counter(), self._clock()
        status, result, reason, key = 500, "failed", None, None
        evidence = RefusalContext()
        try:
            admission = await self._doors.get(source.name, self._door).admit(request, source, evidence)
            pieces, reason = admission.pieces, admission.note
            if len(pieces) == 1:  # as nearly always
                key = pieces[0].identity.key
                result = await self._append(pieces[0], source, received_at)
            else:
                key = f"{len(pieces)} events"
                result = await self._append_all(pieces, source, received_at)
            status = 200
            if admission.note is not None:
                self._keep(request, source, AccountError(admission.note), evidence, received_at)
            if admission.answer is None:
                return self._usual[source.name]
            return Answer(200, await admission.answer(), source.answer_type or "text/plain")
        except WebhookError as error:
            status, result, reason = error.status, error.reason, str(error)
            self._keep(request, source, error, evidence, received_at)
            return Answer(error.status)
        except NotDurableError as error:
            status, result, reason = 503, "not-durable", str(error)
            return Answer(503, headers={"Retry-After": RETRY_AFTER})
        except Exception as error:  # noqa: BLE001 - the composition root of a webhook: it ends in an answer and a line
            status, result, reason = 500, "failed", describe(error)
            return Answer(500)
        finally:
            metrics.count("router_webhooks", source.name, str(status), result)
            why = {} if reason is None else {"reason": reason}  # a line with a None in it is looked through
            log_soon(
                "webhook",
                level=_LEVELS.get(status, "warning"),
                source=source.name,
                status=status,
                result=result,
                **why,
                key=key,
                ms=round((time.perf_counter() - begun) * 1000, 2),
            )

    def _keep(
        self, request: web.Request, source: Source, error: WebhookError, evidence: RefusalContext, received_at: int
    ) -> None:
        """Have a webhook kept that is refused, or of which a part is left out."""
        if self._quarantine is not None:
            self._quarantine.put(make_refused(request, source, error, evidence, received_at))

    async def _append_all(self, pieces: list[Piece], source: Source, received_at: int) -> str:
        """Return the result once all are durable; raises NotDurableError if one is not durable."""
        results = await asyncio.gather(*[self._append(piece, source, received_at) for piece in pieces])
        return next((result for result in _RESULTS if result in results), source.empty)

    async def _append(self, piece: Piece, source: Source, received_at: int) -> str:
        """Return what became of one event, once it is in Redis or, while Redis cannot take it, in the spool."""
        fields, spool = to_fields(piece, source, received_at), self._spool
        if spool is not None and spool.is_on and not await spool.is_over():
            return await _put(spool, fields)
        try:
            return "accepted" if await self._appender.append(fields) else "duplicate"
        except NotDurableError as error:
            if spool is None or not is_outage(error):
                raise
            spool.begin(str(error))
            return await _put(spool, fields)


async def _put(spool: Spool, fields: InboundFields) -> str:
    return "spooled" if await spool.put(fields) else "duplicate"


def to_fields(piece: Piece, source: Source, received_at: int, replayed_at: str = "") -> InboundFields:
    """Return what is appended of one event; `received_at` in µs, `replayed_at` (ISO 8601) marks a replay."""
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
    )
