"""Whom a request is about, and on which channel: what the desk looks for, and where a text goes."""

import pytest

from router.core.addresses import Address
from router.core.keys import Keys, Target
from router.core.ledger.floor import holding_of
from router.core.ledger.marker import HOLDING_FIELD, fields_for
from router.core.policy import Decision
from router.core.routing.holding import HandoffRequest
from router.core.routing.inputs import AddForeign, RemoveForeign
from router.core.routing.queues import Queue
from router.core.routing.team import Team, TeamMember
from router.streams.delivery import Done
from router.streams.store.ledgers import LedgerQuery
from tests.core.builders import CONVERSATION, TO_AI, make_fact, make_participant
from tests.support.accounts import ACCOUNT
from tests.worker.floor_place import PHONE as SMS
from tests.worker.floor_place import Place, ask

PHONE = Address("VOICE", "+15551230001")
PEOPLE = {"dana": TeamMember("dana", "Dana", 3, channels=("VOICE",)), "eli": TeamMember("eli", "Eli", 2)}
TEAM = Team(PEOPLE, {"default": Queue()}, after_foreign="default")


@pytest.fixture
def place(redis):
    """A worker on an empty server."""
    return Place(redis, Keys(), team=TEAM)


async def report(place, given):
    """Commit what a callback about an agent of another system means, by the fields that a callback reads."""
    query = LedgerQuery(ACCOUNT, CONVERSATION, (*fields_for(["p9"], []), HOLDING_FIELD))
    (ledger,) = await place.store.read_ledgers([query])
    assert ledger.take_floor(holding_of(ledger), given, place.cause()).refused is None
    ledger.wake_at = place.now
    assert await place.store.commit([ledger]) == [True]


async def test_a_call_that_another_system_gave_back_is_offered_as_a_call(place):
    """Its report does not tell the customer: people who take calls only are asked, with all of their capacity."""
    ledger = place.store.make_ledger(ACCOUNT, CONVERSATION)
    decision = Decision(Target.AI_AGENT, "a rule")
    caller = make_participant("p1", PHONE)
    ledger.take_participant(make_fact(caller, 1, decision=decision, cause=place.cause(), call_sid="CA1"))
    assert await place.store.commit([ledger]) == [True]
    await place.send("agent.available", agent="dana", life=600)
    await report(place, AddForeign("p9"))
    name = f"{ACCOUNT}/{CONVERSATION}/removed-1"
    request = HandoffRequest(id=name, reason="x", queue="default", since=place.now, queued_at=place.now)
    await report(place, RemoveForeign("p9", request))
    await place.loop.round()
    made = await place.last("offer.made")
    assert (made.agent.identity, made.participant.id) == ("dana", "p1")
    assert [one.load for one in (await place.desk.look())[0]] == [3]


async def test_whoever_came_back_is_spoken_to(place):
    """Another system may remove the customer, and add them again as another participant: the new one is meant."""
    await place.announce()
    await place.send("agent.available", agent="eli")
    await ask(place)
    await place.send("offer.accept", offer=(await place.last("offer.made")).offer.id, agent="eli")
    ledger = await place.store.read_whole(ACCOUNT, CONVERSATION)
    ledger.take_removal(make_fact(make_participant("p1", SMS), 9, cause=place.cause()))
    ledger.take_participant(make_fact(make_participant("p2", SMS), 10, decision=TO_AI, cause=place.cause()))
    assert await place.store.commit([ledger]) == [True]
    spoken = []

    async def speak(command, account_id, delivery, holding):
        spoken.append(holding.customer["id"])
        return Done()

    place.commander = place.make_commander(speak, speak, place.has_spoken)
    await place.send("conversation.say", conversation=CONVERSATION, agent="eli", epoch=1, text="hello")
    assert spoken == ["p2"]
