"""What Twilio tells by status callback: each type, every order, and together with the webhook of the same customer."""

import asyncio

import pytest

from router.core.addresses import Address
from router.core.ledger.marker import Result
from router.streams.delivery import Done, Later, Poison
from router.streams.store.ledgers import Store
from tests.support.accounts import ACCOUNT, CUSTOMER, DESK, OURS
from tests.support.policies import DESK_RULE, EVERYBODY, PLAIN
from tests.worker.harness import LIST
from tests.worker.payloads import at, conversation, participant_of, person

DONE = Done()
FETCH = "GET /v2/Conversations/{conversation}/Participants/{participant}"


async def test_a_participant_that_somebody_creates_is_waited_for_in_short_pauses(harness):
    """Its creator may have died and its successor be done at any moment: no pause grows beyond a second."""
    store = Store(harness.redis, harness.keys, marker_ttl=3600)
    await store.begin_creating(ACCOUNT, Address("SMS", CUSTOMER))
    (delivery,) = await harness.receive(harness.callback("PARTICIPANT_ADDED", person(), at=at(0)))
    (verdict,) = await harness.work([delivery])
    assert isinstance(verdict, Later)
    assert verdict.is_usual
    assert verdict.longest == 1.0
    await store.end_creating(ACCOUNT, [Address("SMS", CUSTOMER)])
    assert await harness.work([delivery]) == [Result.JOINED]


async def test_added_customer_is_announced_without_a_call(harness):
    """The payload is the participant: one joined, no request."""
    assert await harness.settle(harness.callback("PARTICIPANT_ADDED", person())) == [Result.JOINED]
    assert await harness.total() == 0
    (entry,) = await harness.entries()
    assert (entry.data.origin, entry.data.address, entry.data.recipient) == ("announced", CUSTOMER, None)


async def test_added_customer_whose_target_hangs_on_the_recipient(make_harness):
    """Where a rule asks for what the callback does not say, one look at the conversation tells it."""
    harness = await make_harness(policy=PLAIN + DESK_RULE)
    captured = await harness.capture(to=DESK)
    customer = participant_of(captured["conversation"], "CUSTOMER")
    assert await harness.settle(harness.callback("PARTICIPANT_ADDED", customer)) == [DONE]
    assert await harness.total() == 1
    (entry,) = await harness.entries()
    assert (entry.data.target, entry.data.recipient.address) == ("human-agent", DESK)


@pytest.mark.parametrize("kind", ["AI_AGENT", "HUMAN_AGENT", "AGENT"])
async def test_added_agents_are_nobodys_to_take(harness, kind):
    """The shipped policy ignores agent types."""
    assert await harness.settle(harness.callback("PARTICIPANT_ADDED", person(kind=kind))) == [Result.IGNORED]
    assert await harness.entries() == []


async def test_added_agent_at_our_ai_agents_address(make_harness):
    """The AI agent's address is our side from the start, whatever the policy says and nobody has noted yet."""
    harness = await make_harness(policy=EVERYBODY)
    resolver = harness.make_resolver(own=frozenset({f"SMS|{OURS}"}))
    report = harness.callback("PARTICIPANT_ADDED", person(kind="AI_AGENT", address=OURS))
    assert await harness.settle(report, by=resolver) == [Result.IGNORED]


async def test_update_is_published_where_something_changed(harness):
    """A new name is an updated entry; the same again, or what has the same content, is none."""
    results = await harness.settle(
        harness.callback("PARTICIPANT_ADDED", person()),
        harness.callback("PARTICIPANT_UPDATED", person(name="Ana", updated=1)),
        harness.callback("PARTICIPANT_UPDATED", person(name="Ana", updated=2)),
    )
    assert results == [Result.JOINED, Result.UPDATED, Result.KNOWN]
    assert await harness.types() == ["joined", "updated"]
    assert (await harness.entries())[1].data.participant.name == "Ana"


