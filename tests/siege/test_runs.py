"""Short forms of `make siege`: whatever lasts, others are served, and what waited is finished once."""

from __future__ import annotations

from functools import partial

import pytest

from tests.harness.processes import start_process
from tests.siege.__main__ import make_parser
from tests.siege.runs import RUNS
from tests.siege.sizes import Size


@pytest.mark.processes
@pytest.mark.real
@pytest.mark.timeout(300)
@pytest.mark.parametrize("run", RUNS, ids=lambda run: run.name)
async def test_others_are_served(run, tmp_path):
    """Every number of the run's table is as it should be; times and sizes of memory are for `make siege` to judge."""
    report = await run.run(tmp_path, partial(start_process, tmp_path), Size.SHORT, print)
    assert not [one for one in report.failures if not one.is_clock], report.render()


def test_the_command_line_names_the_runs():
    """Every run can be asked for by its name; the default is all of them, in full."""
    arguments = make_parser().parse_args([])
    assert (arguments.names, arguments.quick, arguments.short) == ([], False, False)
    assert make_parser().parse_args(["--quick", RUNS[0].name]).names == [RUNS[0].name]
    assert len({run.name for run in RUNS}) == len(RUNS)
