"""Groups of acknowledgements: what finishes meanwhile goes together, and each attempt gets its group's result."""

from __future__ import annotations

import asyncio

import pytest

from router.streams.consuming.ack_groups import AckGroups
from router.streams.delivery import Delivery, StreamRef
from tests.support.waiting import deadline

FIRST, SECOND = StreamRef(0, "first"), StreamRef(1, "second")


class Redis:
    """Keeps the groups that it was asked to acknowledge, and answers when it is let."""

    def __init__(self):
        self.groups = []
        self.open = asyncio.Event()
        self.problem = None
        self.asked = asyncio.Queue()

    async def acknowledge(self, deliveries, along=()):
        self.groups.append(([one.entry_id for one in deliveries], list(along)))
        await self.asked.put(deliveries[0].stream)
        await self.open.wait()
        if self.problem is not None:
            raise self.problem


@pytest.fixture
def redis():
    return Redis()


@pytest.fixture
def begin(redis):
    """Return a function that begins to acknowledge an entry, and returns the task."""
    groups = AckGroups(redis.acknowledge)

    def make(name, *along, stream=FIRST):
        return asyncio.create_task(groups.acknowledge(Delivery(stream, name, {}), along))

    return make


async def test_entries_that_finish_meanwhile_go_together(redis, begin):
    """The first goes at once; those that finish until it is acknowledged are the next group, with their commands."""
    first = begin("1", ("DEL", "a"))
    await redis.asked.get()
    others = [begin("2", ("DEL", "b"), ("DEL", "c")), begin("3"), begin("4", ("DEL", "d"))]
    await asyncio.sleep(0)
    assert redis.groups == [(["1"], [("DEL", "a")])]
    redis.open.set()
    async with deadline(10):
        await asyncio.gather(first, *others)
    assert redis.groups[1:] == [(["2", "3", "4"], [("DEL", "b"), ("DEL", "c"), ("DEL", "d")])]
    await begin("5")
    assert redis.groups[2:] == [(["5"], [])]


async def test_streams_do_not_wait_for_each_other(redis, begin):
    """A server that hangs holds up what is on it only."""
    tasks = [begin("1"), begin("2", stream=SECOND)]
    async with deadline(10):
        assert {await redis.asked.get(), await redis.asked.get()} == {FIRST, SECOND}
    redis.open.set()
    await asyncio.gather(*tasks)


async def test_an_error_concerns_its_group_only(redis, begin):
    """Each attempt of the group gets an exception of its own; the next group is tried all the same."""
    redis.open.set()
    redis.problem = ConnectionError("gone")
    errors = await asyncio.gather(begin("1"), begin("2"), return_exceptions=True)
    assert [(type(error), str(error)) for error in errors] == [(ConnectionError, "gone")] * 2
    assert errors[0] is not errors[1]
    redis.problem = None
    await begin("3")
    assert [names for names, _ in redis.groups] == [["1", "2"], ["3"]]


async def test_an_attempt_that_is_canceled_disturbs_no_other(redis, begin):
    """Its entry may be acknowledged; the others are told what became of the group."""
    leaving, staying = begin("1"), begin("2")
    await redis.asked.get()
    leaving.cancel()
    redis.open.set()
    async with deadline(10):
        await staying
    with pytest.raises(asyncio.CancelledError):
        await leaving
