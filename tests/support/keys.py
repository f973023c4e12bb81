"""The keys in a Redis by their kinds: what there can be, and what must not be left behind."""

from __future__ import annotations

import inspect
import re
from typing import TYPE_CHECKING

from router.core.keys import PERMANENT, Keys, progress

if TYPE_CHECKING:
    from router.streams.client.connection import Redis


_KIND = re.compile(r"[^{}]+:\{[0-9]+\}:([a-z-]+)(?::|$)|\{?[^{}]+:(quarantine)(?:\}:.+)?$")


def kind_of(key: str) -> str:
    """The kind of a key that Keys makes, empty for any other."""
    match = _KIND.match(key)
    return (match[1] or match[2]) if match else ""


def one_of_each(keys: Keys) -> list[str]:
    """Return a key of every function of Keys that makes some."""
    public = [getattr(keys, name) for name in dir(keys) if name[0] != "_"]  # 3.11.2 cannot be asked for the others
    makers = [make for make in public if inspect.ismethod(make)]
    makers.remove(keys.partition_of)
    given = {"partition": 0, "stream": keys.inbound(0)}
    return [make(*(given.get(name, "x") for name in inspect.signature(make).parameters)) for make in makers]


#: Kinds of keys that are named and never made.
NEVER = frozenset({"probe"})
#: All kinds that there are.
KINDS = (frozenset(kind_of(key) for key in one_of_each(Keys())) | {kind_of(progress(Keys().inbound(0), "x"))}) - NEVER


async def problems_of(redis: Redis) -> list[str]:
    """Return the keys that live on for no reason: without a TTL, though their kind has one or is no kind of ours."""
    return [
        key.decode()
        async for key in redis.scan_iter(count=1000)
        if kind_of(key.decode()) not in PERMANENT and await redis.ttl(key) == -1
    ]
