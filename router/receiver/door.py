"""The door of the sources that Twilio signs: type, size, signature, account, events.

Size before reading, signature before parsing. What is known so far goes into the `Evidence`, so that whoever refuses
a webhook further out still has its bytes.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Protocol

from aiohttp import web

from router import metrics
from router.core.errors import AccountError, SignatureError, TooLargeError, UnreadableError, WrongTypeError
from router.core.signature import SETTINGS_HEADER, Verifier, parse_form
from router.inbound.sources import FORM, Piece, Source, Webhook

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping

    from router.core.accounts import Account, Accounts
    from router.core.events import SourceName

    #: What a source answers where that depends on the webhook; called once it is durable or was before.
    Responder = Callable[[Webhook, Account], Awaitable[bytes]]

#: Seconds that a caller may take to send its body.
BODY_TIMEOUT: Final = 15.0
_SIGNATURE: Final = "X-Twilio-Signature"
_TOKEN: Final = "I-Twilio-Idempotency-Token"  # noqa: S105 - a header name
_ACCOUNT: Final = b"AccountSid"


@dataclass(slots=True)
class Evidence:
    """What is known of a webhook so far; `account_id` is what it says of itself, trusted only once it is admitted."""

    body: bytes = b""
    account_id: str = ""


@dataclass(frozen=True, slots=True)
class Admission:
    """An authentic webhook: its events, a note for the log, and what is answered once they are durable."""

    pieces: list[Piece]
    answer: Callable[[], bytes | Awaitable[bytes]]
    note: str | None = None


class Door(Protocol):
    """What stands between a request and its events, for each form of request one."""

    async def admit(self, request: web.Request, source: Source, evidence: Evidence) -> Admission:
        """Return what an authentic webhook holds; raises WebhookError for any other."""
        ...


class SignedDoor:
    """Forms and JSON, signed by Twilio with a token or a shared key of the account that they are of."""

    def __init__(
        self,
        accounts: Accounts,
        bases: tuple[bytes, ...],
        *,
        max_body_bytes: int,
        responders: Mapping[SourceName, Responder] | None = None,
    ) -> None:
        self._accounts = accounts
        self._verifiers = {account.sid: Verifier(bases, account.tokens, account.shared_keys) for account in accounts}
        self._max_body_bytes = max_body_bytes
        self._responders = responders or {}

    async def admit(self, request: web.Request, source: Source, evidence: Evidence) -> Admission:
        """Return what an authentic webhook holds; raises WebhookError for any other."""
        require_type(request, source)
        evidence.body = await read_body(request, self._max_body_bytes)
        account, webhook = self._authenticate(request, source, evidence)
        pieces, note = _split(webhook, source, account)
        respond = self._responders.get(source.name)
        if respond is None:
            return Admission(pieces, lambda: source.answer, note)
        return Admission(pieces, lambda: respond(webhook, account), note)

    def _authenticate(self, request: web.Request, source: Source, evidence: Evidence) -> tuple[Account, Webhook]:
        raw_path = request.raw_path.encode("utf-8", "surrogateescape")
        signature, named = request.headers.get(_SIGNATURE), request.headers.get(SETTINGS_HEADER)
        token, body = request.headers.get(_TOKEN), evidence.body
        if source.content_type == FORM:
            pairs = parse_form(body)
            account = self._named_account(pairs, evidence)
            self._verifiers[account.sid].verify_form(raw_path, pairs, signature, named)
            return account, Webhook(body, pairs, token)
        problem: SignatureError | None = None
        for account in self._accounts:
            try:
                self._verifiers[account.sid].verify_json(raw_path, body, signature, named)
            except SignatureError as error:
                problem = problem or error
            else:
                evidence.account_id = account.sid
                return account, Webhook(body, [], token)
        raise problem or SignatureError("no account is configured")

    def _named_account(self, pairs: list[tuple[bytes, bytes]], evidence: Evidence) -> Account:
        """Return the account that a form names, whose tokens alone may have signed it; without a name the default."""
        sid = next((value.strip() for name, value in pairs if name == _ACCOUNT), b"").decode("utf-8", "replace")
        evidence.account_id = sid
        account = self._accounts.get(sid) if sid else self._accounts.default
        if account is None:
            raise AccountError(f"account {sid[:34]} is not configured")
        return account


def require_type(request: web.Request, source: Source) -> None:
    """Return if the content type is the source's; raises WrongTypeError."""
    content_type = request.headers.get("Content-Type", "").partition(";")[0].strip().lower()
    if content_type != source.content_type and content_type not in source.also:
        raise WrongTypeError(f"{content_type[:64] or 'no content type'} instead of {source.content_type}")


async def read_body(request: web.Request, limit: int) -> bytes:
    """Return the raw body; raises TooLargeError over `limit` bytes, UnreadableError if it does not arrive whole."""
    if (request.content_length or 0) > limit:
        raise TooLargeError(f"{request.content_length} bytes")
    try:
        if request.content.is_eof():  # it came with its head, as most do: nothing to wait for, no timer to set
            return await request.read()
        async with asyncio.timeout(BODY_TIMEOUT):
            return await request.read()
    except web.HTTPRequestEntityTooLarge as error:
        raise TooLargeError(f"more than {limit} bytes") from error
    except (TimeoutError, web.RequestPayloadError, ConnectionError) as error:
        raise UnreadableError("the body did not arrive whole") from error


def _split(webhook: Webhook, source: Source, account: Account) -> tuple[list[Piece], str | None]:
    """Return the events of a webhook that are of its account; of a batch, others are left out and told of."""
    pieces = source.split(webhook, account.sid)
    ours = [piece for piece in pieces if piece.identity.account_id == account.sid]
    if len(ours) == len(pieces):
        return pieces, None
    if not ours:
        raise AccountError(f"account {pieces[0].identity.account_id[:34]} is not configured")
    metrics.count("router_webhooks", source.name, "403", AccountError.reason, by=len(pieces) - len(ours))
    return ours, f"{len(pieces) - len(ours)} of {len(pieces)} are of accounts that are not configured"
