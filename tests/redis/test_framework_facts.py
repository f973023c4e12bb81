"""What FastStream and redis-py do with Redis streams, where our design rests on it or works around it.

Nothing of ours is tested here except where it is set beside the fact. A test that turns red after an upgrade names the
place to look at: router/streams/consuming/reader.py, groups.py, consumer.py, connection.py.
"""

from __future__ import annotations

import asyncio
import contextlib

import pytest
from faststream import AckPolicy
from faststream.redis import RedisBroker, StreamSub
from redis.asyncio import Redis
from redis.exceptions import MaxConnectionsError, ResponseError

from router.streams.consuming.groups import ensure_group
from router.streams.consuming.reader import Reader
from router.streams.delivery import StreamRef
from tests.support.waiting import until

pytestmark = pytest.mark.real

STREAM = "router:{0}:inbound"
GROUP = "group"


@pytest.fixture
async def subscribe(redis_url):
    """Start a FastStream subscriber; `seen` collects what its handler is given. All are stopped at the end."""
    brokers = []

    async def start(handler=None, *, ack_policy=AckPolicy.MANUAL, **stream):
        seen = []

        async def collect(message):
            seen.append(message)

        broker = RedisBroker(redis_url, apply_types=False, logger=None)
        settings = {"group": GROUP, "consumer": "me", "polling_interval": 20} | stream
        subscriber = broker.subscriber(stream=StreamSub(STREAM, **settings), ack_policy=ack_policy)
        subscriber(handler or collect)
        brokers.append(broker)
        await broker.start()
        return subscriber, seen

    yield start
    for broker in brokers:
        await broker.stop()


@pytest.fixture
async def read(redis, redis_url):
    """Start our reader; it returns what it takes. All are stopped at the end."""
    readers = []

    async def start(batch=10):
        seen = []

        async def take(deliveries):
            seen.append([one.fields for one in deliveries])

        reader = Reader(redis, redis_url, [StreamRef(0, STREAM)], group=GROUP, consumer="me", batch=batch, take=take)
        readers.append(reader)
        await reader.start()
        return reader, seen

    yield start
    for reader in readers:
        await reader.stop()


async def pending(redis):
    return (await redis.xpending(STREAM, GROUP))["pending"]


async def test_a_group_that_faststream_creates_skips_what_was_there(redis, subscribe):
    """It begins at `$`: entries from before the first start are never delivered."""
    await redis.xadd(STREAM, {"n": "early"})
    _, seen = await subscribe()
    await redis.xadd(STREAM, {"n": "late"})
    await until(lambda: seen)
    assert [message["n"] for message in seen] == ["late"]


async def test_a_group_that_we_create_gets_it_and_faststream_leaves_it_alone(redis, subscribe):
    """Created at 0 before FastStream starts, the group has the backlog."""
    await redis.xadd(STREAM, {"n": "early"})
    await ensure_group(redis, STREAM, GROUP)
    _, seen = await subscribe()
    await until(lambda: seen)
    assert [message["n"] for message in seen] == ["early"]


@pytest.mark.parametrize(
    ("policy", "left"),
    [(AckPolicy.NACK_ON_ERROR, 1), (AckPolicy.REJECT_ON_ERROR, 1), (AckPolicy.ACK, 0), (AckPolicy.ACK_FIRST, 0)],
    ids=str,
)
async def test_nack_and_reject_leave_an_entry_pending_and_ack_drops_it_on_error(redis, subscribe, policy, left):
    """Neither brings it back: a failed entry is either stuck in the pending list or lost. Hence MANUAL, and our own."""
    seen = []

    async def fail(message):
        seen.append(message)
        raise ValueError

    await ensure_group(redis, STREAM, GROUP)
    await subscribe(fail, ack_policy=policy)
    await redis.xadd(STREAM, {"n": 1})
    await redis.xadd(STREAM, {"n": 2})
    await until(lambda: len(seen) == 2)
    await until(lambda: _is_pending(redis, 2 * left))
    assert len(seen) == 2


async def _is_pending(redis, count):
    return await pending(redis) == count


async def test_a_pending_entry_is_never_delivered_again_by_itself(redis, subscribe):
    """A consumer that comes back under its own name reads only new entries: taking over is our claimer's work."""
    await ensure_group(redis, STREAM, GROUP)
    await redis.xadd(STREAM, {"n": "lost"})
    await redis.xreadgroup(GROUP, "me", {STREAM: ">"})
    _, seen = await subscribe()
    await redis.xadd(STREAM, {"n": "new"})
    await until(lambda: seen)
    assert [message["n"] for message in seen] == ["new"]


async def test_one_field_that_is_not_utf8_kills_a_batch_with_the_default_parser(redis, subscribe):
    """The handler never sees any of it, and all of it stays pending."""
    await ensure_group(redis, STREAM, GROUP)
    for value in ("good", b"\xff", "good"):
        await redis.xadd(STREAM, {"n": value})
    _, seen = await subscribe(batch=True, max_records=10)
    await until(lambda: _is_pending(redis, 3))
    await redis.xadd(STREAM, {"n": "later"})
    await until(lambda: seen)
    assert [[item["n"] for item in batch] for batch in seen] == [["later"]]
    assert await pending(redis) == 4


