"""Status callbacks: each event type, in any order, and together with the webhook of the same customer."""

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


async def test_a_participant_that_is_being_created_is_awaited_in_short_pauses(harness):
    """The callback of a participant that a worker is creating waits in pauses of at most a second."""
    store = Store(harness.redis, harness.keys, marker_ttl=3600)
    await store.begin_creating(ACCOUNT, Address("SMS", CUSTOMER))
    (delivery,) = await harness.receive(harness.callback("PARTICIPANT_ADDED", person(), at=at(0)))
    (verdict,) = await harness.work([delivery])
    assert isinstance(verdict, Later)
    assert verdict.is_usual
    assert verdict.longest == 1.0
    await store.end_creating(ACCOUNT, [Address("SMS", CUSTOMER)])
    assert await harness.work([delivery]) == [Result.JOINED]


async def test_an_added_customer_is_announced_without_a_request(harness):
    """An added customer is announced from the callback alone."""
    assert await harness.settle(harness.callback("PARTICIPANT_ADDED", person())) == [Result.JOINED]
    assert await harness.total() == 0
    (entry,) = await harness.entries()
    assert (entry.data.origin, entry.data.address, entry.data.recipient) == ("announced", CUSTOMER, None)


async def test_a_rule_on_the_recipient_needs_one_request(make_harness):
    """If a rule depends on the recipient, one request finds it."""
    harness = await make_harness(policy=PLAIN + DESK_RULE)
    captured = await harness.capture(to=DESK)
    customer = participant_of(captured["conversation"], "CUSTOMER")
    assert await harness.settle(harness.callback("PARTICIPANT_ADDED", customer)) == [DONE]
    assert await harness.total() == 1
    (entry,) = await harness.entries()
    assert (entry.data.target, entry.data.recipient.address) == ("human-agent", DESK)


@pytest.mark.parametrize("kind", ["AI_AGENT", "HUMAN_AGENT", "AGENT"])
async def test_an_added_agent_is_ignored(harness, kind):
    """The shipped policy ignores agents of every type."""
    assert await harness.settle(harness.callback("PARTICIPANT_ADDED", person(kind=kind))) == [Result.IGNORED]
    assert await harness.entries() == []


async def test_an_agent_at_the_configured_address_is_ignored(make_harness):
    """An agent at ROUTER_AI_AGENT_ADDRESS is our side, whatever the policy says."""
    harness = await make_harness(policy=EVERYBODY)
    resolver = harness.make_resolver(own=frozenset({f"SMS|{OURS}"}))
    report = harness.callback("PARTICIPANT_ADDED", person(kind="AI_AGENT", address=OURS))
    assert await harness.settle(report, by=resolver) == [Result.IGNORED]


async def test_an_update_is_published_if_something_changed(harness):
    """A new name is published as an update, an unchanged participant is not."""
    results = await harness.settle(
        harness.callback("PARTICIPANT_ADDED", person()),
        harness.callback("PARTICIPANT_UPDATED", person(name="Ana", updated=1)),
        harness.callback("PARTICIPANT_UPDATED", person(name="Ana", updated=2)),
    )
    assert results == [Result.JOINED, Result.UPDATED, Result.KNOWN]
    assert await harness.types() == ["joined", "updated"]
    assert (await harness.entries())[1].data.participant.name == "Ana"


async def test_a_removal_is_published_once(harness):
    """The removal of an announced participant is published once, that of another one never."""
    results = await harness.settle(
        harness.callback("PARTICIPANT_ADDED", person()),
        harness.callback("PARTICIPANT_ADDED", person(2, "AGENT", address=OURS)),
        harness.callback("PARTICIPANT_REMOVED", person(updated=1)),
        harness.callback("PARTICIPANT_REMOVED", person(updated=2)),
        harness.callback("PARTICIPANT_REMOVED", person(2, "AGENT", address=OURS, updated=1)),
    )
    assert results[2:] == [Result.LEFT, Result.KNOWN, Result.NOTED]
    assert await harness.types() == ["joined", "left"]


