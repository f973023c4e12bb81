"""UNKNOWN participants that become CUSTOMER, and later stays, with callbacks in any order."""

import itertools

import pytest

from router.core.ledger.marker import Result
from router.streams.delivery import Done
from router.streams.store.ledgers import Store
from tests.support.accounts import ACCOUNT, CUSTOMER, OURS
from tests.support.policies import PLAIN
from tests.worker.payloads import at, conversation, participant_at, participant_of, person, spoken

DONE = Done()
STRICT = (
    PLAIN
    + """
[[rule]]
name = "not-yet"
participant_type = ["UNKNOWN"]
target = "ignore"
"""
)
REPAIR = "PUT /v2/Conversations/{conversation}/Participants/{participant}"


@pytest.fixture
async def strict(make_harness):
    """A harness whose policy ignores UNKNOWN participants."""
    return await make_harness(policy=STRICT)


async def published(harness):
    return [entry.type.partition(".")[2] for entry in await harness.published()]


async def test_an_unknown_is_announced_when_it_becomes_a_customer(strict):
    """An ignored UNKNOWN joins with the update to CUSTOMER, without an updated entry."""
    results = await strict.settle(
        strict.callback("PARTICIPANT_ADDED", person(kind="UNKNOWN")),
        strict.callback("PARTICIPANT_UPDATED", person(updated=1)),
        strict.callback("PARTICIPANT_UPDATED", person(updated=1)),
        strict.callback("PARTICIPANT_UPDATED", person(name="Ana", updated=2)),
    )
    assert results == [Result.IGNORED, Result.JOINED, Result.KNOWN, Result.UPDATED]
    assert await published(strict) == ["joined", "updated"]
    assert (await strict.entries())[0].data.participant.type == "CUSTOMER"
    assert await strict.total() == 0


@pytest.mark.parametrize("order", list(itertools.permutations(range(3))), ids=str)
async def test_every_order_of_the_change_announces_once(strict, order):
    """The callbacks of the change announce the customer once, in any order."""
    callbacks = [
        strict.callback("PARTICIPANT_ADDED", person(kind="UNKNOWN")),
        strict.callback("PARTICIPANT_UPDATED", person(updated=1)),
        strict.callback("PARTICIPANT_UPDATED", person(updated=1), at=at(2)),
    ]
    for index in order:
        await strict.settle(callbacks[index])
    assert await published(strict) == ["joined"]


async def test_an_older_customer_type_is_stale(strict):
    """A participant that is UNKNOWN now is not announced for having been a CUSTOMER before."""
    results = await strict.settle(
        strict.callback("PARTICIPANT_UPDATED", person(kind="UNKNOWN", updated=5)),
        strict.callback("PARTICIPANT_ADDED", person(updated=1)),
    )
    assert results == [Result.IGNORED, Result.STALE]
    assert await published(strict) == []


async def test_an_unknown_is_announced_by_the_shipped_policy(harness):
    """The shipped policy announces an UNKNOWN, so that its change to CUSTOMER is an update."""
    results = await harness.settle(
        harness.callback("PARTICIPANT_ADDED", person(kind="UNKNOWN")),
        harness.callback("PARTICIPANT_UPDATED", person(updated=1)),
    )
    assert results == [Result.JOINED, Result.UPDATED]
    assert (await harness.entries())[1].data.participant.type == "CUSTOMER"


async def test_messages_are_published_from_the_change_on(strict):
    """Communications of an ignored UNKNOWN are not published, those of the later CUSTOMER are."""
    captured = await strict.capture(customerType="UNKNOWN")
    unknown = participant_of(captured["conversation"], "UNKNOWN")
    await strict.settle(strict.callback("PARTICIPANT_ADDED", unknown))
    await strict.settle(spoken(strict, unknown, "before"))
    assert await published(strict) == []
    path = f"/v2/Conversations/{unknown['conversationId']}/Participants/{unknown['id']}"
    customer = await strict.api(
        "PUT", path, {"type": "CUSTOMER", "addresses": [{"channel": "SMS", "address": CUSTOMER}]}
    )
    results = await strict.settle(
        strict.callback("PARTICIPANT_UPDATED", customer), spoken(strict, customer, "after", number=2)
    )
    assert results == [Result.JOINED, Result.KNOWN]
    assert await published(strict) == ["joined", "received"]
    assert (await strict.communications())[0].data.communication.text == "after"


async def test_a_communication_shows_a_change_whose_callback_was_lost(strict):
    """If the callback of the change is lost, the next communication announces the customer."""
    captured = await strict.capture(customerType="UNKNOWN")
    unknown = participant_of(captured["conversation"], "UNKNOWN")
    await strict.settle(strict.callback("PARTICIPANT_ADDED", unknown))
    path = f"/v2/Conversations/{unknown['conversationId']}/Participants/{unknown['id']}"
    await strict.api("PUT", path, {"type": "CUSTOMER", "addresses": [{"channel": "SMS", "address": CUSTOMER}]})
    assert await strict.settle(spoken(strict, unknown)) == [DONE]
    assert await published(strict) == ["joined", "received"]
    assert await strict.settle(spoken(strict, unknown, number=2)) == [Result.KNOWN]


