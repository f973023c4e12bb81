"""`python -m tests.benchmarks.simulation [--json FROM_BENCH]`: what many machines and partitions would do.

Carries the CPU time of an event, as measured on one machine, on to others by the utilization law: a resource that an
event needs for D seconds takes at most 1/D events a second, and the resource with the least is the ceiling. It says
how many events a second go, what the first ceiling is, and what to add then; it says nothing of latency.

Assumed, and printed with the result:

- A process computes on one core at a time. Each core of a machine gets one: a receiver or a worker, split best.
- CPU time of an event is that of two busy cores, and stays so: caches and cores are those of the measured machine.
- Each resource is used up to the given load, no further: what comes is uneven, and so is who gets it.
- A Redis server executes on one core. With one machine it is on that machine, else on one of its own.
- Partitions are spread evenly over servers. One server has all of them; a Cluster has a server for each.
- Every worker reads all partitions, so that their number limits servers and no workers.
- Pipelines stay as long as measured where there are more servers, which errs to the good side.
- A new customer costs one call of the API. Twilio names no limit; the given one is a guess for an account.
- The network, replicas, the consumers behind the participants streams and what they ask the API are left out.
"""

from __future__ import annotations

import argparse
import math
import sys
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import orjson

from tests.benchmarks.report import table

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

ASSUMPTIONS: Final = (__doc__ or "").partition("printed with the result:\n\n")[2].splitlines()
MACHINES: Final = (1, 2, 4, 8, 16, 32, 64)
PARTITIONS: Final = (1, 2, 4, 8, 16, 32)
#: What to do about a ceiling.
REMEDIES: Final = {
    "receiver CPU": "more machines, or more cores for `receive --processes`",
    "worker CPU": "more machines with workers",
    "machine CPU": "a second machine: Redis, receiver and worker share the cores of one",
    "Redis": "more partitions (ROUTER_PARTITIONS) on the servers of a Cluster; a partition is never on two",
    "API limit": "more accounts (accounts.toml), or a higher limit from Twilio; events wait meanwhile",
}


@dataclass(frozen=True, slots=True)
class Costs:
    """CPU time in us: of a webhook and of a known customer's event, of what a new customer adds, and of Redis.

    The usual ones are of a run with two busy cores (Intel Xeon, Python 3.11); a bench JSON has those of others.
    """

    receiver: float = 87.0
    worker: float = 95.0
    new_customer: float = 435.0
    redis_receiver: float = 24.0
    redis_worker: float = 42.0

    @classmethod
    def of(cls, measured: Mapping[str, Any]) -> Costs:
        """Take what a bench JSON has of them: two processes each, and new customers; the rest is as usual."""
        usual = cls()
        worker = _metric(measured, "workers", "two", "cpu_us") or usual.worker
        new = _metric(measured, "customers", "instant", "cpu_us")
        return cls(
            receiver=_metric(measured, "receivers", "two", "cpu_us") or usual.receiver,
            worker=worker,
            new_customer=max(0.0, new - worker) if new else usual.new_customer,
            redis_receiver=_metric(measured, "receivers", "two", "redis_us") or usual.redis_receiver,
            redis_worker=_metric(measured, "workers", "two", "redis_us") or usual.redis_worker,
        )


@dataclass(frozen=True, slots=True)
class Site:
    """What there is: machines with their cores, partitions (a Redis server each), accounts; and how it is used."""

    machines: int = 1
    partitions: int = 1
    cores: int = 2
    accounts: int = 1
    new_share: float = 0.05
    api_limit: float = 500.0
    load: float = 0.8


@dataclass(frozen=True, slots=True)
class Capacity:
    """Events a second, and what allows no more."""

    per_second: float
    ceiling: str


def capacity(costs: Costs, site: Site) -> Capacity:
    """Return what a site takes."""
    ceilings = _split(costs, site)
    redis = costs.redis_receiver + costs.redis_worker
    ceilings["Redis"] = site.partitions * site.load * 1e6 / redis
    if site.machines == 1:
        event = costs.receiver + _worker(costs, site) + redis
        ceilings["machine CPU"] = site.cores * site.load * 1e6 / event
    if site.new_share:
        ceilings["API limit"] = site.accounts * site.api_limit / site.new_share
    ceiling = min(ceilings, key=lambda name: ceilings[name])
    return Capacity(ceilings[ceiling], ceiling)


def _worker(costs: Costs, site: Site) -> float:
    return costs.worker + site.new_share * costs.new_customer


def _split(costs: Costs, site: Site) -> dict[str, float]:
    """Return what receivers and workers take where the cores are split between them as well as can be."""
    processes = max(2, site.machines * site.cores)
    unit = site.load * 1e6
    splits = [
        {
            "receiver CPU": receivers * unit / costs.receiver,
            "worker CPU": (processes - receivers) * unit / _worker(costs, site),
        }
        for receivers in range(1, processes)
    ]
    return max(splits, key=lambda split: min(split.values()))


@dataclass(frozen=True, slots=True)
class Check:
    """Processes of one kind on one machine: what the model says from the first row alone, and what was measured."""

    kind: str
    processes: int
    predicted: float
    measured: float

    @property
    def off(self) -> float:
        """By how many percent the model is above what was measured."""
        return (self.predicted / self.measured - 1) * 100


def predict(process: float, others: float, processes: int, cores: int) -> float:
    """Return events/s of so many processes: each computes `process` us an event, and the machine `others` besides."""
    return min(processes * 1e6 / process, cores * 1e6 / (process + others))


