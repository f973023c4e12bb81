"""A customer who leaves while they wait: nobody is asked for them any more, and whoever comes back is put in line."""

import pytest

from router.core.addresses import Address
from router.core.keys import Keys, Target
from router.core.policy import Decision
from router.core.routing.queues import Fallback, Queue
from router.core.routing.team import Team
from tests.core.builders import CONVERSATION, make_fact, make_participant
from tests.support.accounts import ACCOUNT
from tests.worker.floor_place import PEOPLE, PHONE, Place, ask, hold

pytestmark = pytest.mark.promise(6)
NAME = f"{ACCOUNT} {CONVERSATION}"
OTHER = Address("SMS", "+15551230002")
PATIENT = Team(PEOPLE, {"default": Queue(), "calls": Queue("calls", fallback=Fallback.WAIT)})


@pytest.fixture
def place(redis):
    """A worker on an empty server."""
    return Place(redis, Keys())


async def leave(place, name="p1", address=PHONE, version=9):
    ledger = await place.store.read_whole(ACCOUNT, CONVERSATION)
    ledger.take_removal(make_fact(make_participant(name, address), version, cause=place.cause()))
    assert await place.store.commit([ledger]) == [True]
    await place.later(0.001)


async def join(place, name, address=PHONE, target=Target.AI_AGENT, version=10):
    ledger = await place.store.read_whole(ACCOUNT, CONVERSATION)
    decision = Decision(target, "a rule")
    ledger.take_participant(make_fact(make_participant(name, address), version, decision=decision, cause=place.cause()))
    assert await place.store.commit([ledger]) == [True]
    await place.later(0.001)


async def test_the_request_of_a_customer_who_leaves_ends(place):
    """Its place in line goes, both targets are told, and nobody who comes later is asked."""
    await place.announce()
    await ask(place)
    assert NAME in (await place.desk.look())[1]
    await leave(place)
    for target in Target:
        failed = await place.last("handoff.failed", target)
        assert (failed.request.reason, failed.fallback, failed.epoch) == ("wants a person", None, 0)
    assert (await place.desk.look())[1] == {}
    await place.send("agent.available", agent="dana", life=600)
    await place.later(400)
    assert "offer.made" not in await place.types()
    assert await place.redis.zcard(place.keys.timers(0)) == 0


async def test_the_offer_of_a_customer_who_leaves_ends(place):
    """The agent who was asked is free for others at once."""
    await place.announce()
    await place.send("agent.available", agent="dana", life=600)
    await ask(place)
    made = await place.last("offer.made")
    await leave(place)
    assert (await place.last("offer.ended")).how == "withdrawn"
    assert [one.load for one in (await place.desk.look())[0]] == [0]
    await place.send("offer.accept", offer=made.offer.id, agent="dana")
    assert (await place.last("command.refused")).why == "offer-ended"


async def test_one_of_two_customers_leaves(place):
    """The other one still waits."""
    await place.announce()
    await join(place, "p2", OTHER)
    await ask(place)
    await leave(place)
    assert NAME in (await place.desk.look())[1]
    await leave(place, "p2", OTHER, 11)
    assert (await place.desk.look())[1] == {}


async def test_a_customer_of_an_unusual_type_waits_like_others(place):
    """Rules may give agents of another system a target; they have not left because they are no customers."""
    ledger = place.store.make_ledger(ACCOUNT, CONVERSATION)
    one, decision = make_participant("p1", PHONE, type="AGENT"), Decision(Target.HUMAN_AGENT, "a rule")
    ledger.take_participant(make_fact(one, 1, decision=decision, cause=place.cause()))
    assert await place.store.commit([ledger]) == [True]
    await place.later(0.001)
    assert NAME in (await place.desk.look())[1]
    await leave(place)
    assert (await place.desk.look())[1] == {}


