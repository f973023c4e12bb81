"""The client of a Cluster: commands find their node, slots may move, and a failing node affects only its own keys."""

from __future__ import annotations

import asyncio
from contextlib import aclosing
from uuid import uuid4

import pytest
from redis.asyncio.cluster import ClusterNode, RedisCluster
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import RedisClusterException, RedisError, ResponseError

from router.core.errors import NotDurableError
from router.streams.client.cluster import key_of, read_slots
from router.streams.client.connection import Script, load_script, run_all
from router.streams.consuming.groups import Heartbeat
from router.streams.store.append import Appender
from router.streams.store.watch import last_ids, participant_streams, watch
from tests.harness.redis_topologies import SLOTS
from tests.streams.store.test_append import make_fields
from tests.streams.store.test_watch import make, publish
from tests.support.waiting import scaled, until

ADD = Script("return redis.call('INCRBY', KEYS[1], ARGV[1])")


@pytest.fixture
async def redis(cluster, clients):
    """A client of an empty Cluster."""
    for node in cluster.nodes:
        await node.ask("FLUSHALL")
        await node.ask("SCRIPT FLUSH")
    return clients(cluster.url)


def names(count=8):
    """Return keys of so many partitions."""
    return [f"router:{{{number}}}:x" for number in range(count)]


async def test_keys_are_on_all_nodes_and_each_command_finds_its_node(cluster, redis):
    """A client that knows one node reaches all."""
    for name in names():
        await redis.set(name, name)
    assert [await redis.get(name) for name in names()] == [name.encode() for name in names()]
    assert {(await cluster.node_of(name)).port for name in names(4)} == {node.port for node in cluster.nodes}


async def test_pipeline_over_several_nodes_answers_in_order(redis):
    """One pipeline for several servers; a transaction is sent to the server of its keys."""
    pipeline = redis.pipeline(transaction=False)
    for name in names():
        pipeline.set(name, name)
        pipeline.get(name)
    assert await pipeline.execute() == [answer for name in names() for answer in (True, name.encode())]
    assert await pipeline.execute() == []
    transaction = redis.pipeline(transaction=True)
    transaction.hset("router:{1}:h", "a", "1")
    transaction.expire("router:{1}:h", 10)
    assert await transaction.execute() == [1, True]


async def test_scripts_are_loaded_where_they_are_missing(cluster, redis):
    """Alone and in a pipeline over all nodes, and after a node has lost them."""
    assert await ADD.run(redis, [names()[0]], [1]) == 1
    assert await run_all(redis, ADD, [([name], [1]) for name in names()]) == [2, 1, 1, 1, 1, 1, 1, 1]
    await cluster.nodes[2].ask("SCRIPT FLUSH")
    assert await run_all(redis, ADD, [([name], [1]) for name in names()]) == [3, 2, 2, 2, 2, 2, 2, 2]


async def test_error_of_one_command_does_not_affect_the_others(redis):
    """The other commands of the pipeline are executed; errors are returned or the first is raised."""
    await redis.set(names()[0], "text")
    pipeline = redis.pipeline(transaction=False)
    for name in names(4):
        pipeline.incr(name)
    results = await pipeline.execute(raise_on_error=False)
    assert isinstance(results[0], ResponseError)
    assert results[1:] == [1, 1, 1]
    pipeline.incr(names()[0])
    with pytest.raises(ResponseError):
        await pipeline.execute()


async def test_command_without_a_key_needs_a_node(redis, cluster):
    """It is an error; each node has a client of its own."""
    with pytest.raises(RedisError, match="has no key"):
        await redis.info()
    with pytest.raises(RedisError, match="has no key"):
        await redis.flushall()
    found = await redis.nodes()
    assert set(found) == {f"127.0.0.1:{node.port}" for node in cluster.nodes}
    assert {(await node.info("server"))["tcp_port"] for node in found.values()} == {node.port for node in cluster.nodes}


