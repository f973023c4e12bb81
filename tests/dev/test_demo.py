"""The demo of `dev`: the command that it suggests at its end."""

from __future__ import annotations

import shlex
from pathlib import Path

import pytest

from router.core.keys import Keys
from router.core.routing.team import Team
from router.dev.demo import Demo
from router.settings.environment import STATE_DIR
from router.simulator.options import parse_simulate


@pytest.mark.parametrize("state_dir", [STATE_DIR, Path("/tmp/my state"), Path("other")])
def test_the_suggested_command_finds_this_dev(state_dir):
    """It names the state directory unless that is the usual one, so that it works as it stands."""
    demo = Demo({}, None, Keys(), team=Team(), say=lambda _: None)
    (line,) = [line for line in demo.summary("python -m router", state_dir) if "simulate" in line]
    python, option, module, command, *arguments = shlex.split(line)
    assert (python, option, module, command) == ("python", "-m", "router", "simulate")
    assert Path(parse_simulate(arguments).state_dir) == state_dir
