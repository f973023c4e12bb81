"""WhatsApp users without a phone: seen by phone and by id, in any order, one is one participant with one stay."""

import asyncio

import pytest

from router.core.keys import Keys
from router.core.ledger.marker import Result
from router.simulator.event_streams import streamed_message
from router.streams.delivery import Done, Later
from tests.support.accounts import ACCOUNT, CUSTOMER, OTHER_CUSTOMER, OURS
from tests.support.policies import PLAIN
from tests.worker.classic_harness import classic
from tests.worker.harness import CREATE
from tests.worker.payloads import participant_of, redelivered

DONE = Done()
USER, OTHER_USER = "US.13491208655302741918", "US.13491208655302741919"
PARENT = "US.ENT.506129382947"
ID_ADDRESS = f"whatsapp:{USER}"


def both(harness, phone=CUSTOMER, user=USER, **more):
    """Return a message that tells phone and id."""
    return harness.whatsapp(phone, ExternalUserId=user, **more)


def by_id(harness, user=USER, **more):
    """Return a message of a user whose phone is hidden."""
    return harness.whatsapp(f"whatsapp:{user}", ExternalUserId=user, **more)


def by_phone(harness, phone=CUSTOMER):
    """Return a message as it was before there were ids."""
    return harness.whatsapp(phone)


ORDERS = {
    "phone first": (both, by_id),
    "id first": (by_id, both),
    "back and forth": (both, by_id, both, by_id),
    "id first, twice": (by_id, by_id, both, both),
    "before there were ids": (by_phone, both, by_id, by_phone),
    "id first, then phone alone": (by_id, both, by_phone, by_id),
    "both first, then phone alone": (both, by_phone, by_id, by_phone),
}


async def forget_routes(harness):
    """Delete all routes, as they expire after a week without use."""
    async for key in harness.redis.scan_iter(harness.keys.route("*", "*")):
        await harness.redis.delete(key)


async def close(harness):
    """Close the open conversation, and let its callback arrive."""
    (conversation,) = [one for one in await harness.conversations() if one["status"] != "CLOSED"]
    closed = await harness.api("PATCH", f"/v2/Conversations/{conversation['id']}", {"status": "CLOSED"})
    assert await harness.settle(harness.callback("CONVERSATION_UPDATED", closed)) == [Result.CLOSED]


async def is_one_customer(harness, messages):
    """Assert that all messages are of one participant with one stay in one conversation."""
    entries = await harness.published()
    assert [entry.type for entry in entries] == ["participant.joined"] + ["communication.received"] * messages
    assert len({(entry.subject, entry.data.conversation.id) for entry in entries}) == 1
    (conversation,) = await harness.conversations()
    assert len(await harness.participants(conversation["id"])) == 2
    return entries


@pytest.mark.parametrize("order", ORDERS.values(), ids=ORDERS)
async def test_in_any_order(harness, order):
    """Messages by phone and by id are of one participant, one after the other."""
    for make in order:
        await harness.settle(make(harness))
    await is_one_customer(harness, len(order))


@pytest.mark.parametrize("order", ORDERS.values(), ids=ORDERS)
async def test_in_one_batch_and_by_several_workers(harness, order):
    """The same in one batch, which another worker gets too."""
    deliveries = await harness.receive(*(make(harness) for make in order))
    await harness.work(deliveries)
    await harness.work([redelivered(one) for one in deliveries], by=harness.make_resolver())
    await is_one_customer(harness, len(order))


@pytest.mark.parametrize("name", ["phone first", "id first", "id first, then phone alone"])
@pytest.mark.parametrize("idle", ["routes are forgotten", "another worker"])
async def test_after_the_routes_are_forgotten(harness, name, idle):
    """A customer is found again after weeks of silence, while the conversation is open."""
    order = ORDERS[name]
    resolver = harness.resolver if idle == "routes are forgotten" else harness.make_resolver()
    for make in (*order, *order[::-1]):
        await forget_routes(harness)
        await harness.settle(make(harness), by=resolver)
    await is_one_customer(harness, 2 * len(order))


@pytest.mark.parametrize("first", [both, by_id])
async def test_workers_at_the_same_time(harness, first):
    """Two workers that get both messages at once announce one participant."""
    second = by_id if first is both else both
    deliveries = await harness.receive(first(harness), second(harness))
    workers = [harness.resolver, harness.make_resolver()]
    results = await asyncio.gather(*(harness.work([one], by=by) for one, by in zip(deliveries, workers, strict=True)))
    for delivery, (result,) in zip(deliveries, results, strict=True):
        if isinstance(result, Later):  # it waited for the other one
            await harness.work([delivery])
    await is_one_customer(harness, 2)


async def test_real_workers(harness):
    """Two real workers that share the stream announce one participant."""
    await harness.ensure_group()
    async with harness.consuming(), harness.consuming(harness.make_resolver()):
        for make in ORDERS["back and forth"]:
            await harness.append(make(harness))
        await harness.finished()
    await is_one_customer(harness, 4)


async def test_a_classic_member_at_an_id(harness):
    """A classic member who is bound by an id, and what that author says, are told by the id."""
    ends = {"customer": ID_ADDRESS, "recipient": f"whatsapp:{OURS}"}
    await harness.settle(classic("participant-added", **ends), classic("message-added", at=1, **ends))
    joined, said = await harness.published()
    assert (joined.data.address, joined.data.external_user_id) == (ID_ADDRESS, USER)
    assert (said.subject, said.data.external_user_id) == (joined.subject, USER)


