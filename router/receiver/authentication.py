"""The door of the sources that Twilio signs: type, size, signature, account, events.

Size before reading, signature before parsing. What is known so far goes into the `Evidence`, so that whoever refuses
a webhook further out still has its bytes.

What a door checks is a `Knock`, which both a request and an entry of the quarantine can be made into: after a wrong
setting was mended, `readmit` checks again what was refused, without a request and without the caller. A new kind of
door implements both, `admit` being what reads the request and then does what `readmit` does.
"""

from __future__ import annotations

import asyncio
import re
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Final, Protocol

from aiohttp import web

from router import metrics
from router.core.errors import (
    AccountError,
    SignatureError,
    TooLargeError,
    UnreadableError,
    WebhookError,
    WrongTypeError,
)
from router.core.signing.form import NO_FORM, parse_form
from router.core.signing.twilio import SETTINGS_HEADER, Verifier
from router.core.values import value
from router.inbound.sources import FORM, Source
from router.inbound.webhook import Piece, Webhook
from router.logs import log
from router.receiver.bodies import LARGE_AT_ONCE, SMALL, InFlightBytes

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Collection, Mapping

    from router.core.accounts import Account, Accounts
    from router.core.events import SourceName
    from router.core.signing.form import Form

    #: What a source answers where that depends on the webhook; called once it is durable or was before.
    Responder = Callable[[Webhook, Account], Awaitable[bytes]]

#: Seconds that a caller may take to send its body.
BODY_TIMEOUT: Final = 15.0
_SIGNATURE: Final = "X-Twilio-Signature"
_TOKEN: Final = "I-Twilio-Idempotency-Token"  # noqa: S105 - a header name
_SID: Final = re.compile(rb"AC[0-9a-fA-F]{32}")
#: Bytes of a JSON body that are searched for the account that it may be of.
LOOK: Final = 65_536


@dataclass(slots=True)
class RefusalContext:
    """What is known of a webhook so far; `account_id` is what it says of itself, trusted only once it is admitted.

    `is_cut` tells that there was more than `body`.
    """

    body: bytes = b""
    account_id: str = ""
    is_cut: bool = False


@value
class AcceptedWebhook:
    """An authentic webhook: its events, and what makes the answer once they are durable (None: its source's usual one).

    `note` says which of its events are left out because they are of other accounts.
    """

    pieces: list[Piece]
    answer: Callable[[], Awaitable[bytes]] | None = None
    note: str | None = None


@value
class RawRequest:
    """What is checked of a request: path and query as on the wire, headers (names in any case), and the whole body."""

    raw_path: bytes
    headers: Mapping[str, str]
    body: bytes


class Authenticator(Protocol):
    """What stands between a request and its events, for each form of request one."""

    async def admit(self, request: web.Request, source: Source, evidence: RefusalContext) -> AcceptedWebhook:
        """Return what an authentic webhook holds; raises WebhookError for any other."""
        ...

    async def readmit(
        self, knock: RawRequest, source: Source, evidence: RefusalContext, *, is_trusted: bool = False
    ) -> AcceptedWebhook:
        """Check again what was refused before; raises WebhookError as `admit` does.

        The time that has passed must not count against it. `is_trusted`: an operator vouches for the signature, and
        everything else is checked as ever.
        """
        ...


