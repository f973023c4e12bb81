"""Trimming: only entries that every group has finished and that are older than the retention."""

from __future__ import annotations

import asyncio

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from router.core.events import share
from router.core.keys import Keys
from router.streams.client.connection import load_script
from router.streams.delivery import Delivery
from router.streams.store import trim
from router.streams.store.append import Appender
from router.streams.store.inspect import consumed_streams
from router.streams.store.parking import Parking, Waiting
from router.streams.store.trim import Trimmer
from router.tasks import end
from tests.streams.store.test_shared_bodies import make_fields
from tests.support.waiting import until

pytestmark = pytest.mark.real

NOW = 10_000_000  # milliseconds
#: Approximate trimming removes whole nodes of the stream only, so tests that need a removal use many entries.
NODE = 100


async def fill(redis, stream, count, *, at=1, step=1):
    """Add `count` entries whose ids are `at` milliseconds and then `step` apart."""
    pipeline = redis.pipeline(transaction=False)
    for number in range(count):
        pipeline.xadd(stream.key, {"n": number}, id=f"{at + number * step}-0")
    await pipeline.execute()


async def ids(redis, stream):
    return [int(entry_id.decode().partition("-")[0]) for entry_id, _ in await redis.xrange(stream.key)]


def make_trimmer(redis, keys, retention=0, most=0, most_bytes=0):
    return Trimmer(redis, keys, retention=retention, most=most, most_bytes=most_bytes, clock=lambda: NOW)


async def read(redis, stream, group, count):
    if count:
        await redis.xreadgroup(group, "me", {stream.key: ">"}, count=count)


async def test_entries_that_every_group_has_finished_are_removed(redis, keys, stream):
    """Whole nodes of acknowledged entries are removed, and nothing newer."""
    await fill(redis, stream, 10 * NODE)
    for group in ("one", "two"):
        await redis.xgroup_create(stream.key, group, id="0")
        await read(redis, stream, group, 5 * NODE)
        await redis.xack(stream.key, group, *[f"{number}-0" for number in range(1, 5 * NODE + 1)])
    dropped = await make_trimmer(redis, keys).trim(stream.key)
    assert dropped > 3 * NODE
    assert (await ids(redis, stream))[0] <= 5 * NODE + 1
    assert await redis.xlen(stream.key) == 10 * NODE - dropped


async def test_a_pending_entry_holds_itself_and_everything_newer(redis, keys, stream):
    """One unacknowledged entry of one group stops the trimming there."""
    await fill(redis, stream, 10 * NODE)
    await redis.xgroup_create(stream.key, "one", id="0")
    await read(redis, stream, "one", 10 * NODE)
    await redis.xack(stream.key, "one", *[f"{number}-0" for number in range(1, 10 * NODE + 1) if number != 250])
    await make_trimmer(redis, keys).trim(stream.key)
    left = await ids(redis, stream)
    assert left[0] <= 250
    assert left[-1] == 10 * NODE


async def test_a_group_that_has_read_nothing_holds_everything(redis, keys, stream):
    """Unread entries stay, even if another group has finished them."""
    await fill(redis, stream, 5 * NODE)
    await redis.xgroup_create(stream.key, "fast", id="$")
    await redis.xgroup_create(stream.key, "late", id="0")
    assert await make_trimmer(redis, keys).trim(stream.key) == 0
    assert await redis.xlen(stream.key) == 5 * NODE


async def test_finished_entries_are_kept_for_the_retention(redis, keys, stream):
    """Younger entries stay although no group needs them."""
    await fill(redis, stream, 10 * NODE, at=NOW - 1_000 * 1_000, step=1_000)  # one a second, up to now
    await redis.xgroup_create(stream.key, "one", id="$")
    dropped = await make_trimmer(redis, keys, retention=600).trim(stream.key)
    assert dropped > 2 * NODE
    assert (await ids(redis, stream))[0] <= NOW - 600_000
    assert await make_trimmer(redis, keys, retention=NOW).trim(stream.key) == 0


async def test_a_round_takes_as_many_steps_as_it_needs(redis, keys, stream, monkeypatch):
    """Redis removes only so many entries at once; with one step a round, busy streams would grow."""
    monkeypatch.setattr(trim, "STEP", NODE)
    await fill(redis, stream, 10 * NODE)
    await redis.xgroup_create(stream.key, "one", id="$")
    assert await make_trimmer(redis, keys).trim(stream.key) >= 9 * NODE


