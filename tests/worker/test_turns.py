"""Turns against a real server: durable over deaths, once whoever publishes them, beside offers and closings."""

import asyncio

import pytest

from router.core.events import Content, Version
from router.core.keys import Keys, Target
from router.core.ledger.communications import from_message, take_communication
from router.core.ledger.marker import BURST_FIELD, TURN_FIELD
from router.core.ledger.turns import MAX_TURN_BYTES
from router.core.policy import Asking, Burst, Decision
from router.core.routing.team import Team
from router.core.values import replace
from router.streams.store.desk import Desk
from router.streams.store.timers import TIMER_LEASE, Timers
from router.streams.store.turns import TurnStore
from router.worker.floor import FloorPath
from tests.core.builders import (
    CONVERSATION,
    CUSTOMER,
    make_conversation,
    make_fact,
    make_message,
    make_participant,
)
from tests.support.accounts import ACCOUNT
from tests.support.policies import PLAIN
from tests.worker.floor_place import Place

pytestmark = pytest.mark.promise(8)
QUIET, MOST = 1500, 8000
#: A policy with one burst, of the default.
BURSTS = f"{PLAIN}\n[default.burst]\nquiet = 1.5\nmost = 8\n"


class TurnPlace(Place):
    """A worker whose policy has bursts."""

    def __init__(self, redis):
        super().__init__(redis, Keys(), kind=TurnStore)

    async def announce(self, target=Target.AI_AGENT, *, quiet=QUIET / 1000):
        """Announce a customer in a conversation with a burst."""
        ledger = self.store.make_ledger(ACCOUNT, CONVERSATION)
        decision = Decision(target, "a rule", Asking(burst=Burst(quiet, MOST / 1000)))
        ledger.take_participant(make_fact(make_participant("p1", CUSTOMER), 1, decision=decision, cause=self.cause()))
        assert await self.store.commit([ledger]) == [True]

    async def hear(self, *texts):
        """Return a ledger to which the customer's messages are added."""
        ledger = await self.store.read_whole(ACCOUNT, CONVERSATION)
        for text in texts:
            message = replace(make_message(sid=f"SM{text[:20]}"), content=Content(text))
            assert take_communication(ledger, from_message(message), text_limit=5000)
        return ledger

    async def say(self, *texts):
        """Let the customer write, in one commit."""
        assert await self.store.commit([await self.hear(*texts)]) == [True]

    async def turns(self, target=Target.AI_AGENT):
        """Return the texts of each turn."""
        entries = await self.told(target, "turn.ready")
        return [[said.text for said in entry.data.communications] for entry in entries]

    async def due(self):
        """Return in how many ms the conversation is looked at, None if never."""
        score = await self.redis.zscore(self.keys.timers(0), f"{ACCOUNT} {CONVERSATION}")
        return None if score is None else int(score) - self.now

    async def field(self, name):
        return await self.redis.hget(self.keys.conversation(ACCOUNT, CONVERSATION), name)


@pytest.fixture
def place(redis):
    return TurnPlace(redis)


async def test_a_burst(place):
    """Is one turn, at its time; then there is no timer and nothing is kept."""
    await place.announce()
    await place.say("hi")
    assert await place.due() == QUIET
    await place.later(1)
    await place.say("are you", "there?")
    await place.later(1.4)
    assert await place.turns() == []
    assert await place.due() == 100
    await place.later(0.1)
    assert await place.turns() == [["hi", "are you", "there?"]]
    assert len(await place.told(Target.AI_AGENT, "communication.received")) == 3
    assert (await place.due(), await place.field(TURN_FIELD)) == (None, None)


@pytest.mark.real
async def test_the_memory_of_a_turn(place):
    """A ledger takes the memory that it took before, once a turn that was too long for its form is published."""
    key = place.keys.conversation(ACCOUNT, CONVERSATION)
    await place.announce()
    assert await place.redis.object("encoding", key) == b"listpack"
    await place.say("hi")
    assert await place.redis.object("encoding", key) == b"hashtable"
    await place.later(QUIET / 1000)
    assert await place.turns() == [["hi"]]
    assert await place.redis.object("encoding", key) == b"listpack"
    assert await place.redis.ttl(key) > 0