class SignatureAuthenticator:
    """Forms and JSON, signed by Twilio with a token or a shared key of the account that they are of.

    Of the sources in `shadow` what is not signed rightly is let in all the same, counted and logged with what would
    have been refused: for finding out what is wrong without losing messages, never for good.
    """

    def __init__(
        self,
        accounts: Accounts,
        bases: tuple[bytes, ...],
        *,
        max_body_bytes: int,
        responders: Mapping[SourceName, Responder] | None = None,
        shadow: Collection[SourceName] = (),
    ) -> None:
        self._accounts = accounts
        self._verifiers = {account.sid: Verifier(bases, account.tokens, account.shared_keys) for account in accounts}
        self._max_body_bytes = max_body_bytes
        self._room = InFlightBytes(max(LARGE_AT_ONCE, max_body_bytes), small=SMALL)
        self._responders = responders or {}
        self._shadow = frozenset(shadow)

    async def admit(self, request: web.Request, source: Source, evidence: RefusalContext) -> AcceptedWebhook:
        """Return what an authentic webhook holds; raises WebhookError for any other."""
        evidence.body = await read_body(request, self._max_body_bytes, self._room)  # before its type: to be kept
        return self._judge(RawRequest(raw_path_of(request), request.headers, evidence.body), source, evidence)

    async def readmit(
        self, knock: RawRequest, source: Source, evidence: RefusalContext, *, is_trusted: bool = False
    ) -> AcceptedWebhook:
        """Check what is known of a request; raises WebhookError, with `is_trusted` for anything but its signature."""
        return self._judge(knock, source, evidence, is_trusted=is_trusted)

    def _judge(
        self, knock: RawRequest, source: Source, evidence: RefusalContext, *, is_trusted: bool = False
    ) -> AcceptedWebhook:
        require_type(knock, source)
        try:
            account, webhook = self._authenticate(knock, source, evidence)
        except SignatureError as error:
            if not (is_trusted or source.name in self._shadow):
                raise
            account, webhook = self._believe(knock, source, evidence)
            if not is_trusted:
                _tell_shadow(source, account, error)
        pieces, note = self._split(webhook, source, account)
        respond = self._responders.get(source.name)
        return AcceptedWebhook(pieces, None if respond is None else lambda: respond(webhook, account), note)

    def _authenticate(self, knock: RawRequest, source: Source, evidence: RefusalContext) -> tuple[Account, Webhook]:
        raw_path, body = knock.raw_path, knock.body
        signature, named = knock.headers.get(_SIGNATURE), knock.headers.get(SETTINGS_HEADER)
        token = knock.headers.get(_TOKEN)
        if source.content_type == FORM:
            form = parse_form(body)
            account = self._named_account(form, evidence)
            self._verifiers[account.sid].verify_form(raw_path, form, signature, named)
            return account, Webhook(body, form, token)
        account = self._accounts.default
        if len(self._accounts) > 1:
            account = self._find_signer(raw_path, body, signature, named)
        try:
            self._verifiers[account.sid].verify_json(raw_path, body, signature, named)
        except SignatureError as error:
            raise self._explain(error, body, evidence) from error
        evidence.account_id = account.sid
        return account, Webhook(body, NO_FORM, token)

    def _find_signer(self, raw_path: bytes, body: bytes, signature: str | None, named: str | None) -> Account:
        """Return the account whose secret fits, those that the body mentions tried first; else the likeliest one."""
        mentioned = set(_mentioned(body))
        likely = sorted(self._accounts, key=lambda account: account.sid not in mentioned)
        if not signature:
            return likely[0]
        fits = (one for one in likely if self._verifiers[one.sid].has_signed(raw_path, signature, named))
        return next(fits, likely[0])

    def _explain(self, error: SignatureError, body: bytes, evidence: RefusalContext) -> WebhookError:
        """Return what is wrong with JSON that nobody has signed: if it mentions strangers only, that is the reason."""
        mentioned = _mentioned(body)
        evidence.account_id = next((sid for sid in mentioned if self._accounts.get(sid)), "".join(mentioned[:1]))
        if mentioned and self._accounts.get(evidence.account_id) is None:
            return AccountError(f"account {evidence.account_id} is not configured")
        return error

    def _believe(self, knock: RawRequest, source: Source, evidence: RefusalContext) -> tuple[Account, Webhook]:
        """Return the account that the webhook itself names, unproven; raises AccountError if it is not configured."""
        token = knock.headers.get(_TOKEN)
        if source.content_type == FORM:
            form = parse_form(knock.body)
            return self._named_account(form, evidence), Webhook(knock.body, form, token)
        webhook = Webhook(knock.body, NO_FORM, token)
        for account in self._accounts:
            if any(piece.identity.account_id == account.sid for piece in source.split(webhook, account.sid)):
                evidence.account_id = account.sid
                return account, webhook
        raise AccountError("its account is not configured")

    def _named_account(self, form: Form, evidence: RefusalContext) -> Account:
        """Return the account that a form names, whose tokens alone may have signed it; without a name the default."""
        sid = form.get("AccountSid").strip()
        evidence.account_id = sid
        account = self._accounts.get(sid) if sid else self._accounts.default
        if account is None:
            raise AccountError(f"account {sid[:34]} is not configured")
        return account

    def _split(self, webhook: Webhook, source: Source, account: Account) -> tuple[list[Piece], str | None]:
        """Return the events of a webhook that are of its account; of a batch, others are left out and told of."""
        pieces = source.split(webhook, account.sid)
        if len(pieces) == 1 and pieces[0].identity.account_id == account.sid:  # as nearly always
            return pieces, None
        ours = [piece for piece in pieces if piece.identity.account_id == account.sid]
        if len(ours) == len(pieces):
            return pieces, None
        others = [piece.identity.account_id for piece in pieces if piece.identity.account_id != account.sid]
        if not ours:
            raise AccountError(self._tell(others[0], account))
        metrics.count("router_webhooks", source.name, "403", AccountError.reason, by=len(others))
        is_known = all(self._accounts.get(sid) for sid in others)
        whose = f"other accounts than {account.sid}, which signed" if is_known else "accounts that are not configured"
        return ours, f"{len(others)} of {len(pieces)} are of {whose}"

    def _tell(self, sid: str, signer: Account) -> str:
        """Return what is wrong with events of an account that are signed by another."""
        if self._accounts.get(sid) is None:
            return f"account {sid[:34]} is not configured"
        return f"the body says account {sid}, the signature is of account {signer.sid}"