async def test_redis_itself_stops_trimming_after_one_step(redis, keys, stream):
    """Without LIMIT the server stops after 10,000 entries without saying so, which is why rounds have steps."""
    await fill(redis, stream, 11_000)
    await redis.xgroup_create(stream.key, "one", id="$")
    assert await redis.xtrim(stream.key, minid="11001-0", approximate=True) <= trim.STEP
    assert await redis.xlen(stream.key) > NODE


async def test_above_its_maximum_length_finished_entries_are_removed_early(redis, keys, stream):
    """However long the retention is, a stream of finished entries keeps the maximum, its newest ones."""
    await fill(redis, stream, 10 * NODE)
    await redis.xgroup_create(stream.key, "one", id="$")
    await make_trimmer(redis, keys, retention=NOW, most=4 * NODE).trim(stream.key)
    left = await ids(redis, stream)
    assert 4 * NODE <= len(left) < 6 * NODE
    assert left[-1] == 10 * NODE


async def test_no_maximum_length_removes_entries_that_a_group_needs(redis, keys, stream):
    """Unread and pending entries stay, even ten times the maximum."""
    await fill(redis, stream, 10 * NODE)
    await redis.xgroup_create(stream.key, "one", id="0")
    await read(redis, stream, "one", 2 * NODE)
    await redis.xack(stream.key, "one", *[f"{number}-0" for number in range(1, 2 * NODE + 1) if number != NODE])
    await make_trimmer(redis, keys, most=NODE).trim(stream.key)
    assert (await ids(redis, stream))[0] <= NODE
    assert await redis.xlen(stream.key) >= 9 * NODE


async def fill_with(redis, stream, count, size, *, at):
    """Add `count` entries of `size` bytes."""
    pipeline = redis.pipeline(transaction=False)
    for number in range(count):
        pipeline.xadd(stream.key, {"body": bytes(size)}, id=f"{at + number}-0")
    await pipeline.execute()


