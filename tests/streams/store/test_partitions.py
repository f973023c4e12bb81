"""The number of partitions is kept in Redis: stored once, compared at each start, and a fence of every write."""

from __future__ import annotations

import asyncio

import pytest
from redis.exceptions import ResponseError

from router.core.errors import NotDurableError, SettingsError
from router.core.keys import Keys
from router.streams.consuming.groups import ensure_group
from router.streams.store import dead_letters, partitions
from router.streams.store.append import Appender, is_outage
from router.streams.store.dead_letters import DeadLetter
from router.streams.store.ledgers import Store
from router.streams.store.partitions import (
    Layout,
    Phase,
    check_partitions,
    ensure_partitions,
    keep_layout,
    parse_layout,
    read_layout,
    until_moved,
    until_open,
)
from router.tasks import end
from tests.streams.store.test_append import make_fields
from tests.support.accounts import ACCOUNT
from tests.support.waiting import deadline

ONE, FOUR = Keys(), Keys(partitions=4)
FENCED = "FENCED the partitions are being moved"


async def test_the_first_process_stores_its_number(redis):
    """Later ones find that number, whatever theirs is."""
    assert await read_layout(redis, FOUR) == Layout(4, 4)
    assert await read_layout(redis, ONE) == Layout(4, 4)
    assert await redis.get(ONE.layout()) == b"4"


@pytest.mark.parametrize(("there", "setting"), [(4, ONE), (1, FOUR)])
async def test_another_number_is_refused_with_what_to_do(redis, there, setting):
    """The reason is one line that names the variable and the command."""
    await redis.set(ONE.layout(), there)
    with pytest.raises(SettingsError) as refused:
        await ensure_partitions(redis, setting)
    (problem,) = refused.value.problems
    assert f"ROUTER_PARTITIONS is {setting.partitions}, but the data in Redis has {there}:" in problem
    assert f"`python -m router repartition {setting.partitions}`" in problem


@pytest.mark.parametrize(
    ("present", "setting", "expected"),
    [
        pytest.param((), FOUR, 4, id="no data"),
        pytest.param((0, 1, 2, 3), ONE, 4, id="more than the setting"),
        pytest.param((3,), ONE, 4, id="only the last one"),
        pytest.param((0,), FOUR, 1, id="fewer than the setting"),
        pytest.param((0, 1, 2, 3), FOUR, 4, id="as many"),
    ],
)
async def test_data_of_earlier_versions_shows_its_number(redis, present, setting, expected):
    """A worker had created the streams of all its partitions."""
    for partition in present:
        await ensure_group(redis, FOUR.inbound(partition), "resolver")
        await redis.xadd(FOUR.inbound(partition), {"n": "1"})
    assert await read_layout(redis, setting) == Layout(expected, expected)


async def test_streams_without_events_show_no_smaller_number(redis):
    """A Redis that lost its data gets its groups again one by one: that is no deployment of one partition."""
    await ensure_group(redis, FOUR.inbound(0), "resolver")
    assert await read_layout(redis, FOUR) == Layout(4, 4)


async def test_a_running_process_stores_its_number_again_if_redis_lost_it(redis):
    """After FLUSHALL the number is that of the processes, not the one that the few data show."""
    await ensure_group(redis, FOUR.inbound(0), "resolver")
    await redis.xadd(FOUR.inbound(0), {"n": "1"})
    assert await keep_layout(redis, FOUR) == Layout(4, 4)
    assert await redis.get(ONE.layout()) == b"4"


@pytest.mark.parametrize("phase", Phase)
def test_a_layout_is_read_as_it_was_written(phase):
    """In every phase."""
    layout = Layout(4, 4) if phase is Phase.OPEN else Layout(1, 4, phase, "host-1")
    assert parse_layout(layout.text.encode()) == layout
    assert layout.is_open == (phase in {Phase.OPEN, Phase.CLEANING})


@pytest.mark.parametrize("text", [b"", b"x", b"1>4 dancing x", b"\xff"])
def test_an_unreadable_layout_is_an_error(text):
    """It is shown."""
    with pytest.raises(SettingsError, match="unreadable"):
        parse_layout(text)


def test_while_the_data_is_moved_both_numbers_are_right():
    """A process that starts then waits; afterwards only the new number is right."""
    for keys in (ONE, FOUR):
        check_partitions(Layout(1, 4, Phase.COPYING, "x"), keys)
    for layout, keys in (
        (Layout(1, 4, Phase.CLEANING, "x"), ONE),
        (Layout(1, 4, Phase.COPYING, "x"), Keys(partitions=2)),
    ):
        with pytest.raises(SettingsError):
            check_partitions(layout, keys)


async def test_commands_are_refused_while_the_data_is_moved(redis):
    """The reason says how to finish an interrupted move."""
    await redis.set(ONE.layout(), Layout(1, 4, Phase.COPYING, "x").text)
    with pytest.raises(SettingsError, match="`python -m router repartition 4` again"):
        await ensure_partitions(redis, ONE)


async def test_a_move_ends_the_work_and_its_end_gives_the_new_number(redis, monkeypatch):
    """A process stops when a move begins, and goes on once it is over."""
    monkeypatch.setattr(partitions, "WATCH_EVERY", 0.01)
    await read_layout(redis, ONE)
    moved, opened = asyncio.create_task(until_moved(redis, ONE)), None
    try:
        await redis.set(ONE.layout(), Layout(1, 4, Phase.STOPPING, "x").text)
        async with deadline(20):
            await moved
        opened = asyncio.create_task(until_open(redis, ONE))
        await redis.set(ONE.layout(), Layout(1, 4, Phase.CLEANING, "x").text)
        async with deadline(20):
            assert await opened == 4
            await until_moved(redis, ONE)
    finally:
        await end(*[task for task in (moved, opened) if task is not None])


@pytest.mark.parametrize("fence", ["4", "closed x"])
async def test_a_fence_refuses_another_number(redis, fence):
    """Appends are an outage, which the spool takes; commits, replays and effects fail and change nothing."""
    await redis.set(ONE.fence(0), fence)
    appender = Appender(redis, ONE)
    with pytest.raises(NotDurableError, match=FENCED) as refused:
        await appender.append(make_fields())
    assert is_outage(refused.value)
    store = Store(redis, ONE, marker_ttl=3600)
    ledger = store.make_ledger(ACCOUNT, "conv_1")
    ledger.put("status", "ACTIVE")
    with pytest.raises(ResponseError, match=FENCED):
        await store.commit([ledger])
    letter = DeadLetter(0, "1-1", ONE.inbound(0), "1-1", "resolver", "x", "r", 1, "now", {b"a": b"b"})
    (error,) = await dead_letters.replay_all(redis, ONE, [letter], replayed_at="now")
    assert isinstance(error, ResponseError)
    assert FENCED in str(error)
    assert {key async for key in redis.scan_iter()} == {ONE.fence(0).encode()}
    await redis.set(ONE.fence(0), "1")
    assert await appender.append(make_fields())
    assert await store.commit([ledger]) == [True]


async def test_an_appender_that_waits_for_its_number_appends_nothing(redis):
    """It is told a number later, and then uses that."""
    appender = Appender(redis, ONE)
    appender.hold()
    with pytest.raises(NotDurableError, match="not known") as refused:
        await appender.append(make_fields())
    assert is_outage(refused.value)
    appender.use(FOUR)
    assert await appender.append(make_fields())
    partition = FOUR.partition_of(make_fields().subject)
    assert await redis.xlen(FOUR.inbound(partition)) == 1
