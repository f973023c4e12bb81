"""Groups start at 0, consumers have unique names, heartbeats show who is alive."""

from __future__ import annotations

import asyncio
import contextlib
import os

import pytest
from redis.exceptions import OutOfMemoryError

from router.core.keys import Keys, parked_order, progress
from router.streams.client.connection import RedisError
from router.streams.consuming import groups
from router.streams.consuming.groups import Heartbeat, ensure_group, name_consumer, note_progress
from router.streams.consuming.poison_isolation import CrashCounts
from tests.support.waiting import deadline, scaled, until

pytestmark = pytest.mark.real


@pytest.fixture
def ttl():
    """A heartbeat's lifetime in seconds."""
    return scaled(0.4)


async def test_a_new_group_reads_the_backlog(redis, stream):
    """Entries from before the first start belong to the group."""
    await redis.xadd(stream.key, {"n": "1"})
    assert await ensure_group(redis, stream.key, "resolver") is True
    [[_, rows]] = await redis.xreadgroup("resolver", "me", {stream.key: ">"})
    assert [fields for _, fields in rows] == [{b"n": b"1"}]


async def test_an_existing_group_keeps_its_position(redis, stream):
    """Ensuring it again returns False, and nothing is read twice."""
    assert await ensure_group(redis, stream.key, "resolver") is True
    await redis.xadd(stream.key, {"n": "1"})
    await redis.xreadgroup("resolver", "me", {stream.key: ">"})
    assert await ensure_group(redis, stream.key, "resolver") is False
    assert not await redis.xreadgroup("resolver", "me", {stream.key: ">"})


async def test_a_key_of_another_type_is_an_error(redis, stream):
    """A start that finds no stream at the key fails."""
    await redis.set(stream.key, "no stream", px=60_000)
    with pytest.raises(RedisError, match="WRONGTYPE"):
        await ensure_group(redis, stream.key, "resolver")


async def deliver(redis, stream, count, consumer="me"):
    """Deliver so many new entries to a consumer; returns their ids."""
    [[_, rows]] = await redis.xreadgroup("resolver", consumer, {stream.key: ">"}, count=count)
    return [entry_id for entry_id, _ in rows]


async def pending(redis, stream):
    """Return consumer and delivery count of each pending entry, by id."""
    rows = await redis.xpending_range(stream.key, "resolver", "-", "+", 100)
    return {row["message_id"]: (row["consumer"], row["times_delivered"]) for row in rows}


async def add(redis, stream, count):
    return [await redis.xadd(stream.key, {"n": "1"}) for _ in range(count)]


async def half_finished(redis, stream):
    """Make a group with two finished, two pending and two unread entries; returns all ids, and what is pending."""
    await ensure_group(redis, stream.key, "resolver")
    ids = await add(redis, stream, 6)
    await deliver(redis, stream, 3, "one")
    await deliver(redis, stream, 1, "two")
    await redis.xack(stream.key, "resolver", ids[0], ids[2])
    await redis.xclaim(stream.key, "resolver", "one", 0, [ids[1]], retrycount=4, justid=True)
    return ids, await pending(redis, stream)


async def test_a_lost_group_continues_where_it_stood(redis, stream):
    """What it had finished does not come again; what was pending is pending for the same consumers, counts kept."""
    ids, before = await half_finished(redis, stream)
    await note_progress(redis, stream.key, "resolver", every=0)
    await redis.xgroup_destroy(stream.key, "resolver")
    assert await ensure_group(redis, stream.key, "resolver") is True
    assert before == {ids[1]: (b"one", 4), ids[3]: (b"two", 1)}
    assert await pending(redis, stream) == before
    [group] = await redis.xinfo_groups(stream.key)
    assert group["lag"] == 2
    assert await deliver(redis, stream, 9) == ids[4:]
    assert await ensure_group(redis, stream.key, "resolver") is False


