"""Classic lookup: a customer who is in a classic conversation is found there before a conversation is opened."""

import pytest

from router.core.ledger.marker import Result
from router.streams.delivery import Done, Later
from tests.support.accounts import CUSTOMER, OURS
from tests.worker.classic_harness import BRIDGED, Classic, bridge, classic
from tests.worker.harness import CREATE, LIST

DONE = Done()
LOOK = "GET /v1/ParticipantConversations"
FETCH = "GET /v1/Conversations/{conversation}"


@pytest.fixture
async def side(make_harness):
    harness = await make_harness()
    harness.resolver = harness.make_resolver(classic_lookup=True)
    return Classic(harness, None)


async def test_customer_in_a_classic_conversation(side):
    """One call finds the conversation; what was committed is a classic member, and the next message costs nothing."""
    taken = await side.inbound()
    assert await side.harness.settle(side.harness.sms()) == [DONE]
    assert await side.harness.calls() == {LOOK: 1}
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


async def test_customer_in_none(side):
    """Without a classic conversation a new one is opened as before, and later messages look nowhere."""
    assert await side.harness.settle(side.harness.sms()) == [DONE]
    assert await side.harness.calls() == {LOOK: 1, CREATE: 1}
    assert await side.harness.settle(side.harness.sms()) == [Result.KNOWN]
    assert await side.harness.total() == 2


async def test_without_the_setting_nobody_looks(side):
    """The lookup costs a call per new customer, so it is off unless asked for."""
    await side.inbound()
    assert await side.harness.settle(side.harness.sms(), by=side.harness.make_resolver()) == [DONE]
    assert await side.harness.calls() == {CREATE: 1}


async def test_webhook_and_lookup_announce_once(side):
    """The classic webhooks of the same customer add nothing to what the lookup has announced."""
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
async def test_addresses_are_asked_for_as_twilio_writes_them(side, kind):
    """The API matches exactly, with the prefix of the channel."""
    prefixed = {"from": f"{kind}:{CUSTOMER}", "to": f"{kind}:{OURS}"}
    taken = await side.inbound(**prefixed)
    await side.harness.settle(side.harness.sms(kind=kind))
    (entry,) = await side.harness.entries()
    assert entry.data.conversation.id == taken["conversation"]["sid"]


async def test_another_address_of_ours_is_another_conversation(side):
    """Our side is compared: who is in a conversation with another number of ours is new at this one."""
    await side.inbound(to="+15557659999")
    await side.harness.settle(side.harness.sms())
    (entry,) = await side.harness.entries()
    assert entry.data.origin == "created"


async def test_inactive_conversation_is_taken_and_closed_one_is_not(side):
    """Inactive still holds the pair, and traffic wakes it; closed has let it go."""
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


async def test_open_conversation_is_confirmed_by_one_look(side):
    """After a minute of silence one look at the classic conversation confirms that it is open."""
    await side.inbound()
    await side.harness.settle(side.harness.sms())
    side.harness.clock.advance(61)
    assert await side.harness.settle(side.harness.sms()) == [DONE]
    assert await side.harness.calls() == {LOOK: 1, FETCH: 1}
    assert await side.harness.types() == ["joined"]


async def test_bridged_conversation_is_entered_on_its_v2_side(make_harness):
    """A classic conversation that is bridged is found under its v2 id, with the v2 participant."""
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
async def test_lookup_that_fails_waits(side, status):
    """An outage, wrong credentials and a service that does not exist are nobody's message: it waits."""
    side.harness.resolver = side.harness.make_resolver(classic_lookup=True, retries=0)
    side.harness.fault(route=LOOK.partition(" ")[2], status=status)
    (delivery,) = await side.harness.receive(side.harness.sms())
    (result,) = await side.harness.work([delivery])
    assert isinstance(result, Later)
    side.harness.clear_faults()
    assert await side.harness.work([delivery]) == [DONE]
    assert await side.harness.types() == ["joined"]
