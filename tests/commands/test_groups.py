"""`groups`: what holds the streams, and removing it; the groups of the shipped processes are refused."""

from __future__ import annotations

import orjson
import pytest

from handlers.app import HANDLERS
from router.__main__ import make_parser
from router.commands.groups import OURS, run_groups
from router.core.keys import RESOLVER, Keys, Target
from router.streams.consuming.groups import Heartbeat, Start, ensure_group, note_progress

KEYS = Keys()
STREAM = KEYS.participants(0, Target.AI_AGENT)


async def groups_of(redis):
    return [row["name"].decode() for row in await redis.xinfo_groups(STREAM)]


async def run(*arguments):
    return await run_groups(make_parser().parse_args(["groups", *arguments]))


@pytest.fixture
async def streams(redis, environment):
    """The AI agent's stream with an entry and two groups, one of them a stranger's."""
    await redis.xadd(STREAM, {"type": "x"})
    for group in ("ai-agent", "reports"):
        await ensure_group(redis, STREAM, group)


async def test_all_groups_are_listed_with_their_owners(redis, streams, capsys):
    """Each has a line with what it has still to do."""
    assert await run("list") == 0
    ours, theirs = capsys.readouterr().out.splitlines()
    assert ours == f"{STREAM}  ai-agent  unread 1, pending 0, consumers 0  of {OURS[Target.AI_AGENT]}"
    assert theirs == f"{STREAM}  reports  unread 1, pending 0, consumers 0"


async def test_groups_are_listed_for_programs(redis, streams, capsys):
    """One object a line, with the consumers and whether each is alive."""
    await redis.xgroup_createconsumer(STREAM, "ai-agent", "one")
    await redis.set(KEYS.heartbeat(0, "ai-agent", "one"), "1", ex=60)
    assert await run("list", "--json") == 0
    ours, theirs = map(orjson.loads, capsys.readouterr().out.splitlines())
    assert (ours["stream"], ours["name"], ours["lag"], ours["is_ours"], ours["is_read"]) == (
        STREAM,
        "ai-agent",
        1,
        True,
        True,
    )
    assert [(one["name"], one["is_alive"]) for one in ours["readers"]] == [("one", True)]
    assert (theirs["name"], theirs["is_ours"], theirs["is_read"]) == ("reports", False, False)


async def test_unread_entries_are_counted_where_the_server_does_not_know(redis, streams, capsys):
    """A group that was created at `$` has entries before it that it never reads."""
    await redis.xadd(STREAM, {"type": "y"})
    await redis.xgroup_create(STREAM, "from-now", id="$")
    for number in range(3):
        await redis.xadd(STREAM, {"n": number})
    (lag,) = [row["lag"] for row in await redis.xinfo_groups(STREAM) if row["name"] == b"from-now"]
    assert lag is None
    assert await run("list") == 0
    assert f"{STREAM}  from-now  unread 3, pending 0, consumers 0\n" in capsys.readouterr().out


@pytest.mark.parametrize("name", [RESOLVER, HANDLERS["ai_agent"].group, HANDLERS["human_agent"].group])
async def test_a_group_of_ours_is_not_removed(redis, streams, capsys, name):
    """The reason names the process that it belongs to."""
    await ensure_group(redis, KEYS.inbound(0), RESOLVER)
    assert await run("remove", name) == 1
    reason = capsys.readouterr().err
    assert reason.startswith(f"{name}: is the group of the ")
    assert "python -m " in reason
    assert reason.count("\n") == 1
    assert await groups_of(redis) == ["ai-agent", "reports"]


async def test_a_group_that_nobody_needs_is_removed(redis, streams, capsys):
    """What it had not done is said."""
    assert await run("remove", "reports") == 0
    assert capsys.readouterr().out == f"{STREAM}: reports removed  unread 1, pending 0, consumers 0\n"
    assert await groups_of(redis) == ["ai-agent"]
    assert await run("remove", "reports") == 1
    assert capsys.readouterr().err == "reports: no such group\n"


async def test_a_removed_group_is_told_to_programs(redis, streams, capsys):
    """One object for each stream that had it."""
    assert await run("remove", "reports", "--json") == 0
    removed = orjson.loads(capsys.readouterr().out)
    assert (removed["stream"], removed["name"], removed["lag"], removed["is_removed"]) == (STREAM, "reports", 1, True)


async def test_a_removed_group_leaves_nothing(redis, streams):
    """Its note is gone too: a handler that takes the name again begins as a new one, where its row says."""
    await redis.xreadgroup("reports", "me", {STREAM: ">"})
    await note_progress(redis, STREAM, "reports", every=0)
    await redis.xgroup_delconsumer(STREAM, "reports", "me")
    await run("remove", "reports")
    assert not [key async for key in redis.scan_iter("*reports*")]
    await ensure_group(redis, STREAM, "reports", start=Start.NEW)
    await redis.xadd(STREAM, {"type": "y"})
    ((_, rows),) = await redis.xreadgroup("reports", "me", {STREAM: ">"})
    assert [fields for _, fields in rows] == [{b"type": b"y"}]


async def test_a_group_in_use_is_not_removed(redis, streams, capsys):
    """A handler of somebody's own is running."""
    await redis.xgroup_createconsumer(STREAM, "reports", "me")
    async with Heartbeat(redis, [KEYS.heartbeat(0, "reports", "me")], ttl=60):
        assert await run("remove", "reports") == 1
    assert "is running" in capsys.readouterr().err
    assert await groups_of(redis) == ["ai-agent", "reports"]


async def test_a_group_that_is_read_without_heartbeats_is_not_removed(redis, streams, capsys):
    """A program that reads with plain XREADGROUP counts as running for a minute after its last read."""
    await redis.xreadgroup("reports", "me", {STREAM: ">"})
    assert await run("remove", "reports") == 1
    assert "is running" in capsys.readouterr().err
    assert await groups_of(redis) == ["ai-agent", "reports"]


async def test_a_name_is_needed(capsys):
    """Without one nothing is removed."""
    assert await run("remove") == 2
    assert "groups list" in capsys.readouterr().err
