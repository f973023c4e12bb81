"""Authentication of mails: proof and content type by the headers, then the body, hashed and parsed as it arrives.

The headers are checked before the body is read, a signature for its form too. If they refuse the mail, its body is
still read for the quarantine, as long as it is small enough to be kept whole. Nothing that was read counts before the
signature over the whole body has been verified; a body that cannot be parsed is hashed to its end all the same, so a
forged mail gets 403 and no other answer. Until then it is parsed in small steps, within a share of the event loop. A
request with a signature, or half of one, is never checked by Basic credentials instead: otherwise anyone who knows the
password in the webhook's URL could bypass the security policy
(https://www.twilio.com/docs/sendgrid/for-developers/parsing-email/securing-your-parse-webhooks).

The beginning of a refused mail is kept. Replaying it takes the whole body and its headers.
"""

from __future__ import annotations

import asyncio
import time
from contextlib import aclosing, suppress
from typing import TYPE_CHECKING, Final

from router import metrics
from router.core.errors import AccountError, SignatureError, UnreadableError, WebhookError
from router.core.signing.form import NO_FORM
from router.core.signing.mail import SIGNATURE_HEADER, TIMESTAMP_HEADER, BasicVerifier, MailVerifier
from router.inbound.email.inbound_parse import MAX_RECIPIENTS, MailReader
from router.inbound.webhook import Piece, Webhook
from router.logs import log
from router.receiver.authentication import AcceptedWebhook, RefusalContext
from router.receiver.bodies import MAILS_AT_ONCE, InFlightBytes, LoopShare, read_chunks

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, AsyncIterable, Callable, Generator, Mapping

    from aiohttp import web

    from router.core.accounts import Accounts
    from router.core.signing.mail import RunningMailVerifier
    from router.inbound.email.mail import ReceivedMail
    from router.inbound.sources import Source
    from router.receiver.requests import RawRequest
    from router.settings.model import Settings

#: Bytes of a refused mail that are kept.
MAX_KEPT: Final = 256 * 1024
#: Bytes of a mail that are parsed in one step: at most about three milliseconds, whatever they are.
PIECE: Final = 2048
#: Bytes at the beginning of a mail that are parsed without waiting for a turn; hardly any genuine mail is that small.
PARSED_AT_ONCE: Final = 256
_OFF: Final = "neither ROUTER_EMAIL_PUBLIC_KEYS nor ROUTER_EMAIL_CREDENTIALS is set"
_NO_KEYS: Final = "ROUTER_EMAIL_PUBLIC_KEYS is not set, so a signed mail cannot be verified"


