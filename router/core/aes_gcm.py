"""AES-GCM of the library `cryptography`, for router.core.sealing: a module of its own, since its import takes time.

Processes without ROUTER_SEAL_KEYS do not import it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from router.core.sealing import Sealer, id_of_key

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable


class AesGcm:
    """The cipher of one key of 32 bytes."""

    __slots__ = ("_cipher", "encrypt")

    def __init__(self, key: bytes) -> None:
        self._cipher = AESGCM(key)
        self.encrypt = self._cipher.encrypt

    def decrypt(self, nonce: bytes, data: bytes, associated: bytes) -> bytes:
        """Return the plaintext; raises ValueError if anything differs."""
        try:
            return self._cipher.decrypt(nonce, data, associated)
        except InvalidTag as error:
            raise ValueError("the tag does not match") from error


def make_sealer(keys: Iterable[bytes], make_nonce: Callable[[], bytes]) -> Sealer:
    """Return the sealer of some keys of 32 bytes; the first one seals. `make_nonce` returns 12 random bytes."""
    return Sealer({id_of_key(key): AesGcm(key) for key in keys}, make_nonce)
