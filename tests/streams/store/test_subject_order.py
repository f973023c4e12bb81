"""The order of a subject: each inbound entry names its predecessor and waits for it, whichever worker has that."""

from __future__ import annotations

import pytest

from router.core.keys import RESOLVER, Keys
from router.streams.consuming.groups import ensure_group
from router.streams.consuming.window import HELD_PER_SLOT
from router.streams.delivery import Delivery, Done, Later, Limits
from router.streams.store import append
from router.streams.store.append import Appender
from router.streams.store.subject_order import SubjectOrder, UnnamedOrder
from tests.streams.bench import make_consumer
from tests.streams.store.test_append import make_fields
from tests.support.accounts import OTHER_ACCOUNT
from tests.support.waiting import until

pytestmark = [pytest.mark.real, pytest.mark.promise(3)]

LIMITS = Limits(window=1, batch=5, heartbeat_ttl=0.4, grace=2)


@pytest.fixture
async def enter(redis, keys, stream):
    """Return a function that appends webhooks of a subject and returns their entry ids."""
    appender = Appender(redis, keys)
    await ensure_group(redis, stream.key, RESOLVER)
    number = iter(range(10_000))

    async def run(subject="S", count=1, **changes):
        for _ in range(count):
            assert await appender.append(make_fields(f"k{next(number)}", subject=subject, **changes))
        return [entry_id.decode() for entry_id, _ in await redis.xrevrange(stream.key, count=count)][::-1]

    return run


async def predecessor(redis, stream, entry_id):
    """Return the id in an entry's field `after`, empty if it has none."""
    [(_, fields)] = await redis.xrange(stream.key, min=entry_id, max=entry_id)
    return fields.get(b"after", b"").decode()


async def read(redis, stream, consumer, count):
    """Read as a consumer of the group; returns deliveries."""
    [[_, rows]] = await redis.xreadgroup(RESOLVER, consumer, {stream.key: ">"}, count=count)
    return [Delivery(stream, entry_id.decode(), fields) for entry_id, fields in rows]


async def test_an_entry_names_the_one_before_it_of_its_subject(enter, redis, stream):
    """The first of a subject names none; equal subjects of two accounts are different subjects."""
    (first,) = await enter("S")
    (other,) = await enter("T")
    (foreign,) = await enter("S", account_id=OTHER_ACCOUNT)
    (second,) = await enter("S")
    found = [await predecessor(redis, stream, entry_id) for entry_id in (first, other, foreign, second)]
    assert found == ["", "", "", first]


async def test_a_duplicate_is_not_a_predecessor(enter, redis, keys, stream):
    """Only entries in the stream are named."""
    (first,) = await enter("S")
    assert not await Appender(redis, keys).append(make_fields("k0", subject="S"))
    (second,) = await enter("S")
    assert await predecessor(redis, stream, second) == first


async def test_the_latest_entry_is_forgotten_after_a_day(enter, redis, keys):
    """The key that links the entries of a subject expires."""
    await enter("S")
    ttl = await redis.ttl(keys.latest(0, make_fields().account_id, "S"))
    assert append.LATEST_LIFE - 60 <= ttl <= append.LATEST_LIFE


async def test_an_entry_waits_while_its_predecessor_is_pending_elsewhere(enter, redis, stream):
    """It waits for no other subject, and a predecessor in the same batch does not count."""
    await enter("S")
    await enter("T")
    theirs = await read(redis, stream, "them", 2)
    mine = await enter("S", 2)
    (free,) = await enter("U")
    ours = await read(redis, stream, "us", 3)
    order = SubjectOrder(redis, Keys(), RESOLVER)
    assert await order.waiting(ours) == {mine[0]}  # the second waits for the first, which is in the batch
    assert await order.waiting(ours[1:]) == {mine[1]}
    assert await order.waiting([one for one in ours if one.entry_id == free]) == set()
    await redis.xack(stream.key, RESOLVER, theirs[0].entry_id)
    assert await order.waiting(ours) == set()


async def test_entries_without_a_predecessor_cost_no_round_trip(enter, redis, stream, clients):
    """Nor do entries whose predecessor is in the same batch."""
    await enter("S", 3)
    ours = await read(redis, stream, "us", 3)
    nowhere = clients("redis://127.0.0.1:1/0")
    assert await SubjectOrder(nowhere, Keys(), RESOLVER).waiting(ours) == set()


