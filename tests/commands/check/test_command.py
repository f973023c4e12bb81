"""The command `check` itself: it finds what a process would refuse at its start, and reports it first."""

from __future__ import annotations

import shutil
import socket
import sys
from importlib import import_module

import orjson
import pytest

from handlers.app import REQUIRED as CONSUMER
from router.__main__ import COMMANDS, make_parser
from router.commands.check.command import REQUIRED
from router.receiver.serve import REQUIRED as RECEIVER
from router.settings.environment import own_environment
from router.worker.app import REQUIRED as WORKER
from tests.harness.settings import make_environment
from tests.support.source import SHIPPED


def test_check_requires_the_settings_of_all_processes():
    """A setting without which a process does not start is a FAIL."""
    assert set(REQUIRED) == {*RECEIVER, *WORKER, *CONSUMER}


DEFAULT = '[default]\ntarget = "human-agent"\n'


@pytest.fixture
def config(tmp_path):
    """A copy of the shipped configuration."""
    return shutil.copytree(SHIPPED, tmp_path / "config")


@pytest.fixture
def check(config, tmp_path, monkeypatch, capsys):
    """Return a function that checks it offline, with changes of the environment; returns status and output."""
    for name in own_environment():
        if name.startswith(("ROUTER_", "TWILIO_")):
            monkeypatch.delenv(name)
    monkeypatch.syspath_prepend(tmp_path)

    async def check(*options, **changes):
        given = make_environment("redis://127.0.0.1:1", "http://127.0.0.1:1") | {
            "ROUTER_CONFIG_DIR": str(config),
            "ROUTER_SPOOL_DIR": str(tmp_path),
            "PORT": "0",
        }
        for name, value in (given | changes).items():
            monkeypatch.setenv(name, value)
        capsys.readouterr()
        command = COMMANDS["check"].function.partition(":")
        arguments = make_parser().parse_args(["check", *options])
        status = await getattr(import_module(command[0]), command[2])(arguments)
        return status, capsys.readouterr().out

    return check


async def failures(check, *options, **changes):
    """Return the exit status, and subject and text of each FAIL."""
    status, output = await check("--json", *(options or ["--offline"]), **changes)
    report = orjson.loads(output)
    assert report["status"] == status
    return status, [(one["subject"], one["text"]) for one in report["findings"] if one["level"] == "fail"]


async def test_shipped_configuration_passes(check):
    """Nothing fails, and there is a finding for each process' own configuration."""
    assert await failures(check) == (0, [])
    _, output = await check("--offline")
    assert "ok    ai_agent: its configuration can be read" in output
    assert "ok    human_agent: its configuration can be read" in output


@pytest.mark.parametrize(
    ("name", "text", "subject", "words"),
    [
        ("roster.toml", None, "roster", "roster.toml: [Errno 2]"),
        ("roster.toml", "", "roster", "nobody could take a participant"),
        (
            "roster.toml",
            '[[agent]]\nidentity = "d"\nname = "D"\ncapacity = 0\n',
            "roster",
            "roster.toml:4: agent 1: capacity: must be 1 or more",
        ),
        ("roster.toml", "[[agent]\n", "roster", "roster.toml: "),
        ("roster.toml", b"\xff", "roster", "roster.toml: "),
        ("routing.toml", None, "routing", "routing.toml: [Errno 2]"),
        ("routing.toml", '[default]\ntarget = "nobody"\n', "routing", "routing.toml:2"),
        ("routing.toml", b"\xff", "routing", "routing.toml: "),
        ("routing.toml", "x = [", "routing", "routing.toml: "),
        ("routing.toml", f"{DEFAULT}[[queue]]\nname = 'a'\nring = 0\n", "routing", "routing.toml:5: queue 1: ring: "),
        ("routing.toml", f"{DEFAULT}queue = 'a'\n", "routing", "routing.toml:3: default: queue: there is no queue 'a'"),
        ("routing.toml", f"{DEFAULT}[people]\nx = 1\n", "routing", "routing.toml:4: people: x: no such key"),
        ("voice/ignore.xml", "<Respons/>", "voice", "ignore.xml"),
        ("voice/ai-agent.xml", None, "voice", "ai-agent.xml"),
    ],
)
async def test_a_file_that_stops_a_process_is_a_failure(check, config, name, text, subject, words):
    """Missing, empty, wrong, no TOML, no UTF-8: status 1, and the file is named."""
    (config / name).unlink()
    if text is not None:
        (config / name).write_bytes(text.encode() if isinstance(text, str) else text)
    status, found = await failures(check)
    assert (status, {one for one, _ in found}) == (1, {subject})
    (text,) = [text for _, text in found]  # once, though the workers and a consumer refuse it
    assert words in text


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("settings.toml", "windwo = 3\n"),
        ("settings.toml", "window = 0\n"),
        ("settings.toml", "window = \n"),
        ("settings.toml", 'redis_url = "redis://h"\n'),
        ("accounts.toml", "[[account]]\nsid = 1\n"),
        ("accounts.toml", b"\xff"),
    ],
)
async def test_a_wrong_setting_ends_with_status_2_and_the_other_findings(check, config, name, text):
    """What can be checked without it is checked all the same: a broken roster beside it is found."""
    (config / name).write_bytes(text.encode() if isinstance(text, str) else text)
    (config / "roster.toml").write_text("x = 1")
    status, found = await failures(check, ROUTER_AI_AGENT_REPLY="nope:reply")
    assert (status, {subject for subject, _ in found}) == (2, {"settings", "ai_agent", "roster"})
    assert any(name in text or "ROUTER_WINDOW" in text for subject, text in found if subject == "settings")


