"""Findings about deployments of several servers; those about one server are in tests/commands/check/test_redis.py."""

from __future__ import annotations

import pytest

from router.streams.client.findings import judge_deployment
from router.streams.client.servers import DeploymentFacts, SentinelFacts, ServerFacts


def judge(facts, partitions=1):
    return list(judge_deployment(facts, partitions=partitions))


def test_fewer_partitions_than_nodes_are_a_warning():
    """Some nodes would hold nothing."""
    facts = DeploymentFacts([ServerFacts(name, {}, {}) for name in "abc"])
    assert [(level, subject) for level, subject, _ in judge(facts, 2)] == [("warn", "ROUTER_PARTITIONS")]
    assert judge(facts, 4) == []


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        pytest.param({}, None, id="fine"),
        pytest.param({"answered": 2}, "1 of 3 in REDIS_URL", id="one is down"),
        pytest.param({"others": 1}, "are 2", id="too few"),
        pytest.param({"quorum": 5}, "quorum (5)", id="no quorum"),
        pytest.param({"replicas": 0}, "a failover has no target", id="no replica"),
    ],
)
def test_sentinels_that_could_not_fail_over_are_a_warning(changes, words):
    """Too few Sentinels, some that do not answer, or no replica."""
    facts = SentinelFacts(**({"asked": 3, "answered": 3, "quorum": 2, "replicas": 1, "others": 2} | changes))
    ((level, subject, text),) = judge(DeploymentFacts([], facts))
    assert (level, subject) == ("warn" if words else "ok", "Sentinels")
    assert (words or "quorum 2") in text


def test_one_server_without_sentinels_has_no_findings():
    """There is nothing to judge beyond the server itself."""
    assert judge(DeploymentFacts([ServerFacts("", {}, {})])) == []
