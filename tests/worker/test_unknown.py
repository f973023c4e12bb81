"""UNKNOWN participants that become CUSTOMER, and stays that begin anew, in every order in which they may be told."""

import itertools

import pytest

from router.core.ledger.marker import Result
from router.streams.delivery import Done
from tests.support.accounts import CUSTOMER, OURS
from tests.support.policies import PLAIN
from tests.worker.payloads import at, conversation, participant_at, participant_of, person, spoken

DONE = Done()
SHY = (
    PLAIN
    + """
[[rule]]
name = "nobody-yet"
participant_type = ["UNKNOWN"]
target = "ignore"
"""
)
REPAIR = "PUT /v2/Conversations/{conversation}/Participants/{participant}"


@pytest.fixture
async def shy(make_harness):
    """A harness whose policy ignores UNKNOWN participants."""
    return await make_harness(policy=SHY)


async def kinds(harness):
    return [entry.type.partition(".")[2] for entry in await harness.published()]


async def test_unknown_is_announced_when_it_becomes_a_customer(shy):
    """Ignored first, joined with the update, and not updated: for the holder the stay begins there."""
    results = await shy.settle(
        shy.callback("PARTICIPANT_ADDED", person(kind="UNKNOWN")),
        shy.callback("PARTICIPANT_UPDATED", person(updated=1)),
        shy.callback("PARTICIPANT_UPDATED", person(updated=1)),
        shy.callback("PARTICIPANT_UPDATED", person(name="Ana", updated=2)),
    )
    assert results == [Result.IGNORED, Result.JOINED, Result.KNOWN, Result.UPDATED]
    assert await kinds(shy) == ["joined", "updated"]
    assert (await shy.entries())[0].data.participant.type == "CUSTOMER"
    assert await shy.total() == 0


@pytest.mark.parametrize("order", list(itertools.permutations(range(3))), ids=str)
async def test_every_order_of_the_change_announces_once(shy, order):
    """Added as UNKNOWN, updated to CUSTOMER, and the update again: whatever overtakes what, one joined."""
    told = [
        shy.callback("PARTICIPANT_ADDED", person(kind="UNKNOWN")),
        shy.callback("PARTICIPANT_UPDATED", person(updated=1)),
        shy.callback("PARTICIPANT_UPDATED", person(updated=1), at=at(2)),
    ]
    for index in order:
        await shy.settle(told[index])
    assert await kinds(shy) == ["joined"]


async def test_stale_customer_does_not_undo_what_is_newer(shy):
    """Whoever is UNKNOWN by now is not announced for having been a customer before."""
    results = await shy.settle(
        shy.callback("PARTICIPANT_UPDATED", person(kind="UNKNOWN", updated=5)),
        shy.callback("PARTICIPANT_ADDED", person(updated=1)),
    )
    assert results == [Result.IGNORED, Result.STALE]
    assert await kinds(shy) == []


async def test_with_the_shipped_policy_the_change_is_an_update(harness):
    """Where UNKNOWN has a target the stay has begun already."""
    results = await harness.settle(
        harness.callback("PARTICIPANT_ADDED", person(kind="UNKNOWN")),
        harness.callback("PARTICIPANT_UPDATED", person(updated=1)),
    )
    assert results == [Result.JOINED, Result.UPDATED]
    assert (await harness.entries())[1].data.participant.type == "CUSTOMER"


async def test_what_is_said_is_heard_from_the_change_on(shy):
    """An ignored UNKNOWN is not heard; the customer that it becomes is."""
    captured = await shy.capture(customerType="UNKNOWN")
    unknown = participant_of(captured["conversation"], "UNKNOWN")
    await shy.settle(shy.callback("PARTICIPANT_ADDED", unknown))
    await shy.settle(spoken(shy, unknown, "before"))
    assert await kinds(shy) == []
    path = f"/v2/Conversations/{unknown['conversationId']}/Participants/{unknown['id']}"
    customer = await shy.api("PUT", path, {"type": "CUSTOMER", "addresses": [{"channel": "SMS", "address": CUSTOMER}]})
    results = await shy.settle(shy.callback("PARTICIPANT_UPDATED", customer), spoken(shy, customer, "after", number=2))
    assert results == [Result.JOINED, Result.KNOWN]
    assert await kinds(shy) == ["joined", "received"]
    assert (await shy.communications())[0].data.communication.text == "after"


