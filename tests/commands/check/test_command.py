"""The command `check` itself: the settings that it requires."""

from __future__ import annotations

from handlers.app import REQUIRED as CONSUMER
from router.commands.check.command import REQUIRED
from router.receiver.serve import REQUIRED as RECEIVER
from router.worker.app import REQUIRED as WORKER


def test_check_requires_the_settings_of_all_processes():
    """A setting without which a process does not start is a FAIL."""
    assert set(REQUIRED) == {*RECEIVER, *WORKER, *CONSUMER}
