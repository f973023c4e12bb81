"""Metrics: every name with its meaning in one table; `/metrics` renders them together with the state of the streams.

Counters are per process; receivers that share a port show the sums of all of them (router.process.metrics_hub). The
state that all processes share (backlog, pending entries, dead letters) is read from Redis by any receiver whenever
`/metrics` is requested.

Counts are kept in plain dicts and lists and converted to the library's metric families on request. Counting takes a
quarter of the steps of the library's own objects, which lock for threads: here only the thread of the event loop
counts, and others (that of the metrics port) only read.
"""

from __future__ import annotations

from bisect import bisect_left
from itertools import accumulate
from typing import TYPE_CHECKING, Final, NamedTuple

from prometheus_client import CollectorRegistry, Gauge, ProcessCollector, generate_latest
from prometheus_client.core import CounterMetricFamily, HistogramMetricFamily
from prometheus_client.exposition import choose_encoder
from prometheus_client.registry import Collector

from router import __version__

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from prometheus_client import Metric

REGISTRY: Final = CollectorRegistry()

#: name: (meaning, labels)
COUNTERS: Final[dict[str, tuple[str, tuple[str, ...]]]] = {
    "router_webhooks": ("webhooks by source, HTTP status and result", ("source", "status", "result")),
    "router_connections_closed": ("connections that the receiver closed: crowd (at the limit) or silent", ("why",)),
    "router_shadow": ("webhooks accepted by shadow mode although their signature is wrong", ("source",)),
    "router_quarantined": ("refused webhooks by reason and result: kept, repeat or failed", ("reason", "result")),
    "router_spooled": ("events by result of the spool: kept, repeat, failed, drained, or known", ("result",)),
    "router_events": ("inbound events by source and result", ("source", "result")),
    "router_commands": ("commands, by type and result (done or refused)", ("type", "result")),
    "router_stale_texts": ("texts that were not sent, as somebody else held the conversation by then", ("step",)),
    "router_attempts": ("attempts that did not finish an entry, by group and result", ("group", "result")),
    "router_api_calls": ("calls to the Conversations API by method, route and status", ("method", "route", "status")),
    "router_sweeps": ("conversations that the reconciler checked, by result", ("result",)),
    "router_sweep_calls": ("API calls that the reconciler used of its budget, by method", ("method",)),
    "router_recovered": ("events that the reconciler published without a callback, by result", ("result",)),
    "router_story_lines": ("lines of stories by result: written, or failed and lost", ("result",)),
    "router_log_lines_dropped": ("log lines that could not be written, or that nobody read in time", ()),
    "router_console_requests": ("requests to the console, by route and status", ("route", "status")),
    "router_consumed": ("entries of the participants streams by consumer and result", ("consumer", "result")),
}
#: name: (meaning, labels)
GAUGES: Final[dict[str, tuple[str, tuple[str, ...]]]] = {
    "router_stream_entries": ("entries in a stream", ("stream",)),
    "router_stream_bytes": (
        "bytes that a stream takes in Redis, with the bodies that its entries share; estimated if it is large",
        ("stream",),
    ),
    "router_quarantine_entries": ("refused webhooks in the quarantine", ("reason",)),
    "router_spool_entries": ("events in the spools of the processes of this port: own and adopted", ("journal",)),
    "router_spool_bytes": ("bytes that events take in the spools of the processes of this port", ("journal",)),
    "router_group_lag": (
        "entries of a stream that a group has not read yet; counted, up to 10000, where the server does not know",
        ("stream", "group"),
    ),
    "router_group_pending": ("entries read and not acknowledged yet", ("stream", "group")),
    "router_group_oldest_seconds": (
        "age of the oldest entry that a group has not finished, 0 if there is none",
        ("stream", "group"),
    ),
    "router_parked": ("entries that wait outside the pending ones for something to recover", ("stream", "group")),
    "router_parked_subjects": (
        "customers, conversations and calls with parked entries, by account and channel",
        ("stream", "group", "lane"),
    ),
    "router_parked_oldest_seconds": (
        "age of the oldest parked entry of a group, 0 if there is none",
        ("stream", "group"),
    ),
    "router_group_consumers": ("consumers of a group", ("stream", "group")),
    "router_heartbeat_age_seconds": (
        "seconds since this consumer renewed its heartbeat; above ROUTER_HEARTBEAT_TTL others take its entries over",
        ("group",),
    ),
    "router_clock_skew_seconds": (
        "by how much the clock of this process' host is ahead of that of Redis",
        ("against",),
    ),
    "router_port_processes": (
        "processes that share this port, by state: answered, or silent: its last known counts are shown",
        ("state",),
    ),
}
#: Gauges that each process of a port has for itself; they add up. All others show the same in each of these processes.
OWN_GAUGES: Final = frozenset({"router_spool_entries", "router_spool_bytes", "router_port_processes"})
#: The types of metrics that only rise.
_CUMULATIVE: Final = ("counter", "histogram")
_BUILD: Final = "router_build_info"

