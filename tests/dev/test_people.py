"""The people of the demo, with the parts of a worker against a real server."""

from __future__ import annotations

import asyncio

import pytest

from router.core.entries import read_entry
from router.core.keys import Keys, Target
from router.core.routing.queues import Queue
from router.core.routing.team import Team, TeamMember
from router.dev.people import DemoPeople
from router.streams.delivery import Delivery, StreamRef
from router.tasks import end
from tests.support.waiting import until
from tests.worker.floor_place import Place, ask

DANA = TeamMember("dana", "Dana", 2)


class World:
    """A worker that takes what people send, and people who are told what the worker publishes."""

    def __init__(self, redis, *members, queue=Queue):
        self.team = Team({one.identity: one for one in members}, {"default": queue()})
        self.place = Place(redis, Keys(), team=self.team)
        self.shown = []
        self.people = DemoPeople(redis, Keys(), self.team, self.shown.append)
        self.sent, self.told = "0", dict.fromkeys(Target, "0")

    async def go_on(self):
        """Take the commands that have come, then tell what came of them."""
        commands = self.place.keys.commands(0)
        for name, fields in await self.place.redis.xrange(commands, f"({self.sent}"):
            self.sent = name.decode()
            at = f"{self.place.now}-{self.sent.partition('-')[2]}"
            await self.place.commander.attempt(Delivery(StreamRef(0, commands), at, fields))
        await self.place.loop.round()
        for target in Target:
            stream = self.place.keys.participants(0, target)
            for name, fields in await self.place.redis.xrange(stream, f"({self.told[target]}"):
                self.told[target] = name.decode()
                await self.people.take(read_entry(fields[b"event"]))

    async def commands(self):
        return [row[b"type"].decode() for _, row in await self.place.redis.xrange(self.place.keys.commands(0))]

    async def joined(self):
        ((_, row), *_) = [
            one for target in Target for one in await self.place.redis.xrange(self.place.keys.participants(0, target))
        ]
        return read_entry(row[b"event"]).data

    async def play(self):
        """Play the handoff of the one customer, until it is over or the customer is to write again."""
        writes = asyncio.Event()

        async def write():
            writes.set()

        playing = asyncio.create_task(self.people.show_handoff(await self.joined(), write))

        async def has_gone_on():
            await self.go_on()
            return playing.done() or writes.is_set()

        await until(has_gone_on)
        return playing


@pytest.fixture
def make_world(redis):
    return lambda *members, **more: World(redis, *members, **more)


async def test_an_offer_of_this_run_is_accepted_and_the_customer_greeted(make_world):
    """The policy gives the customer to people: who is asked accepts, and says something once."""
    world = make_world(DANA)
    await world.people.arrive()
    await world.place.announce(Target.AI_AGENT)
    await world.go_on()
    playing = await world.play()
    assert await world.commands() == [
        "agent.available",
        "handoff.request",
        "offer.accept",
        "conversation.say",
        "conversation.release",
    ]
    assert (await world.place.last("holder.changed")).because == "released"
    shown = [one.text for one in world.shown if one.who == "dana"]  # what is said is shown as what was said
    assert shown == ["sends agent.available", "sends offer.accept", "sends conversation.release"]
    await end(playing)


async def test_an_offer_of_another_run_is_declined(make_world):
    """Customers of an earlier run may still wait in Redis: they take nobody from the demo."""
    world = make_world(DANA)
    await world.place.announce(Target.AI_AGENT)
    await ask(world.place)
    for target in Target:  # who watches begins at the ends of the streams
        ((last, _), *_) = await world.place.redis.xrevrange(world.place.keys.participants(0, target), count=1)
        world.told[target] = last.decode()
    await world.people.arrive()
    await world.go_on()
    await world.go_on()
    assert await world.commands() == ["agent.available", "offer.decline"]


@pytest.mark.parametrize(
    "members", [(), (TeamMember("kim", "Kim", 1),), (TeamMember("kim", "Kim", 9, channels=("VOICE",)),)]
)
async def test_without_room_nobody_comes(make_world, members):
    """The user's roster may have nobody, one place only, or nobody for SMS: the demo says so, and does not fail."""
    world = make_world(*members)
    await world.people.arrive()
    await world.place.announce(Target.AI_AGENT)
    await world.go_on()
    assert await (await world.play()) is True
    assert await world.commands() == []
    assert [one.text.partition(":")[0] for one in world.shown] == ["no handoff"]


async def test_a_queue_that_finds_nobody_is_no_failure(make_world):
    """The user's queue may need skills that nobody has: the customer stays with the AI agent."""
    world = make_world(DANA, queue=lambda: Queue(skills=frozenset({"german"}), patience=0))
    await world.people.arrive()
    await world.place.announce(Target.AI_AGENT)
    await world.go_on()
    assert await (await world.play()) is True
    assert "handoff.failed" in await world.place.types()


async def test_whoever_leaves_finishes_first(make_world):
    """Otherwise the end of the presence would give the customers to others."""
    world = make_world(DANA)
    await world.people.arrive()
    await world.place.announce(Target.HUMAN_AGENT)
    for _ in range(4):
        await world.go_on()
    leaving = asyncio.create_task(world.people.leave())

    async def is_finished():
        return "conversation.finish" in await world.commands()

    await until(is_finished)
    assert "agent.offline" not in await world.commands()
    await end(leaving)