async def test_an_entry_that_is_gone_is_not_pending_again(redis, stream):
    """Somebody deleted it after the note."""
    await ensure_group(redis, stream.key, "resolver")
    ids = await add(redis, stream, 2)
    await deliver(redis, stream, 2)
    await note_progress(redis, stream.key, "resolver", every=0)
    await redis.xdel(stream.key, ids[0])
    await redis.xgroup_destroy(stream.key, "resolver")
    await ensure_group(redis, stream.key, "resolver")
    assert [*await pending(redis, stream)] == ids[1:]


@pytest.mark.parametrize("loss", ["stream", "stream and new events", "everything"])
async def test_a_group_of_a_new_stream_begins_at_its_beginning(redis, stream, loss):
    """The note of the old stream does not count, though its ids are higher than those of the new one."""
    await ensure_group(redis, stream.key, "resolver")
    await redis.xadd(stream.key, {"n": "1"}, id="9000000000000-0")
    await deliver(redis, stream, 1)
    await note_progress(redis, stream.key, "resolver", every=0)
    await (redis.flushall() if loss == "everything" else redis.delete(stream.key))
    ids = await add(redis, stream, 2) if loss == "stream and new events" else []
    assert await ensure_group(redis, stream.key, "resolver") is True
    ids += await add(redis, stream, 1)
    assert await deliver(redis, stream, 9) == ids
    assert not await redis.exists(progress(stream.key, "resolver"))


@pytest.mark.parametrize("harm", ["no group", "a group at its beginning"])
async def test_a_new_streams_backlog_is_shown(redis, stream, harm):
    """How many entries of an earlier stream the group has read is not taken for a number of this one."""
    await ensure_group(redis, stream.key, "resolver")
    await add(redis, stream, 5)
    await deliver(redis, stream, 5)
    await note_progress(redis, stream.key, "resolver", every=0)
    await redis.delete(stream.key)
    ids = await add(redis, stream, 7)
    await redis.xtrim(stream.key, maxlen=6, approximate=False)
    if harm == "a group at its beginning":
        await redis.xgroup_create(stream.key, "resolver", "0")
    await ensure_group(redis, stream.key, "resolver")
    assert (await redis.xinfo_groups(stream.key))[0]["lag"] == 6
    assert await deliver(redis, stream, 9) == ids[1:]
    assert (await redis.xinfo_groups(stream.key))[0]["lag"] == 0


@pytest.mark.parametrize("first", ["5-0", "5-3"])
async def test_of_too_many_pending_entries_the_rest_is_delivered_again(redis, stream, monkeypatch, first):
    """The group begins before the first that the note has no room for, so that none is lost."""
    monkeypatch.setattr(groups, "MOST_NOTED", 2)
    await ensure_group(redis, stream.key, "resolver")
    for entry_id in ("3-0", "4-0", first, "6-0"):
        await redis.xadd(stream.key, {"n": "1"}, id=entry_id)
    await deliver(redis, stream, 4)
    await note_progress(redis, stream.key, "resolver", every=0)
    await redis.xgroup_destroy(stream.key, "resolver")
    await ensure_group(redis, stream.key, "resolver")
    assert [*await pending(redis, stream)] == [b"3-0", b"4-0"]
    assert await deliver(redis, stream, 9) == [first.encode(), b"6-0"]


async def test_consumers_share_their_notes(redis, stream):
    """Of several consumers one notes the progress within the interval, and a lost group is not noted."""
    note = progress(stream.key, "resolver")
    await note_progress(redis, stream.key, "resolver", every=0)
    assert not await redis.exists(note)
    await ensure_group(redis, stream.key, "resolver")
    await add(redis, stream, 1)
    await note_progress(redis, stream.key, "resolver", every=3600)
    await deliver(redis, stream, 1)
    await note_progress(redis, stream.key, "resolver", every=3600)
    assert await redis.hget(note, "pending") == b""
    await note_progress(redis, stream.key, "resolver", every=0)
    assert await redis.hget(note, "pending") != b""
    await redis.xgroup_destroy(stream.key, "resolver")
    await note_progress(redis, stream.key, "resolver", every=0)
    assert await redis.hget(note, "pending") != b""
    assert await redis.ttl(note) > 300 * 86_400