@pytest.mark.parametrize("name", [b"\xff", b"no id", b""], ids=repr)
async def test_an_invalid_predecessor_is_not_waited_for(redis, stream, name):
    """An entry that was written by hand holds up nothing."""
    await ensure_group(redis, stream.key, RESOLVER)
    assert await SubjectOrder(redis, Keys(), RESOLVER).waiting([Delivery(stream, "1-0", {b"after": name})]) == set()


async def test_without_its_group_no_entry_waits(redis, stream):
    """A group that was lost is delivered everything again, in the order of the stream."""
    assert await SubjectOrder(redis, Keys(), RESOLVER).waiting([Delivery(stream, "2-0", {b"after": b"1-0"})]) == set()


class Ordered:
    """Consumers whose attempts wait for their predecessors; `done` has the entries in the order of completion."""

    def __init__(self, redis, url, stream):
        self.redis, self.url, self.stream = redis, url, stream
        self.order = SubjectOrder(redis, Keys(), RESOLVER)
        self.done = []

    async def attempt(self, delivery):
        if await self.order.waiting([delivery]):
            return Later("its predecessor is pending", 0.01, is_usual=True, is_queued=True, longest=0.5)
        self.done.append(delivery.entry_id)
        return Done()

    def make(self):
        return make_consumer(
            self.redis,
            self.url,
            Keys(),
            [self.stream],
            group=RESOLVER,
            limits=LIMITS,
            attempt=self.attempt,
            subject=lambda delivery: delivery.text("subject"),
        )


@pytest.mark.parametrize("subjects", [1, 7])
async def test_a_window_full_of_successors_releases_them_and_goes_on(enter, redis, redis_url, stream, subjects):
    """Two dead consumers have the predecessors: the survivor releases entries, claims theirs, and keeps the order."""
    bound = LIMITS.window * HELD_PER_SLOT
    ids = []
    for number in range(3 * bound):
        ids += await enter(f"S{number % subjects}")
    for number in range(bound):
        await read(redis, stream, f"dead{number % 2}", 1)
    ordered = Ordered(redis, redis_url, stream)
    async with ordered.make().running():
        await until(lambda: len(ordered.done) == len(ids), 110)
    by_subject = [
        [entry_id for entry_id in ordered.done if ids.index(entry_id) % subjects == n] for n in range(subjects)
    ]
    assert by_subject == [ids[n::subjects] for n in range(subjects)]


async def test_several_consumers_keep_the_order_of_each_subject(enter, redis, redis_url, stream):
    """Three consumers with small batches complete the entries of each subject in the order of the stream."""
    ids = []
    for number in range(90):
        ids += await enter(f"S{number % 3}")
    ordered = Ordered(redis, redis_url, stream)
    async with ordered.make().running(), ordered.make().running(), ordered.make().running():
        await until(lambda: len(ordered.done) == len(ids), 110)
    for number in range(3):
        assert [one for one in ordered.done if ids.index(one) % 3 == number] == ids[number::3]


async def test_entries_that_name_no_predecessor(redis, keys, stream):
    """One waits for an earlier one of its subject that another consumer holds; not for others, nor for its own."""
    await ensure_group(redis, stream.key, "g")
    ids = [await redis.xadd(stream.key, {"subject": subject}) for subject in ("a", "b", "a", "a")]
    await redis.xreadgroup("g", "one", {stream.key: ">"}, count=2)
    ((_, rows),) = await redis.xreadgroup("g", "other", {stream.key: ">"})
    order = UnnamedOrder(redis, keys, "g", lambda delivery: delivery.text("subject"))
    third, fourth = (Delivery(stream, entry_id.decode(), fields) for entry_id, fields in rows)
    assert not await order.is_behind(Delivery(stream, third.entry_id, {b"subject": b"c"}), "other")
    assert [await order.is_behind(one, "other") for one in (third, fourth)] == [True, True]
    await redis.xack(stream.key, "g", ids[0])
    assert [await order.is_behind(one, "other") for one in (third, fourth)] == [False, False]
    assert await order.is_behind(fourth, "one")
