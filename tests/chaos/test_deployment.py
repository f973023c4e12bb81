"""Processes that end by themselves while a round kills others."""

from __future__ import annotations

import pytest

from tests.chaos.deployment import ChaosDeployment, RestartedProcess
from tests.chaos.timeline import Timeline
from tests.harness.processes import start_process


@pytest.mark.processes
async def test_a_process_that_ended_before_its_kill_is_recorded_as_ended_by_itself(tmp_path):
    """The kill that came too late does not count; the record has the exit status and the last line of the log."""
    deployment = ChaosDeployment(tmp_path, Timeline())
    process = RestartedProcess("worker-1", tmp_path, {}, deployment)
    process.running = await start_process(tmp_path, "router", "work")
    status = await process.running.wait()
    assert process.kill(1.0) is False
    deployment.note_end("worker-1", process.running, status, is_kill=True)
    (end,) = deployment.ends
    assert (end.role, end.status, end.is_kill) == ("worker-1", 2, False)
    assert "TWILIO_CONVERSATION_CONFIGURATION_ID is not set" in end.last_line
