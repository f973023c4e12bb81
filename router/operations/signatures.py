"""Explains a signature that does not match, by trying what may have been signed instead.

The match with the fewest deviations from what the receiver checks is the explanation; an accidental match of an HMAC is
practically impossible. Nothing is accepted here, and no explanation contains a secret.
Rules: https://www.twilio.com/docs/usage/security#validating-requests
"""

from __future__ import annotations

import hmac
import json
from base64 import b64encode
from dataclasses import dataclass
from hashlib import sha256
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import unquote

from router.core.errors import UnreadableError
from router.core.signing.form import parse_form
from router.core.signing.twilio import SETTINGS_HEADER, read_settings
from router.operations.signature_variants import Secret, Variant, bases, forms, paths, queries, secrets

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from router.core.accounts import Account, Accounts
    from router.core.signing.form import Pair

_SIGNATURE: Final = "x-twilio-signature"
_DIGEST: Final = b"bodySHA256="
#: The most deviations at once. With more, the search takes long and its answer is not credible.
MAX_WEIGHT: Final = 4
#: Bytes that the combinations of one request may have together, each counted with WORK_OF_A_TRY more: about a second.
MAX_WORK: Final = 400_000_000
#: What making and comparing one signature costs apart from its input, in bytes that are hashed in that time.
WORK_OF_A_TRY: Final = 1000
_MAX_MATCHES: Final = 3
_MISSING: Final = "X-Twilio-Signature is missing: a proxy dropped the header, or the request is not from Twilio."
_MAIL: Final = "It has the signature of a mail (ECDSA over time and body), which contains no URL and no token to try."


@dataclass(frozen=True, slots=True)
class SignedRequest:
    """A request and its signature; the names of `headers` are in lower case, `raw_path` includes the query.

    A signature in several lines has a line end between them.
    """

    raw_path: bytes
    headers: Mapping[str, str]
    body: bytes
    is_form: bool


@dataclass(frozen=True, slots=True)
class Explanation:
    """`is_right`: the receiver would accept it; `is_explained`: the signed input was found; `lines` explain it."""

    is_right: bool
    is_explained: bool
    lines: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class _Match:
    advice: tuple[str, ...]
    label: str


def explain(request: SignedRequest, public_base_url: str, accounts: Accounts) -> Explanation:
    """Find what was signed, and what to change so that the request would be accepted."""
    given = request.headers.get(_SIGNATURE, "")
    if not given.strip():
        return Explanation(is_right=False, is_explained=False, lines=(_MAIL if _is_mail(request) else _MISSING,))
    named, notes = _account(request, accounts)
    notes += _named_key(request, accounts)
    matches, tried = _search(request, _spellings(given), public_base_url, accounts, named)
    body_notes = [] if request.is_form else _body_notes(request)
    lines = [*notes, *body_notes]
    if not matches:
        lines += _nothing(tried, accounts)
        return Explanation(is_right=False, is_explained=False, lines=tuple(lines))
    advice = [one for match in matches for one in match.advice]
    lines += dict.fromkeys(f"{one[:1].upper()}{one[1:]}." for one in advice)
    is_right = not lines
    if is_right:
        lines.append(f"The signature matches with these settings; it was made with {matches[0].label}.")
    elif matches[0].label not in " ".join(advice):
        lines.append(f"It was signed with {matches[0].label}.")
    return Explanation(is_right=is_right, is_explained=True, lines=tuple(lines))


def _is_mail(request: SignedRequest) -> bool:
    return any(name.startswith("x-twilio-email-") and name.endswith("-signature") for name in request.headers)


def _account(request: SignedRequest, accounts: Accounts) -> tuple[Account | None, list[str]]:
    """Return the account whose tokens the receiver would try (None: all), and a note if it is not configured."""
    if not request.is_form:
        return None, []
    sid = _account_sid(request.body)
    if not request.body:  # of a GET the query is the form
        in_query = _account_sid(request.raw_path.partition(b"?")[2])
        sid = in_query if accounts.get(in_query.decode("ascii", "replace")) else b""
    if not sid:
        return next(iter(accounts), None), []
    name = sid.decode("ascii", "backslashreplace")[:34]
    account = accounts.get(name)
    note = f"It is for account {name}, which is not configured: it is refused with any signature."
    return account, [] if account else [note]


def _account_sid(form: bytes) -> bytes:
    return next((value.strip() for name, value in _pairs(form) if name == b"AccountSid"), b"")


def _pairs(body: bytes) -> list[Pair]:
    try:
        return list(parse_form(body))
    except UnreadableError:
        return []


def _named_key(request: SignedRequest, accounts: Accounts) -> list[str]:
    key = read_settings(request.headers.get(SETTINGS_HEADER.lower())).key
    if not key or any(key in account.shared_keys for account in accounts):
        return []
    return [f"{SETTINGS_HEADER} names shared key {key[:64]}, which is not configured: add its secret."]


_TWICE: Final = "X-Twilio-Signature arrived twice"
#: Damage to the header itself, and the advice for it.
_SPELLINGS: Final[tuple[tuple[Callable[[str], str], str], ...]] = (
    (lambda text: text.strip(), ""),
    (lambda text: text.strip().strip("\"'"), "X-Twilio-Signature arrived in quotes"),
    (lambda text: text.strip().replace(" ", "+"), "plus signs in X-Twilio-Signature became spaces on the way"),
    (lambda text: unquote(text.strip()), "X-Twilio-Signature was percent-encoded on the way"),
    (lambda text: f"{text.strip().rstrip('=')}=", "the = at the end of X-Twilio-Signature was lost on the way"),
    (lambda text: text.partition(",")[0].strip(), _TWICE),
    (lambda text: text.rpartition(",")[2].strip(), _TWICE),
)


