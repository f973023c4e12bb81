"""Metrics: the tables of names are what the code counts, and what `/metrics` renders."""

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
def test_table_is_what_the_code_uses(function, table):
    """Every name is used with as many labels as the table says, and no other name is used."""
    assert used(function) == {(name, len(labels)) for name, (_, labels) in table.items()}


def test_names_and_meanings():
    """One prefix, and a meaning for each."""
    for name, (meaning, _) in {**metrics.COUNTERS, **metrics.GAUGES}.items():
        assert name.startswith("router_")
        assert meaning


def test_counting():
    """A counter grows by one or by more."""
    labels = {"group": "made-up", "result": "failed"}
    metrics.count("router_attempts", "made-up", "failed")
    metrics.count("router_attempts", "made-up", "failed", by=4)
    assert metrics.REGISTRY.get_sample_value("router_attempts_total", labels) == 5


def test_counters_are_shown():
    """Each with its meaning, and its labels by name; a label may say anything."""
    metrics.count("router_api_calls", "GET", 'a "quoted" \\ route', "200", by=2)
    text = metrics.render().decode()
    assert "# HELP router_api_calls_total calls to the Conversations API by method, route and status" in text
    assert 'router_api_calls_total{method="GET",route="a \\"quoted\\" \\\\ route",status="200"} 2.0' in text


def test_seconds():
    """They are shown as the library shows its own: a bucket has all that took no longer than its bound."""
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


def test_gauges_are_forgotten():
    """What is gone is not shown with its last value."""
    metrics.gauge("router_stream_entries", "made-up", value=3)
    assert b'router_stream_entries{stream="made-up"} 3.0' in metrics.render()
    metrics.forget_gauges()
    assert b'stream="made-up"' not in metrics.render()


def test_unknown_name_is_an_error():
    """A misspelt metric is noticed where it is counted."""
    with pytest.raises(KeyError):
        metrics.count("router_webhook")