async def test_removal_is_published_once(harness):
    """Left once; what was never announced leaves without a word."""
    results = await harness.settle(
        harness.callback("PARTICIPANT_ADDED", person()),
        harness.callback("PARTICIPANT_ADDED", person(2, "AGENT", address=OURS)),
        harness.callback("PARTICIPANT_REMOVED", person(updated=1)),
        harness.callback("PARTICIPANT_REMOVED", person(updated=2)),
        harness.callback("PARTICIPANT_REMOVED", person(2, "AGENT", address=OURS, updated=1)),
    )
    assert results[2:] == [Result.LEFT, Result.KNOWN, Result.NOTED]
    assert await harness.types() == ["joined", "left"]


async def test_second_stay_is_announced_again(harness):
    """Whoever left and came back has joined twice, with two ids."""
    await harness.settle(
        harness.callback("PARTICIPANT_ADDED", person()),
        harness.callback("PARTICIPANT_REMOVED", person(updated=1)),
        harness.callback("PARTICIPANT_ADDED", person(updated=2)),
    )
    entries = await harness.entries()
    assert [entry.type for entry in entries] == ["participant.joined", "participant.left", "participant.joined"]
    assert len({entry.id for entry in entries}) == 3


async def test_removal_that_overtakes_the_addition(harness):
    """A participant that is gone already is never announced."""
    results = await harness.settle(
        harness.callback("PARTICIPANT_REMOVED", person(updated=0), at=at(5)),
        harness.callback("PARTICIPANT_ADDED", person(), at=at(0)),
    )
    assert results == [Result.NOTED, Result.STALE]
    assert await harness.entries() == []


async def test_stale_update_changes_nothing(harness):
    """What is older than what is committed is stale, however late it comes."""
    results = await harness.settle(
        harness.callback("PARTICIPANT_UPDATED", person(name="new", updated=9)),
        harness.callback("PARTICIPANT_UPDATED", person(name="old", updated=5)),
        harness.callback("PARTICIPANT_ADDED", person()),
    )
    assert results == [Result.JOINED, Result.STALE, Result.STALE]
    assert (await harness.entries())[0].data.participant.name == "new"


async def test_events_of_the_conversation(harness):
    """Created and renamed are noted, closed is published to the holder once, and afterwards everything is stale."""
    results = await harness.settle(
        harness.callback("CONVERSATION_CREATED", conversation()),
        harness.callback("PARTICIPANT_ADDED", person()),
        harness.callback("CONVERSATION_UPDATED", conversation(name="x", updated=1)),
        harness.callback("CONVERSATION_UPDATED", conversation("INACTIVE", updated=2)),
        harness.callback("CONVERSATION_UPDATED", conversation("CLOSED", updated=3)),
        harness.callback("CONVERSATION_UPDATED", conversation("CLOSED", updated=4)),
        harness.callback("PARTICIPANT_ADDED", person(2, address="+15551239999", updated=5)),
        harness.callback("PARTICIPANT_REMOVED", person(updated=6)),
    )
    assert results[0] == results[2] == results[3] == Result.NOTED
    assert results[4:] == [Result.CLOSED, Result.KNOWN, Result.STALE, Result.STALE]
    assert await harness.types() == ["joined", "closed"]
    assert (await harness.entries())[1].data.conversation.configuration_id == conversation()["configurationId"]


async def test_closing_without_anybody_announced(harness):
    """Nobody holds it, so nobody is told."""
    assert await harness.settle(harness.callback("CONVERSATION_UPDATED", conversation("CLOSED"))) == [Result.NOTED]
    assert await harness.entries() == []


async def test_closing_that_overtakes_everything(harness):
    """A conversation that is told of as closed first is closed: what comes later changes nothing."""
    results = await harness.settle(
        harness.callback("CONVERSATION_UPDATED", conversation("CLOSED", updated=9)),
        harness.callback("CONVERSATION_CREATED", conversation()),
        harness.callback("PARTICIPANT_ADDED", person()),
    )
    assert results == [Result.NOTED, Result.KNOWN, Result.STALE]
    assert await harness.entries() == []


