"""`check` of the streams: groups that are late, and dead letters. These are warnings that an operator must see.

An entry that a group has not finished is never trimmed, and dead letters stay until somebody replays or deletes them.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Final

from router.commands.check.redis import Finding
from router.streams.store.inspect import all_streams, read_stream

if TYPE_CHECKING:
    from collections.abc import Callable

    from router.settings.model import Settings
    from router.streams.client.connection import Redis
    from router.streams.store.inspect import StreamState

#: Age in seconds from which an unfinished entry makes its group late; at least the retention.
LATE: Final = 3600


async def check_streams(redis: Redis, settings: Settings, *, clock: Callable[[], float] = time.time) -> list[Finding]:
    """Return the findings about the streams of a namespace; raises RedisError. `clock` gives seconds since 1970."""
    letters = {settings.keys.dead_letters(partition) for partition in range(settings.partitions)}
    states = [await read_stream(redis, settings.keys, stream) for stream in all_streams(settings.keys)]
    late = max(settings.stream_retention, LATE)
    now = clock()
    found = [finding for state in states if state.key not in letters for finding in _late_groups(state, late, now)]
    if not found:
        entries = sum(state.length for state in states if state.key not in letters)
        found.append(Finding("ok", "streams", f"{entries} entries, no group is late"))
    found += [_letters(state) for state in states if state.key in letters and state.length]
    return found


def _late_groups(state: StreamState, late: int, now: float) -> list[Finding]:
    """Return a finding for each group with an unfinished entry older than `late` seconds at `now`."""
    found = []
    for group in state.groups:
        age = now - group.oldest / 1000 if group.oldest is not None else 0.0
        if age > late and group.oldest == group.oldest_parked:
            text = (
                f"group {group.name} has {group.parked} parked events, the oldest {_span(age)} old: see `event.waiting`"
            )
            found.append(Finding("warn", state.key, text))
        elif age > late:
            text = (
                f"group {group.name} has not finished an entry {_span(age)} old ({group.pending} pending, "
                f"{'?' if group.lag is None else group.lag} unread, {group.consumers} consumers), so nothing newer can "
                f"be trimmed: start its consumers, or remove an unused one with `groups remove`"
            )
            found.append(Finding("warn", state.key, text))
    return found


def _letters(state: StreamState) -> Finding:
    text = f"{state.length} dead letters, kept until they are replayed or deleted: see `dead-letters list`"
    return Finding("warn", state.key, text)


def _span(seconds: float) -> str:
    return f"{seconds / 86_400:.1f} days" if seconds > 2 * 86_400 else f"{seconds / 3600:.1f} hours"
