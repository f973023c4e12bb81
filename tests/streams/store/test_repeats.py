"""Inbound entries of a subject are found by its order, and appended again once, behind the newest one."""

import pytest

from router.core.keys import Keys
from router.streams.store.append import Appender, InboundFields
from router.streams.store.repeats import Repeats
from tests.support.accounts import ACCOUNT, OTHER_ACCOUNT


@pytest.fixture(params=[1, 4], ids=["one partition", "four"])
def keys(request):
    return Keys(partitions=request.param)


async def append(redis, keys, *names, subject="ana", account=ACCOUNT):
    appender = Appender(redis, keys)
    for name in names:
        fields = InboundFields("messaging", account, f"{account}:{name}", subject, 1, name.encode(), 60)
        assert await appender.append(fields)


async def bodies(repeats, moment=0):
    return [entry.text("body") for entry in await repeats.appended_after(ACCOUNT, "ana", moment)]


async def test_the_entries_of_a_subject_are_found_in_order(redis, keys):
    """Only entries of the subject and account are found, the oldest first."""
    repeats = Repeats(redis, keys)
    assert await bodies(repeats) == []
    await append(redis, keys, "one")
    await append(redis, keys, "other", subject="ben")
    await append(redis, keys, "foreign", account=OTHER_ACCOUNT)
    await append(redis, keys, "two", "three")
    assert await bodies(repeats) == ["one", "two", "three"]


async def test_the_search_ends_at_the_moment_and_at_a_trimmed_entry(redis, keys):
    """Entries that were appended before the moment are not found, and none behind a trimmed one."""
    repeats = Repeats(redis, keys)
    await append(redis, keys, "one", "two", "three")
    found = await repeats.appended_after(ACCOUNT, "ana", 0)
    first, last = (int(entry.entry_id.partition("-")[0]) * 1000 for entry in (found[0], found[-1]))
    assert await bodies(repeats, first) == ["one", "two", "three"]
    assert (await bodies(repeats, last))[-1] == "three"
    assert await bodies(repeats, last + 1000) == []
    await redis.xdel(found[1].stream.key, found[1].entry_id)
    assert await bodies(repeats) == ["three"]


async def test_an_entry_is_appended_again_once_for_a_reason(redis, keys):
    """The copy has all fields and follows the newest entry; for another reason it is appended once more."""
    repeats = Repeats(redis, keys)
    await append(redis, keys, "one", "two")
    first, second = await repeats.appended_after(ACCOUNT, "ana", 0)
    assert await repeats.append_again(first, "closed 1")
    assert not await repeats.append_again(first, "closed 1")
    *_, copy = await repeats.appended_after(ACCOUNT, "ana", 0)
    assert copy.fields == first.fields | {b"after": second.entry_id.encode()}
    assert await repeats.append_again(first, "closed 2")
    await redis.xdel(second.stream.key, second.entry_id)
    assert not await repeats.append_again(second, "closed 1"), "it has been trimmed"