async def test_most(place):
    """The timer of a customer who does not stop is never later than the first message and `most`."""
    await place.announce(quiet=4)
    for number in range(8):
        await place.say(str(number))
        assert await place.due() <= MOST - number * 1000
        await place.later(1)
    assert await place.turns() == [list("01234567")]


async def test_another_worker_goes_on(place):
    """If the one that committed a message dies before its turn; and if one dies while it publishes the turn."""
    await place.announce()
    await place.say("hi")
    other = TurnPlace(place.redis)
    other.now += QUIET
    assert (await other.loop._timers.take(0, 10)).conversations == [(ACCOUNT, CONVERSATION)]  # and dies
    await other.later(1)
    assert await other.turns() == []
    await other.later(TIMER_LEASE / 1000 - 1)
    assert await other.turns() == [["hi"]]


async def test_two_workers_at_once(place):
    """Publish a turn once, and what is said meanwhile is in the next one."""
    await place.announce()
    for round_ in range(20):
        await place.say(f"first {round_}")
        place.now += QUIET
        ledger = await place.hear(f"second {round_}")
        floors = [place.floor.look(ACCOUNT, CONVERSATION) for _ in range(3)]
        results = await asyncio.gather(*floors, place.store.commit([ledger]))
        if results[-1] != [True]:
            await place.say(f"second {round_}")
        await place.later(QUIET / 1000)
    said = [text for texts in await place.turns() for text in texts]
    assert said == [f"{which} {round_}" for round_ in range(20) for which in ("first", "second")]
    assert (await place.due(), await place.field(TURN_FIELD)) == (None, None)


async def test_a_repeated_report(place):
    """Another source's report of a message neither prolongs the turn nor begins one."""
    await place.announce()
    await place.say("hi")
    place.now += 1000
    await place.say("hi")
    assert await place.due() == QUIET - 1000
    await place.later(0.5)
    await place.say("hi")
    assert (await place.turns(), await place.due(), await place.field(TURN_FIELD)) == ([["hi"]], None, None)


async def test_new_and_repeated_in_one_commit(place):
    """Only what is new belongs to the turn."""
    await place.announce()
    await place.say("a")
    await place.say("a", "b", "a")
    await place.later(QUIET / 1000)
    assert await place.turns() == [["a", "b"]]


