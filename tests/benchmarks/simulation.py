"""`python -m tests.benchmarks.simulation [--json FROM_BENCH]`: the capacity of many machines and partitions.

It extrapolates the CPU time of an event, as measured on one machine, by the utilization law: a resource that an event
needs for D seconds allows at most 1/D events a second, and the resource that allows the fewest is the ceiling. The
result is the events per second, the first ceiling, and what to add then; latency is not simulated.

Assumed, and printed with the result:

- A process computes on one core at a time. Each core of a machine has one, a receiver or a worker, in the best split.
- The CPU time of an event is that on two busy cores everywhere: caches and cores are those of the measured machine.
- Each resource is used up to the given load, no further, because traffic and its distribution are uneven.
- A Redis server executes on one core. With one machine it is on that machine, else on one of its own.
- Partitions are spread evenly over servers. One server has all of them; a Cluster has a server for each.
- Every worker reads all partitions, so that their number limits servers and no workers.
- Pipelines stay as long as measured if there are more servers, which is optimistic.
- A new customer costs one request of the API. Twilio names no limit; the given one is a guess for an account.
- The network, replicas, the consumers of the participants streams and their requests are left out.
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
#: The remedy for each ceiling.
REMEDIES: Final = {
    "receiver CPU": "more machines, or more cores for `receive --processes`",
    "worker CPU": "more machines with workers",
    "machine CPU": "a second machine: Redis, receiver and worker share the cores of one",
    "Redis": "more partitions (ROUTER_PARTITIONS) on the servers of a Cluster; a partition is never on two",
    "API limit": "more accounts (accounts.toml), or a higher limit from Twilio; events wait in the meantime",
}


@dataclass(frozen=True, slots=True)
class Costs:
    """CPU time in us: of a webhook, of a known customer's event, the addition for a new customer, and of Redis.

    The defaults are from a run with two busy cores (Intel Xeon, Python 3.11); a JSON of `make bench` has others.
    """

    receiver: float = 87.0
    worker: float = 95.0
    new_customer: float = 435.0
    redis_receiver: float = 24.0
    redis_worker: float = 42.0

    @classmethod
    def of(cls, measured: Mapping[str, Any]) -> Costs:
        """Return the costs from a JSON of `make bench`: two processes each, and new customers; else the defaults."""
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
class Setup:
    """An installation: machines with cores, partitions (a Redis server each), accounts, and their use."""

    machines: int = 1
    partitions: int = 1
    cores: int = 2
    accounts: int = 1
    new_share: float = 0.05
    api_limit: float = 500.0
    load: float = 0.8


@dataclass(frozen=True, slots=True)
class Capacity:
    """Events per second, and the resource that limits them."""

    per_second: float
    ceiling: str


def capacity(costs: Costs, setup: Setup) -> Capacity:
    """Return the capacity of an installation."""
    ceilings = _split(costs, setup)
    redis = costs.redis_receiver + costs.redis_worker
    ceilings["Redis"] = setup.partitions * setup.load * 1e6 / redis
    if setup.machines == 1:
        event = costs.receiver + _worker(costs, setup) + redis
        ceilings["machine CPU"] = setup.cores * setup.load * 1e6 / event
    if setup.new_share:
        ceilings["API limit"] = setup.accounts * setup.api_limit / setup.new_share
    ceiling = min(ceilings, key=lambda name: ceilings[name])
    return Capacity(ceilings[ceiling], ceiling)


def _worker(costs: Costs, setup: Setup) -> float:
    return costs.worker + setup.new_share * costs.new_customer


def _split(costs: Costs, setup: Setup) -> dict[str, float]:
    """Return the capacity of receivers and workers with the best split of the cores between them."""
    processes = max(2, setup.machines * setup.cores)
    unit = setup.load * 1e6
    splits = [
        {
            "receiver CPU": receivers * unit / costs.receiver,
            "worker CPU": (processes - receivers) * unit / _worker(costs, setup),
        }
        for receivers in range(1, processes)
    ]
    return max(splits, key=lambda split: min(split.values()))


@dataclass(frozen=True, slots=True)
class Check:
    """Processes of one kind on one machine: the prediction of the model from the first row, and the measured rate."""

    kind: str
    processes: int
    predicted: float
    measured: float

    @property
    def off(self) -> float:
        """The excess of the prediction over the measured rate, in percent."""
        return (self.predicted / self.measured - 1) * 100


def predict(process: float, others: float, processes: int, cores: int) -> float:
    """Return events/s of so many processes: an event takes `process` us of one, and `others` us of the machine."""
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
    """Return a median from a JSON of `make bench`, None if it was not measured."""
    contenders = measured.get("measurements", {}).get(measurement, {}).get("contenders", {})
    spread = contenders.get(contender, {}).get("metrics", {}).get(metric)
    return float(spread["median"]) if spread else None


def render(costs: Costs, setup: Setup, found: Sequence[Check]) -> str:
    """Return everything as text."""
    parts = (
        f"receiver {costs.receiver:.0f}",
        f"worker {costs.worker:.0f}, of a new customer {costs.new_customer:,.0f} more",
        f"Redis {costs.redis_receiver:.0f} + {costs.redis_worker:.0f}",
    )
    calls = f"{setup.new_share:.0%} of the events from new customers, {setup.api_limit:g} API calls/s an account"
    lines = [
        "Assumed:",
        *ASSUMPTIONS,
        "",
        f"CPU us of an event: {', '.join(parts)}",
        f"Given: machines of {setup.cores} cores, {calls}, accounts: {setup.accounts}, used up to {setup.load:.0%}",
    ]
    if found:
        heads = [["on one machine, cores shared", "processes", "model/s", "measured/s", "off %"]]
        body = [
            [one.kind, str(one.processes), f"{one.predicted:,.0f}", f"{one.measured:,.0f}", f"{one.off:+.0f}"]
            for one in found
        ]
        lines += ["", *table(heads + body)]
    return "\n".join([*lines, "", *_extrapolate(costs, setup), "", *_ceilings(costs, setup)])


def _extrapolate(costs: Costs, setup: Setup) -> list[str]:
    heads = [["enough accounts", *(f"{number} partition{'s' * (number > 1)}" for number in PARTITIONS)]]
    for machines in MACHINES:
        row = [f"{machines} machine{'s' * (machines > 1)}"]
        for partitions in PARTITIONS:
            found = capacity(costs, replace(setup, machines=machines, partitions=partitions, api_limit=math.inf))
            row.append(f"{found.per_second:,.0f} {found.ceiling}")
        heads.append(row)
    lines = ["events/s and the ceiling, with as many accounts as that needs:", *table(heads)]
    if setup.new_share:
        limit = setup.api_limit / setup.new_share
        lines.append(f"One account with {setup.api_limit:g} API calls/s takes {limit:,.0f} events/s.")
    return lines


def _ceilings(costs: Costs, setup: Setup) -> list[str]:
    """Begin with one machine, and add step by step what the ceiling requires."""
    lines = ["Step by step, each time with the remedy for the ceiling, up to the largest of the table:"]
    reported_at: set[str] = set()
    while True:
        found = capacity(costs, setup)
        remedy = "" if found.ceiling in reported_at else f" -> {REMEDIES[found.ceiling]}"
        reported_at.add(found.ceiling)
        lines.append(
            f"{found.per_second:>9,.0f} events/s: machines {setup.machines}, partitions {setup.partitions}, "
            f"accounts {setup.accounts}; ceiling: {found.ceiling}{remedy}"
        )
        if found.ceiling == "Redis" and setup.partitions < PARTITIONS[-1]:
            setup = replace(setup, partitions=setup.partitions * 2)
        elif found.ceiling == "API limit":
            setup = replace(setup, accounts=setup.accounts * 2)
        elif found.ceiling != "Redis" and setup.machines < MACHINES[-1]:
            setup = replace(setup, machines=setup.machines * 2)
        else:
            return lines


def make_parser() -> argparse.ArgumentParser:
    """Return the command line."""
    usual = Setup()
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks.simulation", description=__doc__.split("\n\n")[0])
    parser.add_argument("--json", type=Path, metavar="PATH", help="take the costs from a file of `make bench`")
    parser.add_argument("--cores", type=int, default=usual.cores, help=f"cores of a machine ({usual.cores})")
    parser.add_argument(
        "--accounts", type=int, default=usual.accounts, help=f"accounts to begin with ({usual.accounts})"
    )
    share = "share of events that are a new customer's first"
    parser.add_argument("--new-share", type=float, default=usual.new_share, help=f"{share} ({usual.new_share:g})")
    limit = "API calls a second of an account, a guess"
    parser.add_argument("--api-limit", type=float, default=usual.api_limit, help=f"{limit} ({usual.api_limit:g})")
    parser.add_argument("--load", type=float, default=usual.load, help=f"use of every resource ({usual.load:g})")
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Print the simulation."""
    arguments = make_parser().parse_args(argv)
    measured: dict[str, Any] = orjson.loads(arguments.json.read_bytes()) if arguments.json else {}
    setup = Setup(
        cores=arguments.cores,
        accounts=arguments.accounts,
        new_share=arguments.new_share,
        api_limit=arguments.api_limit,
        load=arguments.load,
    )
    # Several processes of a measurement share so many cores.
    found = checks(measured, int(measured.get("cores", Setup().cores))) if measured else []
    sys.stdout.write(render(Costs.of(measured), setup, found) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