async def test_who_holds_keeps_a_customer_who_leaves(place):
    """And can finish; a transfer ends."""
    epoch = await hold(place)
    data = {"conversation": CONVERSATION, "agent": "dana", "epoch": epoch, "to": {}}
    await place.send("conversation.transfer", **data)
    await leave(place)
    assert (await place.last("handoff.failed")).fallback is None
    assert [(one.identity, one.load) for one in (await place.desk.look())[0]] == [("dana", 1)]
    await place.send("conversation.finish", "over", conversation=CONVERSATION, agent="dana", epoch=epoch)
    assert place.spoken == ["over"]


async def test_nobody_is_asked_for_a_customer_who_has_left(place):
    """A program may ask too late: its request ends at once."""
    await place.announce()
    await leave(place)
    await place.send("agent.available", agent="dana", life=600)
    await ask(place)
    assert await place.types() == ["handoff.requested", "handoff.failed"]
    assert [one.load for one in (await place.desk.look())[0]] == [0]


async def test_people_are_asked_again_for_whoever_comes_back(place):
    """In the queue, and with the needs, of the first request; as often as they come back."""
    place.team = PATIENT
    ledger = place.store.make_ledger(ACCOUNT, CONVERSATION)
    decision = Decision(Target.HUMAN_AGENT, "a rule")
    ledger.take_participant(make_fact(make_participant("p1", PHONE), 1, decision=decision, cause=place.cause()))
    await place.store.commit([ledger])
    await place.later(0.001)
    ledger = await place.store.read_whole(ACCOUNT, CONVERSATION)
    ledger.put("holding", ledger.fields["holding"].replace('"default"', '"calls"'))
    await place.store.commit([ledger])
    for number in range(2, 5):
        await leave(place, f"p{number - 1}", version=number * 10)
        assert (await place.desk.look())[1] == {}
        await join(place, f"p{number}", target=Target.HUMAN_AGENT, version=number * 10 + 1)
        assert (await place.desk.look())[1] == {NAME: "calls"}
        assert (await place.last("handoff.requested")).participant.id == f"p{number}"
    await place.send("agent.available", agent="dana", life=600)
    await place.loop.round()
    assert (await place.last("offer.made")).participant.id == "p4"
    closing = await place.store.read_whole(ACCOUNT, CONVERSATION)
    assert (closing.epoch, closing.get("target")) == (0, "human-agent")


async def test_a_caller_whose_call_goes_on_stays_in_line(place):
    """Twilio may remove them from the conversation once the AI agent has handed the call over."""
    caller = make_participant("p1", Address("VOICE", PHONE.value))
    ledger = place.store.make_ledger(ACCOUNT, CONVERSATION)
    fact = make_fact(caller, 1, decision=Decision(Target.AI_AGENT, "a rule"), cause=place.cause(), call_sid="CA1")
    ledger.take_participant(fact)
    assert await place.store.commit([ledger]) == [True]
    await ask(place)
    await leave(place, address=Address("VOICE", PHONE.value))
    assert NAME in (await place.desk.look())[1]
    ledger = await place.store.read_whole(ACCOUNT, CONVERSATION)
    ledger.take_call_end(fact, "CA1")
    assert await place.store.commit([ledger]) == [True]
    await place.later(0.001)
    assert (await place.desk.look())[1] == {}
    assert (await place.types())[-1] == "handoff.failed"


async def test_somebody_who_hangs_up_leaves_the_line(place):
    """The status callback of the call ends the caller's stay, without any callback about the participant."""
    caller = make_participant("p1", Address("VOICE", PHONE.value))
    ledger = place.store.make_ledger(ACCOUNT, CONVERSATION)
    decision = Decision(Target.HUMAN_AGENT, "a rule")
    fact = make_fact(caller, 1, decision=decision, cause=place.cause(), call_sid="CA1")
    ledger.take_participant(fact)
    await place.store.commit([ledger])
    await place.later(0.001)
    assert NAME in (await place.desk.look())[1]
    ledger = await place.store.read_whole(ACCOUNT, CONVERSATION)
    ledger.take_call_end(fact, "CA1")
    await place.store.commit([ledger])
    await place.later(0.001)
    assert (await place.desk.look())[1] == {}
    assert (await place.types())[-2:] == ["participant.left", "handoff.failed"]
