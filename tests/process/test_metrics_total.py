"""Values of several processes added up: what is cumulative never falls."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from router.metrics import MetricSample
from router.process.metrics_total import MetricsTotal


def counter(value, result="accepted"):
    return MetricSample("router_made_up", "router_made_up_total", (("result", result),), value, is_cumulative=True)


def gauge(value, name="router_spool_entries"):
    return MetricSample(name, name, (), value, is_cumulative=False)


def shown(total):
    return {(one.name, *one.labels): one.value for one in total.samples()}


def test_values_with_equal_labels_add_up():
    """Counters and gauges; a value that only one process has stands alone."""
    total = MetricsTotal()
    total.update("first", "web.1", [counter(3), counter(1, "spooled"), gauge(5)])
    total.update("second", "web.2", [counter(4), gauge(7)])
    name = "router_made_up_total"
    assert shown(total) == {
        (name, ("result", "accepted")): 7,
        (name, ("result", "spooled")): 1,
        ("router_spool_entries",): 12,
    }


def test_a_process_counts_with_its_latest_values():
    """They replace those that it had before."""
    total = MetricsTotal()
    for value in (1, 5, 9):
        total.update("first", "web.1", [counter(value), gauge(10 - value)])
    assert [one.value for one in total.samples()] == [9, 1]


def test_a_process_that_ends_leaves_its_counts_only():
    """Its successor adds to them; its spool and its memory are gone with it."""
    total = MetricsTotal()
    total.update("first", "web.1", [counter(3), gauge(5)])
    total.end("first")
    assert not total.knows("first")
    assert total.samples() == [counter(3)]
    total.update("its successor", "web.1", [counter(1), gauge(2)])
    assert [one.value for one in total.samples()] == [4, 2]


def test_the_end_of_a_process_that_was_never_heard_of_changes_nothing():
    """It died during its start."""
    total = MetricsTotal()
    total.end("first")
    assert total.samples() == []


def test_figures_of_processes_are_told_apart():
    """CPU, memory and files are of one process; seconds of CPU add up over all that had the same place."""
    total = MetricsTotal()
    cpu = MetricSample("process_cpu_seconds", "process_cpu_seconds_total", (), 2.0, is_cumulative=True)
    for process, place in ((1, "web.1"), (2, "web.2"), (3, "web.2")):
        total.update(process, place, [cpu, gauge(10, "process_open_fds")])
    total.end(3)
    assert shown(total) == {
        ("process_cpu_seconds_total", ("process", "web.1")): 2.0,
        ("process_cpu_seconds_total", ("process", "web.2")): 4.0,
        ("process_open_fds", ("process", "web.1")): 10,
        ("process_open_fds", ("process", "web.2")): 10,
    }


def test_the_parts_of_a_histogram_keep_their_order():
    """OpenMetrics wants the buckets in the order of their bounds."""
    names = [("_bucket", (("le", bound),)) for bound in ("0.5", "5.0", "10.0", "+Inf")] + [("_sum", ()), ("_count", ())]
    parts = [MetricSample("seconds", f"seconds{part}", labels, 1, is_cumulative=True) for part, labels in names]
    total = MetricsTotal()
    for process in ("first", "second", "third"):
        total.update(process, process, parts)
        if process == "first":
            total.end(process)
    assert total.samples() == [one._replace(value=3) for one in parts]


#: What happens to three processes: the process, and by how much it counts more; None: another takes its place.
HAPPENINGS = st.lists(st.tuples(st.integers(0, 2), st.none() | st.floats(0, 1e6)), max_size=40)


@given(HAPPENINGS)
def test_sums_never_fall(happenings):
    """Not by a rounding error either, when fractions are added in another order."""
    total, counts, generations, before = MetricsTotal(), [0.0] * 3, [0] * 3, 0.0
    for number, more in happenings:
        if more is None:
            total.end((number, generations[number]))
            counts[number], generations[number] = 0.0, generations[number] + 1
        else:
            counts[number] += more
            total.update((number, generations[number]), f"web.{number}", [counter(counts[number])])
        now = sum(one.value for one in total.samples())
        assert now >= before
        before = now


def test_a_rounding_error_is_no_reset():
    """0.1 + (0.2 + 0.3) is less than (0.1 + 0.2) + 0.3, and Prometheus would take the difference for a new process."""
    total = MetricsTotal()
    for process, value in (("a", 0.1), ("b", 0.2), ("c", 0.3)):
        total.update(process, process, [counter(value)])
    (before,) = total.samples()
    for process in ("c", "b", "a"):
        total.end(process)
    (after,) = total.samples()
    assert sum([0.3, 0.2, 0.1]) < before.value == after.value == pytest.approx(0.6)
