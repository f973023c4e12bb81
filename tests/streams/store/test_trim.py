"""Trimming: only what every group has finished with and what is older than the retention."""

from __future__ import annotations

import asyncio

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from router.core.keys import Keys
from router.streams.store import trim
from router.streams.store.trim import Trimmer
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


def make_trimmer(redis, keys, retention=0, most=0):
    return Trimmer(redis, keys, retention=retention, most=most, clock=lambda: NOW)


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


async def test_as_much_goes_in_one_round_as_came_since_the_last(redis, keys, stream, monkeypatch):
    """Redis drops only so many entries at once: a round takes as many steps as it needs, or busy streams would grow."""
    monkeypatch.setattr(trim, "STEP", NODE)
    await fill(redis, stream, 10 * NODE)
    await redis.xgroup_create(stream.key, "one", id="$")
    assert await make_trimmer(redis, keys).trim(stream.key) >= 9 * NODE


async def test_one_step_of_a_round_is_no_longer_than_redis_itself_would_allow(redis, keys, stream):
    """Without a limit of ours the server stops after 10,000 entries and says nothing: a fact that the steps rest on."""
    await fill(redis, stream, 11_000)
    await redis.xgroup_create(stream.key, "one", id="$")
    assert await redis.xtrim(stream.key, minid="11001-0", approximate=True) <= trim.STEP
    assert await redis.xlen(stream.key) > NODE


async def test_above_its_length_what_everybody_has_finished_with_goes_before_its_time(redis, keys, stream):
    """However long the retention is, a stream of finished entries is as long as was set, and keeps the newest."""
    await fill(redis, stream, 10 * NODE)
    await redis.xgroup_create(stream.key, "one", id="$")
    await make_trimmer(redis, keys, retention=NOW, most=4 * NODE).trim(stream.key)
    left = await ids(redis, stream)
    assert 4 * NODE <= len(left) < 6 * NODE
    assert left[-1] == 10 * NODE


async def test_no_length_drops_what_somebody_needs(redis, keys, stream):
    """Unread and pending entries stay, were they ten times as many as a stream shall hold."""
    await fill(redis, stream, 10 * NODE)
    await redis.xgroup_create(stream.key, "one", id="0")
    await read(redis, stream, "one", 2 * NODE)
    await redis.xack(stream.key, "one", *[f"{number}-0" for number in range(1, 2 * NODE + 1) if number != NODE])
    await make_trimmer(redis, keys, most=NODE).trim(stream.key)
    assert (await ids(redis, stream))[0] <= NODE
    assert await redis.xlen(stream.key) >= 9 * NODE


async def test_a_group_that_is_created_later_or_set_back_keeps_what_is_there(redis, keys, stream):
    """Whoever comes to read from the beginning gets all that the stream still held when it came."""
    await fill(redis, stream, 10 * NODE)
    await redis.xgroup_create(stream.key, "ours", id="$")
    await make_trimmer(redis, keys, most=5 * NODE).trim(stream.key)
    there = await ids(redis, stream)
    assert there[0] > 3 * NODE
    await redis.xgroup_create(stream.key, "later", id="0")
    assert await make_trimmer(redis, keys, most=1).trim(stream.key) == 0
    await redis.xgroup_destroy(stream.key, "later")
    await redis.xgroup_setid(stream.key, "ours", f"{there[0]}-0")
    await make_trimmer(redis, keys, most=1).trim(stream.key)
    assert await ids(redis, stream) == there


async def test_ids_are_compared_as_what_they_are(redis, keys, stream):
    """The second half of an id has more digits than a number of the script could hold."""
    await redis.xadd(stream.key, {"n": 1}, id="5-18446744073709551613")
    await redis.xadd(stream.key, {"n": 2}, id="5-18446744073709551614")
    await redis.xgroup_create(stream.key, "one", id="5-18446744073709551614")
    await redis.xgroup_create(stream.key, "two", id="5-18446744073709551612")
    await redis.xadd(stream.key, {"n": 3}, id="10-0")
    await make_trimmer(redis, keys, most=1).trim(stream.key)
    assert await redis.xlen(stream.key) == 3


@pytest.mark.parametrize(
    ("limits", "is_told"),
    [
        pytest.param({"retention": 0}, True, id="late"),
        pytest.param({"retention": NOW, "most": 2 * NODE}, True, id="too-long"),
        pytest.param({"retention": NOW, "most": 20 * NODE}, False, id="neither"),
    ],
)
async def test_a_group_that_never_reads_is_named_once(redis, keys, stream, lines, limits, is_told):
    """What it holds is older than the retention, or more than the stream shall hold: one line, until another group."""
    await fill(redis, stream, 5 * NODE)
    await redis.xgroup_create(stream.key, "forgotten", id="0")
    await redis.xgroup_create(stream.key, "ours", id="$")
    trimmer = make_trimmer(redis, keys, **limits)
    for _ in range(3):
        await trimmer.trim(stream.key)
    told = [line for line in lines if line["event"] == "trim.held"]
    assert [(line["group"], line["entries"], line["oldest"]) for line in told] == (
        [("forgotten", 5 * NODE, "1-0")] if is_told else []
    )


async def test_who_is_still_at_work_on_something_new_is_not_named(redis, keys, stream, lines):
    """With no retention at all an entry that is being worked on is nobody's fault."""
    await fill(redis, stream, 5, at=NOW - 1_000)
    await redis.xgroup_create(stream.key, "ours", id="0")
    await read(redis, stream, "ours", 5)
    await make_trimmer(redis, keys).trim(stream.key)
    assert not [line for line in lines if line["event"] == "trim.held"]


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
@given(groups=group_states, retention=st.integers(0, 400), most=st.sampled_from([0, 1, 100, 250, 1000]))
async def test_nothing_that_anybody_needs_is_ever_dropped(redis_url, keys, stream, clients, groups, retention, most):
    """Wherever the groups are: all that is pending or unread is still there after trimming, and within the length
    all that is young."""
    redis = clients(redis_url)
    await redis.delete(stream.key)
    await fill(redis, stream, 300)
    needed = {number for number in range(1, 301) if number >= 301 - min(retention, most or 300)}
    for number, (position, unfinished, is_all_pending) in enumerate(groups):
        name = f"group-{number}"
        await redis.xgroup_create(stream.key, name, id="0")
        await read(redis, stream, name, position)
        pending = set(range(1, position + 1)) if is_all_pending else {one for one in unfinished if one <= position}
        if done := [f"{one}-0" for one in range(1, position + 1) if one not in pending]:
            await redis.xack(stream.key, name, *done)
        needed |= pending | set(range(position + 1, 301))
    trimmer = Trimmer(redis, keys, retention=0, most=most, clock=lambda: 301 - retention)
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
