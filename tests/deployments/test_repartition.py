"""`repartition` beside running processes and under load, on one server and on a Cluster; a run that is killed.

Promises 1, 2 and 4 while all data moves: every webhook is answered 200 and published once, nobody is announced twice.
"""

from __future__ import annotations

import asyncio
import signal
import sys

import pytest

from router.core.keys import Keys
from router.streams.store.partitions import Phase, read_layout
from tests.deployments.test_whole import assert_nothing_is_lost_or_doubled, deployed, events_of, flowing
from tests.deployments.traffic import GREETING, Traffic
from tests.harness.commands import run_command
from tests.harness.dev import running_dev
from tests.harness.redis_topologies import Cluster, running
from tests.support.source import ROOT
from tests.support.waiting import until

pytestmark = [pytest.mark.processes, pytest.mark.timeout(300)]


@pytest.fixture
def state(tmp_path):
    (tmp_path / "state").mkdir()
    return tmp_path / "state"


async def repartition(dev, number, *, is_over=False):
    """Move the data; a killed run may have moved all of it before it was killed (`is_over`)."""
    status, output = await run_command("repartition", str(number), environment=dev)
    assert status == 0, output
    expected = f"the data has {number} partitions already" if is_over else f"set ROUTER_PARTITIONS={number} for every"
    assert expected in output


async def killed_repartition(dev, number, redis, phase):
    """Start a repartition and kill it with SIGKILL in a phase, or later if it is faster than this test."""
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "router", "repartition", str(number), cwd=ROOT, env=dev
    )

    async def is_there():
        layout = await read_layout(redis, Keys())
        return layout.phase is phase or process.returncode is not None

    await until(is_there, pause=0.001)
    if process.returncode is None:
        process.send_signal(signal.SIGKILL)
    await process.wait()


async def write_and_move(dev, numbers, *, kill=()):
    """Let customers write while the data moves to each of these numbers of partitions."""
    async with deployed(dev) as deployment:
        traffic = Traffic(dev, deployment)
        async with flowing(traffic):
            for number in numbers:
                for phase in kill:
                    await killed_repartition(dev, number, deployment.redis, phase)
                layout = await read_layout(deployment.redis, Keys())
                await repartition(dev, number, is_over=layout.text == str(number))
                before = len(traffic.sent)
                await until(lambda before=before: len(traffic.sent) >= before + 50, timeout=60)
            deployment.keys = Keys(partitions=numbers[-1])
        await assert_nothing_is_lost_or_doubled(traffic)
        assert (await read_layout(deployment.redis, deployment.keys)).text == str(numbers[-1])


def test_the_number_of_partitions_changes_under_load(state):
    """From 1 to 4 and back to 1, with runs that are killed on the way: nothing is lost, nothing doubled."""
    with running_dev(state, ROUTER_RETRY_DELAY="0.2", ROUTER_AI_AGENT_GREETING=GREETING) as dev:
        asyncio.run(write_and_move(dev, [4, 1], kill=[Phase.COPYING, Phase.SWITCHING]))
    for process in ("web", "worker", "ai-agent", "human-agent"):
        assert "partitions.changed" in events_of(state.parent, process)
        assert "process.restarted" not in events_of(state.parent, process)
    assert "spool.drained" in events_of(state.parent, "web")


def test_the_number_of_partitions_changes_on_a_cluster(state, tmp_path):
    """Keys move from node to node."""
    with (
        running(Cluster(tmp_path / "redis")) as cluster,
        running_dev(state, "--redis-url", cluster.url, ROUTER_RETRY_DELAY="0.2") as dev,
    ):
        asyncio.run(write_and_move(dev, [6, 2]))


def test_another_number_is_refused_at_the_start(state):
    """Of every process and command: one line says what to do. The right number starts again."""
    with running_dev(state) as dev:
        asyncio.run(start_with_another_number(dev))


async def start_with_another_number(dev):
    for arguments in (["receive"], ["work"], ["dead-letters", "list"], ["quarantine", "replay", "--all"]):
        status, output = await run_command(*arguments, environment=dev | {"ROUTER_PARTITIONS": "4", "PORT": "0"})
        assert status == 2, output
        assert "ROUTER_PARTITIONS is 4, but the data in Redis has 1: set it to 1, or move" in output
        assert "`python -m router repartition 4`" in output
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "handlers", "ai_agent", cwd=ROOT, env=dev | {"ROUTER_PARTITIONS": "4"}
    )
    assert await process.wait() == 2
    status, output = await run_command("repartition", "4", "--dry-run", environment=dev)
    assert (status, "from 1 to 4 partitions" in output) == (0, True)
    assert (await run_command("dead-letters", "list", environment=dev))[0] == 0
