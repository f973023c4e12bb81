"""Trimming: only what every group has finished with and what is older than the retention."""

from __future__ import annotations

import asyncio

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from router.core.keys import Keys
from router.streams import trim
from router.streams.trim import Trimmer
from tests.support.waiting import until

pytestmark = pytest.mark.real

NOW = 10_000_000  # milliseconds
#: Approximate trimming drops whole nodes of the stream only: tests that must see something go use many entries.
NODE = 100


async def fill(redis, stream, count, *, at=1, step=1):
    """Add `count` entries whose ids are `at` milliseconds and then `step` apart."""
    pipeline = redis.pipeline(transaction=False)
    for number in range(count):
        pipeline.xadd(stream.key, {"n": number}, id=f"{at + number * step}-0")
    await pipeline.execute()


async def ids(redis, stream):
    return [int(entry_id.decode().partition("-")[0]) for entry_id, _ in await redis.xrange(stream.key)]


def make_trimmer(redis, keys, retention=0):
    return Trimmer(redis, keys, retention=retention, clock=lambda: NOW)


async def read(redis, stream, group, count):
    if count:
        await redis.xreadgroup(group, "me", {stream.key: ">"}, count=count)


async def test_what_all_groups_have_finished_with_goes(redis, keys, stream):
    """Read and acknowledged by everybody: whole nodes of it are dropped, and nothing newer."""
    await fill(redis, stream, 10 * NODE)
    for group in ("one", "two"):
        await redis.xgroup_create(stream.key, group, id="0")
        await read(redis, stream, group, 5 * NODE)
        await redis.xack(stream.key, group, *[f"{number}-0" for number in range(1, 5 * NODE + 1)])
    dropped = await make_trimmer(redis, keys).trim(stream.key)
    assert dropped > 3 * NODE
    assert (await ids(redis, stream))[0] <= 5 * NODE + 1
    assert await redis.xlen(stream.key) == 10 * NODE - dropped


async def test_a_pending_entry_keeps_itself_and_all_that_is_newer(redis, keys, stream):
    """One entry that one group has not acknowledged holds the trimming there."""
    await fill(redis, stream, 10 * NODE)
    await redis.xgroup_create(stream.key, "one", id="0")
    await read(redis, stream, "one", 10 * NODE)
    await redis.xack(stream.key, "one", *[f"{number}-0" for number in range(1, 10 * NODE + 1) if number != 250])
    await make_trimmer(redis, keys).trim(stream.key)
    left = await ids(redis, stream)
    assert left[0] <= 250
    assert left[-1] == 10 * NODE


async def test_a_group_that_has_read_nothing_keeps_everything(redis, keys, stream):
    """Unread entries stay, even if another group has finished with them."""
    await fill(redis, stream, 5 * NODE)
    await redis.xgroup_create(stream.key, "fast", id="$")
    await redis.xgroup_create(stream.key, "late", id="0")
    assert await make_trimmer(redis, keys).trim(stream.key) == 0
    assert await redis.xlen(stream.key) == 5 * NODE


async def test_finished_entries_are_kept_for_the_retention(redis, keys, stream):
    """What is younger than the retention stays although nobody needs it."""
    await fill(redis, stream, 10 * NODE, at=NOW - 1_000 * 1_000, step=1_000)  # one a second, up to now
    await redis.xgroup_create(stream.key, "one", id="$")
    dropped = await make_trimmer(redis, keys, retention=600).trim(stream.key)
    assert dropped > 2 * NODE
    assert (await ids(redis, stream))[0] <= NOW - 600_000
    assert await make_trimmer(redis, keys, retention=NOW).trim(stream.key) == 0


async def test_a_stream_without_groups_is_left_alone(redis, keys, stream):
    """Somebody may still come to read it from the beginning."""
    await fill(redis, stream, 5 * NODE)
    assert await make_trimmer(redis, keys).trim(stream.key) == 0
    assert await redis.xlen(stream.key) == 5 * NODE


async def test_a_stream_that_does_not_exist_is_no_problem(redis, keys, stream):
    """There is nothing to trim, and nothing is created."""
    assert await make_trimmer(redis, keys).trim(stream.key) == 0
    assert not await redis.exists(stream.key)


group_states = st.lists(
    st.tuples(st.integers(0, 300), st.sets(st.integers(1, 300), max_size=5), st.booleans()), min_size=1, max_size=3
)


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(groups=group_states, retention=st.integers(0, 400))
async def test_nothing_that_anybody_needs_is_ever_dropped(redis_url, keys, stream, clients, groups, retention):
    """Wherever the groups are: every pending, unread or young entry is still there after trimming."""
    redis = clients(redis_url)
    await redis.delete(stream.key)
    await fill(redis, stream, 300)
    needed = {number for number in range(1, 301) if number >= 301 - retention}
    for number, (position, unfinished, is_all_pending) in enumerate(groups):
        name = f"group-{number}"
        await redis.xgroup_create(stream.key, name, id="0")
        await read(redis, stream, name, position)
        pending = set(range(1, position + 1)) if is_all_pending else {one for one in unfinished if one <= position}
        if done := [f"{one}-0" for one in range(1, position + 1) if one not in pending]:
            await redis.xack(stream.key, name, *done)
        needed |= pending | set(range(position + 1, 301))
    trimmer = Trimmer(redis, keys, retention=0, clock=lambda: 301 - retention)
    await trimmer.trim(stream.key)
    assert needed <= set(await ids(redis, stream))
    await redis.delete(stream.key)


async def test_rounds_go_on_after_a_failure_and_take_every_stream(redis, monkeypatch, lines):
    """A stream that cannot be trimmed is logged; the others of all partitions get their turn, again and again."""
    monkeypatch.setattr(trim, "PAUSE", 0.01)
    keys = Keys(partitions=2)
    trimmer, seen = make_trimmer(redis, keys), []

    async def note(stream):
        seen.append(stream)
        if stream == keys.inbound(0):
            raise ConnectionError("no Redis")

    monkeypatch.setattr(trimmer, "trim", note)
    running = asyncio.create_task(trimmer.run())
    await until(lambda: seen.count(keys.inbound(0)) >= 2)
    running.cancel()
    assert set(seen) == {
        stream
        for number in (0, 1)
        for stream in (keys.inbound(number), *(keys.participants(number, name) for name in ("ai-agent", "human-agent")))
    }
    assert {line["stream"] for line in lines if line["event"] == "trim.failed"} == {keys.inbound(0)}
