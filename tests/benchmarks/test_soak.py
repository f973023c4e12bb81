"""The soak works at its smallest, and its verdict tells what grows from what does not."""

from __future__ import annotations

import subprocess
import sys

import pytest

from tests.benchmarks.memory import NOISE, TOLERANCE, Series, can_measure
from tests.benchmarks.processes import ROOT


def series(*held, step=50_000, target=90.0):
    """A process that held so much after each further `step` events, warm from the second sample on."""
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
def test_a_process_grows_where_its_line_rises_and_it_is_more_than_noise(one, is_flat):
    """Both count: a short run has steep lines of nothing, and a long one may end where it began."""
    assert one.is_flat is is_flat
    assert one.row()[-1] == ("not judged" if one.target is None else "flat" if is_flat else "GROWS")


@pytest.mark.processes
@pytest.mark.skipif(not can_measure(), reason="this system does not tell what a process holds")
def test_the_smallest_soak_says_what_every_process_held():
    """All processes come up, take their webhooks, and are in the tables; the exit status is the verdict's."""
    command = [sys.executable, "-m", "tests.benchmarks.soak", "--events", "60", "--chunk", "40", "--warm-up", "20"]
    ended = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=110, check=False)
    assert ended.returncode == 0, ended.stdout + ended.stderr
    for name in ("receiver", "worker", "ai_agent", "human_agent", "sandbox", "redis"):
        assert f"{name:>14}" in ended.stdout
    assert "none refused, none given up" in ended.stdout
    kinds = {line.split()[0] for line in ended.stdout.partition("bytes each")[2].splitlines()[1:] if line.strip()}
    assert {"inbound", "participants", "seen", "conversation", "communication", "effect", "roster"} <= kinds


@pytest.mark.processes
@pytest.mark.skipif(not can_measure(), reason="this system does not tell what a process holds")
def test_the_smallest_backlog_drains_as_a_large_one_should():
    """Its messages are taken for what the receiver would have written, and all that is to be shown is."""
    command = [sys.executable, "-m", "tests.benchmarks.backlog", "--events", "300"]
    ended = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=110, check=False)
    assert ended.returncode == 0, ended.stdout + ended.stderr
    assert ended.stdout.count("\nok ") == 3
