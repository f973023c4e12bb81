"""The relay itself: what happens at a breakpoint, for single commands, pipelines and HTTP requests."""

from __future__ import annotations

import asyncio
import signal
from contextlib import asynccontextmanager

import aiohttp
import pytest
from aiohttp import web
from redis.exceptions import RedisError

from router.streams.client.connection import connect
from tests.harness.serving import serving
from tests.support.relay import HTTP, REDIS, Breakpoint, Relay, Side

pytestmark = pytest.mark.real
BEFORE, AFTER = Side.BEFORE, Side.AFTER


@asynccontextmanager
async def relayed(redis_url, point=None):
    """A client behind a relay, and the signals that its breakpoint has sent."""
    signals = []
    async with Relay(redis_url, REDIS).running() as relay:
        relay.send_signal, relay.breakpoint = signals.append, point
        client = connect(f"redis://127.0.0.1:{relay.port}/0")
        yield client, relay, signals
        await client.aclose()


async def test_without_a_breakpoint_everything_passes_unchanged(redis, redis_url):
    """Every kind of reply arrives as without the relay: text, bytes, numbers, nothing, nested lists, errors."""
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
async def test_a_breakpoint_kills_exactly_there(redis, redis_url, side, done, is_pipeline):
    """Of two increments, the second has taken effect or not, and the client gets no answer to it."""
    async with relayed(redis_url, Breakpoint("INCRBY", side, 2)) as (client, _, signals):
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
async def test_a_breakpoint_that_only_stops_holds_the_message_until_it_is_resumed(redis, redis_url, side, done):
    """Nothing moves on the connection; then the message goes on as if nothing had happened."""
    point = Breakpoint("INCRBY", side, signal=signal.SIGSTOP)
    async with relayed(redis_url, point) as (client, _, signals):
        asked = asyncio.create_task(client.incr("count"))
        await point.reached()
        assert (signals, asked.done()) == ([signal.SIGSTOP], False)
        assert await redis.get("count") == done
        point.resumed.set()
        assert await asked == 1
        await client.delete("count")


async def test_a_disconnected_relay_breaks_every_connection_until_it_is_reconnected(redis_url):
    """Old connections break and new ones do, as if the server were away."""
    async with relayed(redis_url) as (client, relay, _):
        assert await client.ping()
        await relay.disconnect()
        with pytest.raises((RedisError, OSError)):
            await client.ping()
        relay.reconnect()
        assert await client.ping()


@pytest.mark.parametrize(("side", "done"), [(BEFORE, 0), (AFTER, 1)], ids=["before", "after"])
async def test_a_breakpoint_on_an_http_request_goes_by_method_and_path(side, done):
    """The name has no ids; a chunked response must be complete before the step is over."""
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
    path = "/v2/Conversations/conv_conversation_01abc/Participants?pageSize=5"
    async with (
        serving(app) as server,
        Relay(server, HTTP).running() as relay,
        aiohttp.ClientSession() as session,
    ):
        relay.breakpoint = Breakpoint("POST /v2/Conversations/*/Participants", side)
        async with session.get(f"http://127.0.0.1:{relay.port}{path}") as response:
            assert await response.text() == "one two"
        with pytest.raises(aiohttp.ClientError):
            await session.post(f"http://127.0.0.1:{relay.port}{path}", data=b"hi")
    assert asked == [("GET", ""), ("POST", "hi")][: 1 + done]
