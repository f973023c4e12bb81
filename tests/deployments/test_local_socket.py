"""A server behind a socket in the file system (`unix://`), for commands and for the reader."""

from __future__ import annotations

import tempfile
from pathlib import Path

import pytest

from router.streams.client.brokers import make_broker
from tests.harness.redis_server import RedisServer


@pytest.fixture
async def local(tmp_path):
    """The URL of a server that listens on a socket file, whose path must be short."""
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder) / "redis.sock"
        server = RedisServer(tmp_path, f"unixsocket {place}")
        await server.start()
        try:
            yield f"unix://{place}?db=1"
        finally:
            server.kill()


async def test_commands_and_the_reader_reach_it(local, clients):
    """Both use the database that the URL names."""
    redis = clients(local)
    await redis.set("key", "here")
    broker = make_broker(local)
    reading = await broker.connect()
    try:
        assert await reading.get("key") == b"here"
    finally:
        await broker.stop()
    assert (await redis.client_info())["db"] == 1
