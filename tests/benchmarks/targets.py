"""The table of targets at the end of a run: the bound, the measured value, and whether the target is met.

A row names a figure of a measurement, which has the bound. A figure that was left out of the run is "not measured", or
needs a contender that did not take part.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from tests.benchmarks.report import table

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from tests.benchmarks.frame import Figure, Measurement, Report, Spread

_MILLION: Final = 1_000_000
NOT_MEASURED: Final = "not measured"
#: What contenders need that do not always take part.
NEEDS: Final = {"before": "only with `--beside COMMIT`", "express": "needs node, npm and their registry"}


@dataclass(frozen=True, slots=True)
class Target:
    """A row: its text, and the figure; `soak` if only `make soak` can tell whether it is met.

    `million` is the metric that counts what the target wants a million of, of a measurement that usually has fewer.
    """

    what: str
    measurement: str
    figure: str
    soak: bool = False
    million: str = ""


TARGETS: Final = (
    Target("receiver, signed and durable / bare aiohttp handler", "receiver", "ours_over_bare"),
    Target("the same / the straightforward way", "receiver", "ours_over_straightforward"),
    Target("receiver's p99 / bare handler's p99", "receiver", "p99_over_bare"),
    Target("receiver, CPU per webhook / the other build", "receiver", "cpu_over_before"),
    Target("two receiver processes / one", "receivers", "two_over_one"),
    Target("worker, all cached / bare FastStream subscriber", "worker", "ours_over_single"),
    Target("worker, events/s, 1,000,000 known customers / 10,000", "known", "many_over_few", million="known"),
    Target("backlog of 1,000,000, first event done, s", "backlog", "first_s", million="events"),
    Target("backlog of 1,000,000, growth of the worker, MiB", "backlog", "growth_mib", million="events"),
    Target("backlog of 1,000,000, events/s / short stream", "backlog", "long_over_short", million="events"),
    Target("worker, known customer, CPU per event / the other build", "worker", "cpu_over_before"),
    Target("worker, new customer, CPU per event / the other build", "customers", "cpu_over_before"),
    Target("worker, new customers, API at 100 ms / at once", "customers", "late_over_instant"),
    Target("API calls per event, same customer", "worker", "api_calls"),
    Target("API calls per new customer, created", "customers", "calls_created"),
    Target("API calls per new customer, found after 409", "customers", "calls_found"),
    Target("ai_agent, joined and answered / by hand, API at once", "agents", "ours_over_hand"),
    Target("ai_agent, joined and answered / by hand, API at 100 ms", "agents", "late_over_hand"),
    Target("the whole way, events/s / Express with BullMQ", "whole", "ours_over_express"),
    Target("the whole way, events/s / hand-written pair", "whole", "ours_over_pair"),
    Target("the whole way, CPU / hand-written pair", "whole", "cpu_over_pair"),
    Target("CPU s per 10,000 events, receiver + worker", "whole", "cpu"),
    Target("memory of Redis after the whole way, all kept / hand-written pair", "memory", "kept_over_pair"),
    Target("memory of Redis that a webhook leaves / the other build", "memory", "left_over_before", million="webhooks"),
    Target("memory of Redis of a conversation / the other build", "memory", "conversation_over_before"),
    Target("end to end at 200 events/s, p50 ms", "latency", "p50"),
    Target("end to end at 200 events/s, p99 ms", "latency", "p99"),
    Target("end to end at half load, p99 / the other build", "latency", "p99_over_before"),
    Target("handoff, request to offer, p99 ms at 100/s", "handoffs", "offer_p99"),
    Target("handoff, acceptance to holder, p99 ms at 100/s", "handoffs", "holder_p99"),
    Target("placing, 1,000 agents and 50,000 waiting / 10 and 100", "placing", "large_over_small"),
    Target("placements/s, 1,000 agents and 50,000 waiting", "placing", "per_second"),
    Target("worker, CPU per event, with stories / without", "worker", "cpu_with_stories"),
    Target("worker, events/s, with stories / without", "worker", "with_stories"),
    Target("slowest first view of a page, ms", "views", "view_ms"),
    Target("largest first view of a page, kB", "views", "view_kb"),
    Target("console with 200 live pages, busy %", "pages", "console"),
    Target("CPU of receiver + worker, 200 live pages / none", "pages", "router"),
    Target("memory of the receiver, MiB", "whole", "receiver_mib", soak=True),
    Target("memory of the worker, MiB", "whole", "worker_mib", soak=True),
    Target("start of `receive` to ready, s", "start", "receive"),
)


def rows(reports: Mapping[str, Report], measurements: Sequence[Measurement]) -> list[dict[str, Any]]:
    """Return a row for each target: text, target, the measured spread (or None), and whether it is met.

    `met` is None if it was not measured or only a soak can tell; `note` says which.
    """
    figures = {(one.name, figure.name): figure for one in measurements for figure in one.figures}
    return [_row(target, figures[target.measurement, target.figure], reports) for target in TARGETS]


def _row(target: Target, figure: Figure, reports: Mapping[str, Report]) -> dict[str, Any]:
    report = reports.get(target.measurement)
    spread = report.figure(figure) if report else None
    row: dict[str, Any] = {"what": target.what, "target": figure.target}
    row |= {"measured": spread.as_json() if spread else None, "met": None, "note": ""}
    if report is None or spread is None:
        absent = {figure.of, figure.over} - report.samples.keys() if report else set()
        row["note"] = next((NEEDS[name] for name in absent & NEEDS.keys()), NOT_MEASURED)
    elif target.soak:
        row["note"] = f"after {_events(report):,} events; `make soak` measures a million, and whether it is flat"
    else:
        row["met"] = figure.is_met(spread.median)
        number = report.spread(figure.of, target.million)
        if number is not None and number.maximum < _MILLION:
            row["note"] = f"with {number.maximum:,.0f}; `--large`: a million"
    return row


def _events(report: Report) -> int:
    """Return the number of events that a process had at the end."""
    figure = next(one for one in report.measurement.figures if one.name == "so_far")
    spread: Spread | None = report.figure(figure)
    return int(spread.maximum) if spread else 0


def render_targets(found: Sequence[Mapping[str, Any]]) -> str:
    """Return the table as text."""
    lines = [["target", "wanted", "median", "min .. max", ""]]
    for row in found:
        measured, verdict = row["measured"], row["note"]
        if row["met"] is not None:
            verdict = ("met" if row["met"] else "NOT MET") + (f" {row['note']}" if row["note"] else "")
        numbers = ["-", ""]
        if measured:
            numbers = [f"{measured['median']:.3g}", f"{measured['min']:.3g} .. {measured['max']:.3g}"]
        lines.append([row["what"], row["target"], *numbers, verdict])
    return "\n".join(["\nTargets", *table(lines, last_is_text=True)])
