"""Fixtures: `town`, one for each file that asks for it."""

from __future__ import annotations

import pytest_asyncio

from tests.windows.town import building


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def built(redis_url, tmp_path_factory):
    async with building(redis_url, tmp_path_factory.mktemp("town")) as one:
        yield one


@pytest_asyncio.fixture(loop_scope="module")
async def town(built):
    """A whole deployment in which any process may be stopped between any two steps."""
    yield built
    await built.recover()
