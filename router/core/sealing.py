"""Sealed values: what customers write, encrypted at rest with AES-GCM (ROUTER_SEAL_KEYS).

A sealed value is a version byte, the id of its key (4 bytes), a nonce (12), and the ciphertext with its tag.
The kind of the value is the associated data, so that a value cannot be put in the place of one of another kind.

    body   `MAGIC` and the sealed value; no body of a webhook begins with a NUL
    text   `sealed:` and the sealed value in base64

A value without these beginnings was written before keys were set, and is read as it is. The first key seals, all open.
A value whose key is missing makes its event wait (SealedError), as data of another release does: nothing is lost, and
no dead letter is made. One that was changed is unusable (TamperedError).

Nonces are random: one key may seal about 2^32 values (NIST SP 800-38D, 8.3); docs/privacy.md says when to change it.
"""

from __future__ import annotations

from base64 import b64decode, b64encode
from dataclasses import dataclass, field
from enum import StrEnum
from hashlib import sha256
from typing import TYPE_CHECKING, Final, Protocol

from router.core.errors import RouterError, UnusableError
from router.core.formats import OtherFormatError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

#: The setting that errors name.
SETTING: Final = "ROUTER_SEAL_KEYS"
#: Begins a sealed body, and a sealed text.
MAGIC: Final = b"\0sealed"
PREFIX: Final = "sealed:"
#: Bytes of a key (AES-256), of its id, and of a nonce.
KEY_BYTES: Final = 32
_ID_BYTES: Final = 4
NONCE_BYTES: Final = 12
_VERSION: Final = b"\1"
_HEAD: Final = len(_VERSION) + _ID_BYTES + NONCE_BYTES


class SealedKind(StrEnum):
    """The kind of a sealed value: the associated data of the cipher."""

    INBOUND = "inbound"  # bodies of inbound entries, and of the spool
    SHARED = "shared"  # bodies that several inbound entries share
    QUARANTINE = "quarantine"
    ENTRY = "entry"  # texts of participants streams, and of open turns
    COMMAND = "command"
    HOLDING = "holding"  # the floor in a ledger: request, customer's name
    EFFECT = "effect"  # what a handler's steps keep: an answer's text


class SealedError(OtherFormatError):
    """A value is sealed with a key that is not configured: its event waits, as one in the format of a later release."""

    def __init__(self, kind: SealedKind, found: str) -> None:
        RouterError.__init__(self, f"a sealed {kind} cannot be opened: {SETTING} does not have its key, {found}")
        self.kind = f"sealed {kind}"
        self.found = found


class TamperedError(UnusableError):
    """A sealed value was changed, or cut off: its key is configured, and does not open it."""

    def __init__(self, kind: SealedKind) -> None:
        super().__init__(f"a sealed {kind} was changed since it was written: its key in {SETTING} does not open it")


class Cipher(Protocol):
    """Authenticated encryption with one key."""

    def encrypt(self, nonce: bytes, data: bytes, associated: bytes) -> bytes:
        """Return the ciphertext and its tag."""

    def decrypt(self, nonce: bytes, data: bytes, associated: bytes) -> bytes:
        """Return the plaintext; raises ValueError if anything differs."""


def id_of_key(key: bytes) -> bytes:
    """Return the id by which a sealed value names its key, which tells nothing about the key."""
    return sha256(b"participant-router key id\0" + key).digest()[:_ID_BYTES]


@dataclass(frozen=True, slots=True)
class Sealer:
    """Seals with the first of its ciphers (by the id of the key) and opens with all; `make_nonce` returns 12 bytes.

    One without ciphers seals nothing: it opens what is not sealed, and raises SealedError for the rest.
    """

    ciphers: Mapping[bytes, Cipher] = field(default_factory=dict, repr=False)
    make_nonce: Callable[[], bytes] = bytes

    @property
    def has_keys(self) -> bool:
        """Whether values are sealed."""
        return bool(self.ciphers)

    @property
    def key_ids(self) -> tuple[str, ...]:
        """The ids of the keys, the one that seals first."""
        return tuple(one.hex() for one in self.ciphers)

    def seal_body(self, body: bytes, kind: SealedKind) -> bytes:
        """Seal a body; raises StopIteration without keys."""
        return MAGIC + self._seal(body, kind)

    def open_body(self, body: bytes, kind: SealedKind) -> bytes:
        """Return a body in the clear, sealed or not; raises SealedError and TamperedError."""
        return self._open(body[len(MAGIC) :], kind) if body.startswith(MAGIC) else body

    def seal_text(self, text: str, kind: SealedKind) -> str:
        """Seal a text; raises StopIteration without keys."""
        return PREFIX + b64encode(self._seal(text.encode("utf-8", "surrogatepass"), kind)).decode()

    def open_text(self, text: str, kind: SealedKind) -> str:
        """Return a text in the clear, sealed or not; raises SealedError and TamperedError."""
        if not text.startswith(PREFIX):
            return text
        try:
            sealed = b64decode(text.removeprefix(PREFIX), validate=True)
        except ValueError as error:
            raise TamperedError(kind) from error
        return self._open(sealed, kind).decode("utf-8", "surrogatepass")

    def _seal(self, data: bytes, kind: SealedKind) -> bytes:
        key_id, cipher = next(iter(self.ciphers.items()))
        nonce = self.make_nonce()
        return _VERSION + key_id + nonce + cipher.encrypt(nonce, data, kind.encode())

    def _open(self, sealed: bytes, kind: SealedKind) -> bytes:
        key_id, nonce = sealed[1 : 1 + _ID_BYTES], sealed[1 + _ID_BYTES : _HEAD]
        if sealed[:1] != _VERSION and len(sealed) > _HEAD:
            raise SealedError(kind, f"version {sealed[0]} of another release")
        if len(sealed) <= _HEAD:
            raise TamperedError(kind)
        if (cipher := self.ciphers.get(key_id)) is None:
            raise SealedError(kind, key_id.hex())
        try:
            return cipher.decrypt(nonce, sealed[_HEAD:], kind.encode())
        except ValueError as error:
            raise TamperedError(kind) from error


#: Of a deployment without keys.
NO_KEYS: Final = Sealer()