async def set_back(redis, stream):
    await redis.xgroup_setid(stream.key, "resolver", "0")


async def make_anew(redis, stream, begin):
    await redis.xgroup_destroy(stream.key, "resolver")
    await redis.xgroup_create(stream.key, "resolver", begin)


async def make_anew_at_its_beginning(redis, stream):
    await make_anew(redis, stream, "0")


async def make_anew_at_its_end(redis, stream):
    await make_anew(redis, stream, "$")


async def remove_consumers(redis, stream):
    for consumer in ("one", "two"):
        await redis.xgroup_delconsumer(stream.key, "resolver", consumer)


async def ensure(redis, stream):
    assert await ensure_group(redis, stream.key, "resolver") is False


async def note(redis, stream):
    await note_progress(redis, stream.key, "resolver", every=0)


@pytest.mark.parametrize("look", [ensure, note])
@pytest.mark.parametrize("is_reading", [False, True], ids=["at rest", "its consumers read on"])
@pytest.mark.parametrize(
    "harm",
    [set_back, make_anew_at_its_beginning, make_anew_at_its_end, remove_consumers],
    ids=lambda harm: harm.__name__,
)
async def test_a_group_that_somebody_changes_is_restored(redis, stream, lines, harm, look, is_reading):
    """Neither is finished work done again, nor are pending and unread entries lost, and the log says so."""
    ids, before = await half_finished(redis, stream)
    await note(redis, stream)
    await harm(redis, stream)
    if is_reading:  # they poll under their names, and find nothing new
        for consumer in ("one", "two"):
            await redis.xgroup_createconsumer(stream.key, "resolver", consumer)
    await look(redis, stream)
    assert await pending(redis, stream) == before
    assert (await redis.xinfo_groups(stream.key))[0]["lag"] == 2
    assert await deliver(redis, stream, 9) == ids[4:]
    [line] = lines("group.restored")
    assert line["pending_again"] == (0 if harm is set_back else 2)
    assert line.get("moved_from") == {
        set_back: "0-0",
        make_anew_at_its_beginning: "0-0",
        make_anew_at_its_end: ids[5].decode(),
    }.get(harm)
    await look(redis, stream)
    assert len(lines("group.restored")) == 1


async def test_what_is_finished_or_parked_since_the_note_is_not_restored(redis, stream, lines):
    """Entries leave the pending list all the time: that is no loss, also if their consumer has left since."""
    await ensure_group(redis, stream.key, "resolver")
    ids = await add(redis, stream, 4)
    await deliver(redis, stream, 3, "one")
    await deliver(redis, stream, 1, "two")
    await note(redis, stream)
    await redis.xack(stream.key, "resolver", ids[0], ids[3])
    await redis.zadd(parked_order(stream.key, "resolver"), {ids[1]: 1})
    await redis.xack(stream.key, "resolver", ids[1])
    await redis.xclaim(stream.key, "resolver", "two", 0, [ids[2]], justid=True)
    crashes = CrashCounts(redis, Keys(), group="resolver", consumer="two")
    assert await crashes.forget_consumer(stream, "one")
    await redis.xgroup_delconsumer(stream.key, "resolver", "two")
    await note(redis, stream)
    assert await pending(redis, stream) == {ids[2]: (b"two", 1), ids[3]: (b"two", 1)}  # the last one is in doubt
    assert lines("group.restored")[0]["pending_again"] == 2


async def test_a_group_whose_last_consumer_has_left_is_not_set_back(redis, stream, lines):
    """A new process has read on before the next note: nothing of that comes again."""
    await ensure_group(redis, stream.key, "resolver")
    ids = await add(redis, stream, 3)
    await deliver(redis, stream, 1, "one")
    await note(redis, stream)
    await redis.xack(stream.key, "resolver", ids[0])
    crashes = CrashCounts(redis, Keys(), group="resolver", consumer="two")
    assert await crashes.forget_consumer(stream, "one")
    await deliver(redis, stream, 1, "two")
    await note(redis, stream)
    assert [*await pending(redis, stream)] == ids[1:2]
    assert await deliver(redis, stream, 9) == ids[2:]
    assert not lines("group.restored")


