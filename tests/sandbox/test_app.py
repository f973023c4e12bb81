"""Serving a sandbox: a free port, a port in use, and the end by cancellation."""

from __future__ import annotations

import asyncio

import aiohttp
import pytest

from router.sandbox import serve
from tests.harness.sandbox import make_options


async def start():
    ready = asyncio.get_running_loop().create_future()
    serving = asyncio.create_task(serve(make_options(), on_ready=ready.set_result))
    return serving, await ready


async def is_healthy(url):
    async with aiohttp.ClientSession() as session, session.get(f"{url}/healthz") as response:
        return response.status == 200


async def test_cancellation_ends_the_server():
    """Port 0 takes a free port; canceling the task ends the server and releases the port."""
    serving, url = await start()
    assert await is_healthy(url)
    serving.cancel()
    with pytest.raises(asyncio.CancelledError):
        await serving
    with pytest.raises(aiohttp.ClientConnectorError):
        await is_healthy(url)


async def test_a_port_in_use_is_an_error():
    """A port in use raises OSError, instead of a server that cannot be reached."""
    serving, url = await start()
    with pytest.raises(OSError, match="address already in use"):
        await serve(make_options(), port=int(url.rpartition(":")[2]))
    serving.cancel()
    await asyncio.gather(serving, return_exceptions=True)
