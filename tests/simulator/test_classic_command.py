"""`simulate` with classic webhooks, against a running `dev`: real processes."""

from __future__ import annotations

import pytest

from tests.commands.test_commands import run  # noqa: F401 # a fixture

pytestmark = pytest.mark.processes
WHO = ("--from", "+15552220007")


async def test_a_classic_member_is_announced_once(run):  # noqa: F811
    """The receiver takes the webhook of a member, the worker announces it; the same webhook again is a duplicate."""
    member = ("simulate", "classic-participant-added", *WHO)
    status, output = await run(*member)
    assert (status, "participant.joined" in output) == (0, True), output
    status, output = await run(*member)
    assert (status, "nothing doubled" in output) == (0, True), output


@pytest.mark.parametrize("kind", ["classic-conversation-add", "classic-user-updated"])
async def test_pre_action_and_disregarded_webhooks_are_answered(run, kind):  # noqa: F811
    """A pre-action webhook and an event that is disregarded are answered 200 like the others."""
    status, output = await run("simulate", kind, *WHO, "--no-wait")
    assert (status, ": 200" in output) == (0, True), output