async def test_slot_that_has_moved_is_followed(cluster, redis):
    """MOVED leads to the new node at once, in commands and pipelines, and the slots are read again."""
    name = names()[3]
    await redis.set(name, "1")
    slot, old, new = 1584, cluster.nodes[0], cluster.nodes[1]
    assert int(await old.ask("CLUSTER KEYSLOT", name)) == slot
    await move_begins(slot, old, new)
    await old.ask("MIGRATE", "127.0.0.1", new.port, name, 0, 5000)

    # During the move the old node answers ASK, to a command, a pipeline and a script.
    assert await redis.get(name) == b"1"
    pipeline = redis.pipeline(transaction=False)
    for one in names(4):
        pipeline.get(one)
    assert (await pipeline.execute())[3] == b"1"
    assert await run_all(redis, ADD, [([one], [1]) for one in names(4)]) == [1, 1, 1, 2]

    await move_ends(slot, new, *cluster.nodes)
    assert await redis.incr(name) == 3
    pipeline.incr(name)
    assert await pipeline.execute() == [4]

    await move_begins(slot, new, old)
    await new.ask("MIGRATE", "127.0.0.1", old.port, name, 0, 5000)
    await move_ends(slot, old, *cluster.nodes)
    assert await run_all(redis, ADD, [([one], [1]) for one in names(4)]) == [2, 2, 2, 5]


async def move_begins(slot, old, new):
    await new.ask("CLUSTER SETSLOT", slot, "IMPORTING", (await old.ask("CLUSTER MYID")).decode())
    await old.ask("CLUSTER SETSLOT", slot, "MIGRATING", (await new.ask("CLUSTER MYID")).decode())


async def move_ends(slot, new, *nodes):
    owner = (await new.ask("CLUSTER MYID")).decode()
    for node in sorted(nodes, key=lambda node: node is not new):
        await node.ask("CLUSTER SETSLOT", slot, "NODE", owner)


async def test_watch_reads_all_partitions_at_once(redis, keys):
    """Streams on several servers are read in turn; each entry comes once."""
    position = await last_ids(redis, participant_streams(keys))
    assert len(position) == 8
    for partition in range(4):
        await publish(redis, keys, make(f"p{partition}"), partition)
    subjects = []
    async with aclosing(watch(redis, position)) as found:
        async for rows in found:
            subjects += [row.entry().subject for row in rows]
            if len(subjects) == 4:
                break
    assert sorted(subjects) == ["p0", "p1", "p2", "p3"]


async def test_node_that_is_down_fails_only_its_own_commands(cluster, redis):
    """The other commands of a pipeline and later ones are executed; when the node is back it is found again."""
    owner = await cluster.node_of(names()[0])
    away = [name for name in names() if await cluster.node_of(name) is owner]
    assert 0 < len(away) < len(names())
    await run_all(redis, ADD, [([name], [1]) for name in names()])
    owner.kill()
    try:
        results = await run_all(redis, ADD, [([name], [1]) for name in names()])
        failed = [name for name, result in zip(names(), results, strict=True) if isinstance(result, RedisError)]
        assert failed == away
        with pytest.raises(RedisConnectionError):
            await redis.get(away[0])
        with pytest.raises(RedisConnectionError):
            await run_all(redis, ADD, [([name], [1]) for name in away])
        assert await redis.ping() is True
        assert await redis.script_load(ADD.text) == ADD.sha
    finally:
        await cluster.revive(owner)
    assert await results_of(redis) == [b"1" if name in away else b"2" for name in names()]


async def results_of(redis):
    pipeline = redis.pipeline(transaction=False)
    for name in names():
        pipeline.get(name)
    try:
        return await pipeline.execute(raise_on_error=False)
    except RedisError as error:
        return [error]


async def test_node_that_hangs_does_not_affect_the_others(cluster, clients):
    """A command for it times out; meanwhile the others answer."""
    redis = clients(cluster.url, timeout=scaled(1))
    owner = await cluster.node_of(names()[0])
    others = [name for name in names() if await cluster.node_of(name) is not owner]
    await results_of(redis)
    owner.stall()
    try:
        hanging = asyncio.create_task(redis.get(names()[0]))
        await until(lambda: redis._client(("127.0.0.1", owner.port)).connection_pool._in_use_connections)
        for name in others:
            assert await redis.set(name, "1")
        assert not hanging.done()
        with pytest.raises(RedisError):
            await hanging
    finally:
        owner.resume()


