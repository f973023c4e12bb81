"""`check` of the streams: groups that are late or behind, dead letters, wrong URLs: warnings that an operator must see.

An entry that a group has not finished is never trimmed, and dead letters stay until somebody replays or deletes them.
A group is behind if entries wait for it and nobody reads them, or not fast enough.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Final

from router.commands.check.redis import Finding
from router.core.errors import RouteError
from router.core.keys import OWN_GROUPS
from router.core.timestamps import show_span
from router.streams.store.inspect import all_streams, read_backlog, read_stream
from router.streams.store.quarantine import count

if TYPE_CHECKING:
    from collections.abc import Callable

    from router.settings.model import Settings
    from router.streams.client.connection import Redis
    from router.streams.store.inspect import Backlog, StreamState

#: Age in seconds from which an unfinished entry makes its group late; at least the retention.
LATE: Final = 3600
#: Age in seconds of the oldest unread entry, and number of unread ones, from which a group is behind.
BEHIND: Final = 60
MANY: Final = 1000


async def check_streams(redis: Redis, settings: Settings, *, clock: Callable[[], float] = time.time) -> list[Finding]:
    """Return the findings about the streams of a namespace; raises RedisError. `clock` gives seconds since 1970."""
    letters = {settings.keys.dead_letters(partition) for partition in range(settings.partitions)}
    states = [await read_stream(redis, settings.keys, stream) for stream in all_streams(settings.keys)]
    late = max(settings.stream_retention, LATE)
    now = clock()
    found = []
    entries = unread = 0
    for state in states:
        if state.key in letters:
            continue
        entries += state.length
        found += [*_late_groups(state, late, now), *_nobody(state)]
        for group in state.groups:
            backlog = await read_backlog(redis, settings.keys, state.key, group.name)
            unread += backlog.unread
            is_late = any(group.name in finding.text.split() for finding in found if finding.subject == state.key)
            found += [] if is_late else _behind(state.key, group.name, backlog, now)
    if not found:
        found.append(Finding("ok", "streams", f"{entries} entries, {unread} unread, no group is late"))
    found += [_letters(state) for state in states if state.key in letters and state.length]
    return [*found, *await _misrouted(redis, settings)]


def _late_groups(state: StreamState, late: int, now: float) -> list[Finding]:
    """Return a finding for each group with an unfinished entry older than `late` seconds at `now`."""
    found = []
    for group in state.groups:
        age, parked = (
            now - oldest / 1000 if oldest is not None else 0.0 for oldest in (group.oldest_active, group.oldest_parked)
        )
        if parked > late:
            oldest = f"the oldest {show_span(parked)} old"
            text = f"group {group.name} has {group.parked} parked events, {oldest}: see `python -m router waiting`"
            found.append(Finding("warn", state.key, text))
        if age > late:
            text = (
                f"group {group.name} has not finished an entry {show_span(age)} old ({group.pending} pending, "
                f"{group.lag} unread, {group.consumers} consumers), so nothing newer can "
                f"be trimmed: start its consumers, or remove an unused one with `groups remove`"
            )
            found.append(Finding("warn", state.key, text))
    return found


def _nobody(state: StreamState) -> list[Finding]:
    """Return a finding for a stream with entries that no group reads."""
    if state.groups or not state.length:
        return []
    return [Finding("warn", state.key, f"has {state.length} entries and no group: nobody reads them, start a consumer")]


def _behind(key: str, name: str, backlog: Backlog, now: float) -> list[Finding]:
    """Return a finding if entries wait for a group that nobody reads for, or that does not keep up."""
    waiting = f"group {name} has {backlog.unread} unread and {backlog.pending} unfinished entries"
    age = now - backlog.oldest / 1000 if backlog.oldest is not None else 0.0
    since = f", the oldest unread one {show_span(age)} old" if backlog.unread else ""
    if (backlog.unread or backlog.pending) and not backlog.is_read:
        return [Finding("warn", key, f"{waiting}{since}, and no consumer runs: start one{_or_remove(name)}")]
    if age > BEHIND or backlog.unread >= MANY:
        return [Finding("warn", key, f"{waiting}{since}: its consumers are behind, start more or see their log")]
    return []


def _or_remove(name: str) -> str:
    """Return the advice for a group that does not belong to a process that ships with the project."""
    return "" if name in OWN_GROUPS else f", or remove one that nobody needs: `groups remove {name}`"


async def _misrouted(redis: Redis, settings: Settings) -> list[Finding]:
    """Return a finding if Twilio calls URLs that are not routes: their webhooks are lost until they are replayed."""
    number = (await count(redis, settings.keys))[RouteError.reason]
    if not number:
        return []
    command = f"`quarantine list --reason {RouteError.reason}`"
    text = f"{number} authentic webhooks came to a wrong URL, or with another method than POST: see {command}"
    return [Finding("warn", settings.keys.quarantine(), text)]


def _letters(state: StreamState) -> Finding:
    text = f"{state.length} dead letters, kept until they are replayed or deleted: see `dead-letters list`"
    return Finding("warn", state.key, text)
