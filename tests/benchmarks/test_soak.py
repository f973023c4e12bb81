"""The soak works at its smallest, and its verdict separates growth from noise."""

from __future__ import annotations

import subprocess
import sys

import pytest

from tests.benchmarks.memory import NOISE, TOLERANCE, Series, can_measure
from tests.support.source import ROOT
from tests.support.waiting import scaled


def series(*held, step=50_000, target=90.0):
    """Return the series of a process with a sample every `step` events, warm from the second on."""
    one = Series("receiver", target, warm_at=step)
    for number, each in enumerate(held):
        one.add(number * step, each)
    return one


@pytest.mark.parametrize(
    ("one", "is_flat"),
    [
        pytest.param(series(10.0, 80.0, 80.5, 80.0, 80.5), True, id="flat"),
        pytest.param(series(10.0, 80.0, 80.0 + NOISE), True, id="noise-of-a-short-run"),
        pytest.param(series(10.0, *(80.0 + TOLERANCE * number for number in range(20))), False, id="twice-too-much"),
        pytest.param(series(10.0, *(80.0 + TOLERANCE * number / 4 for number in range(20))), True, id="half-of-it"),
        pytest.param(series(10.0, *(80.0 + number for number in range(20)), target=None), True, id="not-judged"),
        pytest.param(series(10.0), True, id="never-warm"),
    ],
)
def test_a_process_grows_if_its_slope_and_its_growth_are_above_the_tolerances(one, is_flat):
    """A short run may be steep without growth, and a long one may grow slowly."""
    assert one.is_flat is is_flat
    assert one.row()[-1] == ("not judged" if one.target is None else "flat" if is_flat else "GROWS")


@pytest.mark.processes
@pytest.mark.skipif(not can_measure(), reason="this system does not show the memory of a process")
def test_the_smallest_soak_shows_the_memory_of_every_process():
    """All processes start, process their webhooks, and are in the tables; the exit status is the verdict."""
    command = [sys.executable, "-m", "tests.benchmarks.soak", "--events", "60", "--chunk", "40", "--warm-up", "20"]
    ended = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=scaled(110), check=False)
    assert ended.returncode == 0, ended.stdout + ended.stderr
    for name in ("receiver", "worker", "ai_agent", "human_agent", "sandbox", "redis"):
        assert f"{name:>14}" in ended.stdout
    assert "none refused, no dead letters" in ended.stdout
    kinds = {line.split()[0] for line in ended.stdout.partition("bytes each")[2].splitlines()[1:] if line.strip()}
    assert {"inbound", "participants", "seen", "conversation", "communication", "effect", "desk", "commands"} <= kinds


@pytest.mark.processes
@pytest.mark.skipif(not can_measure(), reason="this system does not show the memory of a process")
def test_the_smallest_backlog_drains_as_a_large_one_should():
    """The worker accepts its messages as the receiver's, and every claim is true."""
    command = [sys.executable, "-m", "tests.benchmarks.backlog", "--events", "300"]
    ended = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=scaled(110), check=False)
    assert ended.returncode == 0, ended.stdout + ended.stderr
    assert ended.stdout.count("\nok ") == 3
