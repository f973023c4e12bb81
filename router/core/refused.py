"""A webhook that was refused at the door, as the quarantine keeps it: everything that a second check needs.

Twilio does not repeat a 403 or a 400, so a wrong setting would lose messages for good. Signature headers are kept,
since the second check needs them. The values of HIDDEN headers are not: whoever can read the quarantine could use
them elsewhere, and a password that was almost right tells the right one. What was let in by such credentials alone
can therefore be put back only by an operator who trusts it.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from hashlib import sha256
from typing import TYPE_CHECKING, Any, Final

from router.core.errors import (
    AccountError,
    SignatureError,
    TooLargeError,
    UnreadableError,
    WrongTypeError,
)

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

#: Why a webhook may be here. Each reason has a bound of its own, so that junk of one does not push out another.
REASONS: Final = tuple(
    error.reason for error in (SignatureError, AccountError, UnreadableError, WrongTypeError, TooLargeError)
)
HIDDEN: Final = frozenset({"authorization", "proxy-authorization", "cookie"})
#: Stands where a value was that is not kept.
NOT_KEPT: Final = "(not kept)"
#: Headers that make two requests with the same bytes two webhooks, beside those of signatures and their times.
_TELLING: Final = frozenset({"content-type", "content-length", "x-twilio-webhooks-signature-settings"})
_MAX_WORD: Final = 64
_MAX_DETAIL: Final = 500
_MAX_DIGITS: Final = 19


@dataclass(frozen=True, slots=True)
class Bounds:
    """What each reason may have: entries, bytes, and seconds since its receipt."""

    entries: int
    size: int
    ttl: int


@dataclass(frozen=True, slots=True)
class Refused:
    """One refused webhook.

    `reason` is the fixed word of the error and `detail` what it says, `status` the answer, `received_at` in
    microseconds since 1970, `account_id` what the webhook says of itself. `raw_path` is path and query as on the wire,
    `body` its bytes; `is_whole` is False where the body was not read or not kept.
    """

    source: str
    reason: str
    detail: str
    status: int
    received_at: int
    method: str
    raw_path: bytes
    headers: tuple[tuple[str, str], ...]
    account_id: str
    body: bytes
    is_whole: bool

    @property
    def digest(self) -> str:
        """Equal for repeats of one webhook, and for nothing else."""
        telling = [f"{name}={value}" for name, value in self.headers if _tells(name)]
        parts = [self.source, self.method, *sorted(telling)]
        heads = [part.encode("utf-8", "surrogatepass") for part in parts]
        return sha256(b"".join(b"%d:%s" % (len(part), part) for part in (*heads, self.raw_path, self.body))).hexdigest()

    @property
    def size(self) -> int:
        """About how many bytes it takes; the unit of the bound on bytes."""
        return len(self.body) + len(self.raw_path) + sum(len(name) + len(value) for name, value in self.headers)

    def within(self, limit: int) -> Refused:
        """Return it as it is, or without its body where it would be larger than `limit` bytes."""
        return self if self.size <= limit else replace(self, body=b"", is_whole=False)

    def to_fields(self) -> dict[str, bytes]:
        """Return the fields of its entry."""
        return {
            "source": self.source.encode(),
            "reason": self.reason.encode(),
            "detail": _encode(self.detail, _MAX_DETAIL),
            "status": b"%d" % self.status,
            "received_at": b"%d" % self.received_at,
            "method": _encode(self.method, _MAX_WORD),
            "path": self.raw_path,
            "headers": json.dumps(self.headers).encode(),
            "account": _encode(self.account_id, _MAX_WORD),
            "body": self.body,
            "is_whole": b"1" if self.is_whole else b"0",
        }


def shown_headers(headers: Iterable[tuple[str, str]]) -> tuple[tuple[str, str], ...]:
    """Return headers as they are kept: the values of HIDDEN ones are left out."""
    return tuple((name, NOT_KEPT if name.lower() in HIDDEN else value) for name, value in headers)


def from_fields(fields: Mapping[bytes, bytes]) -> Refused:
    """Read an entry; never raises: what is none of ours is shown as far as it can be read."""

    def text(name: bytes) -> str:
        return fields.get(name, b"").decode("utf-8", "backslashreplace")

    return Refused(
        source=text(b"source"),
        reason=text(b"reason"),
        detail=text(b"detail"),
        status=_number(fields.get(b"status", b"")),
        received_at=_number(fields.get(b"received_at", b"")),
        method=text(b"method"),
        raw_path=fields.get(b"path", b""),
        headers=_read_headers(fields.get(b"headers", b"")),
        account_id=text(b"account"),
        body=fields.get(b"body", b""),
        is_whole=fields.get(b"is_whole") == b"1",
    )


def _number(value: bytes) -> int:
    return int(value) if value.isdigit() and len(value) <= _MAX_DIGITS else 0


def _read_headers(value: bytes) -> tuple[tuple[str, str], ...]:
    try:
        pairs: Any = json.loads(value)
        return tuple((str(name), str(content)) for name, content in pairs)
    except (ValueError, TypeError, RecursionError):
        return ()


def _tells(name: str) -> bool:
    lower = name.lower()
    return lower in _TELLING or lower.endswith(("-signature", "-timestamp"))


def _encode(text: str, limit: int) -> bytes:
    return text[:limit].encode("utf-8", "backslashreplace")
