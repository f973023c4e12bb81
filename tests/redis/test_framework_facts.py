"""Properties of FastStream, redis-py and Redis that the design relies on or works around.

Product code is tested here only beside such a property. If a test fails after an upgrade, look at
router/streams/consuming (reader.py, groups.py, claimer.py) and router/streams/client/connection.py.
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
    """Start a FastStream subscriber; `seen` collects the messages of its handler. All are stopped at the end."""
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
    """Start a Reader; returns it with a list of the batches it takes. All are stopped at the end."""
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


async def test_a_group_that_faststream_creates_skips_the_backlog(redis, subscribe):
    """It starts at `$`: entries from before the first start are never delivered."""
    await redis.xadd(STREAM, {"n": "early"})
    _, seen = await subscribe()
    await redis.xadd(STREAM, {"n": "late"})
    await until(lambda: seen)
    assert [message["n"] for message in seen] == ["late"]


async def test_faststream_keeps_a_group_that_exists(redis, subscribe):
    """If it was created at 0 before FastStream starts, it has the backlog."""
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
    """A failed entry is either stuck in the pending list or lost, so MANUAL is used, with retries of our own."""
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


async def test_a_pending_entry_is_never_delivered_again(redis, subscribe):
    """A consumer that returns under its name reads only new entries; the claimer does the rest."""
    await ensure_group(redis, STREAM, GROUP)
    await redis.xadd(STREAM, {"n": "lost"})
    await redis.xreadgroup(GROUP, "me", {STREAM: ">"})
    _, seen = await subscribe()
    await redis.xadd(STREAM, {"n": "new"})
    await until(lambda: seen)
    assert [message["n"] for message in seen] == ["new"]


async def test_the_default_parser_loses_a_batch_to_one_field_that_is_not_utf8(redis, subscribe):
    """The handler sees none of the batch, and all of it stays pending."""
    await ensure_group(redis, STREAM, GROUP)
    for value in ("good", b"\xff", "good"):
        await redis.xadd(STREAM, {"n": value})
    _, seen = await subscribe(batch=True, max_records=10)
    await until(lambda: _is_pending(redis, 3))
    await redis.xadd(STREAM, {"n": "later"})
    await until(lambda: seen)
    assert [[item["n"] for item in batch] for batch in seen] == [["later"]]
    assert await pending(redis) == 4


async def test_our_parser_passes_bytes_on(redis, read):
    """The Reader hands on raw fields, so no field can affect another entry."""
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
    """Everything becomes pending for it and is in its memory, so `max_records` is always set."""
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
async def test_a_lost_group_stops_a_subscriber_silently(redis, read, what):
    """Without an exception or exit; only `running` shows it, which the watchdog checks."""
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


async def test_last_id_zero_never_reads_new_entries(redis, subscribe):
    """With an existing group `last_id="0"` reads the consumer's pending list endlessly; the Reader does not set it."""
    await ensure_group(redis, STREAM, GROUP)
    await redis.xadd(STREAM, {"n": "pending"})
    await redis.xreadgroup(GROUP, "me", {STREAM: ">"})
    with pytest.warns(RuntimeWarning, match="not supported"):
        subscriber, seen = await subscribe(last_id="0")
    await redis.xadd(STREAM, {"n": "new"})
    before = await _reads(redis)
    await until(lambda: _has_read(redis, before + 100))  # it does not even block
    assert {message["n"] for message in seen} <= {"pending"}
    assert (await redis.xinfo_groups(STREAM))[0]["lag"] == 1
    await subscriber.stop()


async def _reads(redis):
    return (await redis.info("commandstats"))["cmdstat_xreadgroup"]["calls"]


async def _has_read(redis, least):
    return await _reads(redis) >= least


async def test_the_default_pool_of_redis_py_refuses_the_101st_command(redis_url):
    """So router.streams.client.connection uses a pool that waits."""
    async with Redis.from_url(redis_url) as client:
        results = await asyncio.gather(*[client.ping() for _ in range(300)], return_exceptions=True)
    assert any(isinstance(result, MaxConnectionsError) for result in results)


async def test_delconsumer_discards_pending_entries(redis):
    """No consumer ever gets them, so forget_consumer.lua checks first."""
    await ensure_group(redis, STREAM, GROUP)
    await redis.xadd(STREAM, {"n": 1})
    await redis.xreadgroup(GROUP, "doomed", {STREAM: ">"})
    assert await redis.xgroup_delconsumer(STREAM, GROUP, "doomed") == 1
    assert await pending(redis) == 0
    assert not await redis.xreadgroup(GROUP, "other", {STREAM: ">"})


async def test_a_claim_checks_the_idle_time_itself(redis):
    """Of two claims with a minimum idle time the second gets nothing, because the first reset the idle time."""
    await ensure_group(redis, STREAM, GROUP)
    entry_id = await redis.xadd(STREAM, {"n": 1})
    await redis.xreadgroup(GROUP, "dead", {STREAM: ">"})
    await redis.xclaim(STREAM, GROUP, "dead", 0, [entry_id], idle=3_600_000, justid=True)
    assert len(await redis.xclaim(STREAM, GROUP, "one", 1_800_000, [entry_id])) == 1
    assert await redis.xclaim(STREAM, GROUP, "two", 1_800_000, [entry_id]) == []


async def test_a_script_that_fails_is_not_rolled_back(redis):
    """Its writes so far stay, so each of our scripts does first what may fail."""
    script = "redis.call('SET', KEYS[1], '1', 'EX', 60) redis.call('LPUSH', KEYS[1], 'x')"
    with pytest.raises(ResponseError, match="WRONGTYPE"):
        await redis.eval(script, 1, "{0}:k")
    assert await redis.get("{0}:k") == b"1"


async def test_lua_cannot_unpack_thousands_of_values(redis):
    """So commit.lua and ledgers.lua unpack in portions."""
    with contextlib.suppress(ResponseError):
        await redis.eval("local t = {} for i = 1, 12000 do t[i] = i end return #{unpack(t)}", 0)
        pytest.fail("it can by now")