@pytest.mark.parametrize(
    ("reply", "words"),
    [
        ("nope:reply", "No module named 'nope'"),
        ("nope", "not of the form"),
        ("mine:missing", "has no attribute 'missing'"),
        ("mine:number", "is not a function"),
        ("broken:reply", "ZeroDivisionError"),
        ("ending:reply", "SystemExit"),
    ],
)
async def test_a_reply_that_cannot_be_loaded_is_a_failure(check, tmp_path, monkeypatch, reply, words):
    """The consumer loads it at its start, whatever its module does then; what that prints is no part of the report."""
    monkeypatch.delitem(sys.modules, "mine", raising=False)
    (tmp_path / "mine.py").write_text("print('hello')\nnumber = 1\n")
    (tmp_path / "broken.py").write_text("1 / 0\n")
    (tmp_path / "ending.py").write_text("raise SystemExit(0)\n")
    status, found = await failures(check, ROUTER_AI_AGENT_REPLY=reply)
    assert (status, [subject for subject, _ in found]) == (1, ["ai_agent"])
    assert words in found[0][1]


async def test_a_key_for_simulated_mails_that_cannot_be_read_is_a_failure(check, tmp_path):
    """`simulate email` would refuse it."""
    (tmp_path / "key.pem").write_text("none")
    status, found = await failures(check, ROUTER_EMAIL_PRIVATE_KEY_FILE=str(tmp_path / "key.pem"))
    assert (status, [subject for subject, _ in found]) == (1, ["simulate"])


@pytest.mark.parametrize(
    ("changes", "subject"),
    [
        ({"PORT": "8080", "ROUTER_HOST": "host.invalid"}, "ROUTER_HOST"),
        ({"PORT": "8080", "ROUTER_HOST": "192.0.2.1"}, "ROUTER_HOST"),
        ({"ROUTER_METRICS_PORT": "9090", "ROUTER_HOST": "host.invalid"}, "ROUTER_HOST"),
    ],
)
async def test_a_host_that_nobody_can_listen_on_is_a_failure(check, changes, subject):
    """Neither a name that does not exist nor the address of another machine."""
    status, found = await failures(check, **changes)
    assert (status, [one for one, _ in found]) == (1, [subject])


@pytest.mark.parametrize("variable", ["PORT", "ROUTER_METRICS_PORT"])
async def test_a_port_of_another_program_is_a_failure(check, variable):
    """It is asked, as one of our own processes may have it; offline it is not."""
    with socket.create_server(("127.0.0.1", 0)) as other:
        taken = {variable: str(other.getsockname()[1])}
        assert await failures(check, **taken) == (0, [])
        found = await check(REDIS_URL="", TWILIO_CONVERSATION_CONFIGURATION_ID="", **taken)
    assert f"FAIL  {variable}: {taken[variable]} is in use by another program" in found[1]


async def test_one_port_for_receiver_and_metrics_is_a_warning(check):
    """On one machine the second process that starts would find it in use."""
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = str(other.getsockname()[1])
    status, output = await check("--offline", PORT=port, ROUTER_METRICS_PORT=port)
    assert (status, f"warn  ROUTER_METRICS_PORT: {port} is PORT too" in output) == (0, True)


