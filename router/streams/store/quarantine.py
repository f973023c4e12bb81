"""The quarantine: refused webhooks on one stream, each reason within bounds of its own.

Redis bounds a stream as a whole only, so beside it lies, for each reason, a list of its entries in order with their
sizes. All of it is in one slot and changes in one script, so the two never disagree for long: an entry that somebody
deletes by hand is missed when it is repeated, and the list loses it when its turn comes. Nothing here outlives the TTL
after the last webhook that was refused.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from router.core.refused import REASONS, Refused, from_fields
from router.streams.client.connection import Redis, load_script

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from router.core.keys import Keys
    from router.core.refused import Bounds

#: Entries are read so many at once: each may have a body of the largest size.
_PAGE: Final = 20
_ID: Final = re.compile(r"[0-9]{1,19}-[0-9]{1,19}")


@dataclass(frozen=True, slots=True)
class Kept:
    """An entry of the quarantine; `repeats` is how often the same webhook came again."""

    entry_id: str
    refused: Refused
    repeats: int = 0


async def keep(redis: Redis, keys: Keys, refused: Refused, bounds: Bounds) -> str | None:
    """Keep a refused webhook; returns its entry id, or None for a repeat.

    Its reason is one of REASONS. A body that alone is over the bound on bytes is left out, the rest is kept.
    """
    refused = refused.within(bounds.size)
    others = [reason for reason in REASONS if reason != refused.reason]
    names = [*_common(keys), *(keys.quarantine_order(reason) for reason in (refused.reason, *others))]
    flat = [part for pair in refused.to_fields().items() for part in pair]
    now = refused.received_at // 1000
    arguments = [now, bounds.ttl, bounds.entries, bounds.size, refused.digest, refused.size, *flat]
    entry_id = await load_script("quarantine_keep").run(redis, names, arguments)
    return entry_id.decode() if entry_id else None


async def remove(redis: Redis, keys: Keys, kept: Kept) -> bool:
    """Take an entry out; False if it was gone."""
    refused = kept.refused
    names = [*_common(keys), keys.quarantine_order(refused.reason)]
    script = load_script("quarantine_remove")
    return bool(await script.run(redis, names, [kept.entry_id, refused.size, refused.digest]))


async def list_kept(redis: Redis, keys: Keys) -> AsyncIterator[Kept]:
    """Yield all entries, oldest first."""
    start = "-"
    while True:
        rows: list[Any] = await redis.xrange(keys.quarantine(), min=start, count=_PAGE) or []
        for kept in await _read(redis, keys, rows):
            yield kept
        if len(rows) < _PAGE:
            return
        start = f"({rows[-1][0].decode()}"


async def find(redis: Redis, keys: Keys, entry_id: str) -> Kept | None:
    """Return one entry, or None if there is none of that id, or the id is none."""
    if not _ID.fullmatch(entry_id):
        return None
    rows: list[Any] = await redis.xrange(keys.quarantine(), min=entry_id, max=entry_id) or []
    return next(iter(await _read(redis, keys, rows)), None)


async def count(redis: Redis, keys: Keys) -> dict[str, int]:
    """Return how many entries each reason has."""
    pipeline = redis.pipeline(transaction=False)
    for reason in REASONS:
        pipeline.llen(keys.quarantine_order(reason))
    return dict(zip(REASONS, await pipeline.execute(), strict=True))


async def _read(redis: Redis, keys: Keys, rows: list[Any]) -> list[Kept]:
    if not rows:
        return []
    repeats: Any = await redis.hmget(keys.quarantine_repeats(), [entry_id for entry_id, _ in rows])
    return [
        Kept(entry_id.decode(), from_fields(fields), int(times or 0))
        for (entry_id, fields), times in zip(rows, repeats, strict=True)
    ]


def _common(keys: Keys) -> list[str]:
    return [keys.quarantine(), keys.quarantine_known(), keys.quarantine_repeats(), keys.quarantine_bytes()]
