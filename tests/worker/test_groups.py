"""Group messages: the sender and every further member in one conversation, one joined each, and what was said once."""

from dataclasses import replace

import orjson
import pytest

from router.core.ledger.marker import Result
from router.simulator.messages import streamed
from router.streams.delivery import Done, Later
from tests.support.accounts import CUSTOMER, OURS
from tests.worker.world import LIST, PLAIN

DONE = Done()
BEN, EVA, DAN = "+15551230002", "+15551230003", "+15551230004"
ADD = "POST /v2/Conversations/{conversation}/Participants"


def in_group(world, form, *members):
    """What Event Streams tells of a message to a group; with a number of its own each time."""
    world._number += 1
    event = streamed(form, event_id=f"EZ{world._number}", now=world.clock(), is_batch=False)
    document = orjson.loads(event.body)
    document["data"]["recipients"] = list(members)
    return replace(event, body=orjson.dumps(document))


async def joined(world):
    """The addresses that were announced, in order."""
    return [entry.data.address for entry in await world.entries() if entry.type == "participant.joined"]


async def test_every_member_is_announced_once(world):
    """The sender, then the others as customers of the same conversation, then what was said: one commit."""
    assert await world.settle(in_group(world, world.sms(), BEN, EVA)) == [DONE]
    entries = await world.published()
    assert [entry.type.partition(".")[2] for entry in entries] == ["joined", "joined", "joined", "received"]
    assert [entry.data.address for entry in entries] == [CUSTOMER, BEN, EVA, CUSTOMER]
    assert {entry.data.conversation.id for entry in entries} == {entries[0].data.conversation.id}
    assert {entry.data.recipient.address for entry in entries} == {OURS}
    assert [entry.data.origin for entry in entries[:3]] == ["created"] * 3
    people = await world.participants(entries[0].data.conversation.id)
    assert sorted(one["type"] for one in people) == ["AI_AGENT", "CUSTOMER", "CUSTOMER", "CUSTOMER"]
    assert (await world.calls())[ADD] == 2


async def test_next_message_of_a_group_costs_nothing(world):
    """Who is announced is known, whoever else is written to."""
    await world.settle(in_group(world, world.sms(), BEN, EVA))
    before = await world.total()
    assert (
        await world.settle(in_group(world, world.sms(), EVA), in_group(world, world.sms(), BEN)) == [Result.KNOWN] * 2
    )
    assert await world.total() == before
    assert (len(await world.entries()), len(await world.heard())) == (3, 3)


async def test_new_member_of_a_known_group(world):
    """Somebody who is added to the group later is announced with the next message."""
    await world.settle(in_group(world, world.sms(), BEN))
    assert await world.settle(in_group(world, world.sms(), BEN, EVA)) == [DONE]
    assert await joined(world) == [CUSTOMER, BEN, EVA]
    assert len(await world.heard()) == 2


async def test_new_member_after_the_route_is_confirmed(world):
    """The same where the conversation has to be confirmed first."""
    await world.settle(in_group(world, world.sms(), BEN))
    world.clock.advance(61)
    assert await world.settle(in_group(world, world.sms(), BEN, EVA)) == [DONE]
    assert await joined(world) == [CUSTOMER, BEN, EVA]
    assert len(await world.heard()) == 2


@pytest.mark.parametrize("order", ["form first", "event first"])
async def test_form_webhook_and_event_of_one_group_message(world, order):
    """The form webhook knows the sender only; with the event everybody is announced once and the message heard once."""
    form = world.sms()
    both = [form, in_group(world, form, BEN, EVA)]
    for webhook in both if order == "form first" else reversed(both):
        await world.settle(webhook)
    assert await joined(world) == [CUSTOMER, BEN, EVA]
    assert len(await world.heard()) == 1


async def test_repeated_delivery_is_silent(world):
    """A crash after the commit repeats the event: nobody is added or announced again."""
    deliveries = await world.enter(in_group(world, world.sms(), BEN, EVA))
    await world.work(deliveries)
    before = (await world.total(), len(await world.published()))
    assert await world.work(deliveries) == [Result.KNOWN]
    assert (await world.total(), len(await world.published())) == before


