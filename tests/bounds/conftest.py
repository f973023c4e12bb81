"""Fixture: `make_deployment`, all components of the project on a Redis."""

from __future__ import annotations

import contextlib

import pytest

from tests.bounds.deployment import InProcessDeployment


@pytest.fixture
async def make_deployment(tmp_path, lines):
    """Return a function that starts a deployment on a Redis; all end with the test."""
    async with contextlib.AsyncExitStack() as stack:

        async def make(redis_url, **environment):
            return await stack.enter_async_context(InProcessDeployment(redis_url, tmp_path, **environment))

        yield make
