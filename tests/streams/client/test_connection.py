"""Connections and scripts: enough connections for a full window, and scripts that a server may have forgotten."""

from __future__ import annotations

import asyncio
import time

import pytest

from router.streams.client.connection import RedisError, Script, connect, load_script, run_all, split_by_server
from router.streams.client.gathering import make_gathering_client
from tests.support.waiting import deadline, scaled

pytestmark = pytest.mark.real


async def test_hundreds_of_commands_at_once_all_succeed(redis):
    """A full window of attempts may call Redis at the same moment; no command is refused for lack of a connection."""
    answers = await asyncio.gather(*[redis.incr("{0}:counter") for _ in range(1_000)])
    assert sorted(answers) == list(range(1, 1_001))
    await redis.delete("{0}:counter")


async def test_a_command_to_a_stalled_server_fails_after_the_timeout(own_server, clients):
    """It fails after `timeout` seconds and is not repeated by the client."""
    patience = scaled(0.2)
    redis = clients(own_server.url, timeout=patience)
    await redis.incr("counter")
    own_server.stall()
    begun = time.monotonic()
    with pytest.raises(RedisError):
        async with deadline(3):
            await redis.incr("counter")
    assert time.monotonic() - begun > patience / 2
    own_server.resume()
    assert int(await redis.get("counter")) <= 2


async def test_a_client_connects_at_first_use():
    """A client for a server that is down can be made and closed; using it raises RedisError."""
    redis = connect("redis://127.0.0.1:1/0")
    with pytest.raises(RedisError):
        await redis.ping()
    await redis.aclose()


async def test_a_script_runs_whether_the_server_knows_it_or_not(redis):
    """The first run loads it, the second finds it, and after SCRIPT FLUSH it is loaded again."""
    script = Script("return {KEYS[1], ARGV[1]}")
    for _ in range(2):
        assert await script.run(redis, ["{0}:k"], ["a"]) == [b"{0}:k", b"a"]
        assert await script.run(redis, ["{0}:k"], [b"\xff"]) == [b"{0}:k", b"\xff"]
        await redis.script_flush()


async def test_run_all_has_a_result_or_an_error_for_each_call(redis):
    """Results come in the order of the calls; an error concerns its call only."""
    script = Script("return redis.call('INCRBY', KEYS[1], ARGV[1])")
    calls = [(["{0}:n"], [1]), (["{0}:n"], ["x"]), (["{0}:n"], [2])]
    first, second, third = await run_all(redis, script, calls)
    assert (first, third) == (1, 3)
    assert isinstance(second, RedisError)
    await redis.delete("{0}:n")


@pytest.mark.parametrize("make", [lambda redis: redis, make_gathering_client], ids=["alone", "gathered"])
async def test_commands_go_before_the_scripts(redis, make):
    """What they wrote is there when the first script runs; if one is refused, its error is raised."""
    script, before = Script("return redis.call('INCRBY', KEYS[1], ARGV[1])"), ("SET", "{0}:n", "40", "EX", 60)
    calls = [(["{0}:n"], [1]), (["{0}:n"], ["x"])]
    for _ in range(2):
        counted, refused = await run_all(make(redis), script, calls, before=[before])
        assert (counted, isinstance(refused, RedisError)) == (41, True)
        await redis.script_flush()
    with pytest.raises(RedisError, match="not an integer"):
        await run_all(make(redis), script, calls, before=[before, ("EXPIRE", "{0}:n", "x")])
    await redis.delete("{0}:n")


@pytest.mark.parametrize("name", ["append", "commit", "forget_consumer", "give_up", "redeliver", "replay"])
async def test_every_script_compiles_and_opens_with_its_contract(name, redis):
    """Redis accepts it, and its header says which keys it takes."""
    script = load_script(name)
    assert await redis.script_load(script.text) in {script.sha, script.sha.encode()}
    assert "-- KEYS:" in script.text


async def test_connections_that_died_while_idle_are_replaced_before_they_are_used(own_server, clients):
    """After a restart of Redis no command fails because of an old connection."""
    redis = clients(own_server.url)
    await asyncio.gather(*[redis.ping() for _ in range(20)])
    own_server.kill()
    await own_server.start()
    assert await asyncio.gather(*[redis.ping() for _ in range(20)]) == [True] * 20


@pytest.mark.parametrize(
    ("url", "parts"),
    [("redis://h", [["a", "b"]]), ("redis+sentinel://h/s", [["a", "b"]]), ("redis+cluster://h", [["a"], ["b"]])],
)
async def test_only_a_cluster_has_parts_that_fail_independently(url, parts):
    """Keys of a Cluster may lie on different nodes, now or later; behind one address they share its fate."""
    redis = connect(url)
    assert split_by_server(redis, ["a", "b"]) == parts
    await redis.aclose()


@pytest.mark.parametrize(("url", "seconds"), [("redis://h", 5), ("redis+sentinel://h/s", 5), ("redis+cluster://h", 2)])
async def test_a_node_of_a_cluster_may_have_a_timeout_of_its_own(url, seconds):
    """`node_timeout` applies in a Cluster only, where the answers of the other nodes still count."""
    redis = connect(url, timeout=5, node_timeout=2)
    assert redis.connection_pool.connection_kwargs["socket_timeout"] == seconds
    await redis.aclose()
