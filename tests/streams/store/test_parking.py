"""Parked entries: out of the pending list and back, in the order of each subject, each exactly once."""

from __future__ import annotations

from collections import defaultdict

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from router.core.keys import RESOLVER, Keys
from router.streams.client.connection import connect
from router.streams.consuming.groups import ensure_group
from router.streams.delivery import Delivery, StreamRef
from router.streams.store.parking import (
    PARTS,
    Parking,
    Waiting,
    count_parked,
    drop_parked,
    list_parked,
    subject_name,
)
from router.streams.store.subject_order import SubjectOrder
from tests.support.accounts import ACCOUNT
from tests.support.waiting import scaled

pytestmark = [pytest.mark.real, pytest.mark.promise(3), pytest.mark.promise(4)]

LANE = f"{ACCOUNT} SMS"
NOW = Waiting(LANE, "the API is away")


@pytest.fixture
async def place(redis, keys, stream):
    await ensure_group(redis, stream.key, RESOLVER)
    return Place(redis, keys, stream)


class Place:
    """A stream with a group, and consumers of it."""

    def __init__(self, redis, keys, stream):
        self.redis, self.keys, self.stream = redis, keys, stream

    def parking(self, consumer="me"):
        return Parking(self.redis, self.keys, group=RESOLVER, consumer=consumer)

    async def read(self, *subjects, consumer="me"):
        """Add an entry for each subject and read it; returns (subject, delivery)s."""
        for subject in subjects:
            await self.redis.xadd(self.stream.key, {"subject": subject})
        answer = await self.redis.xreadgroup(RESOLVER, consumer, {self.stream.key: ">"}, count=10_000)
        rows = answer[0][1] if answer else []
        return [
            (fields[b"subject"].decode(), Delivery(self.stream, entry_id.decode(), fields)) for entry_id, fields in rows
        ]

    async def pending(self):
        """Return the consumer and the delivery count of each pending entry."""
        rows = await self.redis.xpending_range(self.stream.key, RESOLVER, "-", "+", 10_000)
        return {row["message_id"].decode(): (row["consumer"].decode(), row["times_delivered"]) for row in rows}

    async def listed(self):
        return [one async for one in list_parked(self.redis, self.keys, self.stream.key, RESOLVER)]

    async def bring(self, lane=LANE, *, consumer="me", most=100, of_subject=100):
        return await self.parking(consumer).bring_back(
            self.stream, lane, subjects=most, most=most, of_subject=of_subject
        )

    async def lanes(self):
        """Return the names of the lanes that have parked subjects."""
        (lanes,) = await self.parking().lanes([self.stream])
        return [lane.name for lane in lanes]

    async def is_clean(self):
        """Return whether no record is left."""
        return not await self.redis.exists(*[self.keys.parked(self.stream.key, RESOLVER, part) for part in PARTS])


async def test_a_parked_entry_is_not_pending_and_comes_back_as_it_was(place):
    """It keeps its id, its fields and its delivery count, belongs to whoever brings it back, and leaves no record."""
    [(subject, delivery)] = await place.read("S")
    await place.redis.xclaim(place.stream.key, RESOLVER, "me", 0, [delivery.entry_id], retrycount=3, justid=True)
    assert await place.parking().park(place.stream, [(subject, delivery)], NOW) == []
    assert await place.pending() == {}
    assert await count_parked(place.redis, place.keys, place.stream.key, RESOLVER) == 1
    [back] = await place.bring(consumer="other")
    assert (back.delivery.entry_id, back.delivery.fields) == (delivery.entry_id, delivery.fields)
    assert (back.subject, back.left) == ("S", 0)
    assert await place.pending() == {delivery.entry_id: ("other", 3)}
    assert await place.is_clean()


async def test_a_subject_comes_back_in_the_order_of_the_stream(place):
    """However its entries were parked: one after the other, together, or the later ones first."""
    items = await place.read(*["S"] * 12)
    for part in (items[6:9], items[9:], items[:3], items[3:6]):
        await place.parking().park(place.stream, part, NOW)
    assert [one.delivery.entry_id for one in await place.bring()] == [one.entry_id for _, one in items]


async def test_ids_are_ordered_by_number_and_not_by_letter(place):
    """Within one millisecond -10 comes after -9, and a longer time after a shorter one."""
    ids = ["9-9", "9-10", "10-0", "10-2", "10-11"]
    for entry_id in ids:
        await place.redis.xadd(place.stream.key, {"subject": "S"}, id=entry_id)
    items = await place.read()
    await place.parking().park(place.stream, items[::-1], NOW)
    assert [one.entry_id for one in await place.listed()] == ids
    assert [one.delivery.entry_id for one in await place.bring()] == ids


