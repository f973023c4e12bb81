"""Sessions, sign-in links and the limits on guessing of the console; in Redis, so that several consoles share them.

A session that Redis has forgotten has ended. What was typed is not stored, only digests of names and addresses.
"""

from __future__ import annotations

import secrets
from hashlib import sha256
from ipaddress import IPv6Network, ip_network
from typing import TYPE_CHECKING, Any, Final

from router.core.values import Value
from router.streams.client.scripts import load_script

if TYPE_CHECKING:
    from collections.abc import Sequence

    from router.core.keys import Keys
    from router.streams.client.connection import Redis

#: Attempts without a pause: from one address, which many people may share, and as one user, whom others may lock out.
FREE_BY_ADDRESS: Final = 10
FREE_BY_USER: Final = 5
#: ms: the first pause, which doubles with each further attempt, the longest, and until attempts are forgotten.
FIRST_PAUSE: Final = 1000
LONGEST_PAUSE: Final = 15 * 60_000
REMEMBERED: Final = 3_600_000


class StoredSession(Value):
    """A session as Redis has it: the key that signed its cookie, and its content, None if it has ended."""

    secret: bytes
    content: bytes | None


class SignIns:
    """The sign-ins of a namespace. Every method raises RedisError."""

    def __init__(self, redis: Redis, keys: Keys) -> None:
        self._redis = redis
        self._keys = keys

    async def secret(self) -> bytes:
        """Return the key that signs cookies and tokens; made at the first use."""
        key = self._keys.console_secret()
        kept: Any = await self._redis.get(key)
        if kept is None:
            await self._redis.set(key, secrets.token_hex(32), nx=True)
            kept = await self._redis.get(key)
        return bytes(kept or b"")

    async def open(self, session_id: str, content: bytes, life: int) -> None:
        """Store a session that ends after `life` seconds without use."""
        await self._redis.set(self._keys.console_session(session_id), content, ex=life)

    async def use(self, session_id: str, life: int | None) -> StoredSession:
        """Return a session; with `life` it lasts that many seconds from now on."""
        key = self._keys.console_session(session_id)
        pipeline = self._redis.pipeline(transaction=False)
        pipeline.get(self._keys.console_secret())
        if life is None:
            pipeline.get(key)
        else:
            pipeline.getex(key, ex=life)
        secret, content = await pipeline.execute()
        return StoredSession(secret or b"", content)

    async def close(self, session_id: str) -> None:
        """End a session."""
        await self._redis.delete(self._keys.console_session(session_id))

    async def add_link(self, token: str, user: str, mark: str, life: int) -> None:
        """Let a sign-in link sign a user in, once and within `life` seconds; `mark` tells the user's records apart."""
        await self._redis.set(self._keys.console_link(_digest(token)), f"{mark} {user}", ex=life)

    async def take_link(self, token: str) -> tuple[str, str] | None:
        """Use a sign-in link; returns its user and the mark, None if it is used up, too old or made up."""
        kept: Any = await self._redis.getdel(self._keys.console_link(_digest(token)))
        if kept is None:
            return None
        mark, _, user = bytes(kept).decode("utf-8", "replace").partition(" ")
        return user, mark

    async def attempt(self, address: str, user: str) -> int:
        """Count an attempt to sign in, before it is made; returns the ms to wait if it must not be made."""
        free = (FREE_BY_ADDRESS, FREE_BY_USER)
        arguments = (*free, FIRST_PAUSE, LONGEST_PAUSE, REMEMBERED)
        return int(await load_script("guess").run(self._redis, self._guesses(address, user), arguments))

    async def succeeded(self, address: str, user: str) -> None:
        """Forget the attempts of a user who has signed in, and this one of the address."""
        of_address, of_user = self._guesses(address, user)
        pipeline = self._redis.pipeline(transaction=False)
        pipeline.delete(of_user)
        pipeline.hincrby(of_address, "attempts", -1)
        pipeline.pexpire(of_address, REMEMBERED)
        await pipeline.execute()

    def _guesses(self, address: str, user: str) -> Sequence[str]:
        return [self._keys.console_guesses(_digest(text)) for text in (f"address {_site(address)}", f"user {user}")]


def _site(address: str) -> str:
    """Return the part of an address that its owner cannot choose: of IPv6 the first 64 bits (RFC 4291, 2.5.4)."""
    try:
        network = ip_network(address.partition("%")[0])
    except ValueError:
        return address
    if isinstance(network, IPv6Network) and network.network_address.ipv4_mapped is None:
        return str(network.supernet(new_prefix=64))
    return address


def _digest(text: str) -> str:
    return sha256(text.encode("utf-8", "surrogatepass")).hexdigest()
