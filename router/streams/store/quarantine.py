"""The quarantine: refused webhooks on one stream, with separate bounds for each reason, and for large ones within it.

Redis can bound a stream only as a whole, so for each of these classes there is a list of its entries, in order, with
their sizes.
All keys are in one slot and change in one script. If somebody deletes an entry by hand, a repeat of its webhook is kept
again, and the list drops the entry when it becomes the oldest. All keys expire a TTL after the last refused webhook.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from router.core.errors import RouteError
from router.core.refused import CLASSES, REASONS, Refused, from_fields, open_fields, seal_fields
from router.core.sealing import NO_KEYS
from router.streams.client.connection import Redis, load_script
from router.streams.client.scripts import flatten

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Collection

    from router.core.keys import Keys
    from router.core.refused import Bounds
    from router.core.sealing import Sealer

#: Entries per page: each may have a body of the largest size.
_PAGE: Final = 20
#: ms for which refused webhooks of our own accounts are counted, and their highest number: anybody may name an account.
LATELY: Final = 3_600_000
MOST_LATELY: Final = 10_000
_ID: Final = re.compile(r"[0-9]{1,19}-[0-9]{1,19}")


@dataclass(frozen=True, slots=True)
class Kept:
    """An entry of the quarantine; `repeats` counts further copies of the same webhook.

    `problem`: why it cannot be opened, if it is sealed with a missing key; it then has neither body nor headers.
    """

    entry_id: str
    refused: Refused
    repeats: int = 0
    problem: str = ""


async def keep(
    redis: Redis,
    keys: Keys,
    refused: Refused,
    bounds: Bounds,
    sealer: Sealer = NO_KEYS,
    *,
    ours: Collection[str] = (),
) -> str | None:
    """Keep a refused webhook, whose reason is one of REASONS; returns its entry id, or None for a repeat.

    A body that alone exceeds the bound in bytes is left out. `ours` are the SIDs of the accounts that are configured:
    `count_lately` counts their webhooks, and those that are rightly signed (reason `route`).
    """
    refused = refused.within(bounds)
    own = refused.class_name
    names = [*_shared_keys(keys), *(keys.quarantine_order(name) for name in (own, *(set(CLASSES) - {own})))]
    now, size = refused.received_at // 1000, bounds.large_size if refused.is_large else bounds.size
    is_ours = refused.account_id in ours or refused.reason == RouteError.reason
    arguments = [now, bounds.ttl, bounds.entries, size, refused.digest, refused.size, int(is_ours), LATELY, MOST_LATELY]
    script = load_script("quarantine_keep")
    entry_id = await script.run(redis, names, [*arguments, *flatten(seal_fields(refused.to_fields(), sealer))])
    return entry_id.decode() if entry_id else None


async def remove(redis: Redis, keys: Keys, kept: Kept) -> bool:
    """Remove an entry; returns False if it was gone."""
    refused = kept.refused
    names = [*_shared_keys(keys), keys.quarantine_order(refused.class_name)]
    script = load_script("quarantine_remove")
    return bool(await script.run(redis, names, [kept.entry_id, refused.size, refused.digest]))


async def list_kept(
    redis: Redis, keys: Keys, *, after: str = "", since: int = 0, until: int | None = None, sealer: Sealer = NO_KEYS
) -> AsyncIterator[Kept]:
    """Yield the present entries, oldest first: those behind the entry `after`, kept between `since` and `until` (ms).

    They are opened as far as `sealer` can. Webhooks that are refused meanwhile are left out: whoever drops everything
    has not seen them.
    """
    start = f"({after}" if after else str(since) if since else "-"
    newest: Any = await redis.xrevrange(keys.quarantine(), count=1)
    end = newest[0][0].decode() if newest else "0-0"
    end = end if until is None or int(end.partition("-")[0]) < until else str(until)
    while True:
        rows: list[Any] = await redis.xrange(keys.quarantine(), min=start, max=end, count=_PAGE) or []
        for kept in await _read(redis, keys, rows, sealer):
            yield kept
        if len(rows) < _PAGE:
            return
        start = f"({rows[-1][0].decode()}"


async def count_lately(redis: Redis, keys: Keys, since: int) -> int:
    """Return how many webhooks of our own accounts were refused since a time (ms) of the last hour, up to MOST_LATELY.

    Displaced ones count, those that were replayed or dropped do not.
    """
    return int(await redis.zcount(keys.quarantine_ours(), since, "+inf"))


async def find(redis: Redis, keys: Keys, entry_id: str, sealer: Sealer = NO_KEYS) -> Kept | None:
    """Return one entry; None if there is none with that id, or the id is malformed."""
    if not _ID.fullmatch(entry_id):
        return None
    rows: list[Any] = await redis.xrange(keys.quarantine(), min=entry_id, max=entry_id) or []
    return next(iter(await _read(redis, keys, rows, sealer)), None)


async def count(redis: Redis, keys: Keys) -> dict[str, int]:
    """Return the number of entries by reason."""
    pipeline = redis.pipeline(transaction=False)
    for name in CLASSES:
        pipeline.llen(keys.quarantine_order(name))
    numbers = await pipeline.execute()
    half = len(REASONS)
    return {reason: numbers[at] + numbers[half + at] for at, reason in enumerate(REASONS)}


async def _read(redis: Redis, keys: Keys, rows: list[Any], sealer: Sealer) -> list[Kept]:
    if not rows:
        return []
    repeats: Any = await redis.hmget(keys.quarantine_repeats(), [entry_id for entry_id, _ in rows])
    kept = []
    for (entry_id, fields), times in zip(rows, repeats, strict=True):
        opened, problem = open_fields(fields, sealer)
        kept.append(Kept(entry_id.decode(), from_fields(opened), int(times or 0), problem))
    return kept


def _shared_keys(keys: Keys) -> list[str]:
    notes = [keys.quarantine_known(), keys.quarantine_repeats(), keys.quarantine_bytes(), keys.quarantine_ours()]
    return [keys.quarantine(), *notes]
