"""A refused webhook as the quarantine keeps it: everything that a second check needs.

Twilio does not repeat a 403 or a 400, so a wrong setting would lose messages for good. Signature headers are kept for
the second check. The values of HIDDEN headers are not kept: a reader of the quarantine could use them elsewhere, and
an almost correct password reveals the correct one. A webhook that such credentials alone authenticate can therefore
only be replayed by an operator who trusts it.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from hashlib import sha256
from typing import TYPE_CHECKING, Any, Final

from router.core.errors import (
    AccountError,
    RouteError,
    SignatureError,
    TooLargeError,
    UnreadableError,
    WrongTypeError,
)
from router.core.sealing import SealedError, SealedKind, TamperedError

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from router.core.sealing import Sealer

#: The reasons for a refusal. Each has its own bounds, so that junk of one reason cannot displace another's webhooks.
REASONS: Final = tuple(
    error.reason for error in (SignatureError, AccountError, RouteError, UnreadableError, WrongTypeError, TooLargeError)
)
#: Bytes of a webhook above which it counts as large. Large ones have bounds of their own within a reason, because a few
#: forged ones would displace a thousand real webhooks, of which hardly any is large.
LARGE: Final = 16 * 1024
_LARGE_SUFFIX: Final = "-large"
#: The names of all classes of entries that have bounds of their own.
CLASSES: Final = (*REASONS, *(reason + _LARGE_SUFFIX for reason in REASONS))
HIDDEN: Final = frozenset({"authorization", "proxy-authorization", "cookie"})
#: Replaces a value that is not kept.
NOT_KEPT: Final = "(not kept)"
#: Headers that make two requests with the same bytes different webhooks, besides signatures and their timestamps.
_IDENTIFYING: Final = frozenset({"content-type", "content-length", "x-twilio-webhooks-signature-settings"})
_MAX_WORD: Final = 64
_MAX_DETAIL: Final = 500
_MAX_DIGITS: Final = 19


@dataclass(frozen=True, slots=True)
class Bounds:
    """The limits of each reason: entries, bytes, and seconds since receipt.

    Large webhooks have half as many bytes of their own, on top.
    """

    entries: int
    size: int
    ttl: int

    @property
    def large_size(self) -> int:
        """The bytes of all large webhooks of a reason."""
        return self.size // 2


@dataclass(frozen=True, slots=True)
class Refused:
    """One refused webhook.

    `reason` is the fixed word of the error and `detail` its text; `status` is the response. `received_at` is in
    microseconds since 1970. `account_id` is unverified: as the webhook states it. `raw_path` is path and query as on
    the wire, `body` the raw bytes; `is_whole` is False if the body was not read or not kept. `event_id` is that of the
    (first) event that it would have been, unproven, empty if it cannot be told.
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
    event_id: str = ""

    @property
    def digest(self) -> str:
        """A digest that is equal for repeats of one webhook only."""
        identifying = [f"{name}={value}" for name, value in self.headers if _is_identifying(name)]
        parts = [self.source, self.method, *sorted(identifying)]
        heads = [part.encode("utf-8", "surrogatepass") for part in parts]
        return sha256(b"".join(b"%d:%s" % (len(part), part) for part in (*heads, self.raw_path, self.body))).hexdigest()

    @property
    def size(self) -> int:
        """Its approximate size in bytes, which the bound on bytes counts."""
        return len(self.body) + len(self.raw_path) + sum(len(name) + len(value) for name, value in self.headers)

    @property
    def is_large(self) -> bool:
        """Tell whether it has the bounds of large ones."""
        return self.size > LARGE

    @property
    def class_name(self) -> str:
        """The name of its class, whose entries have bounds together: one of CLASSES."""
        return self.reason + _LARGE_SUFFIX if self.is_large else self.reason

    def within(self, bounds: Bounds) -> Refused:
        """Return it unchanged, or without its body if it alone exceeds the bytes of its class."""
        limit = bounds.large_size if self.is_large else bounds.size
        return self if self.size <= limit else replace(self, body=b"", is_whole=False)

    def to_fields(self) -> dict[str, bytes]:
        """Return the fields of its stream entry."""
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
            "event_id": self.event_id.encode(),
        }


#: The fields that are sealed, and the field that says so.
_SEALED_FIELDS: Final = ("detail", "path", "headers", "body")
_IS_SEALED: Final = "sealed"


def seal_fields(fields: dict[str, bytes], sealer: Sealer) -> dict[str, bytes]:
    """Return the fields of a stream entry with what came from outside sealed, if there are keys."""
    if not sealer.has_keys:
        return fields
    sealed = {name: sealer.seal_body(fields[name], SealedKind.QUARANTINE) for name in _SEALED_FIELDS}
    return fields | sealed | {_IS_SEALED: b"1"}


def open_fields(fields: Mapping[bytes, bytes], sealer: Sealer) -> tuple[Mapping[bytes, bytes], str]:
    """Return the fields of a stream entry in the clear, and why they cannot be opened; then they are left out."""
    if _IS_SEALED.encode() not in fields:  # a body from outside may begin like a sealed one
        return fields, ""
    sealed = {name.encode(): fields.get(name.encode(), b"") for name in _SEALED_FIELDS}
    try:
        opened = {name: sealer.open_body(value, SealedKind.QUARANTINE) for name, value in sealed.items()}
    except (SealedError, TamperedError) as error:
        return {**fields, **dict.fromkeys(sealed, b""), b"is_whole": b"0"}, str(error)
    return {**fields, **opened}, ""


def shown_headers(headers: Iterable[tuple[str, str]]) -> tuple[tuple[str, str], ...]:
    """Return headers as the quarantine keeps them: without the values of HIDDEN ones."""
    return tuple((name, NOT_KEPT if name.lower() in HIDDEN else value) for name, value in headers)


def from_fields(fields: Mapping[bytes, bytes]) -> Refused:
    """Parse a stream entry; never raises: a foreign entry is shown as far as it is readable."""

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
        event_id=text(b"event_id"),
    )


def _number(value: bytes) -> int:
    return int(value) if value.isdigit() and len(value) <= _MAX_DIGITS else 0


def _read_headers(value: bytes) -> tuple[tuple[str, str], ...]:
    try:
        pairs: Any = json.loads(value)
        return tuple((str(name), str(content)) for name, content in pairs)
    except (ValueError, TypeError, RecursionError):
        return ()


def _is_identifying(name: str) -> bool:
    lower = name.lower()
    return lower in _IDENTIFYING or lower.endswith(("-signature", "-timestamp"))


def _encode(text: str, limit: int) -> bytes:
    return text[:limit].encode("utf-8", "backslashreplace")
