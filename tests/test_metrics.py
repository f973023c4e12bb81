"""Metrics: the tables of names are what the code counts, and what `/metrics` renders."""

import ast

import pytest

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
