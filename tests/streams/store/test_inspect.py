"""The state of the streams: lengths, groups, gauges, and whether a consumer is alive."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager

import pytest
from faststream import AckPolicy
from faststream.redis import RedisBroker, StreamSub

from router import metrics
from router.core.keys import Keys
from router.core.refused import Bounds
from router.streams.consuming.groups import Heartbeat, ensure_group
from router.streams.delivery import Delivery
from router.streams.store import inspect, quarantine
from router.streams.store.inspect import GroupState, StreamState, all_streams, has_consumer, read_stream, update_gauges
from router.streams.store.parking import Parking, Waiting
from tests.core.test_refused import REFUSED
from tests.support.waiting import until

pytestmark = pytest.mark.real


def test_a_namespace_has_five_streams_per_partition():
    """Inbound, one for each target, commands, and dead letters."""
    streams = all_streams(Keys("ns", 2))
    assert len(streams) == len(set(streams)) == 10
    assert all(stream.startswith(("ns:{0}:", "ns:{1}:")) for stream in streams)


async def test_a_streams_state_is_its_length_and_its_groups(redis, stream):
    """Lag counts unread entries, pending unacknowledged ones; a stream that does not exist is empty.

    The oldest entry that a group needs is its first pending one, else the first that it has not read.
    """
    assert await read_stream(redis, Keys(), stream.key) == StreamState(stream.key, 0, 0, ())
    for number in range(1, 6):
        await redis.xadd(stream.key, {"n": number}, id=f"{number * 100}-7")
    await ensure_group(redis, stream.key, "resolver")
    for pending, lag, oldest in ((0, 5, 100), (2, 3, 100), (1, 3, 200), (0, 3, 300)):
        state = GroupState("resolver", int(lag < 5), pending, lag, oldest)
        size = await redis.memory_usage(stream.key)
        assert await read_stream(redis, Keys(), stream.key) == StreamState(stream.key, 5, size, (state,))
        if lag == 5:
            await redis.xreadgroup("resolver", "me", {stream.key: ">"}, count=2)
        else:
            await redis.xack(stream.key, "resolver", f"{oldest}-7")
    await redis.xgroup_setid(stream.key, "resolver", "500-7")
    assert (await read_stream(redis, Keys(), stream.key)).groups[0].oldest is None


async def test_gauges_follow_the_streams_and_their_groups(redis, keys, stream):
    """Every stream has a length; a group has lag, pending, consumers and an age, and disappears with its stream."""
    await redis.xadd(stream.key, {"n": 1}, id="1-1")
    await ensure_group(redis, stream.key, "resolver")
    await update_gauges(redis, keys)
    text = metrics.render().decode()
    assert f'router_stream_entries{{stream="{stream.key}"}} 1.0' in text
    assert f'router_stream_bytes{{stream="{stream.key}"}} {await redis.memory_usage(stream.key)}.0' in text
    assert f'router_group_lag{{group="resolver",stream="{stream.key}"}} 1.0' in text
    assert f'router_group_pending{{group="resolver",stream="{stream.key}"}} 0.0' in text
    assert f'router_group_consumers{{group="resolver",stream="{stream.key}"}} 0.0' in text
    age = text.partition(f'router_group_oldest_seconds{{group="resolver",stream="{stream.key}"}} ')[2]
    assert float(age.split()[0]) > 1_700_000_000
    await redis.delete(stream.key)
    await update_gauges(redis, keys)
    text = metrics.render().decode()
    assert f'router_stream_entries{{stream="{stream.key}"}} 0.0' in text
    assert 'router_group_pending{group="resolver"' not in text


@asynccontextmanager
async def faststream_subscriber(redis_url, key):
    """Read a stream as a program of the user's does, in the group `theirs`; yields what it has read."""
    seen = []

    async def collect(message):
        seen.append(message)

    broker = RedisBroker(redis_url, apply_types=False, logger=None)
    stream = StreamSub(key, group="theirs", consumer="me", polling_interval=20)
    broker.subscriber(stream=stream, ack_policy=AckPolicy.MANUAL)(collect)
    await broker.start()
    try:
        yield seen
    finally:
        await broker.stop()


async def shown_of_group(redis, keys, stream):
    """Return lag and pending entries of the group `theirs` as the metrics have them, and the lag that Redis has."""
    await update_gauges(redis, keys)
    labels = {"stream": stream.key, "group": "theirs"}
    names = ("router_group_lag", "router_group_pending")
    (row,) = await redis.xinfo_groups(stream.key)
    return (*(metrics.REGISTRY.get_sample_value(name, labels) for name in names), row["lag"])


