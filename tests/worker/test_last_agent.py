"""The person who had a customer last is asked first, also when the customer writes in another conversation."""

import pytest

from router.core.addresses import Address
from router.core.keys import Keys, Target
from router.core.policy import Decision
from router.streams.store.desk import LAST_AGENT_LIFE
from tests.core.builders import CONVERSATION, make_fact, make_participant
from tests.support.accounts import ACCOUNT
from tests.worker.floor_place import PHONE, Place

FIRST, NEXT = CONVERSATION, f"{CONVERSATION[:-1]}x"
NUMBER = PHONE.canonical


@pytest.fixture
def place(redis):
    """A worker on an empty server."""
    return Place(redis, Keys())


async def announce(place, conversation_id, address):
    """Announce a customer at an address in a conversation of the AI agent."""
    ledger = place.store.make_ledger(ACCOUNT, conversation_id)
    decision = Decision(Target.AI_AGENT, "a rule")
    ledger.take_participant(make_fact(make_participant("p1", address), 1, decision=decision, cause=place.cause()))
    assert await place.store.commit([ledger]) == [True]


async def asked(place, conversation_id):
    """Ask for a person; return the identity of who is asked, and the id of the offer."""
    await place.send("handoff.request", conversation=conversation_id, reason="wants a person")
    made = (await place.told(Target.HUMAN_AGENT, "offer.made", conversation_id=conversation_id))[-1].data
    return made.agent.identity, made.offer.id


async def serve(place):
    """Let Eli have the first conversation for ten minutes, while Dana is away: she is idle for longer than he is."""
    await announce(place, FIRST, PHONE)
    await place.send("agent.available", agent="dana", life=3600)
    await place.send("agent.away", agent="dana", life=3600)
    await place.send("agent.available", agent="eli", life=3600)
    identity, offer = await asked(place, FIRST)
    assert identity == "eli"
    await place.send("offer.accept", offer=offer, agent="eli")
    await place.later(600)
    await place.send("conversation.release", conversation=FIRST, agent="eli", epoch=1)
    await place.later(1)
    await place.send("agent.available", agent="dana", life=3600)


@pytest.mark.parametrize(
    "address",
    [
        pytest.param(PHONE, id="the same address"),
        pytest.param(Address("VOICE", NUMBER), id="the same number on another channel"),
        pytest.param(Address("WHATSAPP", f"whatsapp:{NUMBER}"), id="the number with a prefix"),
    ],
)
async def test_the_last_person_is_asked_in_the_next_conversation(place, address):
    """By any address of the customer."""
    await serve(place)
    await announce(place, NEXT, address)
    assert (await asked(place, NEXT))[0] == "eli"


async def test_another_customer_gets_who_is_idle_longest(place):
    """Nothing is remembered of them."""
    await serve(place)
    await announce(place, NEXT, Address("SMS", "+15551230002"))
    assert (await asked(place, NEXT))[0] == "dana"


async def test_the_last_person_is_passed_over_while_they_are_away(place):
    """Being last is an order among those who can be asked."""
    await serve(place)
    await place.send("agent.away", agent="eli", life=3600)
    await announce(place, NEXT, PHONE)
    assert (await asked(place, NEXT))[0] == "dana"


async def test_who_was_last_is_remembered_for_a_time_and_per_account(place, redis):
    """The key has a digest in place of the address, and expires."""
    await serve(place)
    (key,) = [one async for one in redis.scan_iter(f"{place.keys.desk('last')}*")]
    assert NUMBER.encode() not in key
    assert 0 < await redis.ttl(key) <= LAST_AGENT_LIFE
    assert await place.desk.last_agent(f"{ACCOUNT} {NEXT}", [NUMBER]) == "eli"
    assert await place.desk.last_agent(f"AC{'f' * 32} {NEXT}", [NUMBER]) is None
    assert await place.desk.last_agent(f"{ACCOUNT} {NEXT}", []) is None
