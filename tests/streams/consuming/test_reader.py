"""Reading: one batch at a time, failures logged, and a stop that ends it."""

from __future__ import annotations

import asyncio

import pytest
from faststream import AckPolicy

from router.core.keys import Keys
from router.streams.consuming.groups import ensure_group
from router.streams.consuming.reader import BLOCK, Reader
from router.streams.delivery import StreamRef
from tests.support.waiting import until

pytestmark = pytest.mark.real

GROUP = "group"


async def pending(redis, stream):
    return (await redis.xpending(stream.key, GROUP))["pending"]


async def test_entries_come_in_order_with_their_ids_and_nothing_is_acknowledged(redis, redis_url, stream):
    """Entries stay pending for this consumer: the reader does not acknowledge."""
    await ensure_group(redis, stream.key, GROUP)
    ids = [(await redis.xadd(stream.key, {"n": number})).decode() for number in range(25)]
    seen = []

    async def take(deliveries):
        seen.extend(deliveries)

    reader = Reader(redis, redis_url, [stream], group=GROUP, consumer="me", batch=10, take=take)
    await reader.start()
    await until(lambda: len(seen) == 25)
    await reader.stop()
    assert [one.entry_id for one in seen] == ids
    assert [one.text("n") for one in seen] == [str(number) for number in range(25)]
    assert {(one.stream, one.is_redelivered) for one in seen} == {(stream, False)}
    assert (await redis.xpending(stream.key, GROUP))["consumers"] == [{"name": b"me", "pending": 25}]


async def test_one_stream_does_not_hold_up_another(redis, redis_url):
    """While a batch of one stream is being taken others are read, and each entry knows its stream."""
    keys = Keys(partitions=2)
    streams = [StreamRef(number, keys.inbound(number)) for number in range(2)]
    gate, seen = asyncio.Event(), []

    async def take(deliveries):
        seen.extend(deliveries)
        if deliveries[0].stream == streams[0]:
            await gate.wait()

    for one in streams:
        await ensure_group(redis, one.key, GROUP)
        await redis.xadd(one.key, {"n": 1})
    reader = Reader(redis, redis_url, streams, group=GROUP, consumer="me", batch=10, take=take)
    await reader.start()
    await until(lambda: len(seen) == 2)
    await redis.xadd(streams[0].key, {"n": "waits"})
    await redis.xadd(streams[1].key, {"n": "flows"})
    await until(lambda: len(seen) == 3)
    assert (seen[2].stream, seen[2].text("n")) == (streams[1], "flows")
    gate.set()
    await until(lambda: len(seen) == 4)
    await reader.stop()


async def is_read_by_nobody(redis) -> bool:
    return not any(client["cmd"].startswith("xreadgroup") for client in await redis.client_list())


async def test_after_stop_nothing_more_is_read(redis, redis_url, stream):
    """Later entries stay in the stream for other consumers."""
    await ensure_group(redis, stream.key, GROUP)

    async def take(_):
        pytest.fail("it reads on")

    reader = Reader(redis, redis_url, [stream], group=GROUP, consumer="me", batch=10, take=take)
    await reader.start()
    await reader.stop()
    # Until the server notices that the connection is gone it may still deliver; survivors claim such entries.
    await until(lambda: is_read_by_nobody(redis))
    await redis.xadd(stream.key, {"n": 1})
    assert not reader.is_running
    assert (await redis.xinfo_groups(stream.key))[0]["lag"] == 1


async def test_our_reader_takes_one_batch_at_a_time(redis, redis_url, stream):
    """Until `take` returns nothing more is read: no more than one batch is pending."""
    await ensure_group(redis, stream.key, GROUP)
    for number in range(50):
        await redis.xadd(stream.key, {"n": number})
    gate, seen = asyncio.Event(), []

    async def take(deliveries):
        seen.append(len(deliveries))
        await gate.wait()

    reader = Reader(redis, redis_url, [stream], group=GROUP, consumer="me", batch=7, take=take)
    await reader.start()
    await until(lambda: seen)
    assert (seen, await pending(redis, stream)) == ([7], 7)
    gate.set()
    await until(lambda: sum(seen) == 50)
    await reader.stop()


async def test_a_take_that_fails_stops_nothing(redis, redis_url, stream, lines):
    """FastStream would hide the error; it is logged, the batch stays pending, and reading goes on."""
    await ensure_group(redis, stream.key, GROUP)
    seen = []

    async def take(deliveries):
        seen.append(deliveries)
        raise ValueError("+14155550101")

    reader = Reader(redis, redis_url, [stream], group=GROUP, consumer="me", batch=1, take=take)
    await reader.start()
    await redis.xadd(stream.key, {"n": 1})
    await redis.xadd(stream.key, {"n": 2})
    await until(lambda: len(seen) == 2)
    await reader.stop()
    assert await pending(redis, stream) == 2
    assert [line["event"] for line in lines()] == ["batch.failed"] * 2
    assert "+14155550101" not in str(lines())


async def test_our_reader_never_sets_last_id(redis, redis_url, stream):
    """It reads `>`, new entries only, with a limit, a short block and manual acknowledgment."""
    await ensure_group(redis, stream.key, GROUP)

    async def take(_):
        pass

    reader = Reader(redis, redis_url, [stream], group=GROUP, consumer="me", batch=7, take=take)
    await reader.start()
    [subscriber] = reader._subscribers
    await reader.stop()
    settings = subscriber.stream_sub
    assert (subscriber.last_id, settings.max_records, settings.polling_interval) == (">", 7, BLOCK)
    assert (settings.no_ack, settings.min_idle_time, subscriber.ack_policy) == (False, None, AckPolicy.MANUAL)
