"""`python -m handlers` as real processes: help, errors, and a consumer that stops."""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import signal
import subprocess
import sys

import pytest
from redis.exceptions import ResponseError

from router.core.keys import Target
from tests.handlers.harness import HELLO
from tests.support.accounts import ACCOUNT
from tests.support.entries import fields_of
from tests.support.source import ROOT, SHIPPED
from tests.support.waiting import scaled, until

BARE = {name: value for name, value in os.environ.items() if not name.startswith(("TWILIO_", "REDIS_"))}

pytestmark = pytest.mark.processes


def run(*arguments, **environment):
    command = [sys.executable, "-m", "handlers", *arguments]
    return subprocess.run(
        command, capture_output=True, text=True, check=False, cwd=ROOT, env=BARE | environment, timeout=scaled(60)
    )


def test_help_lists_the_handlers_with_a_line_each():
    """The line is the first one of the factory's docstring."""
    done = run("--help")
    assert done.returncode == 0
    assert "  ai_agent     Join every conversation as the AI agent" in done.stdout
    assert "  human_agent  Let the person who holds a conversation join it" in done.stdout


@pytest.mark.parametrize("arguments", [(), ("nobody",)], ids=["no name", "unknown name"])
def test_wrong_usage_lists_the_handlers(arguments):
    """A missing or unknown name ends with status 2."""
    done = run(*arguments)
    assert (done.returncode, done.stdout) == (2, "")
    assert "NAME" in done.stderr
    assert not arguments or ("ai_agent" in done.stderr and "human_agent" in done.stderr)


def test_missing_settings_are_listed():
    """All of them are on standard error, with exit status 2 and no traceback."""
    done = run("ai_agent")
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.splitlines()[0] == "Wrong or missing settings:"
    assert [line.split()[0] for line in done.stderr.splitlines()[1:]] == [
        "REDIS_URL",
        "TWILIO_ACCOUNT_SID",
        "TWILIO_AUTH_TOKEN",
    ]


def test_a_wrong_roster_is_reported_like_settings(tmp_path):
    """The configuration of a handler is checked before Redis is needed."""
    shutil.copy(SHIPPED / "routing.toml", tmp_path)
    (tmp_path / "roster.toml").write_text("x = 1")
    given = {"REDIS_URL": "redis://127.0.0.1:1", "TWILIO_ACCOUNT_SID": ACCOUNT, "TWILIO_AUTH_TOKEN": "token"}
    done = run("human_agent", ROUTER_CONFIG_DIR=str(tmp_path), **given)
    assert done.returncode == 2
    assert "roster.toml:1: unknown table or key 'x' (known: agent)" in done.stderr
    assert "Traceback" not in done.stderr


async def test_a_killed_consumer_is_succeeded_and_sigterm_ends_one_cleanly(harness, environment):
    """After SIGKILL another process takes over the entries; after SIGTERM it leaves no consumer in the group."""
    environment |= BARE | {
        "ROUTER_AI_AGENT_GREETING": HELLO,
        "ROUTER_HEARTBEAT_TTL": f"{scaled(0.5):.1f}",
        "PYTHONPATH": str(ROOT),
    }
    stream = harness.keys.participants(0, Target.AI_AGENT)
    opened = [await harness.open() for _ in range(30)]
    await harness.fault("POST", "/Participants", times=60, latencySeconds=0.3)
    for one in opened:
        await harness.redis.xadd(stream, fields_of(one.entry()))
    command = [sys.executable, "-m", "handlers", "ai_agent"]
    killed = await asyncio.create_subprocess_exec(*command, env=environment, stdout=asyncio.subprocess.DEVNULL)

    async def is_begun():
        try:
            return (await harness.redis.xpending(stream, "ai-agent"))["pending"] > 0
        except ResponseError:  # the group is not there yet
            return False

    await until(is_begun)
    killed.kill()
    await killed.wait()
    successor = await asyncio.create_subprocess_exec(*command, env=environment, stdout=asyncio.subprocess.PIPE)

    async def is_done():
        (group,) = await harness.redis.xinfo_groups(stream)
        return group["lag"] == 0 and group["pending"] == 0

    await until(is_done, 60)
    successor.send_signal(signal.SIGTERM)
    output, _ = await successor.communicate()
    assert successor.returncode == 0
    events = [json.loads(line)["event"] for line in output.splitlines()]
    assert (events[-1], events.count("process.started")) == ("process.stopped", 1)
    assert await harness.redis.xinfo_consumers(stream, "ai-agent") == []
    for one in opened:
        await until(lambda one=one: harness.texts(one.id))
        assert await harness.texts(one.id) == [HELLO]
        assert await harness.types(one.id) == ["AI_AGENT", "CUSTOMER"]