async def said(harness, captured, **author):
    """The callback of what a captured conversation's customer said."""
    communication = captured["communication"] | {"accountId": ACCOUNT}
    communication["author"] = communication["author"] | author
    return harness.callback("COMMUNICATION_CREATED", communication)


async def test_communication_of_somebody_known_costs_nothing(harness):
    """The author is announced: no call, no entry."""
    captured = await harness.capture()
    customer = participant_of(captured["conversation"], "CUSTOMER")
    await harness.settle(harness.callback("PARTICIPANT_ADDED", customer))
    assert await harness.settle(await said(harness, captured)) == [Result.KNOWN]
    assert await harness.total() == 0


async def test_communication_of_somebody_unknown_costs_one_fetch(harness):
    """A communication that is the first we hear of its author: one fetch, one joined, with our side as recipient."""
    captured = await harness.capture()
    assert await harness.settle(await said(harness, captured)) == [DONE]
    assert await harness.calls() == {FETCH: 1}
    entry, communication = await harness.published()
    assert (entry.type, communication.type) == ("participant.joined", "communication.received")
    assert (entry.data.origin, entry.data.address, entry.data.recipient.address) == ("found", CUSTOMER, OURS)


async def test_communication_whose_author_has_no_id(harness):
    """Its address finds it in the list."""
    captured = await harness.capture()
    assert await harness.settle(await said(harness, captured, participantId=None)) == [DONE]
    assert (await harness.calls())[LIST] == 1
    assert await harness.types() == ["joined"]


async def test_communication_of_our_own_side(make_harness):
    """What our own side wrote is our own echo, even where the policy gives everybody a target."""
    harness = await make_harness(policy=EVERYBODY)
    other = harness.make_resolver()
    await other.singles._accounts.know([ACCOUNT])
    await harness.settle(harness.sms())
    (there,) = await harness.conversations()
    ours = participant_of(there, "AI_AGENT")
    data = {
        "id": "conv_communication_00000000000000000000000001",
        "conversationId": there["id"],
        "accountId": ACCOUNT,
        "author": {"participantId": ours["id"], "channel": "SMS", "address": OURS},
        "recipients": [{"channel": "SMS", "address": CUSTOMER}],
        "createdAt": ours["createdAt"],
    }
    await harness.redis.delete(harness.keys.conversation(ACCOUNT, there["id"]))
    await harness.settle(harness.callback("COMMUNICATION_CREATED", data), by=other)
    assert await harness.types() == ["joined"]


@pytest.mark.parametrize("author", [None, {"channel": "SMS", "address": "+15550000000"}], ids=["nobody", "a stranger"])
async def test_communication_whose_author_is_nowhere(harness, author):
    """Nobody, or nobody who is there: ignored with a reason, no dead letter."""
    captured = await harness.capture()
    data = captured["communication"] | {"author": author}
    (result,) = await harness.settle(harness.callback("COMMUNICATION_CREATED", data))
    assert result in {Result.IGNORED, DONE}
    assert await harness.entries() == []


async def test_communication_of_a_conversation_that_is_gone(harness, lines):
    """Deleted meanwhile: ignored."""
    captured = await harness.capture()
    await harness.api("DELETE", f"/v2/Conversations/{captured['conversation']['id']}")
    assert await harness.settle(await said(harness, captured)) == [DONE]
    assert lines("event")[-1]["result"] == "ignored"


@pytest.mark.parametrize("event_type", ["COMMUNICATION_UPDATED", "SOMETHING_NEW", "x" * 500])
async def test_other_types_are_disregarded_by_name(harness, event_type, lines):
    """A delivery state and what nobody knows yet end as ignored, with the type as reason."""
    assert await harness.settle(harness.callback(event_type, {"id": "x", "createdAt": at(0)})) == [Result.IGNORED]
    assert await harness.total() == 0
    assert lines("event")[0]["reason"]