@pytest.mark.parametrize("sizes", [(20_000, 100), (100, 20_000), (5_000, 5_000)], ids=["falling", "rising", "equal"])
async def test_above_its_maximum_size_finished_entries_are_removed_early(redis, keys, stream, sizes):
    """Whatever the order of large and small entries, the newest ones that fit stay, and not many fewer."""
    for number, size in enumerate(sizes):
        await fill_with(redis, stream, 5 * NODE, size, at=1 + number * 5 * NODE)
    await redis.xgroup_create(stream.key, "one", id="$")
    before = await redis.memory_usage(stream.key, samples=0)
    await make_trimmer(redis, keys, retention=NOW, most_bytes=before // 4).trim(stream.key)
    after = await redis.memory_usage(stream.key, samples=0)
    assert before // 40 < after <= before // 4
    assert (await ids(redis, stream))[-1] == 10 * NODE
    assert await make_trimmer(redis, keys, retention=NOW, most_bytes=before).trim(stream.key) == 0


async def test_no_maximum_size_removes_entries_that_a_group_needs(redis, keys, stream, lines):
    """Unread and pending entries stay, even ten times the maximum; that is logged once."""
    await fill_with(redis, stream, 10 * NODE, 5_000, at=1)
    await redis.xgroup_create(stream.key, "one", id="0")
    await read(redis, stream, "one", 2 * NODE)
    await redis.xack(stream.key, "one", *[f"{number}-0" for number in range(1, 2 * NODE + 1) if number != NODE])
    trimmer = make_trimmer(redis, keys, retention=NOW, most_bytes=500_000)
    for _ in range(2):
        await trimmer.trim(stream.key)
    left = await ids(redis, stream)
    assert left == list(range(NODE, 10 * NODE + 1))
    assert [(line["group"], line["entries"]) for line in lines("trim.held")] == [("one", len(left))]


async def test_shared_bodies_count_to_the_size_of_the_inbound_stream(redis, keys, stream):
    """A few small entries that refer to large bodies are trimmed, and the bodies with them."""
    appender = Appender(redis, keys)
    for number in range(300):
        await appender.append(make_fields(number, share(b"%4d" % number * 5_000)))
    await redis.xgroup_create(stream.key, "one", id="$")
    assert await redis.memory_usage(keys.shared(0), samples=0) > 6_000_000
    trimmer = Trimmer(redis, keys, retention=3600, most_bytes=2_000_000)
    await trimmer.trim(stream.key)
    of_a_node = 25 * 20_000  # whole nodes are removed
    assert 1_000_000 < await redis.memory_usage(keys.shared(0), samples=0) < 2_000_000 + of_a_node
    names = {fields[b"shared"] for _, fields in await redis.xrange(stream.key)}
    assert names <= set(await redis.hkeys(keys.shared(0)))


async def test_a_group_that_is_created_later_or_set_back_holds_the_rest(redis, keys, stream):
    """It can read from the beginning everything that the stream still held at that time."""
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


async def test_ids_are_compared_with_all_their_digits(redis, keys, stream):
    """The second half of an id may have more digits than a Lua number can hold."""
    await redis.xadd(stream.key, {"n": 1}, id="5-18446744073709551613")
    await redis.xadd(stream.key, {"n": 2}, id="5-18446744073709551614")
    await redis.xgroup_create(stream.key, "one", id="5-18446744073709551614")
    await redis.xgroup_create(stream.key, "two", id="5-18446744073709551612")
    await redis.xadd(stream.key, {"n": 3}, id="10-0")
    await make_trimmer(redis, keys, most=1).trim(stream.key)
    assert await redis.xlen(stream.key) == 3


@pytest.mark.parametrize(
    ("limits", "is_logged"),
    [
        pytest.param({"retention": 0}, True, id="late"),
        pytest.param({"retention": NOW, "most": 2 * NODE}, True, id="too-long"),
        pytest.param({"retention": NOW, "most": 20 * NODE}, False, id="neither"),
    ],
)
async def test_a_group_that_never_reads_is_logged_once(redis, keys, stream, lines, limits, is_logged):
    """If what it holds is older than the retention or exceeds the maximum: one line, until another group does."""
    await fill(redis, stream, 5 * NODE)
    await redis.xgroup_create(stream.key, "forgotten", id="0")
    await redis.xgroup_create(stream.key, "ours", id="$")
    trimmer = make_trimmer(redis, keys, **limits)
    for _ in range(3):
        await trimmer.trim(stream.key)
    found = [(line["group"], line["entries"], line["oldest"]) for line in lines("trim.held")]
    assert found == ([("forgotten", 5 * NODE, "1-0")] if is_logged else [])


async def test_a_group_that_works_on_recent_entries_is_not_logged(redis, keys, stream, lines):
    """Even without any retention."""
    await fill(redis, stream, 5, at=NOW - 1_000)
    await redis.xgroup_create(stream.key, "ours", id="0")
    await read(redis, stream, "ours", 5)
    await make_trimmer(redis, keys).trim(stream.key)
    assert not lines("trim.held")


async def test_a_stream_without_groups_is_left_alone(redis, keys, stream):
    """A group may still be created to read it from the beginning."""
    await fill(redis, stream, 5 * NODE)
    assert await make_trimmer(redis, keys).trim(stream.key) == 0
    assert await redis.xlen(stream.key) == 5 * NODE


async def test_a_stream_that_does_not_exist_is_not_created(redis, keys, stream):
    """There is nothing to trim."""
    assert await make_trimmer(redis, keys).trim(stream.key) == 0
    assert not await redis.exists(stream.key)


group_states = st.lists(
    st.tuples(st.integers(0, 300), st.sets(st.integers(1, 300), max_size=5), st.booleans()), min_size=1, max_size=3
)


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(groups=group_states, retention=st.integers(0, 400), most=st.sampled_from([0, 1, 100, 250, 1000]))
async def test_no_entry_that_a_group_needs_is_ever_removed(redis_url, keys, stream, clients, groups, retention, most):
    """Wherever the groups are, pending and unread entries stay, and within the maximum length recent ones too."""
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


async def test_rounds_go_on_after_a_failure_and_cover_every_stream(redis, monkeypatch, lines):
    """A stream that cannot be trimmed is logged; the streams of all partitions are trimmed in every round."""
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
    await end(running)
    assert set(seen) == {stream for number in (0, 1) for stream in consumed_streams(keys, number)}
    assert {line["stream"] for line in lines("trim.failed")} == {keys.inbound(0)}


class Parked:
    """A stream of which one group has read everything, parked every `step`-th entry and finished the rest."""

    def __init__(self, redis, keys, stream):
        self.redis, self.keys, self.stream = redis, keys, stream
        self.parking = Parking(redis, keys, group="one", consumer="me")

    async def park(self, count, step):
        await fill(self.redis, self.stream, count)
        await self.redis.xgroup_create(self.stream.key, "one", id="0")
        await read(self.redis, self.stream, "one", count)
        parked = {number for number in range(1, count + 1) if number % step == 0}
        done = [f"{number}-0" for number in range(1, count + 1) if number not in parked]
        await self.redis.xack(self.stream.key, "one", *done)
        items = [(f"S{number % 5}", Delivery(self.stream, f"{number}-0", {})) for number in sorted(parked)]
        await self.parking.park(self.stream, items, Waiting("lane", "away"))
        return sorted(parked)


@pytest.fixture
def parked(redis, keys, stream):
    return Parked(redis, keys, stream)


async def test_parked_entries_hold_only_themselves(parked, redis, keys, stream, lines):
    """Finished entries between them are removed, whatever their number; parked ones stay and come back."""
    kept = await parked.park(10 * NODE, 97)
    removed = await make_trimmer(redis, keys).trim(stream.key)
    assert await ids(redis, stream) == kept
    assert removed == 10 * NODE - len(kept)
    assert not lines("trim.held")
    back = await parked.parking.bring_back(stream, "lane", subjects=100, most=100, of_subject=100)
    assert sorted(int(one.delivery.entry_id.split("-")[0]) for one in back) == kept
    assert (await redis.xinfo_groups(stream.key))[0]["lag"] == 0


async def test_entries_after_a_parked_one_are_kept_for_the_retention(parked, redis, keys, stream):
    """Only above the maximum length do younger finished entries go."""
    await parked.park(10 * NODE, 500)
    trimmer = Trimmer(redis, keys, retention=0, clock=lambda: 700)
    await trimmer.trim(stream.key)
    assert await ids(redis, stream) == [500, *range(701, 1001)]
    await make_trimmer(redis, keys, retention=NOW, most=100).trim(stream.key)
    assert await ids(redis, stream) == [500, 1000]


async def test_a_round_between_parked_entries_is_bounded_and_the_next_one_goes_on(
    parked, redis, keys, stream, monkeypatch
):
    """However many entries wait, a round looks at so many only; the place is kept, and expires by itself."""
    monkeypatch.setattr(trim, "ROUND", 3 * NODE)
    monkeypatch.setattr(trim, "STEP_BETWEEN", NODE)
    kept = await parked.park(10 * NODE, 50)
    trimmer, left = make_trimmer(redis, keys), []
    for _ in range(5):
        await trimmer.trim(stream.key)
        left.append(await redis.xlen(stream.key))
    assert left[0] > left[1] > left[2] >= left[3] == left[4] == len(kept)
    assert await redis.ttl(keys.trim_cursor(stream.key)) != -1


async def test_entries_that_another_group_needs_stay_between_parked_ones(parked, redis, keys, stream):
    """Unread and pending entries of any group are needed."""
    kept = await parked.park(4 * NODE, 100)
    await redis.xgroup_create(stream.key, "other", id="0")
    await read(redis, stream, "other", 2 * NODE)
    await redis.xack(stream.key, "other", *[f"{number}-0" for number in range(1, 2 * NODE + 1) if number != 150])
    await make_trimmer(redis, keys).trim(stream.key)
    left = await ids(redis, stream)
    assert {150, *kept, *range(2 * NODE + 1, 4 * NODE + 1)} <= set(left)
    assert not {149, 151} & set(left)


async def test_nothing_is_trimmed_in_a_step_that_finds_a_group_it_does_not_know(parked, redis, keys, stream):
    """A group that was created since the names were read may have parked entries: the next round knows it."""
    await parked.park(5 * NODE, 100)
    await redis.xgroup_create(stream.key, "new", id="$")
    names = [stream.key, keys.parked(stream.key, "one", "order")]
    reply = await load_script("trim").run(redis, names, [f"{NOW}-0", 0, 10_000, "one"])
    assert reply[0] == 0
    reply = await load_script("trim_between").run(
        redis, [stream.key, keys.trim_cursor(stream.key), *names[1:]], [f"{NOW}-0", 100, 60, "one"]
    )
    assert reply == [0, b"1"]
