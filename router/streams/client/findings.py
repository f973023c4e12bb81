"""Findings about a deployment of several servers: what makes a failover fail or a partition unavailable.

No I/O: the facts come from router.streams.client.servers. Each finding is (level, subject, text); `level` is ok, warn
or FAIL. Findings about any single server are in router.commands.check.redis.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from router.streams.client.url import ServerKind

if TYPE_CHECKING:
    from collections.abc import Iterator

    from router.streams.client.servers import DeploymentFacts, SentinelFacts, ServerFacts

#: With fewer Sentinels the loss of one leaves no majority.
LEAST_SENTINELS: Final = 3


def judge_kind(facts: ServerFacts, _: int, kind: ServerKind) -> Iterator[tuple[str, str, str]]:
    """Find a Cluster node that REDIS_URL presents as a single server."""
    if facts.info.get("cluster_enabled") and kind is not ServerKind.CLUSTER:
        yield "FAIL", "cluster-enabled", "it is a node of a Cluster: set REDIS_URL to redis+cluster://host:port,..."


def judge_node(facts: ServerFacts, _: int, __: ServerKind) -> Iterator[tuple[str, str, str]]:
    """Judge the state of a Cluster by one of its nodes."""
    if not facts.cluster:
        return
    state = facts.cluster.get("cluster_state", "?")
    if state != "ok":
        yield "FAIL", "cluster state", f"is {state}: see CLUSTER INFO and CLUSTER NODES"
    else:
        yield "ok", "cluster state", state
    if (facts.config or {}).get("cluster-require-full-coverage") == "yes":
        text = "is yes: the loss of one node stops all partitions; set no, so that the others go on"
        yield "warn", "cluster-require-full-coverage", text


def judge_deployment(facts: DeploymentFacts, *, partitions: int) -> Iterator[tuple[str, str, str]]:
    """Judge whether every server has a partition, and whether a failover would succeed."""
    if partitions < len(facts.servers):
        text = f"is {partitions} for {len(facts.servers)} nodes: some hold nothing; set it to twice as many or more"
        yield "warn", "ROUTER_PARTITIONS", text
    if facts.sentinels is not None:
        yield from _judge_sentinels(facts.sentinels)


def _judge_sentinels(facts: SentinelFacts) -> Iterator[tuple[str, str, str]]:
    total = facts.others + 1
    if facts.answered < facts.asked:
        text = f"{facts.asked - facts.answered} of {facts.asked} in REDIS_URL do not answer, or do not know the service"
        yield "warn", "Sentinels", text
    if total < max(LEAST_SENTINELS, facts.quorum):
        text = f"are {total}: {LEAST_SENTINELS} and the quorum ({facts.quorum}) are needed for more than one failover"
        yield "warn", "Sentinels", text
    if not facts.replicas:
        yield "warn", "Sentinels", "know no replica: a failover has no target"
    elif total >= max(LEAST_SENTINELS, facts.quorum) and facts.answered == facts.asked:
        yield "ok", "Sentinels", f"{total}, quorum {facts.quorum}, replicas {facts.replicas}"