async def test_only_pending_entries_of_the_consumer_itself_are_parked(place):
    """Another consumer's, an acknowledged and a parked entry are left as they are."""
    (mine, theirs, done) = await place.read("S", "T", "U")
    await place.redis.xclaim(place.stream.key, RESOLVER, "other", 0, [theirs[1].entry_id], justid=True)
    await place.redis.xack(place.stream.key, RESOLVER, done[1].entry_id)
    for _ in range(2):
        await place.parking().park(place.stream, [mine, theirs, done], NOW)
    assert [one.entry_id for one in await place.listed()] == [mine[1].entry_id]
    assert await place.pending() == {theirs[1].entry_id: ("other", 1)}


async def test_parking_behind_takes_only_what_is_behind(place):
    """Entries after a parked one of their subject are parked; those before it, and other subjects, are returned."""
    before, head, after, other = await place.read("S", "S", "S", "T")
    await place.parking().park(place.stream, [head], Waiting(LANE, "away", delay=60, tries=2))
    left = await place.parking().park(place.stream, [before, after, other], NOW, is_behind_only=True)
    assert left == [before[1], other[1]]
    listed = await place.listed()
    assert [one.entry_id for one in listed] == [head[1].entry_id, after[1].entry_id]
    assert {(one.reason, one.tries) for one in listed} == {("away", 2)}  # the subject waits as its first entry does
    assert listed[0].due - listed[0].since == 60_000


async def test_a_subject_waits_as_its_first_entry_does(place):
    """Parking an earlier entry replaces reason, lane, tries and due time, and keeps the time since when it waits."""
    first, second = await place.read("S", "S")
    await place.parking().park(place.stream, [second], Waiting(LANE, "behind"))
    [behind] = await place.listed()
    waiting = Waiting("other lane", "two\nlines", delay=30, tries=4)
    await place.parking().park(place.stream, [first], waiting)
    head, _ = await place.listed()
    assert (head.lane, head.reason, head.tries, head.since) == ("other lane", "two lines", 4, behind.since)
    assert await place.bring() == []
    (lanes,) = await place.parking().lanes([place.stream])
    assert [(lane.name, lane.subjects) for lane in lanes] == [("other lane", 1)]
    assert 0 < lanes[0].due_in <= 30


async def test_an_entry_comes_back_when_it_is_due_and_not_before(place):
    """An entry that waits a minute stays; one without a delay comes at once."""
    late, soon = await place.read("S", "T")
    await place.parking().park(place.stream, [late], Waiting(LANE, "away", delay=60))
    await place.parking().park(place.stream, [soon], NOW)
    assert [one.subject for one in await place.bring()] == ["T"]
    assert await place.bring() == []
    await place.parking().resume(place.stream, ["S", "no such subject"])
    assert [one.subject for one in await place.bring()] == ["S"]


async def test_a_subject_that_failed_brings_one_entry_until_it_is_resumed(place):
    """The rest follows, as much as is asked for at once, after an entry has succeeded."""
    items = await place.read(*["S"] * 10)
    await place.parking().park(place.stream, items, Waiting(LANE, "away", tries=1, since=5))
    [first] = await place.bring()
    assert (first.delivery.entry_id, first.left) == (items[0][1].entry_id, 9)
    assert (first.delivery.tries, first.delivery.waiting_since) == (1, 5)
    assert await place.bring() == []  # its rest is not due before the lease has passed
    await place.parking().resume(place.stream, ["S"])
    rest = await place.bring(of_subject=4)
    assert [one.delivery.entry_id for one in rest] == [one.entry_id for _, one in items[1:5]]
    assert {one.left for one in rest} == {5}


async def test_lanes_are_brought_back_by_themselves_and_in_the_order_of_their_due_times(place):
    """A lane that is not asked for keeps its entries; within a lane the subject that is due first comes first."""
    items = await place.read("a", "b", "c", "d")
    for (subject, delivery), delay in zip(items, (-1, -3, -2, -4), strict=True):
        lane = "other" if subject == "d" else LANE
        await place.parking().park(place.stream, [(subject, delivery)], Waiting(lane, "away", delay=delay))
    assert await place.lanes() == [LANE, "other"]
    assert [one.subject for one in await place.bring(most=2)] == ["b", "c"]
    assert [one.subject for one in await place.bring()] == ["a"]
    assert await place.lanes() == ["other"]


async def test_what_an_attempt_may_have_done_is_remembered(place):
    """An entry parked after an attempt comes back as redelivered, one that the budget keeps as kept; others do not."""
    (s, one), (t, two), (u, three) = await place.read("S", "T", "U")
    begun = Delivery(one.stream, one.entry_id, one.fields, is_redelivered=True)
    kept = Delivery(two.stream, two.entry_id, two.fields, is_kept=True)
    await place.parking().park(place.stream, [(s, begun), (t, kept), (u, three)], NOW)
    back = {one.subject: (one.delivery.is_redelivered, one.delivery.is_kept) for one in await place.bring()}
    assert back == {"S": (True, False), "T": (False, True), "U": (False, False)}


