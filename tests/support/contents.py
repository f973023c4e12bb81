"""All that a Redis server holds, as bytes: for searches for what must not be there."""

from __future__ import annotations

from typing import Any


async def read_all(redis: Any) -> dict[str, bytes]:
    """Return the names of all keys, each with its own name and everything in it."""
    readers = {
        b"string": redis.get,
        b"hash": redis.hgetall,
        b"list": lambda key: redis.lrange(key, 0, -1),
        b"set": redis.smembers,
        b"zset": lambda key: redis.zrange(key, 0, -1),
        b"stream": redis.xrange,
    }
    found = {}
    async for key in redis.scan_iter(count=1000):
        kind = await redis.type(key)
        if kind in readers:
            found[key.decode("utf-8", "backslashreplace")] = key + b" " + b" ".join(_flatten(await readers[kind](key)))
    return found


def _flatten(value: Any) -> list[bytes]:
    if isinstance(value, bytes):
        return [value]
    if isinstance(value, dict):
        return [part for pair in value.items() for one in pair for part in _flatten(one)]
    return [part for one in value or () for part in _flatten(one)]
