"""Passwords: scrypt hashes, made and compared in a thread of their own, one at a time.

The parameters (N = 2^15, r = 8, p = 3) are one of the equivalent choices of the OWASP Password Storage Cheat Sheet
(https://cheatsheetseries.owasp.org/cheatsheets/Password_Storage_Cheat_Sheet.html#scrypt): 32 MiB and some 0.2 s each.
Each hash names its own, so that they can be raised later. For a user who does not exist a hash is compared all the
same, so the time of the answer names nobody.
"""

from __future__ import annotations

import asyncio
import base64
import binascii
import hashlib
import hmac
import re
import secrets
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Final

N, R, P = 1 << 15, 8, 3
#: Characters of the shortest password: what NIST SP 800-63B-4 (3.1.1.2) asks for where it is the only factor.
SHORTEST: Final = 15
#: Bytes of a password that are looked at; a longer one is refused when it is made.
LONGEST: Final = 1024
#: Bytes that one hash may take: 128 * N * r, and some more.
_MEMORY: Final = 256 << 20
_HASH: Final = re.compile(r"scrypt\$n=(\d{1,7}),r=(\d{1,2}),p=(\d{1,2})\$([\w+/=]{16,64})\$([\w+/=]{32,128})", re.ASCII)
#: One at a time: a flood of attempts must not take the memory or the processors from the pages.
_THREAD: Final = ThreadPoolExecutor(max_workers=1, thread_name_prefix="scrypt")
#: Comparisons that run or wait; at MOST_WAITING, some 5 s of work, no further one is to be made.
MOST_WAITING: Final = 20
_waiting: Final[set[Future[bool]]] = set()


def make_hash(password: str, *, n: int = N) -> str:
    """Return the hash of a password for the users' file."""
    salt = secrets.token_bytes(16)
    digest = _scrypt(password, salt, n, R, P)
    return f"scrypt$n={n},r={R},p={P}${_text(salt)}${_text(digest)}"


#: A hash that no password has: its digest is random, and its parameters are those of real ones.
NOBODY: Final = f"scrypt$n={N},r={R},p={P}${'A' * 22}==${base64.b64encode(secrets.token_bytes(32)).decode()}"


def is_hash(text: str) -> bool:
    """Return whether a text is a hash that `is_right` can compare."""
    return _parse(text) is not None


def is_full() -> bool:
    """Return whether so many comparisons wait that a further one must be refused."""
    return len(_waiting) >= MOST_WAITING


async def is_right(password: str, known: str | None) -> bool:
    """Return whether a password has this hash; takes as long where there is none, and does not stall the loop."""
    given = password if len(password.encode("utf-8", "surrogatepass")) <= LONGEST else ""
    comparison = _THREAD.submit(_compare, given, known or NOBODY)
    _waiting.add(comparison)
    comparison.add_done_callback(_waiting.discard)
    same = await asyncio.wrap_future(comparison)
    return same and known is not None and bool(given)


def _compare(password: str, known: str) -> bool:
    parsed = _parse(known)
    if parsed is None:
        return False
    n, r, p, salt, digest = parsed
    return hmac.compare_digest(_scrypt(password, salt, n, r, p), digest)


def _parse(text: str) -> tuple[int, int, int, bytes, bytes] | None:
    match = _HASH.fullmatch(text)
    if match is None:
        return None
    n, r, p = (int(number) for number in match.groups()[:3])
    try:
        salt, digest = (base64.b64decode(part, validate=True) for part in match.groups()[3:])
    except binascii.Error:
        return None
    is_power = n > 1 and n & (n - 1) == 0
    return (n, r, p, salt, digest) if is_power and r and p and 128 * n * r < _MEMORY else None


def _scrypt(password: str, salt: bytes, n: int, r: int, p: int) -> bytes:
    given = password.encode("utf-8", "surrogatepass")
    return hashlib.scrypt(given, salt=salt, n=n, r=r, p=p, maxmem=_MEMORY, dklen=32)


def _text(content: bytes) -> str:
    return base64.b64encode(content).decode()
