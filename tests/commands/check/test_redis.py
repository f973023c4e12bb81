"""Findings about Redis servers: each names the setting that breaks a promise, and the server."""

from __future__ import annotations

import pytest

from router.commands.check.redis import judge_redis, judge_server
from router.streams.client.servers import DeploymentFacts, SentinelFacts, ServerFacts
from router.streams.client.url import ServerKind

INFO = {"redis_version": "7.2.4", "role": "master", "maxmemory": 0, "maxmemory_policy": "noeviction", "used_memory": 9}
CONFIG = {"appendonly": "yes", "appendfsync": "always", "save": ""}


def judge(info=(), config=(), *, wait=0, kind=ServerKind.SERVER, cluster=(), name=""):
    """Return the findings that are not ok, about a server that is right except for these facts."""
    facts = ServerFacts(name, INFO | dict(info), CONFIG | dict(config), dict(cluster))
    findings = judge_server(facts, wait=wait, kind=kind)
    return [(one.level, one.subject, one.text) for one in findings if one.level != "ok"]


def test_every_setting_of_a_good_server_is_ok():
    """Each setting that was checked is listed."""
    findings = judge_server(ServerFacts("", INFO, CONFIG), wait=0, kind=ServerKind.SERVER)
    assert {one.level for one in findings} == {"ok"}
    checked = {"version", "appendonly", "appendfsync", "maxmemory-policy", "maxmemory", "replicas"}
    assert {one.subject for one in findings} == {f"Redis {name}" for name in checked}


@pytest.mark.parametrize(
    ("level", "setting", "words", "facts"),
    [
        pytest.param("FAIL", "version", "7.0", {"info": {"redis_version": "6.2.5"}}, id="too old"),
        pytest.param("warn", "appendonly", "everything", {"config": {"appendonly": "no"}}, id="nothing kept"),
        pytest.param("warn", "appendonly", "snapshot", {"config": {"appendonly": "no", "save": "60 1"}}, id="rdb"),
        pytest.param("warn", "appendfsync", "up to a second", {"config": {"appendfsync": "everysec"}}, id="everysec"),
        pytest.param("warn", "appendfsync", "kernel", {"config": {"appendfsync": "no"}}, id="no fsync"),
        pytest.param(
            "warn",
            "maxmemory-policy",
            "noeviction",
            {"info": {"maxmemory": 100, "maxmemory_policy": "allkeys-lru"}},
            id="eviction",
        ),
        pytest.param("warn", "maxmemory", "90 of 100", {"info": {"maxmemory": 100, "used_memory": 90}}, id="full"),
        pytest.param("FAIL", "role", "primary", {"info": {"role": "slave"}}, id="replica"),
        pytest.param("FAIL", "replicas", "ROUTER_REDIS_WAIT asks for 1", {"wait": 1}, id="too few replicas"),
        pytest.param("warn", "replicas", "ROUTER_REDIS_WAIT is 0", {"info": {"connected_slaves": 1}}, id="no wait"),
        pytest.param(
            "FAIL",
            "min-replicas-to-write",
            "refuses to write",
            {"config": {"min-replicas-to-write": "1"}, "info": {"min_slaves_good_slaves": 0}},
            id="refuses to write",
        ),
        pytest.param("FAIL", "cluster-enabled", "redis+cluster://", {"info": {"cluster_enabled": 1}}, id="a node"),
        pytest.param("FAIL", "cluster state", "is fail", {"cluster": {"cluster_state": "fail"}}, id="broken"),
        pytest.param(
            "warn",
            "cluster-require-full-coverage",
            "stops all",
            {"cluster": {"cluster_state": "ok"}, "config": {"cluster-require-full-coverage": "yes"}},
            id="coverage",
        ),
    ],
)
def test_a_setting_that_breaks_a_promise_is_named(level, setting, words, facts):
    """Each has one finding of the right level, with the consequence."""
    ((found, subject, text),) = judge(**facts)
    assert (found, subject) == (level, f"Redis {setting}")
    assert words in text


@pytest.mark.parametrize(
    ("skew", "level", "words"),
    [
        (5.0, "warn", "is 5.0 s behind that of this host: set both by NTP"),
        (-61.0, "warn", "is 61.0 s ahead of that of this host"),
        (4.9, "ok", "is 4.9 s behind"),
        (-0.01, "ok", "is 0.0 s ahead"),
    ],
)
def test_clocks_that_differ_by_five_seconds_are_a_warning(skew, level, words):
    """In either direction; a server that does not tell its time has no finding."""
    facts = ServerFacts("", INFO, CONFIG, skew=skew)
    (found,) = [one for one in judge_server(facts, wait=0, kind=ServerKind.SERVER) if one.subject == "Redis clock"]
    assert found.level == level
    assert words in found.text


def test_a_finding_names_the_node_of_a_cluster():
    """The address of the node follows the setting."""
    ((_, subject, _),) = judge(config={"appendfsync": "everysec"}, kind=ServerKind.CLUSTER, name="10.0.0.1:6379")
    assert subject == "Redis appendfsync of 10.0.0.1:6379"


def test_a_server_that_refuses_config_gets_one_warning():
    """Managed servers refuse CONFIG: those settings are to be checked by hand, the others are judged."""
    findings = judge_server(ServerFacts("", INFO, None), wait=0, kind=ServerKind.SERVER)
    assert [one.subject for one in findings if one.level != "ok"] == ["Redis persistence"]


def test_as_many_replicas_as_are_waited_for_are_ok():
    """One replica satisfies ROUTER_REDIS_WAIT=1."""
    assert judge(info={"connected_slaves": 1}, wait=1, kind=ServerKind.SENTINEL) == []


def test_findings_about_servers_come_before_those_about_the_deployment():
    """Each server is judged by itself, then all of them together."""
    servers = [ServerFacts(name, INFO, CONFIG | {"appendfsync": "everysec"}) for name in "ab"]
    facts = DeploymentFacts(servers, SentinelFacts(asked=3, answered=3, quorum=2, replicas=0, others=2))
    found = judge_redis(facts, wait=0, kind=ServerKind.CLUSTER, partitions=1)
    flawed = [one.subject for one in found if one.level != "ok"]
    assert flawed == ["Redis appendfsync of a", "Redis appendfsync of b", "ROUTER_PARTITIONS", "Sentinels"]
