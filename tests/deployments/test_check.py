"""`check` against several servers: the findings of each node."""

from __future__ import annotations

import pytest

from router.commands.check.command import _check_redis
from router.settings.load import load
from tests.harness.redis_topologies import SERVICE, PrimaryAndReplica, make_sentinel
from tests.support.waiting import until


async def findings(url, **changes):
    """Return the findings about Redis, by subject."""
    found = await _check_redis(load(environment={"REDIS_URL": url} | changes))
    return {one.subject: (one.level, one.text) for one in found}


async def test_each_node_of_a_cluster_is_read(cluster):
    """Findings have the address of the node, and only a node with a wrong setting has one about it."""
    node = cluster.nodes[1]
    await node.ask("CONFIG SET", "appendfsync", "everysec", "cluster-require-full-coverage", "yes")
    try:
        found = await findings(cluster.url)
    finally:
        await node.ask("CONFIG SET", "appendfsync", "always", "cluster-require-full-coverage", "no")
    flawed = {subject for subject, (level, _) in found.items() if level != "ok"}
    here = f"of 127.0.0.1:{node.port}"
    assert flawed == {f"Redis appendfsync {here}", f"Redis cluster-require-full-coverage {here}", "ROUTER_PARTITIONS"}
    assert {f"Redis cluster state of 127.0.0.1:{one.port}" for one in cluster.nodes} <= set(found)
    assert "ROUTER_PARTITIONS" not in await findings(cluster.url, ROUTER_PARTITIONS="6")


async def test_node_of_a_cluster_in_the_url_of_a_server(cluster):
    """It is a failure: REDIS_URL must name the Cluster."""
    found = await findings(cluster.nodes[0].url)
    assert found["Redis cluster-enabled"][0] == "FAIL"


async def test_replicas_are_compared_with_the_setting(tmp_path):
    """One replica is enough to wait for one and too few for two; without waiting a failover may lose entries."""
    pair = PrimaryAndReplica(tmp_path)
    sentinel = make_sentinel(tmp_path, pair.primary, quorum=1)
    url = f"redis+sentinel://127.0.0.1:{sentinel.port},127.0.0.1:1/{SERVICE}"
    try:
        await pair.start()
        await sentinel.start()

        async def knows_the_replica():
            return (await sentinel.ask("SENTINEL MASTERS"))[SERVICE]["num-slaves"] == 1

        await until(knows_the_replica)
        levels = [(await findings(url, ROUTER_REDIS_WAIT=str(wait)))["Redis replicas"][0] for wait in (0, 1, 2)]
        assert levels == ["warn", "ok", "FAIL"]
        assert (await findings(url))["Sentinels"][0] == "warn"
        assert (await findings(pair.replica.url))["Redis role"][0] == "FAIL"
    finally:
        sentinel.kill()
        pair.stop()


@pytest.mark.parametrize("url", ["redis+sentinel://127.0.0.1:1/x", "redis+cluster://127.0.0.1:1"])
async def test_servers_that_do_not_answer(url):
    """The only finding names the variable."""
    assert [(subject, level) for subject, (level, _) in (await findings(url)).items()] == [("REDIS_URL", "FAIL")]
