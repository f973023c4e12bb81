"""A large backlog drains from its first batch on, in order and within bounds: nothing ever looks at all of it."""

from __future__ import annotations

import asyncio
import contextlib
import tracemalloc
from collections import defaultdict
from dataclasses import replace

import pytest

from router.core.events import SourceName
from router.core.keys import RESOLVER, Keys
from router.core.signing.form import parse_form
from router.inbound.sources import SOURCES
from router.inbound.webhook import Webhook
from router.receiver.spool.drainer import Drainer
from router.receiver.spool.journal import READ_BYTES
from router.receiver.spool.spool import Spool
from router.simulator.messages import message
from router.streams.client.connection import connect
from router.streams.consuming.groups import ensure_group
from router.streams.consuming.window import HELD_PER_SLOT
from router.streams.delivery import Done, StreamRef
from router.streams.store.append import Appender, InboundFields
from tests.benchmarks.backlog import FILL, PAGE
from tests.benchmarks.filled import fields_of
from tests.bounds.site import NUMBER, OURS
from tests.streams.consuming.test_consumer import GROUP, LIMITS, Bench
from tests.support.accounts import ACCOUNT
from tests.support.waiting import until

pytestmark = pytest.mark.real
MANY, LEFT, CUSTOMERS, WINDOW, BATCH = 50_000, 20_000, 50, 100, 50
#: Commands that return as much as there is unless a number of theirs bounds it.
COUNTED = {"XRANGE", "XREVRANGE", "XREADGROUP", "XREAD", "XAUTOCLAIM", "SCAN", "SSCAN", "HSCAN"}
#: Commands that look at all of a key or database, however large.
WHOLE = {"KEYS", "HGETALL", "HKEYS", "HVALS", "SMEMBERS", "SORT", "LRANGE"}


@contextlib.asynccontextmanager
async def watched(redis_url):
    """Yield a list that every command is added to which the server gets while the block runs, as its words."""
    client, commands = connect(redis_url), []

    async def listen(monitor):
        while True:
            row = await monitor.next_command()
            name, *words = row["command"].split()
            commands.append([name.upper(), *words])

    async with client.monitor() as monitor:
        listening = asyncio.create_task(listen(monitor))
        yield commands
        listening.cancel()
        await asyncio.wait([listening])
    await client.aclose()


def boundless(commands):
    """Return the commands of a list that have no bound of their own."""
    found = []
    for name, *words in commands:
        is_counted = "COUNT" in words or (name in {"XRANGE", "XREVRANGE"} and words[1] == words[2])
        if name in WHOLE or (name in COUNTED and not is_counted):
            found.append(" ".join([name, *words])[:200])
    return found


async def fill(redis, stream, number):
    """Append so many messages of CUSTOMERS people, each writing in turn."""
    sid, customer = "SM" + "f" * 32, NUMBER.format(9_999_999)
    webhook = message("sms", account_sid=ACCOUNT, sender=customer, recipient=OURS, body="hello", sid=sid)
    source = SOURCES[SourceName.MESSAGING]
    (piece,) = source.split(Webhook(webhook.body, parse_form(webhook.body), None), ACCOUNT)
    identity = piece.identity
    fields = InboundFields(source.name, ACCOUNT, identity.key, identity.subject, 1, piece.body, ttl=0)
    for first in range(1, number + 1, PAGE):  # a script for all of them could take longer than a client waits
        last = min(first + PAGE - 1, number)
        await redis.eval(FILL, 1, stream, first, last, CUSTOMERS, sid, customer[1:], *fields_of(fields))