async def test_the_lag_of_a_group_that_faststream_created_is_counted(redis, redis_url, keys, stream, monkeypatch):
    """It begins at `$`, behind entries that it never reads; of such a group Redis does not know the lag."""
    for number in range(3):
        await redis.xadd(stream.key, {"n": number})
    async with faststream_subscriber(redis_url, stream.key):
        assert await shown_of_group(redis, keys, stream) == (0, 0, 0)
    unread = [await redis.xadd(stream.key, {"n": number}) for number in range(4)]
    assert await shown_of_group(redis, keys, stream) == (4, 0, None)
    assert (await read_stream(redis, keys, stream.key)).groups[0].oldest == int(unread[0].partition(b"-")[0])
    monkeypatch.setattr(inspect, "COUNTED", 3)
    assert await shown_of_group(redis, keys, stream) == (3, 0, None)
    monkeypatch.undo()
    await redis.xreadgroup("theirs", "me", {stream.key: ">"}, count=1)
    assert await shown_of_group(redis, keys, stream) == (3, 1, None)
    await redis.xdel(stream.key, unread[2])
    assert await shown_of_group(redis, keys, stream) == (2, 1, None)
    async with faststream_subscriber(redis_url, stream.key) as seen:
        await until(lambda: len(seen) == 2)
        assert await shown_of_group(redis, keys, stream) == (0, 3, 0)
    await redis.xadd(stream.key, {"n": 9})
    assert (await shown_of_group(redis, keys, stream))[:2] == (1, 3)


async def test_gauges_count_the_quarantine_by_reason(redis, keys):
    """Every reason has a gauge, 0 if it has no entry."""
    await quarantine.keep(redis, keys, REFUSED, Bounds(10, 10_000, 60))
    await update_gauges(redis, keys)
    text = metrics.render().decode()
    assert 'router_quarantine_entries{reason="signature"} 1.0' in text
    assert 'router_quarantine_entries{reason="too-large"} 0.0' in text


async def test_a_consumer_is_alive_while_its_heartbeat_is(redis):
    """Its name in the group is not enough, and a heartbeat in another partition does not count."""
    keys = Keys(partitions=2)
    stream = keys.inbound(1)
    assert not await has_consumer(redis, keys, stream, "resolver")
    await ensure_group(redis, stream, "resolver")
    await redis.xgroup_createconsumer(stream, "resolver", "me")
    async with Heartbeat(redis, [keys.heartbeat(0, "resolver", "me")], ttl=3_600):
        assert not await has_consumer(redis, keys, stream, "resolver")
    async with Heartbeat(redis, [keys.heartbeat(1, "resolver", "me")], ttl=3_600):
        assert await has_consumer(redis, keys, stream, "resolver")
    assert not await has_consumer(redis, keys, stream, "resolver")


async def test_an_entry_that_is_parked_or_brought_back_meanwhile_is_counted_once(redis, keys, stream):
    """Whoever waits until nothing is unfinished must not see it as neither pending nor parked."""
    entry_id = (await redis.xadd(stream.key, {"n": 1})).decode()
    await ensure_group(redis, stream.key, "resolver")
    await redis.xreadgroup("resolver", "me", {stream.key: ">"})
    parking, delivery = Parking(redis, keys, group="resolver", consumer="me"), Delivery(stream, entry_id, {})
    is_seen, seen = False, set()

    async def move():
        while not is_seen:
            assert await parking.park(stream, [("S", delivery)], Waiting("AC1 SMS", "away")) == []
            assert await parking.bring_back(stream, "AC1 SMS", subjects=1, most=1, of_subject=1)

    moving = asyncio.create_task(move())
    for _ in range(100):
        (state,) = (await read_stream(redis, keys, stream.key)).groups
        seen.add((state.pending + state.parked, state.oldest))
    is_seen = True
    await moving
    assert seen == {(1, int(entry_id.partition("-")[0]))}


async def test_gauges_show_what_is_parked(redis, keys, stream):
    """The number of entries, the age of the oldest, and the subjects of each account and channel."""
    await redis.xadd(stream.key, {"n": 1}, id="100-1")
    await redis.xadd(stream.key, {"n": 2}, id="200-1")
    await ensure_group(redis, stream.key, "resolver")
    [[_, rows]] = await redis.xreadgroup("resolver", "me", {stream.key: ">"})
    items = [("S", Delivery(stream, entry_id.decode(), fields)) for entry_id, fields in rows]
    await Parking(redis, keys, group="resolver", consumer="me").park(stream, items, Waiting("AC1 SMS", "away"))
    (state,) = (await read_stream(redis, keys, stream.key)).groups
    assert (state.pending, state.parked, state.oldest, state.oldest_parked) == (0, 2, 100, 100)
    await update_gauges(redis, keys)
    text = metrics.render().decode()
    assert f'router_parked{{group="resolver",stream="{stream.key}"}} 2.0' in text
    assert f'router_parked_subjects{{group="resolver",lane="AC1 SMS",stream="{stream.key}"}} 1.0' in text
    assert f'router_parked_oldest_seconds{{group="resolver",stream="{stream.key}"}} 1.' in text
