"""The reconciler in classic conversations: those on their own are looked at through v1, bridged ones through v2."""

import pytest

from tests.support.accounts import ACCOUNT, CUSTOMER, OTHER_CUSTOMER, OURS
from tests.worker.classic_harness import Classic, bridge, classic
from tests.worker.sweeps import Sweeps


@pytest.fixture
def side(harness):
    """Twilio's side, whose webhooks are all lost unless a test tells them."""
    return Classic(harness, None)


@pytest.fixture
def sweeps(harness):
    return Sweeps(harness)


async def opened(side, sweeps):
    """A classic conversation of the sandbox with a customer, of which only its creation was told."""
    conversation = await side.call("POST", "/Conversations")
    sid = conversation["sid"]
    told = {"ConversationSid": sid, "DateCreated": conversation["date_created"]}
    await sweeps.settle(classic("conversation-added", extra=told))
    member = await side.join(sid)
    return sid, member


async def test_lost_member_is_recovered(harness, side, sweeps):
    """The member is announced under its classic SIDs with both ends, once."""
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


async def test_lost_leaving_and_another_member(harness, side, sweeps):
    """Who is gone has left, who is new has joined, in that order."""
    sid, member = await opened(side, sweeps)
    await sweeps.sweep()
    await side.call("DELETE", f"/Conversations/{sid}/Participants/{member['sid']}")
    await side.join(sid, MessagingBinding__Address=OTHER_CUSTOMER, MessagingBinding__ProxyAddress=OURS)
    await sweeps.sweep(after=601)
    assert await harness.types() == ["joined", "left", "joined"]
    _, left, joined = await harness.entries()
    assert (left.subject, joined.data.address) == (member["sid"], OTHER_CUSTOMER)


async def test_lost_closing_is_recovered(harness, side, sweeps):
    """A classic conversation that has closed is published as closed, and not looked at again."""
    sid, _ = await opened(side, sweeps)
    await sweeps.sweep()
    await side.call("POST", f"/Conversations/{sid}", State="closed")
    assert await sweeps.sweep(after=601) == 1
    assert await harness.types() == ["joined", "closed"]
    assert await sweeps.sweep(after=601) == 0


async def test_chat_user_of_ours_is_not_announced(harness, side, sweeps):
    """An identity under which a consumer joined is our own side, whoever finds it there."""
    sid, _ = await opened(side, sweeps)
    await side.join(sid, Identity="ai-agent")
    await harness.redis.zadd(harness.keys.own_addresses(ACCOUNT), {"CHAT|ai-agent": 1})
    await sweeps.sweep()
    assert await harness.types() == ["joined"]
    assert (await harness.entries())[0].data.address == CUSTOMER


async def test_bridged_account_is_looked_at_through_v2_only(harness, side):
    """Where the service is bridged, what is classic is left to its v2 side: nobody is announced twice."""
    sweeps = Sweeps(harness, bridges=bridge())
    await opened(side, sweeps)
    before = await harness.total()
    assert await sweeps.sweep() == 1
    assert await sweeps.sweep(after=601) == 0
    assert (await harness.types(), await harness.total()) == ([], before)
