"""Bodies that entries share: stored once, and kept while an entry or a dead letter refers to them, no longer."""

from __future__ import annotations

import asyncio

import pytest

from router.core.errors import NotDurableError
from router.core.events import share
from router.core.keys import RESOLVER, Keys
from router.streams.consuming.groups import ensure_group
from router.streams.delivery import Delivery, StreamRef
from router.streams.store import shared_bodies
from router.streams.store.append import Appender, InboundFields
from router.streams.store.dead_letters import give_up, list_letters, replay_all
from router.streams.store.parking import Parking, Waiting, drop_parked, list_parked
from router.streams.store.repeats import Repeats
from router.streams.store.shared_bodies import SharedBodies
from router.streams.store.trim import Trimmer
from tests.support.accounts import ACCOUNT

pytestmark = pytest.mark.real

MAIL = share(b"a mail " * 10_000)
OTHER = share(b"another mail")
NOW = 10_000_000_000_000  # milliseconds: later than every entry
#: Trimming removes whole nodes of a stream, so that tests that need a removal append as many.
NODE = 100


def make_fields(number, shared=MAIL, **changes):
    fields = {
        "source": "email",
        "account_id": ACCOUNT,
        "key": f"{shared.name if shared else ''}:{number}",
        "subject": f"EMAIL|ana@example.com|mailbox-{number}@inbound.example.com",
        "received_at": 1_767_787_200_000_000,
        "body": b"own part %d" % number,
        "ttl": 600,
        "shared": shared,
    }
    return InboundFields(**(fields | changes))


@pytest.fixture
def appender(redis, keys):
    return Appender(redis, keys)


async def append(appender, *fields):
    return [await appender.append(one) for one in fields]


async def deliver(redis, stream):
    """Return all unread entries as deliveries."""
    await ensure_group(redis, stream.key, RESOLVER)
    rows = await redis.xreadgroup(RESOLVER, "me", {stream.key: ">"}, count=10_000)
    return [Delivery(stream, entry_id.decode(), fields) for _, entries in rows for entry_id, fields in entries]


async def finish(redis, deliveries):
    for one in deliveries:
        await redis.xack(one.stream.key, RESOLVER, one.entry_id)


async def make_letter(redis, keys, delivery):
    origin = {"group": RESOLVER, "consumer": "me", "reason": "r", "deliveries": 1, "failed_at": "2026-01-07T12:00:00Z"}
    assert await give_up(redis, keys, delivery, **origin)


async def stored(redis, keys, partition=0):
    """Return the names of the bodies in Redis; each is in one of the sorted sets too, and no other has a count."""
    fields = {name.decode(): value for name, value in (await redis.hgetall(keys.shared(partition))).items()}
    names = {name.encode() for name in fields if not name.endswith(" entries")}
    assert {name for name in fields if name.endswith(" entries")} <= {f"{name.decode()} entries" for name in names}
    referred = await redis.zrange(keys.shared_inbound(partition), 0, -1)
    assert names == {*referred, *await redis.zrange(keys.shared_dead(partition), 0, -1)}
    return {name.decode() for name in names}


async def trim(redis, keys):
    """Remove all finished entries."""
    await Trimmer(redis, keys, retention=0, clock=lambda: NOW).trim(keys.inbound(0))


async def test_a_body_is_stored_once_and_read_with_each_entry(redis, keys, stream, appender):
    """A hundred entries refer to it; the process that reads them asks for it once."""
    assert await append(appender, *(make_fields(number) for number in range(100))) == [True] * 100
    assert await append(appender, make_fields(1)) == [False]
    assert await redis.memory_usage(stream.key, samples=0) < 100_000
    assert await stored(redis, keys) == {MAIL.name}
    deliveries = await deliver(redis, stream)
    assert {one.fields[b"shared"] for one in deliveries} == {MAIL.name.encode()}
    bodies = SharedBodies(redis, keys)
    assert await bodies.read(deliveries) == {MAIL.name.encode(): MAIL.data}
    await redis.delete(keys.shared(0), keys.shared_inbound(0))
    assert await bodies.read(deliveries[:1]) == {MAIL.name.encode(): MAIL.data}
    assert await SharedBodies(redis, keys).read(deliveries) == {}


async def test_concurrent_entries_of_two_mails_each_get_their_own(redis, keys, stream, appender):
    """One run of the script appends entries with different bodies, and entries without."""
    wanted = [make_fields(number, [MAIL, OTHER, None][number % 3]) for number in range(90)]
    results = await append_together(appender, wanted)
    assert results == [True] * 90
    assert await stored(redis, keys) == {MAIL.name, OTHER.name}
    found = {one.text("key"): one.text("shared") for one in await deliver(redis, stream)}
    assert found == {one.key: one.shared.name if one.shared else "" for one in wanted}


async def append_together(appender, fields):
    return list(await asyncio.gather(*(appender.append(one) for one in fields)))


async def test_a_body_goes_with_the_last_entry_that_refers_to_it(redis, keys, stream, appender):
    """While one of its entries is pending it stays, although all others have been trimmed."""
    await append(appender, *(make_fields(number) for number in range(3 * NODE)))
    await append(appender, *(make_fields(number, OTHER) for number in range(3 * NODE)))
    deliveries = await deliver(redis, stream)
    pending = deliveries[2 * NODE]
    await finish(redis, [one for one in deliveries if one is not pending])
    await trim(redis, keys)
    assert await redis.xlen(stream.key) < 5 * NODE
    assert await stored(redis, keys) == {MAIL.name, OTHER.name}
    await finish(redis, [pending])
    await trim(redis, keys)
    assert await stored(redis, keys) == {OTHER.name}
    await redis.delete(stream.key)
    await trim(redis, keys)
    assert await stored(redis, keys) == set()


