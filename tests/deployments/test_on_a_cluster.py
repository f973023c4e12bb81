"""Everything besides the main path of the streams, on a Cluster: no command and no script spans two of its slots."""

from __future__ import annotations

import asyncio

import pytest

from router import metrics
from router.agents.effects import Effects
from router.core.judging.routes import Route
from router.core.keys import Keys, Target
from router.streams.client.clock import RedisClock
from router.streams.consuming.claimer import Claimer
from router.streams.consuming.groups import Heartbeat
from router.streams.consuming.poison_isolation import CrashCounts
from router.streams.delivery import StreamRef
from router.streams.store.append import Appender
from router.streams.store.calls import CallStore
from router.streams.store.inspect import all_streams, has_consumer, update_gauges
from router.streams.store.ledgers import LedgerQuery, Store
from router.streams.store.quarantine import count, keep, remove
from router.streams.store.trim import Trimmer
from router.streams.store.watch import find_joined
from tests.streams.store.test_dead_letters import GROUP, REPLAYED_AT, deliver, letters_of, make_letter, replay_all
from tests.streams.store.test_ledgers import ACCOUNT, make_closed, make_ledger
from tests.streams.store.test_quarantine import BOUNDS, kept_in, refused
from tests.streams.store.test_watch import make, publish
from tests.worker.test_floor import Place

PARTITIONS = range(4)


@pytest.fixture
async def redis(cluster, clients):
    """A client of an empty Cluster."""
    for node in cluster.nodes:
        await node.ask("FLUSHALL")
    return clients(cluster.url)


async def test_dead_letters_are_written_listed_and_replayed(redis, keys):
    """Each is in the partition of its stream."""
    for partition in PARTITIONS:
        (delivery,) = await deliver(redis, StreamRef(partition, keys.inbound(partition)))
        assert await make_letter(redis, keys, delivery)
    letters = await letters_of(redis, keys)
    assert [letter.partition for letter in letters] == list(PARTITIONS)
    for letter in letters:
        [entry_id] = await replay_all(redis, keys, [letter], replayed_at=REPLAYED_AT)
        assert isinstance(entry_id, str)
    assert await letters_of(redis, keys) == []


async def test_whether_entries_can_be_appended(redis, keys, cluster):
    """All partitions are asked, and no key is made."""
    await Appender(redis, Keys(keys.namespace, partitions=len(PARTITIONS))).check()
    assert [await node.ask("DBSIZE") for node in cluster.nodes] == [0] * len(cluster.nodes)


async def test_the_quarantine_is_in_one_slot(redis, keys):
    """Webhooks are kept, counted, found and removed."""
    await keep(redis, keys, refused(), BOUNDS)
    await keep(redis, keys, refused(2, "account"), BOUNDS)
    first, second = await kept_in(redis, keys)
    assert sum((await count(redis, keys)).values()) == 2
    assert await remove(redis, keys, first)
    assert await kept_in(redis, keys) == [second]


async def test_ledgers_routes_and_accounts_of_all_partitions(redis, keys):
    """Reads and writes of one round trip go to every node."""
    store = Store(redis, keys, marker_ttl=3600)
    names = [f"conv_{number}" for number in range(20)]
    ledgers = [make_ledger(name, status="ACTIVE") for name in names]
    for ledger in ledgers:
        ledger.entries.append(make_closed("ai-agent", ledger.conversation_id))
    assert await store.commit(ledgers) == [True] * 20
    found = await store.read_ledgers([LedgerQuery(ACCOUNT, name, ("status",)) for name in names])
    assert [ledger.fields["status"] for ledger in found] == ["ACTIVE"] * 20
    routes = [(ACCOUNT, name, Route(name, "p", "CUSTOMER", 1)) for name in names]
    await store.write_routes(routes)
    assert await store.read_routes([(ACCOUNT, name) for name in names]) == [route for _, _, route in routes]
    assert await store.are_being_created([(ACCOUNT, names)]) == [False]
    assert await store.read_account(ACCOUNT) == ({}, 0)
    calls = CallStore(redis, keys)
    await calls.note_end(ACCOUNT, "CA1")
    assert (await calls.read(ACCOUNT, "CA1")).is_over
    assert not await calls.is_end_received(ACCOUNT, "CA1")