async def test_a_full_turn(place):
    """Is looked at without delay."""
    await place.announce()
    texts = [f"{number:020}{'x' * 4900}" for number in range(MAX_TURN_BYTES // 4900)]
    await place.say(*texts)
    assert await place.due() <= 0
    await place.loop.round()
    (full,) = await place.turns()
    assert full == texts[: len(full)]
    await place.later(QUIET / 1000)
    assert await place.turns() == [full, texts[len(full) :]]


async def test_the_closing(place):
    """Comes after the turn that it ends."""
    await place.announce()
    await place.say("bye")
    ledger = await place.store.read_whole(ACCOUNT, CONVERSATION)
    ledger.take_conversation(make_conversation(status="CLOSED"), Version(5, 5), place.cause())
    assert await place.store.commit([ledger]) == [True]
    assert (await place.types(Target.AI_AGENT))[-2:] == ["turn.ready", "conversation.closed"]
    await place.later(MOST / 1000)
    assert await place.turns() == [["bye"]]
    assert await place.due() is None


async def test_offers_and_turns(place):
    """Neither puts the other's time off; the turn goes to whoever holds the conversation then."""
    await place.announce(quiet=4)
    await place.send("agent.available", agent="dana", life=600)
    await place.say("a person, please")
    assert await place.due() == 4000
    await place.send("handoff.request", conversation=CONVERSATION, reason="asked")
    assert await place.due() == 4000
    offer = (await place.last("offer.made")).offer.id
    await place.send("offer.accept", offer=offer, agent="dana")
    await place.later(4)
    assert (await place.turns(), await place.turns(Target.HUMAN_AGENT)) == ([], [["a person, please"]])
    assert (await place.last("turn.ready")).epoch == 1


async def test_an_offer_expires_beside_a_turn(place):
    """At its own time."""
    await place.announce(quiet=4)
    await place.send("agent.available", agent="dana", life=600)
    await place.send("handoff.request", conversation=CONVERSATION, reason="asked")
    await place.later(18)
    assert await place.due() == 2000
    await place.say("hello?")
    assert await place.due() == 2000
    await place.later(2)
    assert (await place.last("offer.ended")).how == "expired"
    assert await place.due() <= 2000
    await place.later(2)
    assert await place.turns() == [["hello?"]]


async def test_a_conversation_for_people(place):
    """Has turns too, beside its request; with the first message in one commit, both have their timer."""
    place.team = Team({})
    ledger = place.store.make_ledger(ACCOUNT, CONVERSATION)
    decision = Decision(Target.HUMAN_AGENT, "a rule", Asking(burst=Burst(1.5, 8)))
    ledger.take_participant(make_fact(make_participant("p1", CUSTOMER), 1, decision=decision, cause=place.cause()))
    assert take_communication(ledger, from_message(make_message()), text_limit=100)
    assert await place.store.commit([ledger]) == [True]
    await place.loop.round()
    assert await place.due() == QUIET
    await place.later(QUIET / 1000)
    assert len(await place.turns(Target.HUMAN_AGENT)) == 1


async def test_the_loop_is_there_in_time(place):
    """It hears when a turn of its own process is ready, and finds those of others."""
    heard = []
    place.store.on_wake = heard.append
    await place.announce()
    assert await place.loop.round() is None
    await place.say("hi")
    assert heard == [place.now + QUIET]
    assert await TurnPlace(place.redis).loop.round() == place.now + QUIET


# --- the worker -----------------------------------------------------------------------------------


def floor_of(harness):
    """Return what a worker's loop does, for the conversations of a harness."""

    def now():
        return harness.clock() // 1000

    timers = Timers(harness.redis, harness.keys, clock=now)
    desk = Desk(harness.redis, harness.keys, clock=now)
    store = harness.resolver.store
    return FloorPath(store=store, desk=desk, timers=timers, team=Team, clock=harness.clock)


async def turns_of(harness):
    entries = [entry for entry in await harness.published() if entry.type == "turn.ready"]
    return [[said.text for said in entry.data.communications] for entry in entries]


async def test_the_worker(make_harness):
    """The first message, which opens the conversation, and those that the batch path publishes are one turn."""
    harness = await make_harness(policy=BURSTS)
    await harness.settle(harness.sms(body="hi"))
    await harness.settle(harness.sms(body="are you"), harness.sms(body="there?"))
    conversation = (await harness.published())[-1].data.conversation.id
    harness.clock.advance(QUIET / 1000)
    await floor_of(harness).look(ACCOUNT, conversation)
    assert await turns_of(harness) == [["hi", "are you", "there?"]]


async def test_a_message_and_the_closing_in_one_batch(make_harness):
    """The turn is there before the closing, with the message."""
    harness = await make_harness(policy=BURSTS)
    await harness.settle(harness.sms(body="hi"))
    (conversation,) = await harness.conversations()
    await harness.api("PUT", f"/v2/Conversations/{conversation['id']}", {"status": "CLOSED"})
    (closed,) = await harness.conversations()
    await harness.settle(harness.sms(body="bye"), harness.callback("CONVERSATION_UPDATED", closed))
    types = [entry.type for entry in await harness.published()]
    assert types[-2:] == ["turn.ready", "conversation.closed"]
    assert await turns_of(harness) == [["hi", "bye"]]


async def test_without_a_burst(harness):
    """Nothing is kept, and no timer set."""
    await harness.settle(harness.sms(body="hi"))
    await harness.settle(harness.sms(body="there"))
    (published, *_) = await harness.published()
    fields = await harness.redis.hgetall(harness.keys.conversation(ACCOUNT, published.data.conversation.id))
    assert not {BURST_FIELD.encode(), TURN_FIELD.encode()} & fields.keys()
    assert not await harness.redis.exists(harness.keys.timers(0))
