"""`python -m router groups list|remove`: the consumer groups of all streams, and removing one that nobody needs.

A group that never reads keeps everything behind its position from being trimmed. The groups of the shipped processes
are refused: without its group a process would begin anew, and what the group has not finished would never be done.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from router.commands.connected import connected
from router.core.keys import COMMANDER, RESOLVER, Target, progress
from router.operations.redaction import plain
from router.operations.streams import read_streams
from router.process.terminal import complain, show, show_json
from router.streams.store.parking import PARTS

if TYPE_CHECKING:
    import argparse

    from router.core.keys import Keys
    from router.operations.streams import GroupReport
    from router.streams.client.connection import Redis

#: The group of each shipped process, and the process.
OURS: Final = {
    RESOLVER: "the workers (`python -m router work`)",
    COMMANDER: "the workers, for commands (`python -m router work`)",
    Target.AI_AGENT: "the AI agent (`python -m handlers ai_agent`)",
    Target.HUMAN_AGENT: "the human agents (`python -m handlers human_agent`)",
}


async def run_groups(arguments: argparse.Namespace) -> int:
    """Run the action that was asked for; returns the exit status."""
    if arguments.action == "list":
        return await list_groups(is_json=arguments.json)
    if arguments.name is None:
        complain("name the group to remove (see `groups list`)")
        return 2
    return await remove_group(arguments.name, is_json=arguments.json)


async def list_groups(*, is_json: bool = False) -> int:
    """Print each group of each stream: what it has not read, what is pending and parked, and its consumers."""
    async with connected() as (redis, settings):
        for stream in await read_streams(redis, settings.keys):
            for group in stream.groups:
                owner = f"  of {OURS[group.name]}" if group.name in OURS else ""
                if is_json:
                    is_ours = group.name in OURS
                    show_json({"stream": stream.key, **group.to_json(), "is_ours": is_ours})
                else:
                    show(f"{stream.key}  {plain(group.name)}  {_describe(group)}{owner}")
    return 0


async def remove_group(name: str, *, is_json: bool = False) -> int:
    """Remove a group from every stream that has it; status 1 if it is one of ours, is in use, or does not exist."""
    if name in OURS:
        problem = "it would begin anew, and what it has not finished would never be done; start that process instead"
        complain(f"{plain(name)}: is the group of {OURS[name]}, so it is not removed: {problem}")
        return 1
    async with connected() as (redis, settings):
        found = await _find(redis, settings.keys, name)
        if any(group.is_read for _, group in found):
            complain(f"{plain(name)}: a process of it is running: stop that first, and wait a minute")
            return 1
        for stream, group in found:
            await redis.xgroup_destroy(stream, name)
            # Without its note and what it has parked, a handler that takes the name again begins as a new one.
            await redis.delete(progress(stream, name), *(settings.keys.parked(stream, name, part) for part in PARTS))
            if is_json:
                show_json({"stream": stream, **group.to_json(), "is_removed": True})
            else:
                show(f"{stream}: {plain(name)} removed  {_describe(group)}")
    if not found:
        complain(f"{plain(name)}: no such group")
        return 1
    return 0


async def _find(redis: Redis, keys: Keys, name: str) -> list[tuple[str, GroupReport]]:
    """Return the streams that have the group, and its state in each."""
    return [(one.key, group) for one in await read_streams(redis, keys) for group in one.groups if group.name == name]


def _describe(group: GroupReport) -> str:
    parked = f", waiting {group.parked}" if group.parked else ""
    return f"unread {group.lag}, pending {group.pending}{parked}, consumers {len(group.readers)}"