async def test_a_backlog_of_messages_begins_to_drain_at_once(redis, redis_url, make_site):
    """Its first events are done when no more is read than fits into one process; so it goes on, and in order."""
    site = await make_site(redis_url, ROUTER_WINDOW=str(WINDOW), ROUTER_BATCH=str(BATCH), ROUTER_GRACE="0.2")
    stream = site.keys.inbound(0)
    await ensure_group(redis, stream, RESOLVER)
    await fill(redis, stream, MANY)
    in_hand, first_done = [], []

    async def has_done(number):
        (row,) = await redis.xinfo_groups(stream)
        in_hand.append(row["pending"])
        if row["entries-read"] > row["pending"]:
            first_done.append(row["entries-read"])
        return row["entries-read"] - row["pending"] >= number

    async with watched(redis_url) as commands:
        await site.worker()
        await until(lambda: has_done(1_000), 60)
    assert first_done[0] <= WINDOW * HELD_PER_SLOT + BATCH
    assert max(in_hand) <= WINDOW * HELD_PER_SLOT + BATCH
    assert boundless(commands) == []
    said = defaultdict(list)
    for event in await site.events():
        if event["type"] == "communication.received":
            sid = event["data"]["communication"]["channel_id"]
            said[event["data"]["address"]].append(int(sid.removeprefix("SM"), base=16))
    assert len(said) == CUSTOMERS
    for numbers in said.values():
        assert numbers == list(range(numbers[0], numbers[-1] + 1, CUSTOMERS))


async def test_what_a_dead_consumer_left_begins_to_drain_at_once_too(redis, redis_url, lines):
    """Tens of thousands of pending entries are taken over page by page, as they are worked on; new ones flow beside."""
    keys = Keys()
    stream = StreamRef(0, keys.inbound(0))
    bench, done, held = Bench(redis, redis_url, keys, stream), [], []

    async def attempt(delivery):
        held.append(len(consumer._pending.held))
        done.append(delivery.text("n"))
        return Done()

    for start in range(0, LEFT, LEFT // 4):
        await bench.add(*[str(number) for number in range(start, start + LEFT // 4)])
    await ensure_group(redis, stream.key, GROUP)
    await redis.xreadgroup(GROUP, "dead", {stream.key: ">"}, count=LEFT)
    limits = replace(LIMITS, window=WINDOW, batch=BATCH)

    def subject(delivery):  # the new one is somebody else's: within a subject it would wait for what came before
        return "new" if delivery.text("n") == "-1" else str(int(delivery.text("n")) % CUSTOMERS)

    consumer = bench.make(limits=limits, attempt=attempt, subject=subject)
    async with watched(redis_url) as commands, consumer.running():
        await until(lambda: len(done) > 500, 30)
        await bench.add("-1")
        added = len(done)
        await until(lambda: "-1" in done, 30)
    assert done.index("-1") - added < LEFT // 10
    assert max(held) <= WINDOW * HELD_PER_SLOT + 2 * BATCH
    assert boundless(commands) == []
    pages = [words for name, *words in commands if name == "XPENDING" and len(words) > 2]
    assert pages
    assert all(str(BATCH) in words or "1" in words for words in pages)
    for lane in range(CUSTOMERS):
        numbers = [int(name) for name in done if name != "-1" and int(name) % CUSTOMERS == lane]
        assert numbers == sorted(numbers)


async def test_a_large_spool_is_fed_back_in_pages(redis, tmp_path, lines):
    """However much an outage has left on the disk, no more of it than a page or two is in memory at once, in order."""
    spool, appender = Spool(tmp_path / "spool", "router", 1 << 30), Appender(redis, Keys())
    drainer = Drainer(spool, appender, redis.ping)
    await spool.tend()
    spool.begin("test")
    size, number = 40_000, 1_000
    for start in range(0, number, 100):
        await asyncio.gather(*[spool.put(_event(one, size)) for one in range(start, start + 100)])
    assert spool.describe()["bytes"] > size * number
    tracemalloc.start()
    await drainer.drain()
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    await drainer.close()
    assert peak < 5 * READ_BYTES < size * number / 1.9
    assert not spool.entries
    rows = await redis.xrange(Keys().inbound(0))
    assert [int(fields[b"key"]) for _, fields in rows] == list(range(number))


def _event(number, size):
    return InboundFields("messaging", ACCOUNT, str(number), "s", 1, b"x" * size, ttl=60)
