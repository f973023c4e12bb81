"""The simulation, with costs that are round numbers."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.benchmarks.simulation import (
    ASSUMPTIONS,
    MACHINES,
    PARTITIONS,
    REMEDIES,
    Costs,
    Setup,
    capacity,
    checks,
    main,
    predict,
    render,
)

#: 100 us at the receiver, 100 at the worker, 20 at Redis; a new customer adds nothing.
ROUND = Costs(receiver=100.0, worker=100.0, new_customer=0.0, redis_receiver=10.0, redis_worker=10.0)
SETUP = Setup(cores=2, new_share=0.0, load=1.0)


@pytest.mark.parametrize(
    ("costs", "setup", "per_second", "ceiling"),
    [
        pytest.param(ROUND, SETUP, 2e6 / 220, "machine CPU", id="one machine has Redis on it too"),
        pytest.param(replace(ROUND, receiver=200.0), SETUP, 5_000, "receiver CPU", id="a slow receiver"),
        pytest.param(replace(ROUND, worker=200.0), SETUP, 5_000, "worker CPU", id="a slow worker"),
        pytest.param(ROUND, replace(SETUP, machines=2), 20_000, "receiver CPU", id="Redis on a machine of its own"),
        pytest.param(ROUND, replace(SETUP, machines=64), 50_000, "Redis", id="one server is full"),
        pytest.param(ROUND, replace(SETUP, machines=64, partitions=4), 200_000, "Redis", id="four servers are full"),
        pytest.param(ROUND, replace(SETUP, machines=64, partitions=32), 640_000, "receiver CPU", id="CPU again"),
        pytest.param(ROUND, replace(SETUP, machines=64, load=0.5), 25_000, "Redis", id="nothing is used up"),
        pytest.param(
            ROUND, replace(SETUP, machines=64, new_share=0.1, api_limit=100.0), 1_000, "API limit", id="the API"
        ),
        pytest.param(
            ROUND,
            replace(SETUP, machines=64, new_share=0.1, api_limit=100.0, accounts=7),
            7_000,
            "API limit",
            id="the API with more accounts",
        ),
        pytest.param(
            replace(ROUND, new_customer=2_000.0),
            replace(SETUP, new_share=0.1, api_limit=1e9),
            1e6 / 300,
            "worker CPU",
            id="new customers cost the worker",
        ),
    ],
)
def test_the_resource_with_the_least_is_the_ceiling(costs, setup, per_second, ceiling):
    """The capacity of a resource is its time divided by its cost of an event."""
    found = capacity(costs, setup)
    assert found.ceiling == ceiling
    assert found.per_second == pytest.approx(per_second)


def test_cores_are_split_as_the_costs_are():
    """If a worker's event costs three times a webhook, three of four processes are workers."""
    found = capacity(replace(ROUND, worker=300.0), replace(SETUP, machines=2))
    assert found.per_second == pytest.approx(10_000)


@given(st.sampled_from(MACHINES), st.sampled_from(PARTITIONS), st.floats(0.0, 1.0), st.integers(1, 64))
def test_more_of_anything_is_never_less(machines, partitions, new_share, cores):
    """Twice the machines, partitions or accounts have at least the capacity, and every ceiling has a remedy."""
    setup = Setup(machines=machines, partitions=partitions, new_share=new_share, cores=cores)
    found = capacity(Costs(), setup)
    assert found.ceiling in REMEDIES
    for more in ({"machines": machines * 2}, {"partitions": partitions * 2}, {"accounts": 2}):
        assert capacity(Costs(), replace(setup, **more)).per_second >= found.per_second


@pytest.mark.parametrize(("processes", "per_second"), [(1, 10_000), (2, 40_000 / 3), (3, 40_000 / 3)])
def test_processes_on_one_machine_are_limited_by_themselves_and_then_by_its_cores(processes, per_second):
    """One process uses one core; two share two cores with everything else on the machine."""
    assert predict(100.0, 50.0, processes, 2) == pytest.approx(per_second)


def bench(**contenders):
    """Return a JSON of `make bench`, with equal medians, minima and maxima."""
    measurements = {}
    for name, metrics in contenders.items():
        measurement, contender = name.split("_")
        values = {metric: {"median": value, "min": value, "max": value} for metric, value in metrics.items()}
        measurements.setdefault(measurement, {"contenders": {}})["contenders"][contender] = {"metrics": values}
    return {"measurements": measurements}


def test_costs_come_from_a_bench_if_it_has_them():
    """Costs that were not measured have their defaults; a new customer adds its cost minus that of a known one."""
    costs = Costs.of(
        bench(
            receivers_two={"cpu_us": 70.0, "redis_us": 11.0},
            workers_two={"cpu_us": 90.0, "redis_us": 22.0},
            customers_instant={"cpu_us": 590.0},
        )
    )
    assert costs == Costs(70.0, 90.0, 500.0, 11.0, 22.0)
    assert Costs.of({}) == Costs()


def test_a_prediction_needs_the_row_of_one_process_and_nothing_else():
    """The generator's CPU time of the first row counts as others' work; rows that were not measured are left out."""
    one = {"cpu_us": 100.0, "redis_us": 30.0, "per_second": 10_000.0, "load_busy": 20.0}
    found = checks(bench(receivers_one=one, receivers_two={"per_second": 12_000.0}), 2)
    assert [(check.processes, round(check.predicted), check.measured) for check in found] == [
        (1, 10_000, 10_000.0),
        (2, 13_333, 12_000.0),
    ]
    assert found[1].off == pytest.approx(11.1, abs=0.1)
    assert not checks(bench(receivers_two={"per_second": 12_000.0}), 2)


def test_the_output_has_assumptions_ceilings_and_checks(capsys, tmp_path):
    """Assumptions, capacities, ceilings, and the difference between model and measurement."""
    one = {"cpu_us": 100.0, "redis_us": 30.0, "per_second": 10_000.0}
    text = render(Costs(), Setup(), checks(bench(workers_one=one), 2))
    assert len(ASSUMPTIONS) > 5
    assert all(line in text for line in ASSUMPTIONS)
    assert "workers" in text
    assert {"worker CPU", "Redis", "API limit"} <= {name for name in REMEDIES if f"ceiling: {name}" in text}
    assert main([]) == 0
    assert "64 machines" in capsys.readouterr().out
