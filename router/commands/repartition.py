"""`python -m router repartition N`: moves all data of the namespace to N partitions, beside running processes."""

from __future__ import annotations

from collections import Counter
from functools import partial
from typing import TYPE_CHECKING, Final

from router.core.errors import RouterError
from router.core.keys import Keys
from router.logs import describe_fully
from router.process.terminal import complain, show
from router.settings.load import load
from router.streams.client.connection import RedisError, connect
from router.streams.repartition.copies import Copies
from router.streams.repartition.mover import Mover, ProgressReport
from router.streams.repartition.streams import STREAMS, stream_key
from router.streams.store.partitions import read_layout

if TYPE_CHECKING:
    import argparse

    from router.settings.model import Settings
    from router.streams.client.connection import Redis

#: Seconds beyond the grace and two heartbeats that consumers have to stop.
PATIENCE: Final = 10.0


async def run_repartition(arguments: argparse.Namespace) -> int:
    """Move the data, continue a move that was interrupted, or go back; returns 1 if that is not finished."""
    settings = load(require=("redis_url",))
    redis = connect(settings.redis)
    try:
        if arguments.dry_run:
            return await _count(redis, settings, arguments.number)
        return await _move(redis, settings, arguments.number)
    except (RouterError, RedisError, OSError) as error:
        reason = str(error) if isinstance(error, RouterError) else describe_fully(error)
        complain(f"{reason}; nothing is lost: run the same command again to continue", unmasked=True)
        return 1
    finally:
        await redis.aclose()


async def _move(redis: Redis, settings: Settings, number: int) -> int:
    patience = settings.grace + 2 * settings.heartbeat_ttl + PATIENCE
    mover = Mover(redis, settings.keys, patience=patience, say=ProgressReport(partial(show, unmasked=True)))
    before = await mover.move(number)
    if before.is_open and before.new == number:
        show(f"the data has {number} partitions already")
    else:
        show(f"the data has {number} partitions now: set ROUTER_PARTITIONS={number} for every process")
    return 0


async def _count(redis: Redis, settings: Settings, number: int) -> int:
    """Print what would be moved, and change nothing."""
    layout = await read_layout(redis, settings.keys)
    old, new = Keys(settings.namespace, layout.new), Keys(settings.namespace, number)
    show(f"from {old.partitions} to {new.partitions} partitions" + ("" if layout.is_open else f" ({layout.phase})"))
    lengths: Counter[str] = Counter()
    for partition in range(old.partitions):
        for name in STREAMS:
            lengths[name] += await redis.xlen(stream_key(old, partition, name))
    for name, length in lengths.items():
        show(f"  entries of {name}: {length:,}")
    copies = Copies(redis, old, new, {}, lambda *_: None)
    for kind, count in sorted((await copies.count()).items()):
        show(f"  keys of kind {kind}: {count:,}")
    if new.partitions < old.partitions:
        show(f"  stories of partitions {new.partitions} and above: deleted, not moved")
    return 0