async def test_crashes_are_remembered_by_the_entry(place):
    """An entry that two processes died with is still a suspect when it comes back."""
    [item] = await place.read("S")
    await place.redis.hset(place.keys.deaths(0, RESOLVER), item[1].entry_id, 2)
    await place.redis.expire(place.keys.deaths(0, RESOLVER), 60)
    await place.parking().park(place.stream, [item], NOW)
    [back] = await place.bring()
    assert back.delivery.crashes == 2


async def test_bytes_are_bounded(place):
    """No more is brought back at once than the bytes that are asked for, and always something."""
    for _ in range(5):
        await place.redis.xadd(place.stream.key, {"subject": "S", "body": "x" * 1_000})
    await place.parking().park(place.stream, await place.read(), NOW)
    back = await place.parking().bring_back(place.stream, LANE, subjects=9, most=100, of_subject=100, max_bytes=2_500)
    assert [len(back), back[0].left] == [3, 2]


async def test_an_entry_that_left_its_stream_comes_without_fields(place):
    """Somebody deleted it: its record goes, it is not pending, and others of its subject come as usual."""
    gone, there = await place.read("S", "S")
    await place.parking().park(place.stream, [gone, there], NOW)
    await place.redis.xdel(place.stream.key, gone[1].entry_id)
    back = await place.bring()
    assert [one.delivery.fields for one in back] == [{}, there[1].fields]
    assert list(await place.pending()) == [there[1].entry_id]
    assert await place.is_clean()


async def test_an_entry_that_a_new_group_has_read_again_is_left_to_its_reader(place):
    """The group was lost and delivers everything anew: parked entries that are pending by now only lose the record."""
    items = await place.read("S", "T")
    await place.parking().park(place.stream, items, NOW)
    await place.redis.xgroup_destroy(place.stream.key, RESOLVER)
    await ensure_group(place.redis, place.stream.key, RESOLVER)
    await place.redis.xreadgroup(RESOLVER, "reader", {place.stream.key: ">"}, count=1)
    assert [one.subject for one in await place.bring(consumer="other")] == ["T"]
    owners = [owner for owner, _ in (await place.pending()).values()]
    assert owners == ["reader", "other"]
    assert await place.is_clean()


@pytest.mark.parametrize("later", ["2", "2 {another form}"], ids=["same form", "another form"])
async def test_records_of_a_newer_version_are_left_alone(place, lines, later):
    """They are neither brought back nor resumed nor overwritten, hold up no other subject, and are said once."""
    newer, usual = await place.read("S", "T")
    await place.parking().park(place.stream, [newer, usual], NOW)
    key = place.keys.parked(place.stream.key, RESOLVER, "subjects")
    record = (await place.redis.hget(key, "S")).decode()
    newer_record = later + record[1:] if later == "2" else later
    await place.redis.hset(key, "S", newer_record)
    await place.parking().resume(place.stream, ["S", "T"])
    parking = place.parking()
    due = place.keys.parked(place.stream.key, RESOLVER, "due")
    waiting = await place.redis.zcard(due)
    for expected in (["T"], []):
        found = await parking.bring_back(place.stream, LANE, subjects=2, most=100, of_subject=100)
        assert [one.subject for one in found] == expected
    assert await place.redis.zcard(due) == waiting - 1
    assert (await place.redis.hget(key, "S")).decode() == newer_record
    (line,) = lines("format.other")
    assert line["reason"] == "parked event in format 2; this release reads 1"


async def test_an_entry_parked_before_a_newer_record_does_not_overwrite_it(place):
    """It is recorded in the queue of its subject, whose record belongs to a later release."""
    first, second = await place.read("S", "S")
    await place.parking().park(place.stream, [second], NOW)
    key = place.keys.parked(place.stream.key, RESOLVER, "subjects")
    await place.redis.hset(key, "S", "2 {another form}")
    await place.parking().park(place.stream, [first], NOW)
    assert await place.redis.hget(key, "S") == b"2 {another form}"
    assert await place.bring() == []
    assert await place.pending() == {}