def test_consumer_names_are_unique():
    """They have host, process and time, and even two made in one millisecond differ."""
    names = [name_consumer() for _ in range(1_000)]
    assert len(set(names)) == 1_000
    assert f"-{os.getpid()}-" in names[0]


async def test_a_heartbeat_lasts_from_start_to_stop(redis, ttl):
    """It beats before anything is read, is renewed before its TTL ends, and is deleted on leaving."""
    beats = ["{0}:heartbeat:a", "{0}:heartbeat:b"]
    async with Heartbeat(redis, beats, ttl=ttl):
        assert await redis.exists(*beats) == 2
        await redis.pexpire(beats[0], 3_600_000)
        await until(lambda: _is_below(redis, beats[0], ttl * 1_000))
        assert 0 < await redis.pttl(beats[1]) <= ttl * 1_000
    assert await redis.exists(*beats) == 0


async def test_a_heartbeat_goes_on_while_redis_is_out_of_memory(own_server, clients, ttl):
    """At its memory limit Redis refuses new keys; existing heartbeats are still renewed."""
    redis = clients(own_server.url)
    async with Heartbeat(redis, ["a", "b"], ttl=ttl) as heartbeat:
        await redis.config_set("maxmemory", "1")
        with pytest.raises(OutOfMemoryError):
            await redis.set("c", "1")
        await redis.pexpire("a", 3_600_000)
        await until(lambda: _is_below(redis, "a", ttl * 1_000))
        await heartbeat.beat()
        assert 0 < await redis.pttl("b") <= ttl * 1_000
        await redis.delete("b")
        with pytest.raises(OutOfMemoryError):
            await heartbeat.beat()
        await redis.config_set("maxmemory", "0")
        await until(lambda: redis.exists("b"))


async def _is_below(redis, key, limit):
    return await redis.pttl(key) <= limit


async def test_a_first_beat_that_fails_stops_the_start(clients):
    """A consumer that looks dead must not read anything."""
    with pytest.raises(RedisError):
        async with Heartbeat(clients("redis://127.0.0.1:1/0"), ["k"], ttl=1):
            pytest.fail("it began")


async def test_a_failed_beat_is_logged_and_the_next_one_tries_again(own_server, clients, lines, ttl):
    """An outage of Redis does not end the heartbeat, and leaving during one raises nothing."""
    redis = clients(own_server.url, timeout=scaled(0.2))
    async with Heartbeat(redis, ["beat"], ttl=ttl):
        own_server.kill()
        await until(lambda: lines("heartbeat.failed"))
        await own_server.start()
        await until(lambda: redis.exists("beat"))
        own_server.kill()


async def test_a_heartbeat_survives_an_error_that_nobody_foresaw(redis, lines, ttl, monkeypatch):
    """Without it the consumer would lose its entries to others while it works on them; its age shows the failure."""
    problems = [RuntimeError()]
    heartbeat = Heartbeat(redis, ["beat"], ttl=ttl)
    async with heartbeat:
        begun, beat = heartbeat.beaten_at, heartbeat.beat

        async def fail_once(*keys):
            if problems:
                raise problems.pop()
            await beat(*keys)

        monkeypatch.setattr(heartbeat, "beat", fail_once)
        await until(lambda: lines("heartbeat.failed"))
        await until(lambda: heartbeat.beaten_at > begun)


async def test_a_heartbeat_ends_although_a_cancellation_gets_lost(redis, monkeypatch):
    """Leaving does not hang on a task whose cancellation a command has swallowed."""
    heartbeat = Heartbeat(redis, ["{0}:beat"], ttl=0.04)
    beats = []

    async def swallow_once(*_):
        beats.append(1)
        if len(beats) == 2:
            with contextlib.suppress(asyncio.CancelledError):
                await asyncio.Event().wait()

    monkeypatch.setattr(heartbeat, "beat", swallow_once)
    async with deadline(5), heartbeat:
        await until(lambda: len(beats) == 2)
    assert all(task.done() for task in heartbeat.tasks)
