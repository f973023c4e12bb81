"""A large backlog is processed from its first batch on, in order and within bounds; no command reads all of it."""

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
from router.streams.consuming.groups import MOST_NOTED, ensure_group
from router.streams.consuming.window import HELD_PER_SLOT
from router.streams.delivery import Done, StreamRef
from router.streams.store.append import Appender, InboundFields
from router.tasks import end
from tests.benchmarks.backlog import FILL, PAGE
from tests.benchmarks.filled_stream import fields_of
from tests.bounds.deployment import NUMBER
from tests.streams.bench import GROUP, LIMITS, Bench
from tests.support.accounts import ACCOUNT, OURS
from tests.support.waiting import scaled, until

pytestmark = pytest.mark.real
MANY, LEFT, CUSTOMERS, WINDOW, BATCH = 50_000, 20_000, 50, 100, 50
#: Commands that return as much as there is unless a number of theirs bounds it.
COUNTED = {"XRANGE", "XREVRANGE", "XREADGROUP", "XREAD", "XAUTOCLAIM", "SCAN", "SSCAN", "HSCAN"}
#: Commands that look at all of a key or database, however large.
WHOLE = {"KEYS", "HGETALL", "HKEYS", "HVALS", "SMEMBERS", "SORT", "LRANGE"}
#: As many as there are people, which no backlog changes.
PEOPLE = {f"HKEYS {Keys().desk('agents')}"}


@contextlib.asynccontextmanager
async def watched(redis_url):
    """Yield a list to which every command is added that the server gets while the block runs, as its words."""
    client, commands = connect(redis_url, timeout=scaled(20)), []

    async def listen(monitor):
        while True:
            row = await monitor.next_command()
            name, *words = row["command"].split()
            commands.append([name.upper(), *words])

    async with client.monitor() as monitor:
        listening = asyncio.create_task(listen(monitor))
        yield commands
        await end(listening)
    await client.aclose()


def boundless(commands):
    """Return the commands that read as much as there is."""
    found = []
    for name, *words in commands:
        is_counted = "COUNT" in words or (name in {"XRANGE", "XREVRANGE"} and words[1] == words[2])
        if name in WHOLE or (name in COUNTED and not is_counted):
            found.append(" ".join([name, *words])[:200])
    return found


async def fill(redis, stream, number):
    """Append so many messages of CUSTOMERS customers, who write in turn."""
    sid, customer = "SM" + "f" * 32, NUMBER.format(9_999_999)
    webhook = message("sms", account_sid=ACCOUNT, sender=customer, recipient=OURS, body="hello", sid=sid)
    source = SOURCES[SourceName.MESSAGING]
    (piece,) = source.split(Webhook(webhook.body, parse_form(webhook.body), None), ACCOUNT)
    identity = piece.identity
    fields = InboundFields(source.name, ACCOUNT, identity.key, identity.subject, 1, piece.body, ttl=0)
    for first in range(1, number + 1, PAGE):  # a script for all of them could take longer than a client waits
        last = min(first + PAGE - 1, number)
        await redis.eval(FILL, 1, stream, first, last, CUSTOMERS, sid, customer[1:], *fields_of(fields))


def entries_read_before(commands, name):
    """Return how many entries were read, at most, before the first command of a name."""
    first = next(number for number, (command, *_) in enumerate(commands) if command == name)
    reads = [words for command, *words in commands[:first] if command == "XREADGROUP"]
    return sum(int(words[words.index("COUNT") + 1]) for words in reads if words[-1] == ">")


async def test_a_backlog_of_messages_begins_to_drain_at_once(redis, redis_url, make_deployment):
    """The first entries are acknowledged before more is read than one process may hold; the rest follow in order."""
    deployment = await make_deployment(
        redis_url, ROUTER_WINDOW=str(WINDOW), ROUTER_BATCH=str(BATCH), ROUTER_GRACE="0.2"
    )
    stream = deployment.keys.inbound(0)
    await ensure_group(redis, stream, RESOLVER)
    await fill(redis, stream, MANY)
    in_hand = []

    async def has_done(number):
        (row,) = await redis.xinfo_groups(stream)
        in_hand.append(row["pending"])
        return row["entries-read"] - row["pending"] >= number

    async with watched(redis_url) as commands:
        await deployment.start_worker()
        await until(lambda: has_done(1_000), 60)
    assert entries_read_before(commands, "XACK") <= WINDOW * HELD_PER_SLOT + BATCH
    assert max(in_hand) <= WINDOW * HELD_PER_SLOT + BATCH
    assert set(boundless(commands)) <= PEOPLE
    numbers_of = defaultdict(list)
    for event in await deployment.published():
        if event["type"] == "communication.received":
            sid = event["data"]["communication"]["channel_id"]
            numbers_of[event["data"]["address"]].append(int(sid.removeprefix("SM"), base=16))
    assert len(numbers_of) == CUSTOMERS
    for numbers in numbers_of.values():
        assert numbers == list(range(numbers[0], numbers[-1] + 1, CUSTOMERS))


async def test_the_pending_entries_of_a_dead_consumer_begin_to_drain_at_once(redis, redis_url, lines):
    """Tens of thousands of pending entries are claimed page by page, while new entries are processed too."""
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

    def subject(delivery):  # the new entry has a subject of its own: within another it would wait for earlier ones
        return "new" if delivery.text("n") == "-1" else str(int(delivery.text("n")) % CUSTOMERS)

    consumer = bench.make(limits=limits, attempt=attempt, subject=subject)
    async with watched(redis_url) as commands, consumer.running():
        await until(lambda: len(done) > 500)
        await bench.add("-1")
        added = len(done)
        await until(lambda: "-1" in done)
    assert done.index("-1") - added < LEFT // 10
    assert max(held) <= WINDOW * HELD_PER_SLOT + 2 * BATCH
    assert boundless(commands) == []
    pages = [words for name, *words in commands if name == "XPENDING" and len(words) > 2]
    assert pages
    counts = {str(BATCH), "1", str(MOST_NOTED + 1)}
    assert all(counts & set(words) for words in pages)
    for lane in range(CUSTOMERS):
        numbers = [int(name) for name in done if name != "-1" and int(name) % CUSTOMERS == lane]
        assert numbers == sorted(numbers)


async def test_a_large_spool_is_fed_back_in_pages(redis, tmp_path, lines):
    """However much is spooled, only a page or two of it is in memory at once, and it is appended in order."""
    spool, appender = Spool(tmp_path / "spool", "router", 1 << 30), Appender(redis, Keys())
    drainer = Drainer(spool, appender, redis.ping)
    await spool.maintain()
    spool.activate("test")
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
