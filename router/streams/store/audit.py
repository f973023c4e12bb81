"""The audit stream: every action of people and programs, with who, when and what; bounded, the newest stay."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from router.core.values import Value

if TYPE_CHECKING:
    from router.core.keys import Keys
    from router.streams.client.connection import Redis

#: Entries that are kept, about.
MOST: Final = 100_000
#: Characters of a field.
_LONGEST: Final = 500


class AuditEntry(Value):
    """One action; `at` is in ms since 1970, by the clock of Redis."""

    entry_id: str
    at: int
    who: str
    role: str
    action: str
    what: str
    detail: str


class AuditLog:
    """The audit stream of a namespace."""

    def __init__(self, redis: Redis, keys: Keys) -> None:
        self._redis = redis
        self._stream = keys.audit()

    async def note(self, who: str, role: str, action: str, what: str = "", detail: str = "") -> None:
        """Append an action; texts are cut at a length that no name of ours has. Raises RedisError."""
        fields: dict[Any, Any] = {"who": who, "role": role, "action": action, "what": what, "detail": detail}
        fields = {name: _encode(text) for name, text in fields.items()}
        await self._redis.xadd(self._stream, fields, maxlen=MOST, approximate=True)

    async def read(self, *, before: str | None = None, limit: int = 100) -> list[AuditEntry]:
        """Return the newest actions, the newest first; `before` is an entry id. Raises RedisError."""
        newest = f"({before}" if before else "+"
        rows: list[Any] = await self._redis.xrevrange(self._stream, max=newest, count=limit) or []
        return [_entry(entry_id.decode(), fields) for entry_id, fields in rows]


def _encode(text: str) -> bytes:
    return text[:_LONGEST].encode("utf-8", "backslashreplace")


def _entry(entry_id: str, fields: dict[bytes, bytes]) -> AuditEntry:
    """Return an entry; one that somebody else wrote may lack any field."""
    given = {name: fields.get(name.encode(), b"").decode("utf-8", "replace") for name in _FIELDS}
    return AuditEntry(entry_id, int(entry_id.partition("-")[0]), **given)


_FIELDS: Final = ("who", "role", "action", "what", "detail")
