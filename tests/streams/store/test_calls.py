"""Facts by CallSid: a call's conversation and participant, that it is over, and whether its end was received."""

import pytest

from router.core.calls import OVER, call_key
from router.core.keys import Keys
from router.streams.store.calls import LIFE, CallRecord, CallStore
from tests.core.builders import CONVERSATION, make_participant
from tests.support.accounts import ACCOUNT, OTHER_ACCOUNT

SID = "CA00000000000000000000000000000001"


@pytest.fixture
def calls(redis):
    return CallStore(redis, Keys())


async def test_nothing_is_known_at_the_beginning(calls):
    """A new call has an empty record."""
    assert await calls.read(ACCOUNT, SID) == CallRecord()


@pytest.mark.parametrize("is_end_first", [True, False])
async def test_conversation_and_end_do_not_overwrite_each_other(calls, redis, is_end_first):
    """Two workers may note them concurrently, in either order; the record expires."""
    participant = make_participant("p1")
    if is_end_first:
        await calls.note_end(ACCOUNT, SID)
    await calls.note_participant(ACCOUNT, SID, CONVERSATION, participant)
    if not is_end_first:
        await calls.note_end(ACCOUNT, SID)
    assert await calls.read(ACCOUNT, SID) == CallRecord(CONVERSATION, participant, is_over=True)
    assert 0 < await redis.ttl(Keys().call(ACCOUNT, SID)) <= LIFE


async def test_accounts_are_apart(calls):
    """The same CallSid under another account is another call."""
    await calls.note_end(ACCOUNT, SID)
    assert not (await calls.read(OTHER_ACCOUNT, SID)).is_over


@pytest.mark.parametrize("partitions", [1, 16])
@pytest.mark.parametrize("status", sorted(OVER))
async def test_a_received_end_is_known_before_it_is_handled(redis, status, partitions):
    """The receiver's claim for any final status shows it, in the partition of the call."""
    keys = Keys(partitions=partitions)
    calls = CallStore(redis, keys)
    ringing = keys.seen(keys.partition_of(SID), call_key(ACCOUNT, SID, "ringing"))
    await redis.set(ringing, "1", ex=60)
    assert not await calls.is_end_received(ACCOUNT, SID)
    await redis.set(keys.seen(keys.partition_of(SID), call_key(ACCOUNT, SID, status)), "1", ex=60)
    assert await calls.is_end_received(ACCOUNT, SID)
