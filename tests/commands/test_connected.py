"""Commands whose Redis or receiver is away or refuses: one line and a status, never a traceback."""

from __future__ import annotations

import pytest

from router.__main__ import COMMANDS, main, make_parser
from router.commands.connected import connected
from router.commands.dead_letters import list_dead_letters
from router.core.keys import Keys
from router.process.terminal import CommandFailedError
from tests.harness.commands import run_command

DEAD = "127.0.0.1:1"
#: Each command that works with Redis, the beginning of its line, and its status.
REDIS = f"no response from Redis (REDIS_URL=redis://{DEAD}/0): ConnectionError: "
LINES = {
    "dead-letters list": (REDIS, 1),
    "dead-letters list --json": (REDIS, 1),
    "dead-letters show 0:1-1": (REDIS, 1),
    "dead-letters replay --all": (REDIS, 1),
    "dead-letters replay --all --dry-run": (REDIS, 1),
    "dead-letters drop --all --yes": (REDIS, 1),
    "quarantine list": (REDIS, 1),
    "quarantine show 1-1": (REDIS, 1),
    "quarantine replay --all": (REDIS, 1),
    "quarantine drop 1-1 --yes": (REDIS, 1),
    "groups list": (REDIS, 1),
    "groups remove mine": (REDIS, 1),
    "waiting": (REDIS, 1),
    "waiting --json": (REDIS, 1),
    "status": (f"down: {REDIS}", 2),
    "explain conv_conversation_1": (REDIS, 1),
    "erase +15551230001 --yes": (REDIS, 1),
    "story SM1": (REDIS, 2),
    "story +15551230001 --around 14:03 --json": (REDIS, 2),
    "explain-signature --id 1-1": (REDIS, 1),
    "console link ana": (REDIS, 1),
    "repartition 2": ("ConnectionError: ", 1),
    "repartition 2 --dry-run": ("ConnectionError: ", 1),
    f"simulate sms --url http://{DEAD} --no-wait": (f"no response from http://{DEAD}: ClientConnectorError: ", 1),
    "simulate sms": ("no response from Redis (REDIS_URL): ConnectionError: ", 1),
}
#: Commands that print a report of their own, whatever answers.
REPORTING = {"check"}


@pytest.mark.parametrize("command", LINES)
def test_a_command_without_redis_says_so_in_one_line(environment, monkeypatch, capsys, command):
    """The line names the variable and the address, and neither the password nor a traceback."""
    monkeypatch.setenv("REDIS_URL", f"redis://:hush@{DEAD}/0")
    monkeypatch.setenv("ROUTER_URL", f"http://{DEAD}")
    beginning, status = LINES[command]
    assert main(command.split()) == status
    shown = capsys.readouterr()
    assert shown.out == ""
    (line,) = shown.err.splitlines()
    assert line.startswith(beginning)
    assert "hush" not in line


def test_no_command_is_left_out():
    """A new one that finds a running `dev` is tried too."""
    assert {command.split()[0] for command in LINES} | REPORTING == {
        name for name, command in COMMANDS.items() if command.finds_dev
    } | {"simulate"}


def test_check_without_redis_reports_it(environment, monkeypatch, capsys):
    """It prints all findings, whatever answers, without a traceback."""
    monkeypatch.setenv("REDIS_URL", f"redis://:hush@{DEAD}/0")
    assert main(["check"]) == 1
    shown = capsys.readouterr()
    assert "FAIL  REDIS_URL: ConnectionError: " in shown.out
    assert shown.err == ""


@pytest.mark.parametrize("command", [["waiting"], ["status"], ["groups", "list"], ["dead-letters", "list"]])
def test_a_running_dev_is_found(monkeypatch, tmp_path, capsys, command):
    """Without a REDIS_URL; one line says so, and the one about the failure asks whether it runs."""
    (tmp_path / "dev.env").write_text(f"REDIS_URL=redis://{DEAD}/0\n")
    monkeypatch.setattr("router.settings.environment.STATE_DIR", tmp_path)
    assert main(command) == LINES[" ".join(command)][1]
    first, second = capsys.readouterr().err.splitlines()
    assert first == f"using the settings of `dev` in {tmp_path}/dev.env"
    assert second.endswith("; is `make run` running?")
    assert main([*command, "--state-dir", str(tmp_path / "none")]) == 2
    assert "--state-dir: there is no " in capsys.readouterr().err


@pytest.mark.processes
async def test_a_running_dev_is_found_by_a_process(dev, tmp_path):
    """In the folder that it was started in, as a person runs the command."""
    state_dir = tmp_path / "state"
    state_dir.mkdir()
    (state_dir / "dev.env").write_text("".join(f"{name}={value}\n" for name, value in dev.items()))
    unset = dict.fromkeys(["REDIS_URL", *dev], None)
    status, output = await run_command("groups", "list", "--state-dir", str(state_dir), environment=unset)
    first, *groups = output.splitlines()
    assert (status, first) == (0, f"using the settings of `dev` in {state_dir}/dev.env")
    assert any("resolver" in line for line in groups)


def test_a_fault_of_a_command_is_one_line(environment, monkeypatch, capsys):
    """Type and place are enough for a report; the message may hold private data."""
    monkeypatch.setattr("router.commands.groups.read_streams", lambda *_: 1 / 0)
    monkeypatch.setattr("router.commands.connected.ensure_partitions", _nothing)
    assert main(["groups", "list"]) == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("a fault in this program: ZeroDivisionError at test_connected.py:")


async def _nothing(*_):
    pass


def test_a_file_that_cannot_be_written_is_one_line(environment, capsys):
    """The file is named."""
    assert main(["schemas", "/dev/null/none"]) == 1
    assert capsys.readouterr().err == "/dev/null/none: Not a directory\n"


@pytest.mark.real
async def test_what_redis_refuses_is_one_line_too(environment, redis):
    """A key of another type, for one: the reason is in the line."""
    await redis.set(Keys().dead_letters(0), "no stream", ex=60)
    with pytest.raises(CommandFailedError, match=r"REDIS_URL=redis://.*: ResponseError: WRONGTYPE"):
        await list_dead_letters(make_parser().parse_args(["dead-letters", "list"]))


@pytest.mark.real
async def test_an_error_about_a_file_is_not_taken_for_one_of_redis(environment, redis):
    """The block may read and write files."""
    with pytest.raises(FileNotFoundError):
        async with connected():
            raise FileNotFoundError(2, "No such file", "/none")
