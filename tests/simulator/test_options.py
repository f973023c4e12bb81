"""The command line of `simulate`: its help names every kind, and costs no import of what the command works with."""

from __future__ import annotations

import subprocess
import sys

import pytest

from router.__main__ import make_parser
from router.simulator.kinds import KINDS
from tests.support.source import ROOT


def test_the_help_names_every_kind(capsys):
    """Each kind has a line of its own, or is listed in the line of its pattern."""
    with pytest.raises(SystemExit):
        make_parser().parse_args(["simulate", "--help"])
    shown = capsys.readouterr().out
    for name in KINDS:
        assert name in shown or name.removeprefix("classic-") in shown or name.removeprefix("event-stream-") in shown


def test_the_help_imports_no_builder():
    """`python -m router --help` stays fast: it loads no builder, no event loop and no HTTP client."""
    program = "import sys; from router.__main__ import make_parser; make_parser(); print(*sys.modules)"
    shown = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=True)
    loaded = set(shown.stdout.split())
    assert "router.simulator.kinds" in loaded
    assert loaded.isdisjoint({"asyncio", "aiohttp", "pydantic", "orjson"})
    assert {name for name in loaded if name.startswith("router.simulator.")} == {
        "router.simulator.kinds",
        "router.simulator.options",
    }
