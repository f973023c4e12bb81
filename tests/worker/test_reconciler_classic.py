"""The reconciler in classic conversations: those without a bridge are read through v1, bridged ones through v2."""

import pytest

from tests.support.accounts import ACCOUNT, CUSTOMER, OTHER_CUSTOMER, OURS
from tests.worker.classic_harness import Classic, bridge, classic
from tests.worker.sweeps import Sweeps


@pytest.fixture
def side(harness):
    """Twilio's side, whose webhooks are all lost unless a test settles them."""
    return Classic(harness, None)


@pytest.fixture
def sweeps(harness):
    return Sweeps(harness)


async def opened(side, sweeps):
    """A classic conversation with a customer, with the webhook of its creation only."""
    conversation = await side.call("POST", "/Conversations")
    sid = conversation["sid"]
    parameters = {"ConversationSid": sid, "DateCreated": conversation["date_created"]}
    await sweeps.settle(classic("conversation-added", extra=parameters))
    member = await side.join(sid)
    return sid, member


async def test_a_lost_member_is_recovered(harness, side, sweeps):
    """A member whose webhook was lost is announced once under its classic SIDs, with both addresses."""
    sid, member = await opened(side, sweeps)
    assert await sweeps.sweep() == 1
    assert await sweeps.sweep(after=601) == 1
    (entry,) = await harness.entries()
    data = entry.data
    assert (data.origin, data.address, data.recipient.address, data.cause.source) == (
        "recovered",
        CUSTOMER,
        OURS,
        "classic",
    )
    assert (data.conversation.id, data.conversation.classic_sid, data.participant.id) == (sid, sid, member["sid"])


async def test_a_lost_departure_and_addition_are_recovered(harness, side, sweeps):
    """A lost departure and a lost addition are published in that order."""
    sid, member = await opened(side, sweeps)
    await sweeps.sweep()
    await side.call("DELETE", f"/Conversations/{sid}/Participants/{member['sid']}")
    await side.join(sid, MessagingBinding__Address=OTHER_CUSTOMER, MessagingBinding__ProxyAddress=OURS)
    await sweeps.sweep(after=601)
    assert await harness.types() == ["joined", "left", "joined"]
    _, left, joined = await harness.entries()
    assert (left.subject, joined.data.address) == (member["sid"], OTHER_CUSTOMER)


async def test_a_lost_closing_is_recovered(harness, side, sweeps):
    """A lost closing of a classic conversation is published, and it is not swept again."""
    sid, _ = await opened(side, sweeps)
    await sweeps.sweep()
    await side.call("POST", f"/Conversations/{sid}", State="closed")
    assert await sweeps.sweep(after=601) == 1
    assert await harness.types() == ["joined", "closed"]
    assert await sweeps.sweep(after=601) == 0


async def test_a_chat_user_of_ours_is_not_announced(harness, side, sweeps):
    """A chat user with an identity of ours is not announced by a sweep."""
    sid, _ = await opened(side, sweeps)
    await side.join(sid, Identity="ai-agent")
    await harness.redis.zadd(harness.keys.own_addresses(ACCOUNT), {"CHAT|ai-agent": 1})
    await sweeps.sweep()
    assert await harness.types() == ["joined"]
    assert (await harness.entries())[0].data.address == CUSTOMER


async def test_a_bridged_conversation_is_not_swept_as_classic(harness, side):
    """Classic conversations of an account with a bridge are not swept."""
    sweeps = Sweeps(harness, bridges=bridge())
    await opened(side, sweeps)
    before = await harness.total()
    assert await sweeps.sweep() == 1
    assert await sweeps.sweep(after=601) == 0
    assert (await harness.types(), await harness.total()) == ([], before)
