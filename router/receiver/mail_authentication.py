"""The door of mails: proof and type by the headers, then the body as it comes, hashed and read and never held.

What the headers tell is judged before the body is read; of what they refuse a body that is small enough to be kept
whole is read all the same, for the quarantine. Nothing that was read counts before the signature
over all of it holds; a body that cannot be read is hashed to its end all the same, so that a forged mail is told
nothing but 403. A request that carries a signature, or half of one, is never judged by Basic credentials instead: a
policy that was switched on must not be avoidable by whoever learns the password in the webhook's URL.

Of a mail that is refused the beginning is kept as evidence. A replay needs the whole body, and the headers with it.
"""

from __future__ import annotations

import asyncio
import time
from contextlib import aclosing, suppress
from typing import TYPE_CHECKING, Final

from aiohttp import web

from router import metrics
from router.core.errors import AccountError, SignatureError, TooLargeError, UnreadableError, WebhookError
from router.core.signing.form import NO_FORM
from router.core.signing.mail import SIGNATURE_HEADER, TIMESTAMP_HEADER, BasicVerifier, MailVerifier
from router.inbound.email.inbound_parse import MailReader
from router.inbound.webhook import Piece, Webhook
from router.receiver.authentication import AcceptedWebhook, RawRequest, RefusalContext
from router.receiver.bodies import MAILS_AT_ONCE, InFlightBytes

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, AsyncIterable, Callable, Mapping

    from router.core.accounts import Accounts
    from router.core.signing.mail import RunningMailVerifier
    from router.inbound.email.mail import ReceivedMail
    from router.inbound.sources import Source
    from router.settings.model import Settings

#: Seconds that a mail may take in all (30 MB at 2 Mbit/s), and without a byte in between.
BODY_TIMEOUT: Final = 120.0
STALL_TIMEOUT: Final = 15.0
#: Bytes of a body that are kept as evidence.
MAX_EVIDENCE: Final = 256 * 1024
_OFF: Final = "neither ROUTER_EMAIL_PUBLIC_KEYS nor ROUTER_EMAIL_CREDENTIALS is set"
_NO_KEYS: Final = "ROUTER_EMAIL_PUBLIC_KEYS is not set, and nothing else judges a signed mail"