def checks(measured: Mapping[str, Any], cores: int) -> list[Check]:
    """Predict the rows of 1, 2 and 3 processes from the costs of the row with one."""
    found = []
    for kind in ("receivers", "workers"):
        process, redis = (_metric(measured, kind, "one", metric) for metric in ("cpu_us", "redis_us"))
        rate, busy = (_metric(measured, kind, "one", metric) for metric in ("per_second", "load_busy"))
        if not process or redis is None or not rate:
            continue
        others = redis + (busy or 0.0) * 10_000 / rate
        for number, name in enumerate(("one", "two", "three"), start=1):
            value = _metric(measured, kind, name, "per_second")
            if value:
                found.append(Check(kind, number, predict(process, others, number, cores), value))
    return found


def _metric(measured: Mapping[str, Any], measurement: str, contender: str, metric: str) -> float | None:
    """Return a median of a bench JSON, None where it was not measured."""
    contenders = measured.get("measurements", {}).get(measurement, {}).get("contenders", {})
    spread = contenders.get(contender, {}).get("metrics", {}).get(metric)
    return float(spread["median"]) if spread else None


def render(costs: Costs, site: Site, found: Sequence[Check]) -> str:
    """Return everything as text."""
    parts = (
        f"receiver {costs.receiver:.0f}",
        f"worker {costs.worker:.0f}, of a new customer {costs.new_customer:,.0f} more",
        f"Redis {costs.redis_receiver:.0f} + {costs.redis_worker:.0f}",
    )
    calls = f"{site.new_share:.0%} of the events from new customers, {site.api_limit:g} API calls/s an account"
    lines = [
        "Assumed:",
        *ASSUMPTIONS,
        "",
        f"CPU us of an event: {', '.join(parts)}",
        f"Given: machines of {site.cores} cores, {calls}, accounts: {site.accounts}, used up to {site.load:.0%}",
    ]
    if found:
        heads = [["on one machine, nobody pinned", "processes", "model/s", "measured/s", "off %"]]
        body = [
            [one.kind, str(one.processes), f"{one.predicted:,.0f}", f"{one.measured:,.0f}", f"{one.off:+.0f}"]
            for one in found
        ]
        lines += ["", *table(heads + body)]
    return "\n".join([*lines, "", *_carried_on(costs, site), "", *_ceilings(costs, site)])


def _carried_on(costs: Costs, site: Site) -> list[str]:
    heads = [["accounts enough", *(f"{number} partition{'s' * (number > 1)}" for number in PARTITIONS)]]
    for machines in MACHINES:
        row = [f"{machines} machine{'s' * (machines > 1)}"]
        for partitions in PARTITIONS:
            found = capacity(costs, replace(site, machines=machines, partitions=partitions, api_limit=math.inf))
            row.append(f"{found.per_second:,.0f} {found.ceiling}")
        heads.append(row)
    lines = ["events/s and what allows no more, with as many accounts as that takes:", *table(heads)]
    if site.new_share:
        limit = site.api_limit / site.new_share
        lines.append(f"One account with {site.api_limit:g} API calls/s takes {limit:,.0f} events/s.")
    return lines


def _ceilings(costs: Costs, site: Site) -> list[str]:
    """Follow one way up: begin with one machine, and add each time what the ceiling asks for."""
    lines = ["One step after the other, each time what the ceiling asks for, up to the largest of the table:"]
    told: set[str] = set()
    while True:
        found = capacity(costs, site)
        remedy = "" if found.ceiling in told else f" -> {REMEDIES[found.ceiling]}"
        told.add(found.ceiling)
        lines.append(
            f"{found.per_second:>9,.0f} events/s: machines {site.machines}, partitions {site.partitions}, "
            f"accounts {site.accounts}; ceiling: {found.ceiling}{remedy}"
        )
        if found.ceiling == "Redis" and site.partitions < PARTITIONS[-1]:
            site = replace(site, partitions=site.partitions * 2)
        elif found.ceiling == "API limit":
            site = replace(site, accounts=site.accounts * 2)
        elif found.ceiling != "Redis" and site.machines < MACHINES[-1]:
            site = replace(site, machines=site.machines * 2)
        else:
            return lines


def make_parser() -> argparse.ArgumentParser:
    """Return the command line."""
    usual = Site()
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks.simulation", description=__doc__.split("\n\n")[0])
    parser.add_argument("--json", type=Path, metavar="PATH", help="take the costs from what a bench wrote there")
    parser.add_argument("--cores", type=int, default=usual.cores, help=f"cores of a machine ({usual.cores})")
    parser.add_argument(
        "--accounts", type=int, default=usual.accounts, help=f"accounts to begin with ({usual.accounts})"
    )
    share = "share of events that are a new customer's first"
    parser.add_argument("--new-share", type=float, default=usual.new_share, help=f"{share} ({usual.new_share:g})")
    limit = "API calls a second of an account, a guess"
    parser.add_argument("--api-limit", type=float, default=usual.api_limit, help=f"{limit} ({usual.api_limit:g})")
    parser.add_argument("--load", type=float, default=usual.load, help=f"use everything so far ({usual.load:g})")
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Print the simulation."""
    arguments = make_parser().parse_args(argv)
    measured: dict[str, Any] = orjson.loads(arguments.json.read_bytes()) if arguments.json else {}
    site = Site(
        cores=arguments.cores,
        accounts=arguments.accounts,
        new_share=arguments.new_share,
        api_limit=arguments.api_limit,
        load=arguments.load,
    )
    # The processes of a bench that are more than one share so many cores.
    found = checks(measured, int(measured.get("cores", Site().cores))) if measured else []
    sys.stdout.write(render(Costs.of(measured), site, found) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