async def test_node_that_hangs_affects_neither_webhooks_nor_heartbeats_of_the_others(cluster, clients, keys):
    """Its own webhooks are not durable, those of the other partitions are in Redis, and their heartbeats live on."""
    redis = clients(cluster.url, timeout=scaled(0.5))
    owner = await cluster.node_of(keys.inbound(0))
    beats = {number: keys.heartbeat(number, "g", "me") for number in range(4)}
    living = [number for number in range(4) if await cluster.node_of(keys.inbound(number)) is not owner]
    subjects = {keys.partition_of(f"s{number}"): f"s{number}" for number in range(50)}
    appender = Appender(redis, keys, patience=scaled(2))
    async with Heartbeat(redis, beats.values(), ttl=scaled(0.4)):
        owner.stall()
        try:
            for _ in range(2):  # longer than a heartbeat lives
                calls = [appender.append(make_fields(str(uuid4()), subject=subjects[number])) for number in range(4)]
                results = await asyncio.gather(*calls, return_exceptions=True)
                assert [number for number in range(4) if results[number] is True] == living
                assert all(isinstance(results[number], NotDurableError) for number in range(4) if number not in living)
                assert all([await redis.exists(beats[number]) for number in living])
        finally:
            owner.resume()


async def test_no_node_answers(clients):
    """It is a connection error, like any other outage."""
    redis = clients("redis+cluster://127.0.0.1:1,127.0.0.1:2")
    for attempt in (redis.ping, lambda: redis.get("x"), lambda: load_script("append").run(redis, ["x"], [])):
        with pytest.raises(RedisConnectionError):
            await attempt()


async def test_why_the_librarys_own_client_is_not_used(cluster):
    """With it a node that is down fails a whole pipeline, and a missing Cluster is not a RedisError."""
    node = cluster.nodes[0]
    client = RedisCluster(host="127.0.0.1", port=node.port, retry=Retry(NoBackoff(), 0))
    owner = await cluster.node_of(names()[0])
    pipeline = client.pipeline()
    for name in names():
        pipeline.get(name)
    assert len(await pipeline.execute()) == len(names())
    owner.kill()
    try:
        for name in names():  # on open connections, whose end is noticed
            pipeline.get(name)
        await pipeline.execute(raise_on_error=False)
        for name in names():
            pipeline.get(name)
        with pytest.raises(RedisConnectionError):
            await pipeline.execute(raise_on_error=False)
    finally:
        await client.aclose()
        await cluster.revive(owner)
    lonely = RedisCluster(startup_nodes=[ClusterNode("127.0.0.1", 1)], retry=Retry(NoBackoff(), 0))
    with pytest.raises(RedisClusterException) as raised:
        await lonely.get("x")
    assert not isinstance(raised.value, RedisError | OSError)


async def test_why_readers_have_a_client_for_each_node(cluster):
    """The library asks one node for the keys of an XREADGROUP; if that is down, the others cannot be read either."""
    stream = "router:{0}:inbound"
    owner = await cluster.node_of(stream)
    client = RedisCluster(host="127.0.0.1", port=owner.port, retry=Retry(NoBackoff(), 0))
    await client.initialize()
    asked = client.commands_parser.node
    while asked.port == owner.port:  # it must be another one than the stream's node
        await client.commands_parser.initialize(next(n for n in client.get_primaries() if n.port != owner.port))
        asked = client.commands_parser.node
    await client.xgroup_create(stream, "g", id="0", mkstream=True)
    assert await client.xreadgroup("g", "me", {stream: ">"}) == []
    away = next(node for node in cluster.nodes if node.port == asked.port)
    away.kill()
    try:
        with pytest.raises(RedisConnectionError):
            await client.xreadgroup("g", "me", {stream: ">"})
        async with owner.client() as plain:
            assert await plain.xreadgroup("g", "me", {stream: ">"}) == []
    finally:
        await client.aclose()
        await cluster.revive(away)


def test_keys_of_commands():
    """The position of the key in each command."""
    assert key_of(("EVALSHA", "sha", 1, "a", "b")) == b"a"
    assert key_of(("XREADGROUP", "GROUP", "g", "c", b"STREAMS", "a", ">")) == b"a"
    assert key_of(("XREAD", b"COUNT", 1, b"STREAMS", b"a", "0")) == b"a"
    assert key_of(("XINFO GROUPS", b"a")) == b"a"
    with pytest.raises(RedisError):
        key_of(("WAIT", 1, 100))
    with pytest.raises(RedisError):
        key_of(("TIME",))


def test_slots_without_a_host_belong_to_the_node_that_was_asked():
    """An unfinished cluster answers so, or one behind a proxy."""
    owners = read_slots([[0, 99, [b"", 7001, b"id"]], [100, 101, [None, 7002, b"id"], [b"r", 1, b"id"]]], ("here", 1))
    assert (owners[0], owners[99], owners[100], owners[102]) == (("here", 7001), ("here", 7001), ("here", 7002), None)
    assert len(owners) == SLOTS