@pytest.mark.parametrize(
    "data",
    [
        {"id": "p1", "addresses": "x", "conversationId": "c1"},
        {"id": "p1", "addresses": [{"channel": "SMS"}], "conversationId": "c1"},
        {"id": "p1", "type": "CUSTOMER"},
        {"id": "p1", "type": {"a": 1}, "conversationId": "c1"},
    ],
    ids=["addresses", "half an address", "no conversation", "type"],
)
async def test_payload_that_is_no_participant_is_poison(harness, data):
    """It can never become an entry: poison at once, naming the field and no value."""
    (verdict,) = await harness.settle(harness.callback("PARTICIPANT_ADDED", data, at=at(0)))
    assert isinstance(verdict, Poison)
    assert "PARTICIPANT_ADDED" in verdict.reason


async def test_participant_without_address_is_announced_when_it_gets_one(harness):
    """Nobody can answer who has no address; the joined comes with it."""
    bare = person() | {"addresses": None}
    assert await harness.settle(harness.callback("PARTICIPANT_ADDED", bare)) == [Result.IGNORED]
    assert await harness.settle(harness.callback("PARTICIPANT_UPDATED", person(updated=1))) == [Result.JOINED]


async def test_second_participant_at_an_announced_address(harness):
    """One address is announced once in a conversation, under whatever id it comes."""
    results = await harness.settle(
        harness.callback("PARTICIPANT_ADDED", person(1)), harness.callback("PARTICIPANT_ADDED", person(2, updated=1))
    )
    assert results == [Result.JOINED, Result.IGNORED]


@pytest.mark.parametrize("order", ["webhook first", "callback first"])
async def test_webhook_and_callback_of_one_participant(make_harness, order):
    """Whichever comes first, and whichever worker gets it, one participant is announced once."""
    harness = await make_harness(policy=PLAIN + DESK_RULE)
    captured = await harness.capture(to=DESK)
    customer = participant_of(captured["conversation"], "CUSTOMER")
    both = [harness.sms(to=DESK), harness.callback("PARTICIPANT_ADDED", customer)]
    other = harness.make_resolver()
    for webhook, by in zip(
        both if order == "webhook first" else reversed(both), (harness.resolver, other), strict=True
    ):
        (delivery,) = await harness.receive(webhook)
        await harness.finish(delivery, by=by)
    (entry,) = await harness.entries()
    assert (entry.data.target, entry.data.participant.id) == ("human-agent", customer["id"])


async def test_webhook_and_callback_at_once_from_two_workers(make_harness):
    """Thirty customers, each reported by a message and by a callback at the same time to two workers: thirty joined."""
    harness = await make_harness(policy=PLAIN + DESK_RULE)
    jobs = []
    resolvers = [harness.make_resolver(), harness.make_resolver()]
    for number in range(30):
        sender = f"+1555000{number:04d}"
        captured = await harness.capture(sender, DESK)
        customer = participant_of(captured["conversation"], "CUSTOMER")
        deliveries = await harness.receive(harness.sms(sender, DESK), harness.callback("PARTICIPANT_ADDED", customer))
        jobs += [harness.finish(one, by=resolvers[(number + index) % 2]) for index, one in enumerate(deliveries)]
    await asyncio.gather(*jobs)
    entries = await harness.entries()
    assert [entry.type for entry in entries] == ["participant.joined"] * 30
    assert len({entry.data.participant.id for entry in entries}) == 30
    assert {entry.data.target for entry in entries} == {"human-agent"}


async def test_same_message_at_once_by_two_workers(harness):
    """Two workers with one message (a redelivery of a slow one): one conversation, one participant, one joined."""
    (delivery,) = await harness.receive(harness.sms())
    resolvers = [harness.make_resolver() for _ in range(4)]
    await asyncio.gather(*(harness.finish(delivery, by=resolver) for resolver in resolvers))
    assert await harness.types() == ["joined"]
    (there,) = await harness.conversations()
    assert len(there["participants"]) == 2
