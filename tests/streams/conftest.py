"""Fixtures: `keys`, a server of the test's `own_server`, and short ways to write and read streams."""

from __future__ import annotations

import contextlib
import json

import pytest

from router import logs
from router.core.keys import Keys
from router.streams.client.connection import connect
from router.streams.delivery import StreamRef
from tests.support.redis_server import OwnServer


@pytest.fixture
def keys():
    return Keys()


@pytest.fixture
def stream(keys):
    """The stream that most of these tests read."""
    return StreamRef(0, keys.inbound(0))


@pytest.fixture
async def own_server(tmp_path):
    """A running server that the test may stall and kill."""
    server = OwnServer(tmp_path)
    await server.start()
    yield server
    server.kill()


@pytest.fixture
async def clients():
    """Make clients for any URL; all are closed at the end."""
    async with contextlib.AsyncExitStack() as stack:

        def make(url, **options):
            client = connect(url, **options)
            stack.push_async_callback(client.aclose)
            return client

        yield make


@pytest.fixture
def lines(monkeypatch):
    """The log lines of this test, as dicts."""
    written = []

    class Stream:
        @staticmethod
        def write(text):
            written.append(json.loads(text))

        @staticmethod
        def flush():
            pass

    monkeypatch.setattr(logs._Output, "stream", Stream)
    monkeypatch.setattr(logs._Output, "is_json", True)
    monkeypatch.setattr(logs._Output, "threshold", 10)
    return written
