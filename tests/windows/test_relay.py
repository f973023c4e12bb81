"""The relay itself: what a trap lets happen and what not, for commands one by one, in a pipeline, and for calls."""

from __future__ import annotations

import asyncio
import signal
from contextlib import asynccontextmanager

import aiohttp
import pytest
from aiohttp import web
from redis.exceptions import RedisError

from router.streams.client.connection import connect
from tests.support.relay import HTTP, REDIS, Relay, Side, Trap

pytestmark = pytest.mark.real
BEFORE, AFTER = Side.BEFORE, Side.AFTER


@asynccontextmanager
async def relayed(redis_url, trap=None):
    """A client behind a relay, and the signals that the trap has sent."""
    signals = []
    async with Relay(("127.0.0.1", int(redis_url.rpartition(":")[2].partition("/")[0])), REDIS).running() as relay:
        relay.victim, relay.trap = signals.append, trap
        client = connect(f"redis://127.0.0.1:{relay.port}/0")
        yield client, relay, signals
        await client.aclose()


async def test_what_no_trap_waits_for_passes_unchanged(redis, redis_url):
    """Every kind of reply arrives as without the relay: text, bytes, numbers, nothing, lists in lists, errors."""
    async with relayed(redis_url) as (client, _, signals):
        await client.set("bytes", b"\r\n\x00$5\r\n", ex=60)
        await client.xadd("stream", {"a": "1"})
        assert await client.get("bytes") == b"\r\n\x00$5\r\n"
        assert await client.get("nothing") is None
        assert await client.xinfo_stream("stream", full=True) == await redis.xinfo_stream("stream", full=True)
        with pytest.raises(RedisError, match="WRONGTYPE"):
            await client.incr("stream")
        await client.delete("stream")
    assert signals == []


@pytest.mark.parametrize(("side", "done"), [(BEFORE, 1), (AFTER, 2)], ids=["before", "after"])
@pytest.mark.parametrize("is_pipeline", [False, True], ids=["one by one", "pipeline"])
async def test_a_trap_kills_exactly_there(redis, redis_url, side, done, is_pipeline):
    """The second of two increments is the trap's: it has happened or it has not, and nobody hears of it."""
    async with relayed(redis_url, Trap("INCRBY", side, 2)) as (client, _, signals):
        with pytest.raises((RedisError, OSError)):
            await (_count_at_once(client) if is_pipeline else _count(client))
    assert signals == [signal.SIGKILL]
    assert int(await redis.getdel("count")) == done


async def _count(client):
    for _ in range(2):
        await client.incr("count")


async def _count_at_once(client):
    pipeline = client.pipeline(transaction=False)
    for _ in range(2):
        pipeline.incr("count")
    await pipeline.execute()


@pytest.mark.parametrize(("side", "done"), [(BEFORE, None), (AFTER, b"1")], ids=["before", "after"])
async def test_a_trap_that_only_stops_holds_the_message_until_it_is_resumed(redis, redis_url, side, done):
    """After SIGSTOP nothing moves on that connection; then the message goes on as if nothing had been."""
    trap = Trap("INCRBY", side, signal=signal.SIGSTOP)
    async with relayed(redis_url, trap) as (client, _, signals):
        asked = asyncio.create_task(client.incr("count"))
        await trap.sprung()
        assert (signals, asked.done()) == ([signal.SIGSTOP], False)
        assert await redis.get("count") == done
        trap.resumed.set()
        assert await asked == 1
        await client.delete("count")


async def test_a_relay_that_is_cut_takes_nobody_until_it_is_mended(redis_url):
    """Connections break and new ones do, as if the server were away."""
    async with relayed(redis_url) as (client, relay, _):
        assert await client.ping()
        await relay.cut()
        with pytest.raises((RedisError, OSError)):
            await client.ping()
        relay.mend()
        assert await client.ping()


@pytest.mark.parametrize(("side", "done"), [(BEFORE, 0), (AFTER, 1)], ids=["before", "after"])
async def test_a_trap_on_a_call_goes_by_method_and_path(side, done):
    """Ids in the path are left out of the name; an answer in chunks is whole before it counts as given."""
    asked = []

    async def answer(request):
        asked.append((request.method, await request.text()))
        response = web.StreamResponse()
        await response.prepare(request)
        for piece in (b"one ", b"two"):
            await response.write(piece)
        return response

    app = web.Application()
    app.router.add_route("*", "/{rest:.*}", answer)
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    path = "/v2/Conversations/conv_conversation_01abc/Participants?pageSize=5"
    async with Relay(runner.addresses[0], HTTP).running() as relay, aiohttp.ClientSession() as session:
        relay.trap = Trap("POST /v2/Conversations/*/Participants", side)
        async with session.get(f"http://127.0.0.1:{relay.port}{path}") as response:
            assert await response.text() == "one two"
        with pytest.raises(aiohttp.ClientError):
            await session.post(f"http://127.0.0.1:{relay.port}{path}", data=b"hi")
    await runner.cleanup()
    assert asked == [("GET", ""), ("POST", "hi")][: 1 + done]