async def test_heartbeats_and_claims_in_all_partitions(redis, keys):
    """A consumer has a heartbeat in every partition while it runs; a claimer takes over pending entries in each."""
    beats = [keys.heartbeat(partition, GROUP, "me") for partition in PARTITIONS]
    streams = [StreamRef(partition, keys.inbound(partition)) for partition in PARTITIONS]
    async with Heartbeat(redis, beats, ttl=5):
        for stream in streams:
            await deliver(redis, stream)
            assert await has_consumer(redis, keys, stream.key, GROUP)
    taken = []

    async def take(deliveries):
        taken.extend(deliveries)

    claimer = Claimer(
        redis,
        keys,
        streams,
        group=GROUP,
        consumer="heir",
        ttl=0.001,
        batch=10,
        held=set(),
        take=take,
    )
    async with Heartbeat(redis, [keys.heartbeat(partition, GROUP, "heir") for partition in PARTITIONS], ttl=5):
        for stream in streams * 2:
            await claimer.scan(stream)
    assert {delivery.stream for delivery in taken} == set(streams)
    crashes = CrashCounts(redis, keys, group=GROUP, consumer="heir")
    for delivery in taken:
        await crashes.begin_isolation(delivery)
        await crashes.end_isolation(delivery)


async def test_a_handoff_in_every_partition(redis, keys):
    """Presence and room are in partition 0; request, offer, timer and holder are where the conversation is."""
    place = Place(redis, keys)
    names = next_of_each(keys)
    await place.send("agent.available", agent="eli", life=600)
    for name in names:
        await place.announce(conversation_id=name)
        home = keys.partition_of(name)
        await place.send("handoff.request", partition=home, conversation=name, reason="x")
        (made,) = await place.told(Target.HUMAN_AGENT, "offer.made", conversation_id=name)
        assert await redis.zcard(keys.timers(home)) == 1
        await place.send("offer.accept", partition=home, offer=made.data.offer.id, agent="eli")
        (changed,) = await place.told(Target.AI_AGENT, "holder.changed", conversation_id=name)
        assert (changed.data.to.agent, changed.data.epoch) == ("eli", 1)
        release = {"conversation": name, "agent": "eli", "epoch": 1}
        await place.send("conversation.release", partition=home, **release)
        assert await redis.zcard(keys.timers(home)) == 0
    ((agent,), waiting) = await place.desk.look()
    assert (agent.load, waiting) == (0, {})


def next_of_each(keys):
    """Return a conversation of each partition."""
    found = {}
    for number in range(100):
        found.setdefault(keys.partition_of(f"conv_{number}"), f"conv_{number}")
    assert found.keys() == set(PARTITIONS)
    return [found[one] for one in PARTITIONS]


async def test_effects_gauges_and_trimming(redis, keys):
    """Effects are beside their entry; gauges cover all partitions."""
    for partition in PARTITIONS:
        await Effects(redis, keys, "g").of(partition, "e").end("done")
        await publish(redis, keys, make(f"p{partition}"), partition)
    clock = RedisClock(keys.inbound(0))
    await clock.measure(redis)
    await clock.measure(redis)
    assert abs(clock.skew) < 60  # one machine; it is found at all, by the node of partition 0
    await update_gauges(redis, keys)
    shown = metrics.render().decode()
    assert all(f'router_stream_entries{{stream="{stream}"}}' in shown for stream in all_streams(keys))
    trimmer = Trimmer(redis, keys, retention=0)
    assert [await trimmer.trim(keys.participants(one, Target.AI_AGENT)) for one in PARTITIONS] == [0] * 4
    assert (await find_joined(redis, keys, "SMS", "+14155550101")).subject == "p3"


async def test_hundreds_of_concurrent_commands_succeed(redis):
    """Commands of a full window of attempts wait for a connection, as with one server."""
    answers = await asyncio.gather(*[redis.incr(f"{{{number % 4}}}:n") for number in range(1000)])
    assert sorted(answers) == sorted(list(range(1, 251)) * 4)
