"""The metrics port of processes without HTTP: open while the block runs, if the setting is not 0."""

import asyncio
import urllib.error
import urllib.request

import pytest

from router.process.metrics_port import metrics_port
from router.settings.model import Settings
from router.streams.client.embedded import free_port, is_free


def settings_of(port):
    return Settings(metrics_port=port, host="127.0.0.1")


def fetch(url):
    with urllib.request.build_opener(urllib.request.ProxyHandler({})).open(url, timeout=10) as answer:
        return answer.status, answer.read()


@pytest.mark.parametrize("path", ["/metrics", "/healthz"])
async def test_metrics_are_served_while_the_block_runs(path):
    """Both paths answer; afterwards the port is free again."""
    port = free_port()
    async with metrics_port(settings_of(port)):
        status, body = await asyncio.to_thread(fetch, f"http://127.0.0.1:{port}{path}")
        assert status == 200
        assert b"router_events" in body
    assert is_free(port)
    with pytest.raises(urllib.error.URLError):
        await asyncio.to_thread(fetch, f"http://127.0.0.1:{port}/metrics")


async def test_port_0_serves_nothing():
    """0 disables the metrics port."""
    async with metrics_port(settings_of(0)):
        pass
