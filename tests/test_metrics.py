"""Metrics: the tables of names match the code, and `/metrics` renders them."""

import ast

import pytest
from prometheus_client import CollectorRegistry, Histogram, generate_latest

from router import metrics
from tests.support.source import modules, name_of

CODE = modules("router", "handlers")


def used(function):
    """Return (name, number of labels) of every call of a function of router.metrics."""
    found = set()
    for module in CODE:
        if module.name == "router.metrics" or "router.metrics" not in module.imports():
            continue
        for call in module.calls(function):
            is_ours = isinstance(call.func, ast.Name) or name_of(call.func.value) == "metrics"
            if is_ours and call.args and isinstance(call.args[0], ast.Constant):
                found.add((call.args[0].value, len(call.args) - 1))
    return found


@pytest.mark.parametrize(("function", "table"), [("count", metrics.COUNTERS), ("gauge", metrics.GAUGES)])
def test_the_tables_match_the_code(function, table):
    """Every name is used with the number of labels in the table, and no other name is used."""
    assert used(function) == {(name, len(labels)) for name, (_, labels) in table.items()}


def test_every_metric_has_the_prefix_and_a_meaning():
    """All names start with `router_`."""
    for name, (meaning, _) in {**metrics.COUNTERS, **metrics.GAUGES}.items():
        assert name.startswith("router_")
        assert meaning


def test_a_counter_grows_by_one_or_by_more():
    """`by` is 1 by default."""
    labels = {"group": "made-up", "result": "failed"}
    metrics.count("router_attempts", "made-up", "failed")
    metrics.count("router_attempts", "made-up", "failed", by=4)
    assert metrics.REGISTRY.get_sample_value("router_attempts_total", labels) == 5


def test_counters_are_rendered_with_meaning_and_labels():
    """A label may hold any text."""
    metrics.count("router_api_calls", "GET", 'a "quoted" \\ route', "200", by=2)
    text = metrics.render().decode()
    assert "# HELP router_api_calls_total calls to the Conversations API by method, route and status" in text
    assert 'router_api_calls_total{method="GET",route="a \\"quoted\\" \\\\ route",status="200"} 2.0' in text


def test_a_histogram_equals_the_librarys_own():
    """A bucket counts all durations up to and including its bound."""
    bounds, taken = (0.1, 1, 10), (0.05, 0.1, 0.1001, 1, 9, 10, 11, 500)
    ours, theirs = CollectorRegistry(), CollectorRegistry()
    mine = metrics.Seconds("router_made_up", "made up", bounds)
    ours.register(mine)
    library = Histogram("router_made_up", "made up", buckets=bounds, registry=theirs)
    for seconds in taken:
        mine.observe(seconds)
        library.observe(seconds)
    shown = [line for line in generate_latest(theirs).decode().splitlines() if "_created" not in line]
    assert generate_latest(ours).decode().splitlines() == shown


def test_gauges_can_be_cleared():
    """A gauge that was cleared is not rendered with its last value."""
    metrics.gauge("router_stream_entries", "made-up", value=3)
    assert b'router_stream_entries{stream="made-up"} 3.0' in metrics.render()
    metrics.forget_gauges()
    assert b'stream="made-up"' not in metrics.render()


def test_an_unknown_name_is_an_error():
    """A misspelled metric raises where it is counted."""
    with pytest.raises(KeyError):
        metrics.count("router_webhook")
