"""When the loop of floors runs: woken by what this process commits, at the next deadline, and not without a reason."""

import asyncio
import contextlib

import pytest

from router.core.keys import Keys, Target
from router.core.routing.team import Team, TeamMember
from router.tasks import end
from router.worker.floor_loop import FloorLoop
from tests.support.waiting import until
from tests.worker.floor_place import START, Place, hold

#: Seconds: no test waits for that.
NEVER = 10_000.0


@pytest.fixture
def place(redis):
    """A worker on an empty server."""
    return Place(redis, Keys())


@contextlib.asynccontextmanager
async def running(place):
    """Run the loop of a worker, which begins with one round and then has no reason for another."""
    loop = FloorLoop(floor=place.floor, desk=place.desk, timers=place.timers, partitions=1, interval=NEVER)
    place.store.on_wake = place.timers.on_set = loop.wake_at
    task = asyncio.create_task(loop.run())
    try:
        yield loop
    finally:
        await end(task)


async def test_a_commit_of_this_process_wakes_it(place):
    """The request of a conversation that begins with people waits for nothing."""
    await place.send("agent.available", agent="dana")
    async with running(place):
        await until(lambda: place.redis.exists(place.keys.desk("agents")))
        await place.announce(Target.HUMAN_AGENT)

        async def is_offered():
            return "offer.made" in await place.types()

        await until(is_offered)


async def test_it_runs_at_the_next_deadline(place, redis):
    """The end of a presence; the clock of the desk stands still otherwise."""
    await hold(place)
    loop = FloorLoop(floor=place.floor, desk=place.desk, timers=place.timers, partitions=1, interval=NEVER)
    assert await loop.round() == START + 60_000


async def test_an_idle_round_is_one_script_and_one_for_each_partition(redis):
    """However many conversations wait and people are present."""
    place = Place(redis, Keys(partitions=3))
    await place.send("agent.available", agent="dana", life=600)
    before = (await redis.info("commandstats"))["cmdstat_evalsha"]["calls"]
    await place.loop.round()
    assert (await redis.info("commandstats"))["cmdstat_evalsha"]["calls"] - before <= 4


async def test_a_person_with_many_conversations_leaves(place):
    """Each goes to the queue once, and none is left with them."""
    place.team = Team({"dana": TeamMember("dana", "Dana", 200)})
    await place.send("agent.available", agent="dana")
    for number in range(60):
        name = f"c{number}"
        await place.announce(conversation_id=name)
        await place.send("handoff.request", conversation=name, reason="x")
        made = await place.last("offer.made")
        await place.send("offer.accept", offer=made.offer.id, agent="dana")
    await place.later(61)
    changed = [one.data for one in await place.told(Target.HUMAN_AGENT, "holder.changed")]
    assert sorted(one.conversation.id for one in changed if one.because == "presence-lapsed") == sorted(
        f"c{number}" for number in range(60)
    )
    await place.later(4)
    assert (await place.desk.look())[0] == ()
