"""Customers who wait are told beside the work: once, again if it failed, and without delaying anybody."""

import asyncio
from dataclasses import dataclass, field

import pytest

from router.core.errors import UnavailableError
from router.core.keys import Keys, Target
from router.core.routing.queues import Fallback, Queue
from router.core.routing.team import Team
from router.worker.notices import NOTICE_LEASE
from tests.worker.floor_place import PEOPLE, Place

TEXT = "Tomorrow from nine."


@dataclass
class SlowPlace(Place):
    """A worker whose API answers when the test lets it, and may be away."""

    answers: asyncio.Event = field(default_factory=asyncio.Event)
    is_away: bool = False
    tries: int = 0

    async def notify(self, ledger, holding, name, text):
        self.tries += 1
        await self.answers.wait()
        if self.is_away:
            raise UnavailableError("the API is away")
        await super().notify(ledger, holding, name, text)

    async def quiet(self):
        if self.answers.is_set():
            await super().quiet()


@pytest.fixture
async def place(redis):
    """A customer of a queue that has something to say after a minute."""
    queue = Queue(patience=60, fallback=Fallback.MESSAGE, fallback_message=TEXT)
    place = SlowPlace(redis, Keys(), team=Team(PEOPLE, {"default": queue}))
    await place.announce(Target.HUMAN_AGENT)
    yield place
    await place.floor.close()


async def test_a_slow_api_delays_no_deadline(place):
    """While one customer is being told, others are offered."""
    await place.later(60)
    assert place.notices == {}
    await place.announce(conversation_id="c2")
    await place.send("agent.available", agent="dana")
    await place.send("handoff.request", conversation="c2", reason="x")
    await place.loop.round()
    assert len(await place.told(Target.HUMAN_AGENT, "offer.made")) == 2
    place.answers.set()
    await place.quiet()
    assert list(place.notices.values()) == [TEXT]


async def test_what_could_not_be_sent_is_tried_again(place):
    """After a lease, by whichever worker; and no longer once it is sent."""
    place.answers.set()
    place.is_away = True
    await place.later(60)
    place.is_away = False
    await place.later(NOTICE_LEASE / 1000)
    assert (list(place.notices.values()), place.tries) == ([TEXT], 2)
    await place.later(NOTICE_LEASE / 1000)
    assert place.tries == 2


async def test_the_next_process_tells_what_this_one_did_not(place):
    """It may end while the API is slow."""
    await place.later(60)
    await place.floor.close()
    place.answers.set()
    other = SlowPlace(place.redis, place.keys, now=place.now, team=place.team, answers=place.answers)
    await other.later(NOTICE_LEASE / 1000)
    assert list(other.notices.values()) == [TEXT]


async def test_a_process_that_ends_begins_nothing_new(place):
    """Commands that it finishes may make a customer wait; its API and Redis are about to be closed."""
    await place.floor.close()
    place.answers.set()
    await place.later(60)
    assert (place.tries, place.notices) == (0, {})
    other = SlowPlace(place.redis, place.keys, now=place.now, team=place.team, answers=place.answers)
    await other.later(NOTICE_LEASE / 1000)
    assert list(other.notices.values()) == [TEXT]