async def test_dropped_entries_are_finished_and_leave_no_record(place):
    """Of a subject some may be dropped; the rest stays in order."""
    items = await place.read(*["S"] * 4, "T")
    await place.parking().park(place.stream, items, NOW)
    listed = await place.listed()
    assert await drop_parked(place.redis, place.keys, place.stream.key, RESOLVER, listed[:2]) == 2
    assert await drop_parked(place.redis, place.keys, place.stream.key, RESOLVER, listed[:2]) == 0
    assert [one.entry_id for one in await place.listed()] == [one.entry_id for one in listed[2:]]
    assert await drop_parked(place.redis, place.keys, place.stream.key, RESOLVER, listed[2:]) == 3
    assert await place.is_clean()
    assert await place.pending() == {}


@pytest.mark.parametrize("position", ["parked", "brought back", "done"])
async def test_a_successor_waits_while_its_predecessor_is_parked_or_pending(place, position):
    """It is free once the predecessor is neither."""
    [first] = await place.read("S")
    second = Delivery(place.stream, "99999999999999-0", {b"after": first[1].entry_id.encode()})
    await place.parking().park(place.stream, [first], NOW)
    if position != "parked":
        await place.bring(consumer="other")
    if position == "done":
        await place.redis.xack(place.stream.key, RESOLVER, first[1].entry_id)
    waiting = await SubjectOrder(place.redis, place.keys, RESOLVER).waiting([second])
    assert waiting == (set() if position == "done" else {second.entry_id})


@pytest.mark.parametrize(
    "subject", ["a\nb", "x" * 5_000, "\ud800", "SMS|+1 555"], ids=["break", "long", "bad", "usual"]
)
async def test_any_subject_has_a_name(place, subject):
    """One line, of a bounded length; different subjects have different names."""
    name = subject_name(ACCOUNT, subject)
    assert len(name) <= 200
    assert name != subject_name(ACCOUNT, subject + "x")
    [(_, delivery)] = await place.read("any")
    await place.parking().park(place.stream, [(name, delivery)], NOW)
    assert [one.subject for one in await place.bring()] == [name]


async def test_a_group_that_is_gone_is_an_error_and_loses_nothing(place):
    """Entries stay parked until the group is there again."""
    items = await place.read("S")
    await place.parking().park(place.stream, items, NOW)
    await place.redis.xgroup_destroy(place.stream.key, RESOLVER)
    with pytest.raises(Exception, match="NOGROUP"):
        await place.bring()
    assert len(await place.listed()) == 1
    await ensure_group(place.redis, place.stream.key, RESOLVER)
    assert len(await place.bring()) == 1


steps = st.lists(
    st.tuples(
        st.sampled_from(["read", "park", "behind", "back", "ack", "resume"]), st.integers(0, 2), st.integers(1, 3)
    ),
    max_size=40,
)


@settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
@given(steps=steps)
async def test_every_entry_is_in_one_place_and_each_subject_in_order(redis_url, steps):
    """Whatever two consumers do: an entry is pending or parked or finished, and none of a subject is passed over."""
    redis = connect(redis_url, timeout=scaled(20))
    stream = StreamRef(0, Keys("any").inbound(0))
    try:
        await redis.delete(stream.key, *[Keys("any").parked(stream.key, RESOLVER, part) for part in PARTS])
        await ensure_group(redis, stream.key, RESOLVER)
        place, hands, finished, total = Place(redis, Keys("any"), stream), defaultdict(dict), set(), 0
        for number, (step, subject, consumer) in enumerate(steps):
            name, hand = f"S{subject}", hands[consumer]
            mine = [item for item in hand.values() if item[0] == name]
            if step == "read":
                items = await place.read(name, name, consumer=str(consumer))
                total += 2
                hand.update({one.entry_id: (text, one) for text, one in items})
            elif step in {"park", "behind"}:
                left = await place.parking(str(consumer)).park(
                    stream, mine, Waiting(LANE, str(number)), is_behind_only=step == "behind"
                )
                for _, one in mine:
                    if one not in left:
                        del hand[one.entry_id]
            elif step == "back":
                back = await place.bring(consumer=str(consumer), most=2, of_subject=2)
                hand.update({one.delivery.entry_id: (one.subject, one.delivery) for one in back})
            elif step == "ack" and mine:
                await redis.xack(stream.key, RESOLVER, mine[0][1].entry_id)
                finished.add(mine[0][1].entry_id)
                del hand[mine[0][1].entry_id]
            elif step == "resume":
                await place.parking().resume(stream, [name])
            pending, listed = set(await place.pending()), [one.entry_id for one in await place.listed()]
            assert pending == {entry_id for one in hands.values() for entry_id in one}
            assert len(listed) == len(set(listed)) == await count_parked(redis, place.keys, stream.key, RESOLVER)
            assert not pending & set(listed)
            assert not finished & (pending | set(listed))
            assert len(pending) + len(listed) + len(finished) == total
    finally:
        await redis.delete(stream.key, *[Keys("any").parked(stream.key, RESOLVER, part) for part in PARTS])
        await redis.aclose()
