"""Fixtures: several Redis servers, each module with its own, and keys of several partitions."""

from __future__ import annotations

import pytest

from router.core.keys import Keys
from tests.harness.redis_topologies import Cluster, running


def pytest_collection_modifyitems(items):
    """Mark all of these as `real`."""
    for item in items:
        if "tests/deployments" in str(item.path):
            item.add_marker(pytest.mark.real)


@pytest.fixture(scope="module")
def cluster(tmp_path_factory):
    """A Cluster of three nodes without replicas, whole at the beginning of each module."""
    with running(Cluster(tmp_path_factory.mktemp("cluster"))) as cluster:
        yield cluster


@pytest.fixture
def keys():
    """Keys of four partitions: each node of a Cluster of three has one of them at least."""
    return Keys(partitions=4)
