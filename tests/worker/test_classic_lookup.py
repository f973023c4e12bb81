"""Classic lookup: a customer is looked up in classic conversations before a v2 conversation is created."""

import pytest

from router.core.ledger.marker import Result
from router.streams.delivery import Done, Later
from tests.support.accounts import CUSTOMER, OURS
from tests.worker.classic_harness import BRIDGED, Classic, bridge, classic
from tests.worker.harness import CREATE, LIST

DONE = Done()
LOOKUP = "GET /v1/ParticipantConversations"
FETCH = "GET /v1/Conversations/{conversation}"


@pytest.fixture
async def side(make_harness):
    harness = await make_harness()
    harness.resolver = harness.make_resolver(classic_lookup=True)
    return Classic(harness, None)


async def test_a_customer_is_found_in_a_classic_conversation(side):
    """One request finds the classic conversation and announces its member; the next message needs none."""
    taken = await side.inbound()
    assert await side.harness.settle(side.harness.sms()) == [DONE]
    assert await side.harness.calls() == {LOOKUP: 1}
    (entry,) = await side.harness.entries()
    data = entry.data
    assert data.conversation.id == data.conversation.classic_sid == taken["conversation"]["sid"]
    assert (data.participant.id, data.origin, data.conversation.status) == (
        taken["participant"]["sid"],
        "found",
        "ACTIVE",
    )
    assert (data.address, data.recipient.address) == (CUSTOMER, OURS)
    assert await side.harness.settle(side.harness.sms()) == [Result.KNOWN]
    assert await side.harness.total() == 1


async def test_without_a_classic_conversation_one_is_created(side):
    """Without a classic conversation a v2 one is created, and later messages need no request."""
    assert await side.harness.settle(side.harness.sms()) == [DONE]
    assert await side.harness.calls() == {LOOKUP: 1, CREATE: 1}
    assert await side.harness.settle(side.harness.sms()) == [Result.KNOWN]
    assert await side.harness.total() == 2


async def test_the_lookup_is_off_by_default(side):
    """Without the setting no lookup is made."""
    await side.inbound()
    assert await side.harness.settle(side.harness.sms(), by=side.harness.make_resolver()) == [DONE]
    assert await side.harness.calls() == {CREATE: 1}


async def test_webhook_and_lookup_announce_once(side):
    """A member that the lookup announced is not announced again by its classic webhooks."""
    taken = await side.inbound()
    sids = {"conversation_sid": taken["conversation"]["sid"], "participant_sid": taken["participant"]["sid"]}
    dates = {"DateCreated": taken["participant"]["date_created"]}
    added, wrote = classic("participant-added", **sids, extra=dates), classic("message-added", **sids)
    assert await side.harness.settle(side.harness.sms()) == [DONE]
    assert await side.harness.settle(added, wrote) == [Result.KNOWN, Result.KNOWN]
    removed = classic("participant-removed", **sids, extra={"DateRemoved": dates["DateCreated"]})
    assert await side.harness.settle(removed) == [Result.LEFT]
    assert await side.harness.types() == ["joined", "left"]


@pytest.mark.parametrize("kind", ["whatsapp", "rcs", "messenger"])
async def test_addresses_are_looked_up_with_their_prefix(side, kind):
    """The lookup uses the address with the prefix of its channel, since the API matches exactly."""
    prefixed = {"from": f"{kind}:{CUSTOMER}", "to": f"{kind}:{OURS}"}
    taken = await side.inbound(**prefixed)
    await side.harness.settle(side.harness.sms(kind=kind))
    (entry,) = await side.harness.entries()
    assert entry.data.conversation.id == taken["conversation"]["sid"]


async def test_a_conversation_with_another_address_of_ours_does_not_count(side):
    """A customer in a classic conversation with another number of ours is new at this one."""
    await side.inbound(to="+15557659999")
    await side.harness.settle(side.harness.sms())
    (entry,) = await side.harness.entries()
    assert entry.data.origin == "created"


async def test_an_inactive_conversation_counts_and_a_closed_one_does_not(side):
    """The lookup finds an inactive conversation, but not a closed one."""
    taken = await side.inbound()
    sid = taken["conversation"]["sid"]
    await side.call("POST", f"/Conversations/{sid}", State="inactive")
    await side.harness.settle(side.harness.sms())
    (entry,) = await side.harness.entries()
    assert (entry.data.conversation.id, entry.data.conversation.status) == (sid, "INACTIVE")
    await side.call("POST", f"/Conversations/{sid}", State="closed")
    side.harness.clock.advance(61)
    assert await side.harness.settle(side.harness.sms()) == [DONE]
    assert await side.harness.types() == ["joined", "closed", "joined"]
    (*_, last) = await side.harness.entries()
    assert last.data.origin == "created"


async def test_a_classic_route_is_confirmed_by_one_request(side):
    """After the route's TTL one request confirms that the classic conversation is open."""
    await side.inbound()
    await side.harness.settle(side.harness.sms())
    side.harness.clock.advance(61)
    assert await side.harness.settle(side.harness.sms()) == [DONE]
    assert await side.harness.calls() == {LOOKUP: 1, FETCH: 1}
    assert await side.harness.types() == ["joined"]


async def test_a_bridged_conversation_is_entered_in_v2(make_harness):
    """A bridged classic conversation is found by its v2 id, with the v2 participant."""
    harness = await make_harness(configurations=(BRIDGED,), classic_bridge=True)
    harness.resolver = harness.make_resolver(classic_lookup=True, bridges=bridge())
    side = Classic(harness, None)
    taken = await side.inbound()
    assert await harness.settle(harness.sms()) == [DONE]
    (entry,) = await harness.entries()
    assert entry.data.conversation.id == taken["bridged"]["id"]
    assert entry.data.conversation.classic_sid == taken["conversation"]["sid"]
    assert entry.data.participant.id.startswith("conv_participant_")
    assert (await harness.calls())[LIST] == 1


@pytest.mark.parametrize("status", [401, 404, 429, 503])
async def test_a_failed_lookup_waits(side, status):
    """A lookup that fails makes the message wait, even for an unknown service."""
    side.harness.resolver = side.harness.make_resolver(classic_lookup=True, retries=0)
    side.harness.fault(route=LOOKUP.partition(" ")[2], status=status)
    (delivery,) = await side.harness.receive(side.harness.sms())
    (result,) = await side.harness.work([delivery])
    assert isinstance(result, Later)
    side.harness.clear_faults()
    assert await side.harness.work([delivery]) == [DONE]
    assert await side.harness.types() == ["joined"]
