"""Fixtures: several Redis servers, each module with its own, and keys of several partitions."""

from __future__ import annotations

import asyncio

import pytest

from router.core.keys import Keys
from tests.harness.redis_topologies import Cluster, Sentinels


def pytest_collection_modifyitems(items):
    """Mark all of these as `real`."""
    for item in items:
        if "tests/deployments" in str(item.path):
            item.add_marker(pytest.mark.real)


@pytest.fixture(scope="module")
def cluster(tmp_path_factory):
    """A Cluster of three nodes without replicas, whole at the beginning of each module."""
    cluster = Cluster(tmp_path_factory.mktemp("cluster"))
    try:
        asyncio.run(cluster.start())
        yield cluster
    finally:
        cluster.stop()


@pytest.fixture(scope="module")
def sentinels(tmp_path_factory):
    """A primary, a replica and three Sentinels; a test that fails over is the last of its module."""
    sentinels = Sentinels(tmp_path_factory.mktemp("sentinels"))
    try:
        asyncio.run(sentinels.start())
        yield sentinels
    finally:
        sentinels.stop()


@pytest.fixture
def keys():
    """Keys of four partitions: each node of a Cluster of three has one of them at least."""
    return Keys(partitions=4)