_gauges: Final = {name: Gauge(name, meaning, labels, registry=REGISTRY) for name, (meaning, labels) in GAUGES.items()}
#: name: (labels: value)
#: Plain dicts, which the library reads at a scrape. Gain, by tests.benchmarks.steps: 70 to 17 steps a count, 220 of the
#: 4,700 steps of a known customer's message.
#: A counter without labels begins with 0, so that its first increase shows.
_counts: Final[dict[str, dict[tuple[str, ...], float]]] = {
    name: {} if labels else {(): 0.0} for name, (_, labels) in COUNTERS.items()
}


class Seconds(Collector):
    """A histogram of durations; `bounds` (seconds, ascending) are the upper bounds of all buckets but the last."""

    def __init__(self, name: str, meaning: str, bounds: tuple[float, ...]) -> None:
        self._name = name
        self._meaning = meaning
        self._bounds = bounds
        self._counts = [0] * (len(bounds) + 1)
        self._sum = 0.0

    def observe(self, seconds: float) -> None:
        """Add one duration."""
        self._counts[bisect_left(self._bounds, seconds)] += 1
        self._sum += seconds

    def collect(self) -> Iterator[Metric]:
        """Yield the histogram in the library's form, with cumulative buckets."""
        ends = [*(str(float(bound)) for bound in self._bounds), "+Inf"]
        buckets = list(zip(ends, accumulate(self._counts), strict=True))
        yield HistogramMetricFamily(self._name, self._meaning, buckets=buckets, sum_value=self._sum)


class MetricSample(NamedTuple):
    """A value of this process alone, as it is summed over the processes of a port.

    `family` is the name of the metric, `name` that of the value in it. What `is_cumulative` never falls while the
    process lives: counters and the buckets of histograms.
    """

    family: str
    name: str
    labels: tuple[tuple[str, str], ...]
    value: float
    is_cumulative: bool


class _Counters(Collector):
    def collect(self) -> Iterator[Metric]:
        for name, (meaning, labels) in COUNTERS.items():
            family = CounterMetricFamily(name, meaning, labels=labels)
            for values, value in _counts[name].copy().items():  # copying a dict is atomic, so counting may go on
                family.add_metric(values, value)
            yield family


EVENT_SECONDS: Final = Seconds(
    "router_event_seconds",
    "seconds from the receipt of a webhook to the end of its event",
    bounds=(0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300),
)
REGISTRY.register(_Counters())
REGISTRY.register(EVENT_SECONDS)
ProcessCollector(registry=REGISTRY)
Gauge(_BUILD, "1, with the version of the router", ("version",), registry=REGISTRY).labels(__version__).set(1)


def expect(name: str, *labels: str) -> None:
    """Let a counter of COUNTERS begin with 0, so that its first increase shows; labels in its order."""
    _counts[name].setdefault(labels, 0.0)


def count(name: str, *labels: str, by: float = 1) -> None:
    """Add to a counter of COUNTERS; labels in its order."""
    counts = _counts[name]
    counts[labels] = counts.get(labels, 0) + by


def gauge(name: str, *labels: str, value: float) -> None:
    """Set a gauge of GAUGES; labels in its order."""
    _gauges[name].labels(*labels).set(value)


def forget_gauges() -> None:
    """Clear all gauges, so that a stream or group that is gone is not shown with its last value."""
    for one in _gauges.values():
        one.clear()


def render() -> bytes:
    """Return all metrics in the text format of Prometheus."""
    return generate_latest(REGISTRY)


def render_for(accept: str, total: Iterable[MetricSample] | None = None) -> tuple[bytes, str]:
    """Return all metrics and their content type: text of Prometheus, or OpenMetrics if the Accept header asks for it.

    `total` replaces the values that are of this process alone.
    https://prometheus.io/docs/instrumenting/content_negotiation/
    """
    encode, content_type = choose_encoder(accept)
    if total is None:
        return encode(REGISTRY), content_type
    registry = CollectorRegistry()
    registry.register(_WithTotal(total))
    return encode(registry), content_type


def samples() -> list[MetricSample]:
    """Return the values that are of this process alone."""
    return [
        MetricSample(family.name, one.name, tuple(sorted(one.labels.items())), one.value, family.type in _CUMULATIVE)
        for family in REGISTRY.collect()
        if _is_own(family)
        for one in family.samples
    ]


def _is_own(family: Metric) -> bool:
    return family.type in _CUMULATIVE or family.name in OWN_GAUGES or family.name.startswith("process_")


class _WithTotal(Collector):
    """The metrics of this process, with other values for those that are of a process alone."""

    def __init__(self, total: Iterable[MetricSample]) -> None:
        self._values: dict[str, list[MetricSample]] = {}
        for one in total:
            self._values.setdefault(one.family, []).append(one)

    def collect(self) -> Iterator[Metric]:
        for family in REGISTRY.collect():
            if _is_own(family):
                family.samples = []
                for one in self._values.get(family.name, ()):
                    family.add_sample(one.name, dict(one.labels), one.value)
            yield family
