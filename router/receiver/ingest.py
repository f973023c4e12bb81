"""The path of one webhook: type, size, signature, key, append, answer.

Answers are final statements to Twilio: 200 means durable (also for a duplicate), 403, 400, 413 and 415 mean never, 503
means later. A body never says why: Twilio may send it on to a customer. The log line does, masked.
"""

from __future__ import annotations

import asyncio
import time
from http import HTTPStatus
from typing import TYPE_CHECKING, Final

from aiohttp import web

from router import metrics
from router.core.errors import (
    AccountError,
    NotDurableError,
    TooLargeError,
    UnreadableError,
    WebhookError,
    WrongTypeError,
)
from router.core.signature import SETTINGS_HEADER, Pairs, Verifier, parse_form
from router.inbound.sources import FORM, Piece, Source, Webhook
from router.logs import describe, log
from router.streams.append import Appender, InboundFields

if TYPE_CHECKING:
    from collections.abc import Callable


#: Seconds that a caller may take to send its body.
BODY_TIMEOUT: Final = 15.0
#: Seconds after which a caller that was told 503 shall come again.
RETRY_AFTER: Final = "5"
_LEVELS: Final[dict[int, str]] = {HTTPStatus.OK: "info", HTTPStatus.INTERNAL_SERVER_ERROR: "error"}
_SIGNATURE: Final = "X-Twilio-Signature"
_TOKEN: Final = "I-Twilio-Idempotency-Token"  # noqa: S105 - a header name


class Ingest:
    """Takes webhooks of all sources in; `clock` gives microseconds since 1970."""

    def __init__(
        self,
        *,
        appender: Appender,
        verifier: Verifier,
        account_sid: str,
        max_body_bytes: int,
        clock: Callable[[], int] = lambda: time.time_ns() // 1000,
    ) -> None:
        self._appender = appender
        self._verifier = verifier
        self._account_sid = account_sid
        self._max_body_bytes = max_body_bytes
        self._clock = clock

    async def take(self, request: web.Request, source: Source) -> web.Response:
        """Answer one webhook of `source`, and write its log line whatever happens."""
        begun, received_at = time.perf_counter(), self._clock()
        status, result, reason, key = 500, "failed", None, None
        try:
            webhook = await self._read(request, source)
            pieces, reason = self._split(webhook, source)
            key = pieces[0].identity.key if len(pieces) == 1 else f"{len(pieces)} events"
            is_new = await self._append_all(pieces, source, received_at)
            status, result = 200, "accepted" if is_new else "duplicate" if pieces else "empty"
            return web.Response(body=source.answer, content_type=source.answer_type or "text/plain")
        except WebhookError as error:
            status, result, reason = error.status, error.reason, str(error)
            return web.Response(status=error.status)
        except NotDurableError as error:
            status, result, reason = 503, "not-durable", str(error)
            return web.Response(status=503, headers={"Retry-After": RETRY_AFTER})
        except Exception as error:  # noqa: BLE001 - the composition root of a webhook: it ends in an answer and a line
            reason = describe(error)
            return web.Response(status=500)
        finally:
            metrics.count("router_webhooks", source.name, str(status), result)
            log(
                "webhook",
                level=_LEVELS.get(status, "warning"),
                source=source.name,
                status=status,
                result=result,
                reason=reason,
                key=key,
                ms=round((time.perf_counter() - begun) * 1000, 2),
            )

    async def _read(self, request: web.Request, source: Source) -> Webhook:
        """Return the authentic webhook; size before reading, signature before parsing."""
        content_type = request.headers.get("Content-Type", "").partition(";")[0].strip().lower()
        if content_type != source.content_type and content_type not in source.also:
            raise WrongTypeError(f"{content_type[:64] or 'no content type'} instead of {source.content_type}")
        if (request.content_length or 0) > self._max_body_bytes:
            raise TooLargeError(f"{request.content_length} bytes")
        try:
            if request.content.is_eof():  # it came with its head, as most do: nothing to wait for, no timer to set
                body = await request.read()
            else:
                async with asyncio.timeout(BODY_TIMEOUT):
                    body = await request.read()
        except web.HTTPRequestEntityTooLarge as error:
            raise TooLargeError(f"more than {self._max_body_bytes} bytes") from error
        except (TimeoutError, web.RequestPayloadError, ConnectionError) as error:
            raise UnreadableError("the body did not arrive whole") from error
        pairs: Pairs = []
        raw_path = request.raw_path.encode("utf-8", "surrogateescape")
        signature, named = request.headers.get(_SIGNATURE), request.headers.get(SETTINGS_HEADER)
        if source.content_type == FORM:
            pairs = parse_form(body)
            self._verifier.verify_form(raw_path, pairs, signature, named)
        else:
            self._verifier.verify_json(raw_path, body, signature, named)
        return Webhook(body, pairs, request.headers.get(_TOKEN))

    def _split(self, webhook: Webhook, source: Source) -> tuple[list[Piece], str | None]:
        """Return the events of a webhook that are of our account; of a batch, others are left out and told of."""
        pieces = source.split(webhook, self._account_sid)
        ours = [piece for piece in pieces if piece.identity.account_id == self._account_sid]
        if len(ours) == len(pieces):
            return pieces, None
        if not ours:
            raise AccountError(f"account {pieces[0].identity.account_id[:34]} is not configured")
        metrics.count("router_webhooks", source.name, "403", AccountError.reason, by=len(pieces) - len(ours))
        return ours, f"{len(pieces) - len(ours)} of {len(pieces)} are of accounts that are not configured"

    async def _append_all(self, pieces: list[Piece], source: Source, received_at: int) -> bool:
        """Return once all are durable, True if one of them is new; raises NotDurableError if one is not durable."""
        if len(pieces) == 1:  # as nearly always
            return await self._append(pieces[0], source, received_at)
        appended = await asyncio.gather(*[self._append(piece, source, received_at) for piece in pieces])
        return any(appended)

    async def _append(self, piece: Piece, source: Source, received_at: int) -> bool:
        identity = piece.identity
        return await self._appender.append(
            InboundFields(
                source=source.name,
                account_id=identity.account_id,
                key=identity.key,
                subject=identity.subject,
                received_at=received_at,
                body=piece.body,
                ttl=source.key_ttl,
                aliases=identity.aliases,
            )
        )