def _mentioned(body: bytes) -> list[str]:
    """Return the account SIDs at the beginning of a body, whatever they stand for: whose it may be, nothing more."""
    return [sid.decode() for sid in _SID.findall(body, 0, LOOK)]


def _tell_shadow(source: Source, account: Account, error: SignatureError) -> None:
    metrics.count("router_shadow", source.name)
    fields = {"source": source.name, "account": account.sid, "status": error.status, "reason": str(error)}
    log("webhook.shadow", level="warning", **fields)


def raw_path_of(request: web.Request) -> bytes:
    """Return path and query as they came; bytes that are no text stay what they were."""
    return request.raw_path.encode("utf-8", "surrogateescape")


def require_type(request: web.Request | RawRequest, source: Source) -> None:
    """Return if the content type is the source's; raises WrongTypeError."""
    content_type = _media_type(request.headers.get("Content-Type", ""))
    if content_type != source.content_type and content_type not in source.also:
        raise WrongTypeError(f"{content_type[:64] or 'no content type'} instead of {source.content_type}")


@lru_cache(maxsize=64)  # callers send the same one or two, and strangers what they like
def _media_type(header: str) -> str:
    """Return a content type without its parameters."""
    return header.partition(";")[0].strip().lower()


async def read_body(request: web.Request, limit: int, room: InFlightBytes) -> bytes:
    """Return the raw body.

    Raises TooLargeError over `limit` bytes, UnreadableError if it does not arrive whole, NotDurableError without room.
    """
    if (request.content_length or 0) > limit:
        raise TooLargeError(f"{request.content_length} bytes")
    try:
        if request.content.is_eof():  # it came with its head, as most do: nothing to wait for, no timer to set
            body = request.content.read_nowait()
            if len(body) > limit:
                raise TooLargeError(f"more than {limit} bytes")
            return body
        size = request.content_length
        with room.place(limit if size is None else size):
            async with asyncio.timeout(BODY_TIMEOUT):
                return await request.read()
    except web.HTTPRequestEntityTooLarge as error:
        raise TooLargeError(f"more than {limit} bytes") from error
    except (TimeoutError, web.RequestPayloadError, ConnectionError) as error:
        raise UnreadableError("the body did not arrive whole") from error