async def test_member_who_writes(world):
    """A member who answers is known in the same conversation."""
    await world.settle(in_group(world, world.sms(), BEN))
    await world.settle(in_group(world, world.sms(BEN), CUSTOMER))
    heard = await world.heard()
    assert [entry.data.address for entry in heard] == [CUSTOMER, BEN]
    assert len({entry.data.conversation.id for entry in heard}) == 1
    assert await joined(world) == [CUSTOMER, BEN]


async def test_our_own_addresses_are_no_members(world):
    """Our number among the recipients, and any other of ours, are never added."""
    desk = "+15557650002"
    await world.settle(world.sms(DAN, desk))
    await world.settle(in_group(world, world.sms(), OURS, desk, BEN))
    assert await joined(world) == [DAN, CUSTOMER, BEN]


async def test_member_whom_the_policy_ignores(make_world):
    """Nobody's members are not even added."""
    rule = f'[[rule]]\nname = "family"\ncustomer_prefix = ["{BEN}"]\ntarget = "ignore"\n'
    world = await make_world(policy=PLAIN + rule)
    await world.settle(in_group(world, world.sms(), BEN, EVA))
    assert await joined(world) == [CUSTOMER, EVA]
    (conversation,) = await world.conversations()
    assert len(conversation["participants"]) == 3
    before = await world.total()
    assert await world.settle(in_group(world, world.sms(), BEN, EVA)) == [Result.KNOWN]
    assert await world.total() == before


async def test_member_who_is_an_agent_there(world):
    """A colleague in the group is no customer, and costs no call the next time."""
    captured = await world.capture()
    path = f"/v2/Conversations/{captured['conversation']['id']}/Participants"
    await world.api("POST", path, {"type": "HUMAN_AGENT", "addresses": [{"channel": "SMS", "address": BEN}]})
    await world.settle(in_group(world, world.sms(), BEN))
    assert await joined(world) == [CUSTOMER]
    before = await world.total()
    assert await world.settle(in_group(world, world.sms(), BEN)) == [Result.KNOWN]
    assert await world.total() == before


async def test_member_who_cannot_be_added(world, lines):
    """Who may not come in is left out with the reason in the log, once; the others are announced."""
    world.fault(method="POST", route=ADD.partition(" ")[2], status=409, times=1)
    await world.settle(in_group(world, world.sms(), BEN, EVA))
    assert await joined(world) == [CUSTOMER, EVA]
    assert "left out of the group: 1 (the API refuses it: 409)" in lines("event")[0]["reason"]
    assert BEN not in str(lines("event"))
    before = await world.total()
    assert await world.settle(in_group(world, world.sms(), BEN, EVA)) == [Result.KNOWN]
    assert await world.total() == before


async def test_outage_in_the_middle_of_a_group(world):
    """Some are added when the API goes away: the event waits, and then each is there and announced once."""
    world.resolver = world.make_resolver(retries=0)
    world.fault(method="POST", route=ADD.partition(" ")[2], status=503)
    deliveries = await world.enter(in_group(world, world.sms(), BEN, EVA))
    (verdict,) = await world.work(deliveries)
    assert isinstance(verdict, Later)
    assert await world.published() == []
    world.mend()
    redelivered = [type(one)(one.stream, one.entry_id, one.fields, is_redelivered=True) for one in deliveries]
    assert await world.work(redelivered) == [DONE]
    assert await joined(world) == [CUSTOMER, BEN, EVA]
    assert len(await world.conversations()) == 1
    assert (await world.calls())[LIST] >= 1


async def test_callbacks_of_members_come_meanwhile(world):
    """What Twilio tells of the members that we add makes no second joined."""
    await world.settle(in_group(world, world.sms(), BEN, EVA))
    (conversation,) = await world.conversations()
    reports = [world.told("PARTICIPANT_ADDED", one) for one in conversation["participants"]]
    assert set(await world.settle(*reports)) <= {Result.KNOWN, Result.IGNORED, Result.STALE}
    assert await joined(world) == [CUSTOMER, BEN, EVA]


async def test_unwanted_sender_brings_nobody_in(make_world):
    """A sender whom the policy ignores costs no call, however many the group has."""
    rule = f'[[rule]]\nname = "spam"\ncustomer_prefix = ["{CUSTOMER}"]\ntarget = "ignore"\n'
    world = await make_world(policy=PLAIN + rule)
    assert await world.settle(in_group(world, world.sms(), BEN)) == [Result.IGNORED]
    assert (await world.total(), await world.published()) == (0, [])