async def test_partition_and_order_follow_the_id(harness):
    """Both kinds of messages have one subject, so one partition and one order, whatever the number of partitions."""
    first, second = await harness.receive(both(harness), by_id(harness))
    assert first.text("subject") == second.text("subject") == f"WHATSAPP|{USER}|{OURS}"
    assert {Keys(partitions=7).partition_of(one.text("subject")) for one in (first, second)} == {
        Keys(partitions=7).partition_of(f"WHATSAPP|{USER}|{OURS}")
    }


async def test_entries_tell_ids_and_names(harness):
    """Entries carry the ids and names that messages told."""
    names = {"ProfileUsername": "ana.s", "ParentExternalUserId": f"whatsapp:{PARENT}", "ProfileName": "Ana"}
    await harness.settle(both(harness, **names))
    await harness.settle(by_id(harness))
    joined, first, second = await harness.published()
    for entry in (joined, first):
        data = entry.data
        assert (data.external_user_id, data.parent_external_user_id) == (USER, PARENT)
        assert (data.username, data.profile_name) == ("ana.s", "Ana")
        assert data.address == f"whatsapp:{CUSTOMER}"
    assert (second.data.address, second.data.external_user_id) == (ID_ADDRESS, USER)
    assert second.data.parent_external_user_id == PARENT


async def test_a_message_of_a_parent_id(harness):
    """An id that is the same for a group of businesses is an alias, too."""
    await harness.settle(both(harness, ParentExternalUserId=PARENT))
    await harness.settle(harness.whatsapp(f"whatsapp:{PARENT}"))
    entries = await is_one_customer(harness, 2)
    assert entries[-1].data.external_user_id == USER


async def test_repeated_webhooks(harness):
    """A webhook that is repeated, also by Event Streams with the id alone, changes nothing."""
    one, other = both(harness), by_id(harness)
    streamed = [streamed_message(each, event_id=f"EZ{index}", now=1) for index, each in enumerate((one, other))]
    await harness.settle(one, one, *streamed, other, one, *streamed)
    await is_one_customer(harness, 2)


async def test_a_new_stay_is_found_by_both(harness):
    """After a participant was removed and came back, the other address is still the same customer."""
    await harness.settle(both(harness))
    (conversation,) = await harness.conversations()
    member = participant_of(conversation, "CUSTOMER")
    removed = harness.callback("PARTICIPANT_REMOVED", member | {"updatedAt": "2099-01-01T00:00:00Z"})
    await harness.settle(removed)
    ledger = await harness.redis.hgetall(harness.keys.conversation(ACCOUNT, conversation["id"]))
    assert not [name for name in ledger if name.startswith(b"a:WHATSAPP")]
    added = harness.callback("PARTICIPANT_ADDED", member | {"updatedAt": "2099-01-02T00:00:00Z"})
    await harness.settle(added)
    await harness.settle(by_id(harness))
    types = [entry.type.partition(".")[2] for entry in await harness.published()]
    assert types == ["joined", "received", "left", "joined", "received"]


async def test_a_closed_conversation_is_followed_by_one(harness):
    """After the closing, messages by id and by phone open one further conversation, announced once."""
    await harness.settle(both(harness))
    await close(harness)
    await harness.settle(by_id(harness))
    await harness.settle(both(harness))
    types = [entry.type.partition(".")[2] for entry in await harness.published()]
    assert types == ["joined", "received", "closed", "joined", "received", "received"]


async def test_another_user_at_the_same_phone(harness):
    """A phone that has changed hands leads to its new user: the former one, seen by id, is another customer."""
    await harness.settle(both(harness))
    await harness.settle(both(harness, user=OTHER_USER))
    await forget_routes(harness)
    await harness.settle(by_id(harness, user=OTHER_USER))
    assert len(await harness.conversations()) == 1
    await harness.settle(by_id(harness))
    assert len(await harness.conversations()) == 2


async def test_a_new_phone_of_the_same_user(harness):
    """A user who is known by the id is the same customer with another phone."""
    await harness.settle(both(harness))
    await harness.settle(both(harness, phone=OTHER_CUSTOMER))
    await is_one_customer(harness, 2)


async def test_rules_on_prefixes_go_by_the_known_phone(make_harness):
    """A user whose phone is hidden now is decided by the phone, when the next conversation is opened."""
    rule = '[[rule]]\nname = "north"\ncustomer_prefix = "+1555123"\ntarget = "human-agent"\n'
    harness = await make_harness(policy=PLAIN + rule)
    await harness.settle(both(harness))
    await close(harness)
    await harness.settle(by_id(harness))
    joined = [entry for entry in await harness.published() if entry.type == "participant.joined"]
    assert [entry.data.reason for entry in joined] == ["north (customer_prefix)"] * 2


async def test_another_participant_at_the_id_is_not_announced(harness):
    """A participant that Twilio adds at the id of an announced customer, in the same conversation, is no other one."""
    await harness.settle(both(harness))
    (conversation,) = await harness.conversations()
    other = participant_of(conversation, "CUSTOMER") | {"id": "conv_participant_01k1etx3jbfx88476ccja00002"}
    other["addresses"] = [{"channel": "WHATSAPP", "address": ID_ADDRESS}]
    assert await harness.settle(harness.callback("PARTICIPANT_ADDED", other)) == [Result.IGNORED]


async def test_a_known_customer_needs_no_request(harness):
    """Once the alias is known, messages by phone and by id need no request."""
    await harness.settle(both(harness))
    assert await harness.calls() == {CREATE: 1}
    assert await harness.settle(by_id(harness), both(harness)) == [Result.KNOWN] * 2
    assert await harness.total() == 1
