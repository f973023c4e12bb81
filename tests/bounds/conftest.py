"""Fixtures: `lines` (what was logged), `own_server`, and `make_site`, the whole project on a Redis."""

from __future__ import annotations

import contextlib
import io

import orjson
import pytest

from router import logs
from tests.bounds.site import Site


@pytest.fixture
def lines(monkeypatch):
    """Return a function that gives the log lines of one event so far."""
    stream = io.StringIO()
    monkeypatch.setattr(logs._Output, "stream", stream)
    monkeypatch.setattr(logs._Output, "is_json", True)

    def find(event):
        return [line for text in stream.getvalue().splitlines() if (line := orjson.loads(text))["event"] == event]

    return find


@pytest.fixture
async def make_site(tmp_path, lines):
    """Return what opens a Site on a Redis; all end with the test."""
    async with contextlib.AsyncExitStack() as stack:

        async def make(redis_url, **environment):
            return await stack.enter_async_context(Site(redis_url, tmp_path, **environment))

        yield make