async def test_a_second_stay_is_announced(harness):
    """A participant that returns is announced again, with another entry id."""
    await harness.settle(
        harness.callback("PARTICIPANT_ADDED", person()),
        harness.callback("PARTICIPANT_REMOVED", person(updated=1)),
        harness.callback("PARTICIPANT_ADDED", person(updated=2)),
    )
    entries = await harness.entries()
    assert [entry.type for entry in entries] == ["participant.joined", "participant.left", "participant.joined"]
    assert len({entry.id for entry in entries}) == 3


async def test_an_addition_after_its_removal_is_stale(harness):
    """A participant whose removal arrives first is never announced."""
    results = await harness.settle(
        harness.callback("PARTICIPANT_REMOVED", person(updated=0), at=at(5)),
        harness.callback("PARTICIPANT_ADDED", person(), at=at(0)),
    )
    assert results == [Result.NOTED, Result.STALE]
    assert await harness.entries() == []


async def test_an_older_update_is_stale(harness):
    """An update older than the committed state changes nothing."""
    results = await harness.settle(
        harness.callback("PARTICIPANT_UPDATED", person(name="new", updated=9)),
        harness.callback("PARTICIPANT_UPDATED", person(name="old", updated=5)),
        harness.callback("PARTICIPANT_ADDED", person()),
    )
    assert results == [Result.JOINED, Result.STALE, Result.STALE]
    assert (await harness.entries())[0].data.participant.name == "new"


async def test_a_closing_is_published_once(harness):
    """Changes of a conversation are noted, its closing is published once, and later events are stale."""
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


async def test_a_closing_without_a_holder_is_not_published(harness):
    """The closing of a conversation in which no one was announced is not published."""
    assert await harness.settle(harness.callback("CONVERSATION_UPDATED", conversation("CLOSED"))) == [Result.NOTED]
    assert await harness.entries() == []


async def test_events_after_an_early_closing_are_stale(harness):
    """If the closing arrives first, all other events of the conversation change nothing."""
    results = await harness.settle(
        harness.callback("CONVERSATION_UPDATED", conversation("CLOSED", updated=9)),
        harness.callback("CONVERSATION_CREATED", conversation()),
        harness.callback("PARTICIPANT_ADDED", person()),
    )
    assert results == [Result.NOTED, Result.KNOWN, Result.STALE]
    assert await harness.entries() == []


def said(harness, captured, **author):
    """The callback of a captured customer's communication."""
    communication = captured["communication"] | {"accountId": ACCOUNT}
    communication["author"] = communication["author"] | author
    return harness.callback("COMMUNICATION_CREATED", communication)


async def test_a_communication_of_a_known_author_needs_no_request(harness):
    """A communication of an announced author needs no request."""
    captured = await harness.capture()
    customer = participant_of(captured["conversation"], "CUSTOMER")
    await harness.settle(harness.callback("PARTICIPANT_ADDED", customer))
    assert await harness.settle(said(harness, captured)) == [Result.KNOWN]
    assert await harness.total() == 0


async def test_a_communication_of_an_unknown_author_needs_one_request(harness):
    """A communication of an unknown author fetches and announces the author, then is published."""
    captured = await harness.capture()
    assert await harness.settle(said(harness, captured)) == [DONE]
    assert await harness.calls() == {FETCH: 1}
    entry, communication = await harness.published()
    assert (entry.type, communication.type) == ("participant.joined", "communication.received")
    assert (entry.data.origin, entry.data.address, entry.data.recipient.address) == ("found", CUSTOMER, OURS)


async def test_an_author_without_an_id_is_listed(harness):
    """An author without a participant id is found by address in the list of participants."""
    captured = await harness.capture()
    assert await harness.settle(said(harness, captured, participantId=None)) == [DONE]
    assert (await harness.calls())[LIST] == 1
    assert await harness.types() == ["joined"]


