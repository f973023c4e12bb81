"""Group messages: the sender and every further member are announced in one conversation, the message once."""

from dataclasses import replace

import orjson
import pytest

from router.core.ledger.marker import Result
from router.simulator.event_streams import streamed_message
from router.streams.delivery import Done, Later
from tests.support.accounts import CUSTOMER, OURS
from tests.support.policies import PLAIN
from tests.worker.harness import LIST
from tests.worker.payloads import redelivered

DONE = Done()
BEN, EVA, DAN = "+15551230002", "+15551230003", "+15551230004"
ADD = "POST /v2/Conversations/{conversation}/Participants"


def in_group(harness, form, *members):
    """The event of a group message from Event Streams, each time with another id."""
    harness._number += 1
    event = streamed_message(form, event_id=f"EZ{harness._number}", now=harness.clock(), is_batch=False)
    document = orjson.loads(event.body)
    document["data"]["recipients"] = list(members)
    return replace(event, body=orjson.dumps(document))


async def joined(harness):
    """The addresses that were announced, in order."""
    return [entry.data.address for entry in await harness.entries() if entry.type == "participant.joined"]


async def test_every_member_is_announced_once(harness):
    """The sender and all members are announced in one conversation, then the message is published."""
    assert await harness.settle(in_group(harness, harness.sms(), BEN, EVA)) == [DONE]
    entries = await harness.published()
    assert [entry.type.partition(".")[2] for entry in entries] == ["joined", "joined", "joined", "received"]
    assert [entry.data.address for entry in entries] == [CUSTOMER, BEN, EVA, CUSTOMER]
    assert {entry.data.conversation.id for entry in entries} == {entries[0].data.conversation.id}
    assert {entry.data.recipient.address for entry in entries} == {OURS}
    assert [entry.data.origin for entry in entries[:3]] == ["created"] * 3
    participants = await harness.participants(entries[0].data.conversation.id)
    assert sorted(one["type"] for one in participants) == ["AI_AGENT", "CUSTOMER", "CUSTOMER", "CUSTOMER"]
    assert (await harness.calls())[ADD] == 2


async def test_the_next_message_of_a_group_needs_no_request(harness):
    """A message to any announced members needs no request."""
    await harness.settle(in_group(harness, harness.sms(), BEN, EVA))
    before = await harness.total()
    assert (
        await harness.settle(in_group(harness, harness.sms(), EVA), in_group(harness, harness.sms(), BEN))
        == [Result.KNOWN] * 2
    )
    assert await harness.total() == before
    assert (len(await harness.entries()), len(await harness.communications())) == (3, 3)


async def test_a_new_member_of_a_known_group_is_announced(harness):
    """A member who is added to the group later is announced with the next message."""
    await harness.settle(in_group(harness, harness.sms(), BEN))
    assert await harness.settle(in_group(harness, harness.sms(), BEN, EVA)) == [DONE]
    assert await joined(harness) == [CUSTOMER, BEN, EVA]
    assert len(await harness.communications()) == 2


async def test_a_new_member_is_announced_after_the_route_was_confirmed(harness):
    """A new member is announced although the route had to be confirmed first."""
    await harness.settle(in_group(harness, harness.sms(), BEN))
    harness.clock.advance(61)
    assert await harness.settle(in_group(harness, harness.sms(), BEN, EVA)) == [DONE]
    assert await joined(harness) == [CUSTOMER, BEN, EVA]
    assert len(await harness.communications()) == 2


@pytest.mark.parametrize("order", ["form first", "event first"])
async def test_form_webhook_and_event_of_a_group_message_announce_once(harness, order):
    """The form webhook and the event of one group message announce each member once, in either order."""
    form = harness.sms()
    both = [form, in_group(harness, form, BEN, EVA)]
    for webhook in both if order == "form first" else reversed(both):
        await harness.settle(webhook)
    assert await joined(harness) == [CUSTOMER, BEN, EVA]
    assert len(await harness.communications()) == 1


async def test_a_repeated_group_message_publishes_nothing(harness):
    """A group message that is repeated after a crash adds and publishes nothing."""
    deliveries = await harness.receive(in_group(harness, harness.sms(), BEN, EVA))
    await harness.work(deliveries)
    before = (await harness.total(), len(await harness.published()))
    assert await harness.work(deliveries) == [Result.KNOWN]
    assert (await harness.total(), len(await harness.published())) == before


