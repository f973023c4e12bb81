"""`status`: problems first, each with what to do; the exit status is the level."""

from __future__ import annotations

import asyncio

import orjson
import pytest

from tests.harness.commands import run_command
from tests.harness.dev import running_dev
from tests.operations.conftest import Deployment, settings  # noqa: F401 - a fixture
from tests.support.source import SHIPPED

pytestmark = pytest.mark.real


@pytest.fixture
def deployment(redis, settings, environment):  # noqa: F811 - the fixture
    return Deployment(redis, settings)


async def status(redis_url, *arguments):
    return await run_command(
        "status", *arguments, environment={"REDIS_URL": redis_url, "ROUTER_CONFIG_DIR": str(SHIPPED)}
    )


@pytest.mark.processes
async def test_a_deployment_that_runs_is_ok(deployment, redis_url):
    """Status 0, and no problem before the numbers."""
    await deployment.run("web", "worker", "ai-agent", "human-agent")
    code, output = await status(redis_url)
    first, blank, processes, *rest = output.splitlines()
    assert (code, first.split()[0], blank) == (0, "OK", "")
    assert processes.startswith("processes     1 ai-agent, ")
    assert "stream        inbound: 0 entries, 0.0/s" in rest
    assert "              resolver: unread 0, pending 0, waiting 0, readers 1" in rest
    assert len(output.splitlines()) <= 24


@pytest.mark.processes
async def test_problems_come_first_with_what_to_do(deployment, redis_url):
    """A degraded deployment has status 1; a link says where to read on."""
    await deployment.run("web", "worker", "ai-agent", "human-agent")
    await deployment.bury()
    code, output = await status(redis_url)
    lines = output.splitlines()
    assert (code, lines[0].split()[0]) == (1, "DEGRADED")
    assert lines[2] == "degraded: 1 dead letter: given up, so customers may have no answer"
    assert lines[3].startswith("  see the reasons: `python -m router dead-letters list`")
    assert lines[4] == "  docs/operations.md#dead-letters"
    assert "dead letters  1" in lines


@pytest.mark.processes
async def test_nothing_runs(redis, redis_url):
    """Status 2: webhooks are not accepted, and nothing is processed. Programs get the same as one object."""
    code, output = await status(redis_url, "--json")
    state = orjson.loads(output)
    assert (code, state["level"]) == (2, "down")
    texts = [problem["text"] for problem in state["problems"] if problem["level"] == "down"]
    assert texts == ["no receiver is running: webhooks are not accepted", "no worker is running"]


@pytest.mark.processes
def test_a_real_deployment_is_ok(tmp_path):
    """All processes of a `dev` have announced themselves; of its own, in which no other test has left anything."""
    with running_dev(tmp_path) as dev:
        code, output = asyncio.run(run_command("status", environment=dev))
    assert code == 0, output
    for kind in ("web", "worker", "ai-agent", "human-agent"):
        assert f" 1 {kind}, " in output


@pytest.mark.processes
async def test_without_redis_the_json_is_down_too():
    """The line is on standard error, the object on standard output."""
    code, output = await status("redis://127.0.0.1:1/0", "--json")
    shown, line = sorted(output.splitlines(), key=lambda text: text[0] != "{")
    assert (code, orjson.loads(shown)["level"]) == (2, "down")
    assert line.startswith("down: no response from Redis")
