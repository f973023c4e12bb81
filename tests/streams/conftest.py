"""Fixtures: `keys`, a server of the test's `own_server`, and short ways to write and read streams."""

from __future__ import annotations

import json

import pytest

from router import logs
from router.core.keys import Keys
from router.streams.delivery import StreamRef


@pytest.fixture
def keys():
    return Keys()


@pytest.fixture
def stream(keys):
    """The stream that most of these tests read."""
    return StreamRef(0, keys.inbound(0))


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
