"""Authentication of the webhooks that Twilio signs: size, content type, signature, account, events.

The size is checked before the body is read, the presence and length of the signature before the body is decoded, the
signature before the body is parsed (https://www.twilio.com/docs/usage/webhooks/webhooks-security). Work on an unproven
body is done in steps, within a share of the event loop. A RefusalContext collects what is known so far, so that a
refused webhook can be stored in the quarantine together with its bytes.

The check itself works on a RawRequest, which is made from an HTTP request or from a quarantine entry: once a wrong
setting has been corrected, `recheck` checks a stored webhook again. A new kind of authenticator implements both
methods; its `authenticate` reads the request and then does what `recheck` does.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Protocol, TypeVar

from router import metrics
from router.core.errors import AccountError, SignatureError, TooLargeError, UnreadableError
from router.core.signing.form import NO_FORM, parse_form, parse_in_steps
from router.core.signing.twilio import USUAL_LENGTH, Verifier, read_settings, require_shape
from router.core.values import Value
from router.inbound.sources import FORM, Source
from router.inbound.webhook import Piece, Webhook
from router.logs import log
from router.receiver.bodies import LARGE_AT_ONCE, SMALL, InFlightBytes, LoopShare, read_arrived
from router.receiver.requests import SIGNATURE, TOKEN, RawRequest, raw_path_of, require_type, stated_settings

T = TypeVar("T")
if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Collection, Generator, Mapping

    from aiohttp import web
    from multidict import MultiMapping

    from router.core.accounts import Account, Accounts
    from router.core.events import SourceName
    from router.core.signing.form import Form
    from router.core.signing.twilio import SignatureSettings

    #: Work in steps that each take at most a millisecond or two (bodies.LoopShare), and its result.
    Steps = Generator[None, None, T]
    #: Makes the answer of a source whose answers depend on the webhook; called once its event is durable.
    Responder = Callable[[Webhook, Account], Awaitable[bytes]]

#: https://www.twilio.com/docs/usage/webhooks/webhooks-connection-overrides
_SID: Final = re.compile(rb"AC[0-9a-fA-F]{32}")
#: Bytes at the beginning of a body that are searched for account SIDs, which nothing has paid for: at most a fifth of a
#: millisecond. Forms begin with `AccountSid` or have it among about 2 KiB, the first event of a batch has it in its
#: first KiB. If it is further on, the hint is missing: a signature is then tried with every account's secrets.
SEARCHED_BYTES: Final = 4096
#: Bytes of a parameter that are read for an account SID: it has 34.
SID_BYTES: Final = 64
#: Bytes of a form that is parsed at once: nearly every one. Of the worst kind that takes a quarter of a millisecond.
PARSED_AT_ONCE: Final = 2048
#: Accounts whose secrets are tried at once for a JSON webhook; genuine ones name theirs, which is tried first.
TRIED_AT_ONCE: Final = 50


@dataclass(slots=True)
class RefusalContext:
    """The facts known so far about a webhook that may be refused.

    `account_id` is the account that the webhook names, unproven until it is accepted. `is_cut`: there was more than
    `body`.
    """

    body: bytes = b""
    account_id: str = ""
    is_cut: bool = False


class AcceptedWebhook(Value):
    """An authentic webhook: its events, and a function that makes its answer once they are durable.

    Without `answer` it gets the constant answer of its source. `note` says which events were left out because they
    belong to other accounts.
    """

    pieces: list[Piece]
    answer: Callable[[], Awaitable[bytes]] | None = None
    note: str | None = None


class Authenticator(Protocol):
    """Turns the requests of some sources into their events, or refuses them."""

    async def authenticate(self, request: web.Request, source: Source, context: RefusalContext) -> AcceptedWebhook:
        """Return the events of an authentic webhook; raises WebhookError for any other."""
        ...

    async def recheck(
        self, raw: RawRequest, source: Source, context: RefusalContext, *, is_trusted: bool = False
    ) -> AcceptedWebhook:
        """Check a webhook again that was refused before; raises WebhookError as `authenticate` does.

        The time that has passed since must not matter. `is_trusted`: an operator has confirmed the webhook, so its
        signature is not checked; everything else is.
        """
        ...


class SignatureAuthenticator:
    """Forms and JSON, signed by Twilio with a token or a shared key of their account.

    Sources in `shadow` accept webhooks with a wrong signature too; each is counted and logged with the reason. That
    helps to find a wrong setting without losing messages, and is not meant to stay on.
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
        self._shared_keys = frozenset(name for account in accounts for name in account.shared_keys)
        self.in_flight = InFlightBytes(max(LARGE_AT_ONCE, max_body_bytes), small=SMALL)
        self.share = LoopShare()
        self._responders = responders or {}
        self._shadow = frozenset(shadow)

    async def authenticate(self, request: web.Request, source: Source, context: RefusalContext) -> AcceptedWebhook:
        """Return the events of an authentic webhook; raises WebhookError for any other."""
        limit = min(self._max_body_bytes, source.max_bytes)
        body = read_arrived(request, limit)  # before its type: to be kept
        if body is not None and len(body) <= SMALL:
            return await self._judge(request, body, source, context)
        async with self.in_flight.received(request, limit, body) as whole:
            return await self._judge(request, whole, source, context)

    def _judge(
        self, request: web.Request, body: bytes, source: Source, context: RefusalContext
    ) -> Awaitable[AcceptedWebhook]:
        context.body = body
        raw = RawRequest(raw_path_of(request), request.headers, body)
        return self.share.run(self._check(raw, source, context))

    def judge_at_once(
        self, raw: RawRequest, source: Source, context: RefusalContext
    ) -> AcceptedWebhook | Steps[AcceptedWebhook] | None:
        """Return the events of an authentic small webhook, or the steps that are left; raises WebhookError.

        None for a body that is not small: it must be counted.
        """
        if len(raw.body) > min(SMALL, self._max_body_bytes):
            return None
        context.body, steps = raw.body, self._check(raw, source, context)
        try:
            next(steps)
        except StopIteration as end:
            return end.value  # type: ignore[no-any-return] # as in LoopShare.run
        return steps

    async def recheck(
        self, raw: RawRequest, source: Source, context: RefusalContext, *, is_trusted: bool = False
    ) -> AcceptedWebhook:
        """Check a stored request again; raises WebhookError, with `is_trusted` never for its signature."""
        return await self.share.run(self._check(raw, source, context, is_trusted=is_trusted))

    def _check(
        self, raw: RawRequest, source: Source, context: RefusalContext, *, is_trusted: bool = False
    ) -> Steps[AcceptedWebhook]:
        """Check a whole request; ends with the first step unless that would take long."""
        require_type(raw, source)
        verify = self.verify_form if source.content_type == FORM else self.verify_json
        try:
            account, webhook = yield from verify(raw, context)
        except SignatureError as error:
            if not (is_trusted or source.name in self._shadow):
                raise
            account, webhook = yield from self.read_unverified(raw, source, context)
            if not is_trusted:
                _log_shadow(source, account, error)
        pieces, note = self.split(webhook, source, account)
        respond = self._responders.get(source.name)
        return AcceptedWebhook(pieces, None if respond is None else lambda: respond(webhook, account), note)

    def limit(self, most: int) -> int:
        """Return the bytes that a body may have of which real ones have at most so many."""
        return min(self._max_body_bytes, most)

    def require_shape(self, headers: MultiMapping[str]) -> None:
        """Raise SignatureError, without a look at the body, for headers that no account can have sent."""
        self._require_shape(headers.get(SIGNATURE), stated_settings(headers), b"", RefusalContext())

    def verify_form(self, raw: RawRequest, context: RefusalContext) -> Steps[tuple[Account, Webhook]]:
        """Verify a form in the body; returns the account that it is of. Raises WebhookError."""
        signature, header = raw.headers.get(SIGNATURE), stated_settings(raw.headers)
        if header is not None or not signature or len(signature) != USUAL_LENGTH:
            self._require_shape(signature, header, raw.body, context)
        form = yield from _parse(raw.body)
        account = self._account_of_form(form, context)
        verifier = self._verifiers[account.sid]
        try:
            if len(raw.body) <= PARSED_AT_ONCE:
                verifier.verify_form(raw.raw_path, form, signature, header)
            else:
                yield from verifier.verify_in_steps(raw.raw_path, form, signature, header)
        except SignatureError:
            replaced = yield from form.replace_in_steps()
            if replaced is None:
                raise
            yield from verifier.verify_in_steps(raw.raw_path, replaced, signature, header)
        return account, Webhook(raw.body, form, raw.headers.get(TOKEN))

    def _require_shape(self, signature: str | None, header: str | None, body: bytes, context: RefusalContext) -> None:
        """Refuse, without decoding the body, what no account can have signed; raises SignatureError or AccountError."""
        settings = read_settings(header)
        try:
            if signature:
                self._require_known_key(settings)
            require_shape(signature, settings)
        except SignatureError as error:
            self._note_account(_find_account_sids(body), context, error)
            raise

    def _require_known_key(self, settings: SignatureSettings) -> None:
        if settings.key and settings.key not in self._shared_keys:
            raise SignatureError("the shared key is unknown")

    def verify_query(self, raw: RawRequest, context: RefusalContext) -> Steps[tuple[Account, Webhook]]:
        """Verify a request without a body, whose form is its query, as Twilio sends it with GET. Raises WebhookError.

        The URL is all that is signed (https://www.twilio.com/docs/usage/security#validating-requests).
        """
        signature, header = raw.headers.get(SIGNATURE), stated_settings(raw.headers)
        query = raw.raw_path.partition(b"?")[2]
        form = yield from _parse(query)
        account = self._account_of_form(form, context)
        self._verifiers[account.sid].verify_form(raw.raw_path, NO_FORM, signature, header)
        return account, Webhook(query, form, raw.headers.get(TOKEN))

    def verify_json(self, raw: RawRequest, context: RefusalContext) -> Steps[tuple[Account, Webhook]]:
        """Verify a body by its digest in the URL; returns the account that signed the URL. Raises WebhookError."""
        signature, header = raw.headers.get(SIGNATURE), stated_settings(raw.headers)
        account, named = self._accounts.default, None
        if len(self._accounts) > 1:
            named = _find_account_sids(raw.body)
            account = yield from self._find_signer(raw, named, signature, header)
        try:
            self._verifiers[account.sid].verify_json(raw.raw_path, raw.body, signature, header)
        except SignatureError as error:
            self._note_account(_find_account_sids(raw.body) if named is None else named, context, error)
            raise
        context.account_id = account.sid
        return account, Webhook(raw.body, NO_FORM, raw.headers.get(TOKEN))

    def _find_signer(
        self, raw: RawRequest, named: Collection[str], signature: str | None, header: str | None
    ) -> Steps[Account]:
        """Return the account whose secret made the signature, trying those first that the body has `named`.

        If no secret fits, returns the first account that was tried.
        """
        first = frozenset(named)
        likely = sorted(self._accounts, key=lambda account: account.sid not in first)
        if not signature:
            return likely[0]
        for number, one in enumerate(likely):
            if number >= TRIED_AT_ONCE and number % TRIED_AT_ONCE == 0:
                yield
            if self._verifiers[one.sid].has_signed(raw.raw_path, signature, header):
                return one
        return likely[0]

    def _note_account(self, named: list[str], context: RefusalContext, error: SignatureError) -> None:
        """Note the account that a body without a valid signature has `named`; raises AccountError if there is none."""
        context.account_id = next((sid for sid in named if self._accounts.get(sid)), "".join(named[:1]))
        if named and self._accounts.get(context.account_id) is None:
            raise AccountError(f"account {context.account_id} is not configured") from error

    def read_unverified(
        self, raw: RawRequest, source: Source, context: RefusalContext
    ) -> Steps[tuple[Account, Webhook]]:
        """Return the account that the webhook names, unproven; raises AccountError if it is not configured."""
        token = raw.headers.get(TOKEN)
        if source.content_type == FORM:
            form = yield from _parse(raw.body)
            return self._account_of_form(form, context), Webhook(raw.body, form, token)
        webhook = Webhook(raw.body, NO_FORM, token)
        for account in self._accounts:
            if any(piece.identity.account_id == account.sid for piece in source.split(webhook, account.sid)):
                context.account_id = account.sid
                return account, webhook
        raise AccountError("its account is not configured")

    def _account_of_form(self, form: Form, context: RefusalContext) -> Account:
        """Return the account that a form names, the default account if it names none.

        Only the secrets of this account may have signed the form.
        """
        sid = form.get("AccountSid", most=SID_BYTES).strip()
        context.account_id = sid
        account = self._accounts.get(sid) if sid else self._accounts.default
        if account is None:
            raise AccountError(f"account {sid[:34]} is not configured")
        return account

    def split(self, webhook: Webhook, source: Source, account: Account) -> tuple[list[Piece], str | None]:
        """Return the events of a webhook's own account, and a note about events of others that are left out."""
        pieces = source.split(webhook, account.sid)
        if len(pieces) == 1 and pieces[0].identity.account_id == account.sid:  # the usual case
            return pieces, None
        ours = [piece for piece in pieces if piece.identity.account_id == account.sid]
        if len(ours) == len(pieces):
            return pieces, None
        others = [piece.identity.account_id for piece in pieces if piece.identity.account_id != account.sid]
        if not ours:
            raise AccountError(self._describe_other(others[0], account))
        metrics.count("router_webhooks", source.name, "403", AccountError.reason, by=len(others))
        is_known = all(self._accounts.get(sid) for sid in others)
        whose = f"other accounts than {account.sid}, which signed" if is_known else "accounts that are not configured"
        return ours, f"{len(others)} of {len(pieces)} are of {whose}"

    def _describe_other(self, sid: str, signer: Account) -> str:
        """Return the reason to refuse events of one account that another one has signed."""
        if self._accounts.get(sid) is None:
            return f"account {sid[:34]} is not configured"
        return f"the body says account {sid}, the signature is of account {signer.sid}"


def _parse(body: bytes) -> Steps[Form]:
    """Parse a form, a large one in steps; raises TooLargeError for too many parameters, before any is decoded."""
    try:
        if len(body) <= PARSED_AT_ONCE:
            return parse_form(body)
        return (yield from parse_in_steps(body))
    except UnreadableError as error:
        raise TooLargeError(str(error)) from error


def _find_account_sids(body: bytes) -> list[str]:
    """Return the account SIDs at the beginning of a body: a hint, not proof."""
    return [sid.decode() for sid in _SID.findall(body, 0, SEARCHED_BYTES)]


def _log_shadow(source: Source, account: Account, error: SignatureError) -> None:
    metrics.count("router_shadow", source.name)
    found = {"status": error.status, "reason": str(error)}
    log("webhook.shadow", level="warning", source=source.name, account=account.sid, **found)
