"""Copies every other key to its new partition, and deletes what is left at the old places.

A key is copied with its expiry, as it is (DUMP, RESTORE). The old ones are deleted only once all processes work with
the new number.
"""

from __future__ import annotations

import re
from collections import Counter
from typing import TYPE_CHECKING, Any, NamedTuple

from router.core.errors import RouterError
from router.core.placement import FORMER, PLACES, Place, partitions_of
from router.streams.client.scanning import scan_keys

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Mapping

    from router.core.keys import Keys
    from router.streams.client.connection import Redis
    from router.streams.repartition.guard import Guard


class UnknownKeyError(RouterError):
    """A key of a kind that this version does not know: it cannot be moved."""


class FoundKey(NamedTuple):
    """A key of the namespace: partition, kind, what follows the kind, and the value if it is a claim."""

    name: bytes
    partition: int
    kind: str
    rest: bytes
    value: bytes | None


async def find_keys(redis: Redis, keys: Keys) -> AsyncIterator[list[FoundKey]]:
    """Yield all keys of a namespace that have a partition, page by page; raises UnknownKeyError for an unknown kind.

    Keys that only earlier releases wrote are passed over.
    """
    form = re.compile(rb"%s:\{(\d+)\}:([a-z-]+)(?::(.*))?" % re.escape(keys.namespace.encode()), re.DOTALL)
    async for page in scan_keys(redis, f"{keys.namespace}:{{*}}:*"):
        found = []
        for name in page:
            if (match := form.fullmatch(name)) is None:
                continue
            kind = match[2].decode()
            if kind in FORMER:
                continue
            if kind not in PLACES:
                raise UnknownKeyError(f"there are keys of the kind '{kind}', which this version cannot move")
            found.append(FoundKey(name, int(match[1]), kind, match[3] or b"", None))
        yield await _with_values(redis, found)


async def _with_values(redis: Redis, found: list[FoundKey]) -> list[FoundKey]:
    pipeline = redis.pipeline(transaction=False)
    claims = [one for one in found if PLACES[one.kind] is Place.CLAIM]
    for one in claims:
        pipeline.get(one.name)
    values = dict(zip([one.name for one in claims], await pipeline.execute() if claims else [], strict=True))
    return [one._replace(value=values.get(one.name)) for one in found]


class Copies:
    """Copies from `old` partitions to `new` ones; `effects` has the partitions of entries (streams.Division)."""

    def __init__(
        self, redis: Redis, old: Keys, new: Keys, effects: Mapping[bytes, int], say: Callable[[str, int], None]
    ) -> None:
        self._redis = redis
        self._old = old
        self._new = new
        self._effects = effects
        self._say = say

    def _targets(self, found: FoundKey) -> set[int]:
        """Return the partitions in which a key belongs, the one where it is excluded."""
        if PLACES[found.kind] is Place.EFFECT:
            partition = self._effects.get(found.rest.rpartition(b":")[2])
            return set() if partition is None else {partition} - {found.partition}
        return (partitions_of(found.kind, found.rest, self._new, found.value) or set()) - {found.partition}

    async def count(self) -> Counter[str]:
        """Return how many keys of each kind are to be copied. Effects are not counted: they go with their entries."""
        counts: Counter[str] = Counter()
        async for page in find_keys(self._redis, self._old):
            counts.update(one.kind for one in page if one.partition < self._old.partitions and self._targets(one))
        return counts

    async def copy(self, guard: Guard) -> int:
        """Copy all keys to where they belong; returns the number of copies."""
        number = 0
        async for page in find_keys(self._redis, self._old):
            wanted = [
                (one, target) for one in page if one.partition < self._old.partitions for target in self._targets(one)
            ]
            pipeline = self._redis.pipeline(transaction=False)
            for one, _ in wanted:
                pipeline.dump(one.name)
                pipeline.execute_command("PEXPIRETIME", one.name)
            dumps = await pipeline.execute() if wanted else []
            for (one, target), dump, expires in zip(wanted, dumps[::2], dumps[1::2], strict=True):
                if dump is not None:
                    await self._restore(guard, one, target, dump, expires)
                    number += 1
            self._say("keys", number)
        await guard.flush()
        return number

    async def _restore(self, guard: Guard, one: FoundKey, target: int, dump: bytes, expires: int) -> None:
        name = one.name.replace(b"{%d}" % one.partition, b"{%d}" % target, 1)
        await guard.put(target, "RESTORE", name, max(0, expires), dump, "REPLACE", "ABSTTL")

    async def clean(self, guard: Guard) -> int:
        """Delete the keys of partitions that are gone, and those where nobody looks; returns their number."""
        number = 0
        async for page in find_keys(self._redis, self._new):
            for one in page:
                if self._is_left(one):
                    await guard.put(one.partition, "UNLINK", one.name)
                    number += 1
            self._say("deleted", number)
        await guard.flush()
        return number

    def _is_left(self, one: FoundKey) -> bool:
        if one.kind == "fence" or one.partition >= max(self._old.partitions, self._new.partitions):
            return False
        if one.partition >= self._new.partitions or one.kind == "moving":
            return True
        places: Any = partitions_of(one.kind, one.rest, self._new, one.value)
        return places is not None and one.partition not in places
