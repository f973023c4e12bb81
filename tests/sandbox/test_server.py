"""Serving: a free port, the end by signal and by cancellation."""

from __future__ import annotations

import asyncio
import os
import signal

import aiohttp
import pytest

from router.sandbox import serve
from tests.sandbox.harness import make_options


async def started(**kwargs):
    ready = asyncio.get_running_loop().create_future()
    task = asyncio.create_task(serve(make_options(), on_ready=ready.set_result, **kwargs))
    return task, await ready


async def is_healthy(url):
    async with aiohttp.ClientSession() as session, session.get(f"{url}/healthz") as response:
        return response.status == 200


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
async def test_a_signal_ends_it(number):
    """Port 0 takes a free port and tells it; a signal ends the server cleanly, and handlers are given back."""
    task, url = await started()
    assert await is_healthy(url)
    os.kill(os.getpid(), number)
    await asyncio.wait_for(task, 10)
    with pytest.raises(aiohttp.ClientConnectorError):
        await is_healthy(url)
    assert signal.getsignal(signal.SIGTERM) == signal.SIG_DFL


async def test_cancellation_ends_it():
    """Cancelling the task ends the server and frees the port."""
    task, url = await started(handle_signals=False)
    assert await is_healthy(url)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    with pytest.raises(aiohttp.ClientConnectorError):
        await is_healthy(url)


async def test_a_port_in_use_is_an_error():
    """A port that is taken is an OSError, not a server that nobody reaches."""
    task, url = await started(handle_signals=False)
    with pytest.raises(OSError, match="address already in use"):
        await serve(make_options(), port=int(url.rpartition(":")[2]), handle_signals=False)
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