def _spellings(given: str) -> dict[bytes, str]:
    """Return the signatures that the header may have had, with advice; the receiver reads its first line."""
    first, *others = given.split("\n")
    found: dict[bytes, str] = {}
    for change, advice in _SPELLINGS:
        found.setdefault(change(first).encode("utf-8", "surrogatepass"), advice)
    for other in others:
        found.setdefault(other.strip().encode("utf-8", "surrogatepass"), f"{_TWICE}, and only the first one counts")
    return found


def _search(
    request: SignedRequest, given: Mapping[bytes, str], url: str, accounts: Accounts, named: Account | None
) -> tuple[list[_Match], int]:
    """Return the matches with the fewest deviations, and the number of combinations that were tried.

    A stranger chooses the size of the request and what its headers name, so the search ends after MAX_WORK.
    """
    path, mark, query = request.raw_path.partition(b"?")
    digest = sha256(request.body).hexdigest()
    tails = forms(_pairs(request.body)) if request.is_form else [Variant(b"")]
    parts = [bases(url, request.headers), paths(path), queries(mark + query, digest), tails]
    keys = list(secrets(accounts, named, request.headers.get(SETTINGS_HEADER.lower())))
    tried = work = 0
    for weight in range(MAX_WEIGHT + 1):
        matches: list[_Match] = []
        for secret, chosen in _combine_with(keys, parts, weight):
            signed = b"".join([one.value for one in chosen])
            work += len(signed) + WORK_OF_A_TRY
            if work > MAX_WORK:
                return matches[:_MAX_MATCHES], tried
            tried += 1
            mac = b64encode(hmac.digest(secret.key, signed, secret.digest))
            if mac in given:
                matches.append(_match(secret, chosen, given[mac]))
        if matches:
            return matches[:_MAX_MATCHES], tried
    return [], tried


def _combine_with(
    keys: Sequence[Secret], parts: Sequence[Sequence[Variant]], weight: int
) -> Iterator[tuple[Secret, tuple[Variant, ...]]]:
    for secret in keys:
        for chosen in _combine(parts, weight - secret.weight):
            yield secret, chosen


def _combine(parts: Sequence[Sequence[Variant]], weight: int) -> Iterator[tuple[Variant, ...]]:
    """Yield every combination of one variant of each part whose weights add up to `weight`."""
    if weight < 0:
        return
    if not parts:
        if weight == 0:
            yield ()
        return
    for variant in parts[0]:
        for rest in _combine(parts[1:], weight - variant.weight):
            yield (variant, *rest)


def _match(secret: Secret, chosen: Sequence[Variant], spelling: str) -> _Match:
    found = [secret.advice, *(one.advice for one in chosen), spelling]
    return _Match(tuple(one for one in found if one), secret.label)


#: Ways to serialize JSON. A proxy that reserialized the body has changed one of them into another.
_WRITINGS: Final[tuple[tuple[Callable[[Any], str], str], ...]] = (
    (lambda value: json.dumps(value, separators=(",", ":"), ensure_ascii=False), "without spaces"),
    (lambda value: json.dumps(value, separators=(",", ":")), "without spaces, non-ASCII as \\u escapes"),
    (lambda value: json.dumps(value, ensure_ascii=False), "with spaces after : and ,"),
    (json.dumps, "with spaces after : and , and non-ASCII as \\u escapes"),
    (lambda value: json.dumps(value, indent=2, ensure_ascii=False), "indented by two"),
    (lambda value: json.dumps(value, separators=(",", ":"), ensure_ascii=False, sort_keys=True), "sorted, no spaces"),
)


def _body_notes(request: SignedRequest) -> list[str]:
    """Return the faults of the digest of a JSON body; empty if it matches."""
    query = request.raw_path.partition(b"?")[2]
    stated = next((part[len(_DIGEST) :] for part in query.split(b"&") if part.startswith(_DIGEST)), None)
    if stated is None:
        return ["The URL has no bodySHA256, which Twilio adds for JSON: the query was lost, or the body is a form."]
    wanted = stated.decode("ascii", "replace").lower()
    if wanted == sha256(request.body).hexdigest():
        return []
    how = next((name for name, body in _written(request.body) if sha256(body).hexdigest() == wanted), None)
    end = f": the signed body was the same JSON {how}" if how else ""
    return [f"bodySHA256 is not the hash of the body, which was rewritten on the way{end}."]


def _written(body: bytes) -> Iterator[tuple[str, bytes]]:
    yield "without surrounding white space", body.strip()
    yield "with a line end after it", body + b"\n"
    yield "with CRLF line ends", body.replace(b"\r\n", b"\n").replace(b"\n", b"\r\n")
    yield "with LF line ends", body.replace(b"\r\n", b"\n")
    try:
        value = json.loads(body)
        for write, name in _WRITINGS:
            yield name, write(value).encode("utf-8", "surrogatepass")
    except (ValueError, TypeError, RecursionError):
        return


def _nothing(tried: int, accounts: Accounts) -> list[str]:
    tokens = ", ".join(f"{len(account.tokens)} of account {account.sid}" for account in accounts)
    return [
        f"No match ({tried} combinations of URL, body and key were tried; auth tokens: {tokens}).",
        "Most likely it was signed with another auth token: of a subaccount, or from before or after a rotation.",
        "Or Twilio calls a URL that was not tried: compare the Twilio Console with PUBLIC_BASE_URL.",
        "Or it is not from Twilio.",
    ]