async def test_an_old_parked_entry_does_not_keep_later_bodies(redis, keys, stream, appender):
    """Entries behind a parked one are deleted one by one; a body goes with the last of its own, and not before."""
    await append(appender, make_fields(0, share(b"parked")), *(make_fields(number) for number in range(5)))
    parked, *mail = await deliver(redis, stream)
    parking = Parking(redis, keys, group=RESOLVER, consumer="me")
    assert await parking.park(stream, [("S", parked), ("T", mail[1])], Waiting("lane", "reason", 3600)) == []
    for one in mail[2:]:
        await finish(redis, [one])
    await trim(redis, keys)
    assert await redis.xlen(stream.key) == 3
    assert await stored(redis, keys) == {share(b"parked").name, MAIL.name}
    await finish(redis, mail[:1])
    await trim(redis, keys)
    assert await redis.xlen(stream.key) == 2
    assert await stored(redis, keys) == {share(b"parked").name, MAIL.name}, "an entry of the mail is parked"
    await drop_parked(redis, keys, stream.key, RESOLVER, [one async for one in listed(redis, keys, stream, mail[1])])
    await append(appender, make_fields(9, None))
    await finish(redis, await deliver(redis, stream))
    await trim(redis, keys)
    assert await stored(redis, keys) == {share(b"parked").name}


async def listed(redis, keys, stream, delivery):
    async for one in list_parked(redis, keys, stream.key, RESOLVER):
        if one.entry_id == delivery.entry_id:
            yield one


@pytest.mark.parametrize("position", ["replayed", "appended again"])
async def test_an_entry_that_comes_again_counts_too(redis, keys, stream, appender, position):
    """Its body stays when the first entry is deleted between parked ones."""
    await append(appender, make_fields(0, share(b"parked")), make_fields(1))
    parked, first = await deliver(redis, stream)
    parking = Parking(redis, keys, group=RESOLVER, consumer="me")
    await parking.park(stream, [("S", parked)], Waiting("lane", "reason", 3600))
    if position == "replayed":
        await make_letter(redis, keys, first)
        (letter,) = [one async for one in list_letters(redis, keys)]
        await replay_all(redis, keys, [letter], replayed_at="2026-01-08T12:00:00Z")
    else:
        assert await Repeats(redis, keys).append_again(first, "its conversation closed")
        await finish(redis, [first])
    (again,) = await deliver(redis, stream)
    await trim(redis, keys)
    assert await redis.xlen(stream.key) == 2
    assert await SharedBodies(redis, keys).read([again]) == {MAIL.name.encode(): MAIL.data}


async def test_a_mail_that_comes_again_is_stored_again(redis, keys, stream, appender):
    """If a body has been removed and a further mailbox gets the same mail, its entry has its body."""
    await append(appender, make_fields(1))
    await redis.delete(stream.key)
    await trim(redis, keys)
    assert await append(appender, make_fields(1), make_fields(2)) == [False, True]
    (delivery,) = await deliver(redis, stream)
    assert await SharedBodies(redis, keys).read([delivery]) == {MAIL.name.encode(): MAIL.data}


async def test_a_dead_letter_has_its_body_until_it_is_replayed(redis, keys, stream, appender):
    """Letters refer to the body too: a replay finds it long after the stream has been trimmed."""
    await append(appender, *(make_fields(number) for number in range(2)))
    deliveries = await deliver(redis, stream)
    for one in deliveries:
        await make_letter(redis, keys, one)
    await redis.delete(stream.key)
    await trim(redis, keys)
    assert await stored(redis, keys) == {MAIL.name}
    first, second = [letter async for letter in list_letters(redis, keys)]
    assert len(b"".join(first.fields.values())) < 1_000
    await replay_all(redis, keys, [first], replayed_at="2026-01-08T12:00:00Z")
    (again,) = await deliver(redis, stream)
    assert await SharedBodies(redis, keys).read([again]) == {MAIL.name.encode(): MAIL.data}
    await redis.delete(stream.key)
    await trim(redis, keys)
    assert await stored(redis, keys) == {MAIL.name}, "the second letter needs it"
    await redis.xdel(keys.dead_letters(0), second.letter_id)
    await trim(redis, keys)
    assert await stored(redis, keys) == set()


async def test_many_bodies_are_removed_step_by_step(redis, keys, stream, appender, monkeypatch):
    """One run of the script removes a bounded number; a round removes all."""
    monkeypatch.setattr(shared_bodies, "STEP", 3)
    await append(appender, *(make_fields(number, share(b"%d" % number)) for number in range(20)))
    assert len(await stored(redis, keys)) == 20
    await redis.delete(stream.key)
    await trim(redis, keys)
    assert await stored(redis, keys) == set()


async def test_an_entry_that_cannot_be_appended_leaves_no_body(redis, keys, stream, appender):
    """If the stream's key holds another type, nothing is stored."""
    await redis.set(stream.key, "no stream", ex=600)
    with pytest.raises(NotDurableError):
        await appender.append(make_fields(1))
    assert not await redis.exists(keys.shared(0))


async def test_each_partition_has_the_bodies_of_its_entries(redis):
    """The mailboxes of one mail are in several partitions; the body is once in each."""
    keys = Keys(partitions=3)
    appender = Appender(redis, keys)
    await append(appender, *(make_fields(number) for number in range(30)))
    for partition in range(3):
        assert await stored(redis, keys, partition) == {MAIL.name}
        deliveries = await deliver(redis, StreamRef(partition, keys.inbound(partition)))
        assert await SharedBodies(redis, keys).read(deliveries) == {MAIL.name.encode(): MAIL.data}
