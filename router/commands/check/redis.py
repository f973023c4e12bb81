"""`check` of the Redis servers: which promises of the README their settings break. Each finding names the setting.

No I/O: the facts come from router.streams.client.servers. A judgment is a function of a server's facts,
ROUTER_REDIS_WAIT and the kind of the deployment; JUDGMENTS is the table of them.
https://redis.io/docs/latest/operate/oss_and_stack/management/persistence/
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from router.streams.client.clock import MOST_SKEW
from router.streams.client.findings import judge_deployment, judge_kind, judge_node
from router.streams.client.servers import age_problem

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from router.streams.client.servers import DeploymentFacts, ServerFacts
    from router.streams.client.url import ServerKind

#: The share of maxmemory from which a warning is given.
NEARLY_FULL: Final = 0.8


@dataclass(frozen=True, slots=True)
class Finding:
    """One line of the report; `level` is ok, warn or FAIL."""

    level: str
    subject: str
    text: str


def judge_redis(facts: DeploymentFacts, *, wait: int, kind: ServerKind, partitions: int) -> list[Finding]:
    """Return the findings about a deployment; `wait` is ROUTER_REDIS_WAIT, `partitions` ROUTER_PARTITIONS."""
    found = [finding for server in facts.servers for finding in judge_server(server, wait=wait, kind=kind)]
    return [*found, *(Finding(*row) for row in judge_deployment(facts, partitions=partitions))]


def judge_server(facts: ServerFacts, *, wait: int, kind: ServerKind) -> list[Finding]:
    """Return the findings about one server; `wait` is ROUTER_REDIS_WAIT."""
    suffix = f" of {facts.name}" if facts.name else ""
    found = [row for judgment in JUDGMENTS for row in judgment(facts, wait, kind)]
    return [Finding(level, f"Redis {subject}{suffix}", text) for level, subject, text in found]


def _version(facts: ServerFacts, _: int, __: ServerKind) -> Iterator[tuple[str, str, str]]:
    problem = age_problem(facts.info)
    yield ("FAIL", "version", problem) if problem else ("ok", "version", str(facts.info.get("redis_version")))


def _persistence(facts: ServerFacts, _: int, __: ServerKind) -> Iterator[tuple[str, str, str]]:
    config = facts.config
    if config is None:
        yield "warn", "persistence", "CONFIG is refused: check appendonly and maxmemory-policy by hand"
    elif config.get("appendonly") != "yes":
        lost = "everything since the last snapshot (save)" if config.get("save") else "everything"
        text = f"is off: a restart of Redis loses {lost}, including webhooks answered 2xx; set appendonly yes"
        yield "warn", "appendonly", text
    else:
        yield "ok", "appendonly", "yes"
        yield from _fsync(config)


def _fsync(config: Mapping[str, str]) -> Iterator[tuple[str, str, str]]:
    fsync = config.get("appendfsync", "?")
    if fsync == "always":
        yield "ok", "appendfsync", fsync
    else:
        lost = "up to a second" if fsync == "everysec" else "whatever the kernel had not written (about half a minute)"
        text = f"is {fsync}: a power failure (not a crash of Redis) loses {lost} of webhooks answered 2xx"
        yield "warn", "appendfsync", text


def _memory(facts: ServerFacts, _: int, __: ServerKind) -> Iterator[tuple[str, str, str]]:
    policy, most = str(facts.info.get("maxmemory_policy", "?")), int(facts.info.get("maxmemory", 0))
    if policy == "noeviction" or not most:
        yield "ok", "maxmemory-policy", policy
    else:
        text = f"is {policy}: Redis may evict streams and markers when memory is short; set noeviction"
        yield "warn", "maxmemory-policy", text
    used = int(facts.info.get("used_memory", 0))
    if most and used > NEARLY_FULL * most:
        yield (
            "warn",
            "maxmemory",
            f"{used} of {most} bytes are used: once full, webhooks go to the spool and events wait",
        )
    else:
        yield "ok", "maxmemory", f"{used} of {most} bytes are used" if most else "no limit except the machine's memory"


def _role(facts: ServerFacts, _: int, __: ServerKind) -> Iterator[tuple[str, str, str]]:
    if facts.info.get("role") != "master":
        yield "FAIL", "role", "is a replica, which refuses writes; REDIS_URL must lead to the primary"


def _clock(facts: ServerFacts, _: int, __: ServerKind) -> Iterator[tuple[str, str, str]]:
    """Compare clocks: ages are measured by that of Redis, yet logs, and a receiver without Redis, go by the host's."""
    if facts.skew is None:
        return
    text = f"is {abs(facts.skew):.1f} s {'behind' if facts.skew > 0 else 'ahead of'} that of this host"
    if abs(facts.skew) >= MOST_SKEW:
        yield "warn", "clock", f"{text}: set both by NTP, and compare router_clock_skew_seconds of all processes"
    else:
        yield "ok", "clock", text


def _replication(facts: ServerFacts, wait: int, _: ServerKind) -> Iterator[tuple[str, str, str]]:
    replicas = int(facts.info.get("connected_slaves", 0))
    if replicas < wait:
        text = f"{replicas} connected, ROUTER_REDIS_WAIT asks for {wait}: webhooks go to the spool, events wait"
        yield "FAIL", "replicas", text
    elif replicas and not wait:
        text = "ROUTER_REDIS_WAIT is 0: a failover loses webhooks answered 2xx that had not reached the replica"
        yield "warn", "replicas", text
    else:
        yield "ok", "replicas", f"{replicas} connected, {wait} waited for"
    least = int((facts.config or {}).get("min-replicas-to-write", 0) or 0)
    if least > int(facts.info.get("min_slaves_good_slaves", replicas)):
        yield "FAIL", "min-replicas-to-write", f"is {least}, and fewer replicas are in sync: Redis refuses to write"


#: All judgments about a server, in the order of the report.
JUDGMENTS: Final[tuple[Callable[[ServerFacts, int, ServerKind], Iterator[tuple[str, str, str]]], ...]] = (
    _version,
    _role,
    judge_kind,
    _persistence,
    _memory,
    _clock,
    _replication,
    judge_node,
)