async def test_a_communication_of_our_own_side_announces_nobody(make_harness):
    """A communication of our side announces nobody, even if the policy gives agents a target."""
    harness = await make_harness(policy=EVERYBODY)
    other = harness.make_resolver()
    await other.singles._accounts.know([ACCOUNT])
    await harness.settle(harness.sms())
    (conversation,) = await harness.conversations()
    ours = participant_of(conversation, "AI_AGENT")
    data = {
        "id": "conv_communication_00000000000000000000000001",
        "conversationId": conversation["id"],
        "accountId": ACCOUNT,
        "author": {"participantId": ours["id"], "channel": "SMS", "address": OURS},
        "recipients": [{"channel": "SMS", "address": CUSTOMER}],
        "createdAt": ours["createdAt"],
    }
    await harness.redis.delete(harness.keys.conversation(ACCOUNT, conversation["id"]))
    await harness.settle(harness.callback("COMMUNICATION_CREATED", data), by=other)
    assert await harness.types() == ["joined"]


@pytest.mark.parametrize(
    "author", [None, {"channel": "SMS", "address": "+15550000000"}], ids=["no author", "an unknown author"]
)
async def test_a_communication_without_a_known_author_is_ignored(harness, author):
    """A communication without an author, or of an author who is not in the conversation, is ignored."""
    captured = await harness.capture()
    data = captured["communication"] | {"author": author}
    (result,) = await harness.settle(harness.callback("COMMUNICATION_CREATED", data))
    assert result in {Result.IGNORED, DONE}
    assert await harness.entries() == []


async def test_a_communication_in_a_deleted_conversation_is_ignored(harness, lines):
    """A communication of an unknown author in a deleted conversation is ignored."""
    captured = await harness.capture()
    await harness.api("DELETE", f"/v2/Conversations/{captured['conversation']['id']}")
    assert await harness.settle(said(harness, captured)) == [DONE]
    assert lines("event")[-1]["result"] == "ignored"


@pytest.mark.parametrize("event_type", ["COMMUNICATION_UPDATED", "SOMETHING_NEW", "x" * 500])
async def test_other_event_types_are_ignored(harness, event_type, lines):
    """An event type that is irrelevant or unknown is ignored with a reason, without a request."""
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
async def test_an_invalid_participant_is_poison(harness, data):
    """An invalid participant can never be resolved; the reason names the event type."""
    (verdict,) = await harness.settle(harness.callback("PARTICIPANT_ADDED", data, at=at(0)))
    assert isinstance(verdict, Poison)
    assert "PARTICIPANT_ADDED" in verdict.reason


async def test_a_participant_is_announced_when_it_gets_an_address(harness):
    """A participant without an address is announced once it has one."""
    bare = person() | {"addresses": None}
    assert await harness.settle(harness.callback("PARTICIPANT_ADDED", bare)) == [Result.IGNORED]
    assert await harness.settle(harness.callback("PARTICIPANT_UPDATED", person(updated=1))) == [Result.JOINED]


async def test_a_second_participant_at_an_announced_address_is_ignored(harness):
    """Only one participant is announced at an address of a conversation."""
    results = await harness.settle(
        harness.callback("PARTICIPANT_ADDED", person(1)), harness.callback("PARTICIPANT_ADDED", person(2, updated=1))
    )
    assert results == [Result.JOINED, Result.IGNORED]


@pytest.mark.parametrize("order", ["webhook first", "callback first"])
async def test_webhook_and_callback_of_one_participant_announce_once(make_harness, order):
    """A message and a callback about the same customer announce it once, in either order."""
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


async def test_simultaneous_webhooks_and_callbacks_announce_once(make_harness):
    """Messages and callbacks about thirty customers at once, in two workers, announce each once."""
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


async def test_one_message_in_four_workers_announces_once(harness):
    """One message that four workers process at once creates one participant and announces it once."""
    (delivery,) = await harness.receive(harness.sms())
    resolvers = [harness.make_resolver() for _ in range(4)]
    await asyncio.gather(*(harness.finish(delivery, by=resolver) for resolver in resolvers))
    assert await harness.types() == ["joined"]
    (conversation,) = await harness.conversations()
    assert len(conversation["participants"]) == 2