@pytest.mark.parametrize("callback", ["before", "after"])
async def test_a_message_repairs_an_unknown(strict, callback):
    """A message repairs the type and announces; the callback of the repair adds nothing."""
    captured = await strict.capture(customerType="UNKNOWN", agentType="UNKNOWN")
    unknown = participant_at(captured["conversation"])
    added = strict.callback("PARTICIPANT_ADDED", unknown)
    message = strict.sms()
    for webhook in (added, message) if callback == "before" else (message, added):
        await strict.settle(webhook)
    (repaired,) = [one for one in await strict.participants(unknown["conversationId"]) if one["id"] == unknown["id"]]
    assert repaired["type"] == "CUSTOMER"
    await strict.settle(strict.callback("PARTICIPANT_UPDATED", repaired), added)
    assert await published(strict) == ["joined", "received"]
    assert (await strict.calls())[REPAIR] == 2


async def test_a_refused_repair_leaves_an_unknown_ignored(strict):
    """An UNKNOWN whose repair is refused stays ignored until it is reported as CUSTOMER."""
    captured = await strict.capture(customerType="UNKNOWN")
    unknown = participant_of(captured["conversation"], "UNKNOWN")
    strict.fault(method="PUT", status=409)
    await strict.settle(strict.sms())
    before = await strict.total()
    assert await strict.settle(strict.sms()) == [Result.IGNORED]
    assert (await strict.total(), await published(strict)) == (before, [])
    later = unknown | {"type": "CUSTOMER", "updatedAt": at(10**8)}
    assert await strict.settle(strict.callback("PARTICIPANT_UPDATED", later), strict.sms()) == [
        Result.JOINED,
        Result.KNOWN,
    ]
    assert await published(strict) == ["joined", "received"]


async def test_an_unknown_at_our_own_address_is_ignored(strict):
    """An UNKNOWN at our own address is ignored, also when it becomes an agent."""
    await strict.settle(strict.sms())
    ours = person(9, "UNKNOWN", address=OURS)
    results = await strict.settle(
        strict.callback("PARTICIPANT_ADDED", ours),
        strict.callback("PARTICIPANT_UPDATED", person(9, "AGENT", address=OURS, updated=1)),
    )
    assert results == [Result.IGNORED] * 2


async def test_an_address_that_becomes_ours_during_the_read_is_ours(harness, monkeypatch):
    """A participant is ours if its address was noted as ours until its ledger had been read."""
    read, accounts = Store.find_ledgers, harness.resolver.accounts

    async def note_then_read(self, queries):
        await harness.redis.zadd(harness.keys.own_addresses(ACCOUNT), {f"SMS|{OURS}": 1})
        await accounts.know([ACCOUNT], is_fresh=True)
        return await read(self, queries)

    monkeypatch.setattr(Store, "find_ledgers", note_then_read)
    (delivery,) = await harness.receive(harness.callback("PARTICIPANT_ADDED", person(9, "UNKNOWN", address=OURS)))
    assert await harness.resolver.singles.attempt(delivery) == DONE
    assert await published(harness) == []


async def test_a_customer_who_returns_is_announced_again(strict):
    """A customer who left is announced again by the next message, in the same conversation."""
    conversation_id = (await strict.capture(customerType=None))["conversation"]["id"]
    results = await strict.settle(
        strict.callback("PARTICIPANT_ADDED", person() | {"conversationId": conversation_id}),
        strict.callback("PARTICIPANT_REMOVED", person(updated=1) | {"conversationId": conversation_id}),
    )
    assert results == [Result.JOINED, Result.LEFT]
    assert await strict.settle(strict.sms()) == [DONE]
    assert await published(strict) == ["joined", "left", "joined", "received"]
    first, second = [entry for entry in await strict.entries() if entry.type == "participant.joined"]
    assert first.id != second.id
    assert first.data.conversation.id == second.data.conversation.id == conversation_id


async def test_a_change_after_the_closing_is_stale(strict):
    """An UNKNOWN of a closed conversation is not announced when it becomes a CUSTOMER."""
    results = await strict.settle(
        strict.callback("PARTICIPANT_ADDED", person(kind="UNKNOWN")),
        strict.callback("CONVERSATION_UPDATED", conversation("CLOSED", updated=1)),
        strict.callback("PARTICIPANT_UPDATED", person(updated=2)),
        spoken(strict, person(updated=2)),
    )
    assert results == [Result.IGNORED, Result.NOTED, Result.STALE, Result.STALE]
    assert await published(strict) == []
