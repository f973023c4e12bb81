"""`dev` as a newcomer meets it: the demo, and what happens when something is wrong."""

from __future__ import annotations

import asyncio
import itertools
import os
import signal
import stat
import subprocess
import sys
from pathlib import Path

import aiohttp
import pytest

from router.core.keys import Keys, Target
from router.settings.environment import read_dotenv
from router.simulator.http import Sender
from router.simulator.messages import message
from router.streams.client.embedded import free_port, is_free
from tests.support.waiting import until

pytestmark = pytest.mark.processes
LISTENING = ("ROUTER_URL", "TWILIO_CONVERSATIONS_URL")


def start(state, *arguments, **changes):
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("TWILIO_", "ROUTER_"))}
    environment.pop("REDIS_URL", None)
    ports = ["--port", str(free_port()), "--sandbox-port", str(free_port())]
    return subprocess.Popen(
        [sys.executable, "-m", "router", "dev", "--state-dir", str(state), *ports, *arguments],
        env={**environment, **changes},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def test_the_demo_announces_every_customer_once_and_ends(tmp_path):
    """`dev --once` shows each arrival, the AI agent and the human agent at work, and exits 0."""
    output, _ = start(tmp_path, "--once").communicate(timeout=90)
    joined = [line for line in output.splitlines() if line.startswith("participant.joined")]
    assert len(joined) == 10, output
    assert {"SMS", "WHATSAPP", "RCS", "CHAT", "VOICE", "EMAIL"} == {line.split()[1] for line in joined}
    assert any("taken by human-agent, because: service-desk" in line for line in joined)
    assert "human_agent" in output
    assert "ai_agent" in output
    assert "simulate sms" in output


def test_a_second_run_in_the_same_state_directory_works_too(tmp_path):
    """Redis remembers the first run and the sandbox does not; the credentials stay the same."""
    first = start(tmp_path, "--once")
    first.communicate(timeout=90)
    assert first.returncode == 0
    credentials = read_dotenv(tmp_path / "dev.env")
    second = start(tmp_path, "--once")
    output, _ = second.communicate(timeout=90)
    assert second.returncode == 0, output
    for name in ("TWILIO_AUTH_TOKEN", "ROUTER_EMAIL_PUBLIC_KEYS", "ROUTER_EMAIL_PRIVATE_KEY_FILE"):
        assert read_dotenv(tmp_path / "dev.env")[name] == credentials[name]
    assert stat.S_IMODE(Path(credentials["ROUTER_EMAIL_PRIVATE_KEY_FILE"]).stat().st_mode) == 0o600


def test_wrong_routing_stops_the_start_and_says_where(tmp_path):
    """A misspelt rule is reported with its line; nothing keeps running."""
    config = tmp_path / "config"
    config.mkdir()
    (config / "routing.toml").write_text('[default]\ntarget = "ai-agent"\n[[rule]]\nname = "x"\ntraget = "ignore"\n')
    process = start(tmp_path / "state", "--once", ROUTER_CONFIG_DIR=str(config))
    output, _ = process.communicate(timeout=90)
    assert process.returncode != 0
    assert "routing.toml:5" in output, output


def test_a_port_in_use_is_named(tmp_path, redis_url):
    """A port that was asked for and is taken is an error that names the option."""
    port = redis_url.rpartition(":")[2].partition("/")[0]
    process = subprocess.run(
        [sys.executable, "-m", "router", "dev", "--state-dir", str(tmp_path), "--port", port],
        check=False,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert process.returncode == 2
    assert f"--port: port {port} is in use" in process.stderr


async def test_ctrl_c_ends_everything_in_order(tmp_path):
    """SIGINT stops all processes; none is left behind, and the exit status is 0."""
    process = start(tmp_path, "--no-demo")
    await until((tmp_path / "dev.env").exists, timeout=60)
    process.send_signal(signal.SIGINT)
    output, _ = process.communicate(timeout=60)
    assert process.returncode == 0, output
    log = (tmp_path / "log" / "worker.log").read_text()
    assert '"event":"process.stopped"' in log


async def test_sigterm_under_load_fails_no_caller_and_loses_nothing(tmp_path, redis, redis_url):
    """Whoever had connected got a 200 and is in Redis; what was not finished is handed back, and nobody's any more."""
    process = start(tmp_path, "--no-demo", "--redis-url", redis_url)
    await until((tmp_path / "dev.env").exists, timeout=60)
    dev = read_dotenv(tmp_path / "dev.env")
    given = {"receiver_url": dev["ROUTER_URL"], "public_base_url": dev["PUBLIC_BASE_URL"]}
    statuses, numbers = [], itertools.count()

    async def write():
        async with Sender(**given, auth_token=dev["TWILIO_AUTH_TOKEN"]) as sender:
            while True:
                who = {"account_sid": dev["TWILIO_ACCOUNT_SID"], "sender": f"+1556{next(numbers):07d}"}
                try:
                    status, _ = await sender.send(message("sms", **who, recipient="+15557650000", body="hi"))
                except aiohttp.ClientConnectorError:  # nobody listens any more: it had not connected
                    return
                statuses.append(status)

    writing = asyncio.gather(*(write() for _ in range(4)))
    await until(lambda: len(statuses) > 100, timeout=30)
    process.send_signal(signal.SIGTERM)
    await writing
    output, _ = process.communicate(timeout=60)
    assert process.returncode == 0, output
    assert set(statuses) == {200}
    keys = Keys()
    rows = await redis.xrange(keys.inbound(0))
    assert sum(fields[b"source"] == b"messaging" for _, fields in rows) == len(statuses)
    assert not [key async for key in redis.scan_iter("*:heartbeat:*")]
    for stream in (keys.inbound(0), *(keys.participants(0, target) for target in Target)):
        [group] = await redis.xinfo_groups(stream)
        consumers = await redis.xinfo_consumers(stream, group["name"])
        assert all(one["pending"] for one in consumers)
        left = [name async for name, _ in redis.hscan_iter(keys.deaths(0, group["name"].decode()))]
        assert {b"left:" + one["name"] for one in consumers} <= set(left)


async def test_a_second_dev_in_the_same_state_directory_is_refused(tmp_path):
    """Two servers on one append-only file would spoil it: the second says who is in the way, and ends."""
    first = start(tmp_path, "--no-demo")
    try:
        await until((tmp_path / "dev.env").exists, timeout=60)
        second = start(tmp_path, "--no-demo")
        output, _ = second.communicate(timeout=60)
        assert second.returncode == 2
        assert "--state-dir: another dev is running" in output
    finally:
        first.send_signal(signal.SIGINT)
        first.communicate(timeout=60)


async def test_nothing_lives_on_when_dev_is_killed(tmp_path):
    """SIGKILL of `dev` leaves no process behind: those that it started notice that it is gone."""
    process = start(tmp_path, "--no-demo")
    await until((tmp_path / "dev.env").exists, timeout=60)
    ports = [int(read_dotenv(tmp_path / "dev.env")[name].rpartition(":")[2]) for name in LISTENING]
    assert not any(is_free(port) for port in ports)
    process.kill()
    process.communicate(timeout=60)

    def are_stopped():
        logs = [(tmp_path / "log" / f"{name}.log").read_text() for name in ("web", "worker", "ai-agent", "human-agent")]
        return all('"event":"process.stopped"' in log for log in logs)

    await until(are_stopped, timeout=30)
    await until(lambda: all(is_free(port) for port in ports), timeout=30)