async def test_findings_come_first_and_the_settings_after_them(check, config):
    """Failures, warnings, what is right; then the numbers, then the effective configuration."""
    (config / "roster.toml").unlink()
    status, output = await check("--offline", ROUTER_SHADOW="messaging")
    lines = output.splitlines()
    levels = [line[:5].strip() for line in lines[: lines.index("")]]
    assert levels[:2] == ["FAIL", "warn"]
    assert levels[:-1] == sorted(levels[:-1], key=["FAIL", "warn", "ok"].index)
    assert lines[len(levels) - 1].endswith("checked, 1 failed, 1 warnings")
    assert lines[len(levels) + 1] == "settings:"
    assert "  ROUTER_WINDOW=500" in lines[len(levels) + 2 :]
    assert status == 1


PEOPLE = """
[[agent]]
identity = "kim"
name = "Kim"
capacity = 3
skills = ["german"]
channels = ["SMS"]
wrap_up = 30
addresses = { SMS = "+15557650003" }
"""
QUEUES = """
[[queue]]
name = "refunds"
skills = ["refunds"]
patience = 60
overflow = "default"
relax = { after = 20 }
hours = { days = ["mon", "fri"], from = "09:00", to = "17:00", time_zone = "UTC" }
holidays = 2026-12-25
priority = 7
[people]
units = { CHAT = 2 }
after_added = "refunds"
"""


async def test_people_and_queues_are_shown(check, config):
    """Below the settings, each in one line, and no address of a person as a whole."""
    (config / "roster.toml").write_text(PEOPLE)
    (config / "routing.toml").write_text(DEFAULT + QUEUES)
    _, output = await check("--offline")
    shown = output.partition("settings:\n")[2].splitlines()[-3:]
    queue = "ring 20 s; patience 60 s; overflow default; skills refunds; relax all after 20 s"
    assert shown == [
        "  agent kim=Kim; capacity 3; skills german; channels SMS; wrap_up 30 s; addresses SMS +155***03",
        f"  queue refunds=accept offer; {queue}; hours mon fri 09:00-17:00 UTC; 1 holidays; priority 7",
        "  people=units CHAT 2; hold_added_people true; hold_added_ai_agents false; after_added refunds",
    ]
    assert "ok    roster: 1 people, queues: default, refunds" in output
    assert "+15557650003" not in output


async def test_skills_that_nobody_has_are_a_warning(check, config):
    """A conversation that needs them waits for the fallback of its queue: somebody should know before."""
    (config / "roster.toml").write_text(PEOPLE)
    rules = "[[rule]]\nname = 'a'\ntarget = 'human-agent'\nskills = ['german', 'x']\n"
    (config / "routing.toml").write_text(f"{DEFAULT}skills = 'german'\n{rules}{QUEUES}")
    status, output = await check("--offline")
    found = [line for line in output.splitlines() if line.startswith("warn  roster")]
    assert (status, found) == (
        0,
        [
            "warn  roster: the queue 'refunds' needs refunds, which nobody in the roster has",
            "warn  roster: the rule 'a' needs german, x, which nobody in the roster has",
        ],
    )


async def test_report_as_json_has_no_secret(check):
    """One object: status, findings and the masked settings."""
    _, output = await check("--offline", "--json")
    report = orjson.loads(output)
    assert set(report) == {"status", "findings", "settings"}
    assert {frozenset(one) for one in report["findings"]} == {frozenset({"level", "subject", "text"})}
    assert report["settings"]["TWILIO_AUTH_TOKEN"] == "***"
    assert report["settings"]["ROUTER_WINDOW"] == "500"


async def test_a_voice_template_of_a_queue_that_does_not_exist(check, config):
    """No call would ever get it, so it is probably misspelt; one of a queue that exists is a template like others."""
    text = (config / "voice" / "human-agent.xml").read_text()
    (config / "voice" / "human-agent.invoice.xml").write_text(text)
    (config / "voice" / "human-agent.default.xml").write_text(text)
    _, output = await check("--offline")
    (line,) = [line for line in output.splitlines() if "human-agent." in line and "ROUTER_" not in line]
    assert line == "warn  voice: there is no queue 'invoice' in routing.toml, so no call gets human-agent.invoice.xml"
    (config / "roster.toml").write_text("agent = 1")
    _, output = await check("--offline")
    assert "no call gets" not in output
