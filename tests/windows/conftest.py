"""Fixture: `deployment`, one for each module that asks for it."""

from __future__ import annotations

import pytest_asyncio

from tests.windows.deployment import RelayedDeployment


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def module_deployment(redis_url, tmp_path_factory):
    async with RelayedDeployment(redis_url, tmp_path_factory.mktemp("deployment")) as one:
        yield one


@pytest_asyncio.fixture(loop_scope="module")
async def deployment(module_deployment):
    """A deployment in which any process may be stopped between any two steps."""
    yield module_deployment
    await module_deployment.recover()