async def test_with_our_parser_bytes_are_bytes(redis, read):
    """Our reader hands on raw fields: nothing that a field may hold can hurt its neighbors."""
    await ensure_group(redis, STREAM, GROUP)
    values = [b"good", b"\xff", b"", b'{"data": "inner"}']
    for value in values:
        await redis.xadd(STREAM, {b"\xfe": value, b"__data__": value, b"data": value})
    _, seen = await read()
    await until(lambda: sum(map(len, seen)) == 4)
    assert [fields for batch in seen for fields in batch] == [
        {b"\xfe": value, b"__data__": value, b"data": value} for value in values
    ]
    assert await pending(redis) == 4


async def test_without_max_records_one_consumer_takes_the_whole_backlog(redis, subscribe):
    """Everything becomes pending for it, in its memory: hence `max_records`, always."""
    await ensure_group(redis, STREAM, GROUP)
    pipeline = redis.pipeline(transaction=False)
    for number in range(5_000):
        pipeline.xadd(STREAM, {"n": number})
    await pipeline.execute()
    gate = asyncio.Event()

    async def wait(_):
        await gate.wait()

    await subscribe(wait)
    await until(lambda: _is_pending(redis, 5_000))
    gate.set()


@pytest.mark.parametrize("what", ["group", "stream", "everything"])
async def test_a_lost_group_stops_a_subscriber_in_silence(redis, read, what):
    """No exception, no exit: only `running` tells, which is what the watchdog looks at."""
    await ensure_group(redis, STREAM, GROUP)
    reader, _ = await read()
    assert reader.is_running
    if what == "group":
        await redis.xgroup_destroy(STREAM, GROUP)
    elif what == "stream":
        await redis.delete(STREAM)
    else:
        await redis.flushall()
    await until(lambda: not reader.is_running)
    await ensure_group(redis, STREAM, GROUP)
    assert not reader.is_running


async def test_last_id_zero_never_reads_anything_new(redis, subscribe):
    """With a group that exists, `last_id="0"` reads its own pending list for ever; our reader leaves it alone."""
    await ensure_group(redis, STREAM, GROUP)
    await redis.xadd(STREAM, {"n": "pending"})
    await redis.xreadgroup(GROUP, "me", {STREAM: ">"})
    with pytest.warns(RuntimeWarning, match="not supported"):
        subscriber, seen = await subscribe(last_id="0")
    await redis.xadd(STREAM, {"n": "new"})
    before = await _reads(redis)
    await until(lambda: _has_read(redis, before + 100))  # busy: it does not even block
    assert {message["n"] for message in seen} <= {"pending"}
    assert (await redis.xinfo_groups(STREAM))[0]["lag"] == 1
    await subscriber.stop()


async def _reads(redis):
    return (await redis.info("commandstats"))["cmdstat_xreadgroup"]["calls"]


async def _has_read(redis, least):
    return await _reads(redis) >= least


async def test_the_usual_pool_of_redis_py_refuses_the_hundred_and_first_command(redis_url):
    """Hence the pool that waits in router.streams.client.connection."""
    async with Redis.from_url(redis_url) as client:
        results = await asyncio.gather(*[client.ping() for _ in range(300)], return_exceptions=True)
    assert any(isinstance(result, MaxConnectionsError) for result in results)


async def test_delconsumer_throws_pending_entries_away(redis):
    """They are in nobody's list afterwards and nobody ever gets them: hence forget_consumer.lua."""
    await ensure_group(redis, STREAM, GROUP)
    await redis.xadd(STREAM, {"n": 1})
    await redis.xreadgroup(GROUP, "doomed", {STREAM: ">"})
    assert await redis.xgroup_delconsumer(STREAM, GROUP, "doomed") == 1
    assert await pending(redis) == 0
    assert not await redis.xreadgroup(GROUP, "other", {STREAM: ">"})


async def test_a_claim_checks_the_idle_time_itself(redis):
    """Of two claims with a minimum idle time the second gets nothing, because the first one reset the clock."""
    await ensure_group(redis, STREAM, GROUP)
    entry_id = await redis.xadd(STREAM, {"n": 1})
    await redis.xreadgroup(GROUP, "dead", {STREAM: ">"})
    await redis.xclaim(STREAM, GROUP, "dead", 0, [entry_id], idle=60_000, justid=True)
    assert len(await redis.xclaim(STREAM, GROUP, "one", 30_000, [entry_id])) == 1
    assert await redis.xclaim(STREAM, GROUP, "two", 30_000, [entry_id]) == []


async def test_a_script_that_fails_keeps_what_it_has_written_so_far(redis):
    """Scripts are atomic but not rolled back: each of ours does first what may fail."""
    script = "redis.call('SET', KEYS[1], '1', 'EX', 60) redis.call('LPUSH', KEYS[1], 'x')"
    with pytest.raises(ResponseError, match="WRONGTYPE"):
        await redis.eval(script, 1, "{0}:k")
    assert await redis.get("{0}:k") == b"1"


async def test_lua_cannot_unpack_thousands_of_values(redis):
    """Hence the portions in commit.lua."""
    with contextlib.suppress(ResponseError):
        await redis.eval("local t = {} for i = 1, 12000 do t[i] = i end return #{unpack(t)}", 0)
        pytest.fail("it can by now")