class MailAuthenticator:
    """Mails that a signature or Basic credentials prove; without a `verifier` and `credentials` none are taken.

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
        self._room = InFlightBytes(MAILS_AT_ONCE)

    async def admit(self, request: web.Request, source: Source, evidence: RefusalContext) -> AcceptedWebhook:
        """Return what an authentic mail holds, one event for each recipient; raises WebhookError for any other.

        Raises NotDurableError where too many mails are on their way.
        """
        with self._room.place(1):
            async with aclosing(read_chunks(request, self._max_mail_bytes)) as chunks:
                return await self.admit_stream(request.headers, chunks, source, evidence)

    async def admit_stream(
        self,
        headers: Mapping[str, str],
        chunks: AsyncIterable[bytes],
        source: Source,
        evidence: RefusalContext,
        *,
        check_age: bool = True,
        is_trusted: bool = False,
    ) -> AcceptedWebhook:
        """Admit a mail that comes from anywhere; for a replay the age of its signature does not matter.

        The names of `headers` may be of any case; `chunks` are the raw body, and not begun if the headers are wrong.
        `is_trusted`: an operator vouches for it, and no proof is asked for.
        """
        evidence.is_cut = True  # until its body has been read to the end
        folded = {name.lower(): value for name, value in headers.items()}
        try:
            proof = None if is_trusted else self._begin_proof(folded, check_age=check_age)
            reading = _Reading(proof, folded.get("content-type"))
        except WebhookError:
            await _keep(folded, chunks, evidence)
            raise
        try:
            async for chunk in chunks:
                reading.take(chunk)
        finally:
            evidence.body = bytes(reading.kept)  # whatever came: a mail that broke off is shown as far as it came
        evidence.is_cut = reading.is_cut
        pieces, note = self._split(await reading.finish(), source, evidence)
        return AcceptedWebhook(pieces, note=note)

    async def readmit(
        self, knock: RawRequest, source: Source, evidence: RefusalContext, *, is_trusted: bool = False
    ) -> AcceptedWebhook:
        """Check again a mail that was refused; raises WebhookError.

        Credentials are not kept, so a mail that only they proved needs trust.
        """

        async def body() -> AsyncGenerator[bytes, None]:
            yield knock.body

        return await self.admit_stream(knock.headers, body(), source, evidence, check_age=False, is_trusted=is_trusted)

    def _begin_proof(self, headers: Mapping[str, str], *, check_age: bool) -> RunningMailVerifier | None:
        """Return the check that the body is to pass, or None where credentials have proved who calls."""
        signature, timestamp = headers.get(SIGNATURE_HEADER.lower()), headers.get(TIMESTAMP_HEADER.lower())
        is_signed = signature is not None or timestamp is not None
        if self._credentials is not None and not is_signed:
            self._credentials.verify(headers.get("authorization"))
            return None
        if self._verifier is None:
            raise SignatureError(_NO_KEYS if is_signed else _OFF)
        return self._verifier.begin(timestamp, signature, now=self._clock() if check_age else None)

    def _split(
        self, mails: tuple[ReceivedMail, ...], source: Source, evidence: RefusalContext
    ) -> tuple[list[Piece], str | None]:
        """Return the events of a mail; recipients whose mailbox is of no account are left out and told of."""
        pieces: list[Piece] = []
        for mail in mails:
            account = self._accounts.of_mailbox(mail.recipient)
            if account is not None:
                pieces += source.split(Webhook(b"", NO_FORM, None, mails=(mail,)), account.sid)
        if not pieces:
            raise AccountError("none of its mailboxes is of an account that is configured")
        evidence.account_id = pieces[0].identity.account_id
        others = len(mails) - len(pieces)
        if not others:
            return pieces, None
        metrics.count("router_webhooks", source.name, "403", AccountError.reason, by=others)
        return pieces, f"{others} of {len(mails)} are to mailboxes of accounts that are not configured"


class _Reading:
    """One body under way: its check, its reader or why that gave up, and the beginning of what came."""

    def __init__(self, proof: RunningMailVerifier | None, content_type: str | None) -> None:
        self._proof = proof
        self._reader = _open(content_type)
        self.kept = bytearray()
        self.is_cut = False

    def take(self, chunk: bytes) -> None:
        """Take the next bytes of the body."""
        room = MAX_EVIDENCE - len(self.kept)
        self.kept += chunk[:room]
        self.is_cut = self.is_cut or len(chunk) > room
        if self._proof is not None:
            self._proof.update(chunk)
        if isinstance(self._reader, MailReader):
            try:
                self._reader.feed(chunk)
            except UnreadableError as error:
                self._reader = error

    async def finish(self) -> tuple[ReceivedMail, ...]:
        """Return the mail for each of its recipients, once it is proved; raises SignatureError or UnreadableError."""
        if self._proof is not None:
            self._proof.finish()
        if isinstance(self._reader, UnreadableError):
            raise self._reader
        # a large HTML text takes up to a tenth of a second, in which the webhooks of others go on
        return await asyncio.to_thread(self._reader.finish)


def _open(content_type: str | None) -> MailReader | UnreadableError:
    """Return the reader of a body; a type without a boundary is known to be authentic only once it was hashed."""
    try:
        return MailReader(content_type)
    except UnreadableError as error:
        return error


async def _keep(headers: Mapping[str, str], chunks: AsyncIterable[bytes], evidence: RefusalContext) -> None:
    """Read a body that its headers refuse, as far as it can be kept whole: a missing key must not lose mails."""
    length = headers.get("content-length", "0")
    if not length.isascii() or not length.isdigit() or int(length) > MAX_EVIDENCE:
        return
    kept = bytearray()
    with suppress(WebhookError):  # it breaks off: what is wrong with its headers is the answer
        async for chunk in chunks:
            kept += chunk
            if len(kept) > MAX_EVIDENCE:
                break
        else:
            evidence.is_cut = False
    evidence.body = bytes(kept[:MAX_EVIDENCE])


async def read_chunks(request: web.Request, limit: int) -> AsyncGenerator[bytes, None]:
    """Yield the raw body as it comes.

    Raises TooLargeError over `limit` bytes, unread where its length is said; UnreadableError if it does not arrive
    whole, in time, or stops on the way.
    """
    if (request.content_length or 0) > limit:
        raise TooLargeError(f"{request.content_length} bytes")
    clock = asyncio.get_running_loop().time
    deadline, size = clock() + BODY_TIMEOUT, 0
    while True:
        try:
            async with asyncio.timeout_at(min(deadline, clock() + STALL_TIMEOUT)):
                chunk = await request.content.readany()
        except (TimeoutError, web.RequestPayloadError, ConnectionError) as error:
            raise UnreadableError("the body did not arrive whole") from error
        if not chunk:
            return
        size += len(chunk)
        if size > limit:
            raise TooLargeError(f"more than {limit} bytes")
        yield chunk


def make_mail_door(settings: Settings) -> MailAuthenticator:
    """Return the door that the settings describe."""
    keys, credentials = settings.email_public_keys, settings.email_credentials
    return MailAuthenticator(
        settings.accounts,
        verifier=MailVerifier(keys, max_age=settings.email_max_age or None) if keys else None,
        credentials=BasicVerifier(tuple(one.get_secret_value() for one in credentials)) if credentials else None,
        max_mail_bytes=settings.max_mail_bytes,
    )