class MailAuthenticator:
    """Accepts mails with a valid signature or Basic credentials; without `verifier` and `credentials` it refuses all.

    `clock` gives seconds since 1970.
    """

    def __init__(
        self,
        accounts: Accounts,
        *,
        verifier: MailVerifier | None,
        credentials: BasicVerifier | None,
        max_mail_bytes: int,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._accounts = accounts
        self._verifier = verifier
        self._credentials = credentials
        self._max_mail_bytes = max_mail_bytes
        self._clock = clock
        self._in_flight = InFlightBytes(MAILS_AT_ONCE)
        self._share = LoopShare()

    async def authenticate(self, request: web.Request, source: Source, context: RefusalContext) -> AcceptedWebhook:
        """Return one event per recipient of an authentic mail; raises WebhookError for any other.

        Raises NotDurableError while too many mails are being received.
        """
        with self._in_flight.reserve(1) as transfer:
            async with aclosing(read_chunks(request, self._max_mail_bytes, transfer)) as chunks:
                return await self.authenticate_stream(request.headers, chunks, source, context)

    async def authenticate_stream(
        self,
        headers: Mapping[str, str],
        chunks: AsyncIterable[bytes],
        source: Source,
        context: RefusalContext,
        *,
        check_age: bool = True,
        is_trusted: bool = False,
    ) -> AcceptedWebhook:
        """Authenticate a mail from any origin; for a replay the age of its signature does not matter.

        The names in `headers` may be of any case. `chunks` are the raw body, not started if the headers are wrong.
        `is_trusted`: an operator has confirmed the mail, so it needs no proof.
        """
        context.is_cut = True  # until its body has been read to the end
        folded = {name.lower(): value for name, value in headers.items()}
        try:
            proof = None if is_trusted else self._begin_proof(folded, check_age=check_age)
            reading = _Reading(proof, folded.get("content-type"))
        except WebhookError:
            await _keep_small(folded, chunks, context)
            raise
        try:
            await self._read(reading, chunks, context)
            mails = await reading.finish()
        finally:
            reading.close()
        pieces, note = self._split(mails, source, context)
        if reading.left_out:
            metrics.count("router_events", source.name, "cut", by=reading.left_out)
            key, served = pieces[0].identity.key, len(pieces)
            log("mail.cut", level="warning", key=key, served=served, left_out=reading.left_out, most=MAX_RECIPIENTS)
        return AcceptedWebhook(pieces, note=note)

    async def _read(self, reading: _Reading, chunks: AsyncIterable[bytes], context: RefusalContext) -> None:
        try:
            async for chunk in chunks:
                await self._share.run(reading.feed(chunk))
        finally:
            context.body = bytes(reading.kept)  # of a mail that broke off, as much as arrived
        context.is_cut = reading.is_cut

    async def recheck(
        self, raw: RawRequest, source: Source, context: RefusalContext, *, is_trusted: bool = False
    ) -> AcceptedWebhook:
        """Check a stored mail again; raises WebhookError.

        Credentials are not stored, so a mail that only they proved must be trusted.
        """

        async def chunks() -> AsyncGenerator[bytes, None]:
            yield raw.body

        return await self.authenticate_stream(
            raw.headers, chunks(), source, context, check_age=False, is_trusted=is_trusted
        )

    def require_proof(self, headers: Mapping[str, str]) -> None:
        """Raise SignatureError, without a look at the body, for headers that no real mail has."""
        self._begin_proof({name.lower(): value for name, value in headers.items()}, check_age=True)

    def _begin_proof(self, headers: Mapping[str, str], *, check_age: bool) -> RunningMailVerifier | None:
        """Return the verifier for the body, or None if credentials have proved the caller; raises SignatureError."""
        signature, timestamp = headers.get(SIGNATURE_HEADER.lower()), headers.get(TIMESTAMP_HEADER.lower())
        is_signed = signature is not None or timestamp is not None
        if self._credentials is not None and not is_signed:
            self._credentials.verify(headers.get("authorization"))
            return None
        if self._verifier is None:
            raise SignatureError(_NO_KEYS if is_signed else _OFF)
        return self._verifier.begin(timestamp, signature, now=self._clock() if check_age else None)

    def _split(
        self, mails: tuple[ReceivedMail, ...], source: Source, context: RefusalContext
    ) -> tuple[list[Piece], str | None]:
        """Return the events of a mail, and a note about recipients without a configured account, which are left out."""
        by_account: dict[str, list[ReceivedMail]] = {}
        for mail in mails:
            account = self._accounts.of_mailbox(mail.recipient)
            if account is not None:
                by_account.setdefault(account.sid, []).append(mail)
        pieces: list[Piece] = []
        for sid, own in by_account.items():
            pieces += source.split(Webhook(b"", NO_FORM, None, mails=tuple(own)), sid)
        if not pieces:
            raise AccountError("none of its mailboxes is of an account that is configured")
        context.account_id = pieces[0].identity.account_id
        others = len(mails) - len(pieces)
        if not others:
            return pieces, None
        metrics.count("router_webhooks", source.name, "403", AccountError.reason, by=others)
        return pieces, f"{others} of {len(mails)} are to mailboxes of accounts that are not configured"


class _Reading:
    """One body in progress: its verifier, its parser or the error that stopped it, and the bytes to keep."""

    def __init__(self, proof: RunningMailVerifier | None, content_type: str | None) -> None:
        self._proof = proof
        self._reader = _open(content_type)
        self._at_once = PARSED_AT_ONCE
        self.kept = bytearray()
        self.is_cut = False

    @property
    def left_out(self) -> int:
        """The number of recipients that are not served because there are too many, known once it is finished."""
        return self._reader.left_out if isinstance(self._reader, MailReader) else 0

    def feed(self, chunk: bytes) -> Generator[None, None, None]:
        """Add the next bytes of the body, in steps: what they hold is unproven, and may be made to be expensive."""
        free = MAX_KEPT - len(self.kept)
        self.kept += chunk[:free]
        self.is_cut = self.is_cut or len(chunk) > free
        if self._proof is not None:
            self._proof.update(chunk)
        self._at_once -= len(chunk)
        for start in range(0, len(chunk), PIECE):
            if isinstance(self._reader, UnreadableError):
                return
            if self._at_once < 0:
                yield
            try:
                self._reader.feed(chunk[start : start + PIECE])
            except UnreadableError as error:
                self.close()
                self._reader = error.with_traceback(None)  # it refers to this object

    def close(self) -> None:
        """Let go of the parser."""
        if isinstance(self._reader, MailReader):
            self._reader.close()

    async def finish(self) -> tuple[ReceivedMail, ...]:
        """Return the mail, once for each recipient, after its proof; raises SignatureError or UnreadableError."""
        if self._proof is not None:
            self._proof.finish()
        if isinstance(self._reader, UnreadableError):
            raise self._reader
        # a large HTML text takes up to a tenth of a second: in a thread, so that other webhooks are not delayed
        return await asyncio.to_thread(self._reader.finish)


def _open(content_type: str | None) -> MailReader | UnreadableError:
    """Return a parser for the body, or the error to raise once the body has been hashed: the type has no boundary."""
    try:
        return MailReader(content_type)
    except UnreadableError as error:
        return error


async def _keep_small(headers: Mapping[str, str], chunks: AsyncIterable[bytes], context: RefusalContext) -> None:
    """Read a body that its headers refuse if it can be kept whole: a missing public key must not lose mails."""
    length = headers.get("content-length", "0")
    if not length.isascii() or not length.isdigit() or int(length) > MAX_KEPT:
        return
    kept = bytearray()
    with suppress(WebhookError):  # if it breaks off, the answer is still the error of its headers
        async for chunk in chunks:
            kept += chunk
            if len(kept) > MAX_KEPT:
                break
        else:
            context.is_cut = False
    context.body = bytes(kept[:MAX_KEPT])


def make_mail_authenticator(settings: Settings, *, clock: Callable[[], float] = time.time) -> MailAuthenticator:
    """Return the authenticator that the settings describe; `clock` gives seconds since 1970."""
    keys, credentials = settings.email_public_keys, settings.email_credentials
    return MailAuthenticator(
        settings.accounts,
        verifier=MailVerifier(keys, max_age=settings.email_max_age or None) if keys else None,
        credentials=BasicVerifier(tuple(one.get_secret_value() for one in credentials)) if credentials else None,
        max_mail_bytes=settings.max_mail_bytes,
        clock=clock,
    )
