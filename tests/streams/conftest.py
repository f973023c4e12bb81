"""Fixtures of the stream tests: keys, the stream that most of them use, and consumers for it."""

from __future__ import annotations

import pytest

from router.core.keys import Keys
from router.streams.delivery import StreamRef
from tests.streams.bench import Bench


@pytest.fixture
def keys():
    return Keys()


@pytest.fixture
def stream(keys):
    """The inbound stream of partition 0."""
    return StreamRef(0, keys.inbound(0))


@pytest.fixture
def bench(redis, redis_url, keys, stream):
    return Bench(redis, redis_url, keys, stream)
