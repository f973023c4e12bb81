"""Sealed data whose key is missing: found at once by looks at both ends of each stream."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from router.core.refused import open_fields
from router.core.stored_fields import open_stored
from router.streams.store.inspect import all_streams

if TYPE_CHECKING:
    from collections.abc import Mapping

    from router.core.keys import Keys
    from router.core.sealing import Sealer
    from router.streams.client.connection import Redis

#: Entries that are looked at, at each end of a stream.
LOOKS: Final = 50


async def find_unopened(redis: Redis, keys: Keys, sealer: Sealer) -> dict[str, str]:
    """Return why entries cannot be opened, by stream, for those at whose ends there are any. Raises RedisError."""
    found: dict[str, str] = {}
    for stream in (*all_streams(keys), keys.quarantine()):
        oldest: Any = await redis.xrange(stream, count=LOOKS)
        newest: Any = await redis.xrevrange(stream, count=LOOKS)
        for _, fields in [*(oldest or []), *(newest or [])]:
            if problem := _problem_of(fields, sealer, is_refused=stream == keys.quarantine()):
                found[stream] = problem
                break
    return found


def _problem_of(fields: Mapping[bytes, bytes], sealer: Sealer, *, is_refused: bool) -> str:
    return (open_fields if is_refused else open_stored)(fields, sealer)[1]