async def test_a_member_who_writes_is_known(harness):
    """A message of an announced member is published in the same conversation."""
    await harness.settle(in_group(harness, harness.sms(), BEN))
    await harness.settle(in_group(harness, harness.sms(BEN), CUSTOMER))
    communications = await harness.communications()
    assert [entry.data.address for entry in communications] == [CUSTOMER, BEN]
    assert len({entry.data.conversation.id for entry in communications}) == 1
    assert await joined(harness) == [CUSTOMER, BEN]


async def test_our_own_addresses_are_not_added(harness):
    """Addresses of ours among the recipients are not added."""
    desk = "+15557650002"
    await harness.settle(harness.sms(DAN, desk))
    await harness.settle(in_group(harness, harness.sms(), OURS, desk, BEN))
    assert await joined(harness) == [DAN, CUSTOMER, BEN]


async def test_a_member_without_a_target_is_not_added(make_harness):
    """A member that the policy ignores is not added."""
    rule = f'[[rule]]\nname = "family"\ncustomer_prefix = ["{BEN}"]\ntarget = "ignore"\n'
    harness = await make_harness(policy=PLAIN + rule)
    await harness.settle(in_group(harness, harness.sms(), BEN, EVA))
    assert await joined(harness) == [CUSTOMER, EVA]
    (conversation,) = await harness.conversations()
    assert len(conversation["participants"]) == 3
    before = await harness.total()
    assert await harness.settle(in_group(harness, harness.sms(), BEN, EVA)) == [Result.KNOWN]
    assert await harness.total() == before


async def test_a_member_who_is_an_agent_is_not_announced(harness):
    """A member who is an agent in the conversation is not announced, and looked up only once."""
    captured = await harness.capture()
    path = f"/v2/Conversations/{captured['conversation']['id']}/Participants"
    await harness.api("POST", path, {"type": "HUMAN_AGENT", "addresses": [{"channel": "SMS", "address": BEN}]})
    await harness.settle(in_group(harness, harness.sms(), BEN))
    assert await joined(harness) == [CUSTOMER]
    before = await harness.total()
    assert await harness.settle(in_group(harness, harness.sms(), BEN)) == [Result.KNOWN]
    assert await harness.total() == before


async def test_a_refused_member_is_left_out(harness, lines):
    """A member that the API refuses is left out with the reason in the log, and looked up only once."""
    harness.fault(method="POST", route=ADD.partition(" ")[2], status=409, times=1)
    await harness.settle(in_group(harness, harness.sms(), BEN, EVA))
    assert await joined(harness) == [CUSTOMER, EVA]
    assert "left out of the group: 1 (the API refuses it: 409)" in lines("event")[0]["reason"]
    assert BEN not in str(lines("event"))
    before = await harness.total()
    assert await harness.settle(in_group(harness, harness.sms(), BEN, EVA)) == [Result.KNOWN]
    assert await harness.total() == before


async def test_an_outage_in_the_middle_of_a_group_waits(harness):
    """If the API fails between two members, the message waits, and then announces each once."""
    harness.resolver = harness.make_resolver(retries=0)
    harness.fault(method="POST", route=ADD.partition(" ")[2], status=503)
    deliveries = await harness.receive(in_group(harness, harness.sms(), BEN, EVA))
    (verdict,) = await harness.work(deliveries)
    assert isinstance(verdict, Later)
    assert await harness.published() == []
    harness.clear_faults()
    assert await harness.work([*map(redelivered, deliveries)]) == [DONE]
    assert await joined(harness) == [CUSTOMER, BEN, EVA]
    assert len(await harness.conversations()) == 1
    assert (await harness.calls())[LIST] >= 1


async def test_callbacks_of_added_members_announce_nobody(harness):
    """Callbacks about members that the worker added announce nobody again."""
    await harness.settle(in_group(harness, harness.sms(), BEN, EVA))
    (conversation,) = await harness.conversations()
    reports = [harness.callback("PARTICIPANT_ADDED", one) for one in conversation["participants"]]
    assert set(await harness.settle(*reports)) <= {Result.KNOWN, Result.IGNORED, Result.STALE}
    assert await joined(harness) == [CUSTOMER, BEN, EVA]


async def test_a_sender_without_a_target_adds_no_members(make_harness):
    """A group message of a sender that the policy ignores needs no request."""
    rule = f'[[rule]]\nname = "spam"\ncustomer_prefix = ["{CUSTOMER}"]\ntarget = "ignore"\n'
    harness = await make_harness(policy=PLAIN + rule)
    assert await harness.settle(in_group(harness, harness.sms(), BEN)) == [Result.IGNORED]
    assert (await harness.total(), await harness.published()) == (0, [])