async def test_customer_who_is_seen_by_what_is_said(shy):
    """Where the update's callback is lost, the next communication finds the customer: joined, then heard."""
    captured = await shy.capture(customerType="UNKNOWN")
    unknown = participant_of(captured["conversation"], "UNKNOWN")
    await shy.settle(shy.callback("PARTICIPANT_ADDED", unknown))
    path = f"/v2/Conversations/{unknown['conversationId']}/Participants/{unknown['id']}"
    await shy.api("PUT", path, {"type": "CUSTOMER", "addresses": [{"channel": "SMS", "address": CUSTOMER}]})
    assert await shy.settle(spoken(shy, unknown)) == [DONE]
    assert await kinds(shy) == ["joined", "received"]
    assert await shy.settle(spoken(shy, unknown, number=2)) == [Result.KNOWN]


@pytest.mark.parametrize("callback", ["before", "after"])
async def test_message_proves_an_unknown_to_be_a_customer(shy, callback):
    """The message repairs the type and announces; the callback of the repair adds nothing, whenever it comes."""
    captured = await shy.capture(customerType="UNKNOWN", agentType="UNKNOWN")
    unknown = participant_at(captured["conversation"])
    added = shy.callback("PARTICIPANT_ADDED", unknown)
    message = shy.sms()
    for webhook in (added, message) if callback == "before" else (message, added):
        await shy.settle(webhook)
    (repaired,) = [one for one in await shy.participants(unknown["conversationId"]) if one["id"] == unknown["id"]]
    assert repaired["type"] == "CUSTOMER"
    await shy.settle(shy.callback("PARTICIPANT_UPDATED", repaired), added)
    assert await kinds(shy) == ["joined", "received"]
    assert (await shy.calls())[REPAIR] == 2


async def test_message_of_an_unknown_that_cannot_be_repaired(shy):
    """It stays UNKNOWN and ignored, at no further call; once told to be a customer, it is announced and heard."""
    captured = await shy.capture(customerType="UNKNOWN")
    unknown = participant_of(captured["conversation"], "UNKNOWN")
    shy.fault(method="PUT", status=409)
    await shy.settle(shy.sms())
    before = await shy.total()
    assert await shy.settle(shy.sms()) == [Result.IGNORED]
    assert (await shy.total(), await kinds(shy)) == (before, [])
    later = unknown | {"type": "CUSTOMER", "updatedAt": at(10**8)}
    assert await shy.settle(shy.callback("PARTICIPANT_UPDATED", later), shy.sms()) == [Result.JOINED, Result.KNOWN]
    assert await kinds(shy) == ["joined", "received"]


async def test_unknown_at_our_own_address_is_nobodys_customer(shy):
    """Our side that Twilio does not know is our side, also when it turns into an agent."""
    await shy.settle(shy.sms())
    ours = person(9, "UNKNOWN", address=OURS)
    results = await shy.settle(
        shy.callback("PARTICIPANT_ADDED", ours),
        shy.callback("PARTICIPANT_UPDATED", person(9, "AGENT", address=OURS, updated=1)),
    )
    assert results == [Result.IGNORED] * 2


async def test_customer_who_comes_back_after_leaving(shy):
    """Another stay with a joined of its own, here by the next message, which adds a participant anew."""
    there = (await shy.capture(customerType=None))["conversation"]["id"]
    results = await shy.settle(
        shy.callback("PARTICIPANT_ADDED", person() | {"conversationId": there}),
        shy.callback("PARTICIPANT_REMOVED", person(updated=1) | {"conversationId": there}),
    )
    assert results == [Result.JOINED, Result.LEFT]
    assert await shy.settle(shy.sms()) == [DONE]
    assert await kinds(shy) == ["joined", "left", "joined", "received"]
    first, second = [entry for entry in await shy.entries() if entry.type == "participant.joined"]
    assert first.id != second.id
    assert first.data.conversation.id == second.data.conversation.id == there


async def test_closed_is_final_for_the_change_too(shy):
    """An UNKNOWN of a conversation that has closed never becomes anybody's customer."""
    results = await shy.settle(
        shy.callback("PARTICIPANT_ADDED", person(kind="UNKNOWN")),
        shy.callback("CONVERSATION_UPDATED", conversation("CLOSED", updated=1)),
        shy.callback("PARTICIPANT_UPDATED", person(updated=2)),
        spoken(shy, person(updated=2)),
    )
    assert results == [Result.IGNORED, Result.NOTED, Result.STALE, Result.STALE]
    assert await kinds(shy) == []
