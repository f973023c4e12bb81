"""`simulate` with classic webhooks, against a running `dev`: real processes."""

from __future__ import annotations

import pytest

from router.simulator.classic import CLASSIC_KINDS
from tests.commands.test_commands import run  # noqa: F401 # a fixture

pytestmark = pytest.mark.processes
WHO = ("--from", "+15552220007")


async def test_a_classic_member_is_announced_once(run):  # noqa: F811
    """The simulated webhook of a member is taken by the receiver and announced by the worker; again it is a repeat."""
    member = ("simulate", "classic-participant-added", *WHO)
    status, output = await run(*member)
    assert (status, "participant.joined" in output) == (0, True), output
    status, output = await run(*member)
    assert (status, "nothing doubled" in output) == (0, True), output


@pytest.mark.parametrize("kind", [CLASSIC_KINDS[0], CLASSIC_KINDS[-1]])
async def test_what_is_asked_or_disregarded_is_answered(run, kind):  # noqa: F811
    """Questions and events of no interest are answered 200 like the rest."""
    status, output = await run("simulate", kind, *WHO, "--no-wait")
    assert (status, ": 200" in output) == (0, True), output
