"""Commands whose Redis is away or refuses: one line and status 1, never a traceback."""

from __future__ import annotations

import pytest

from router.__main__ import main
from router.commands.connected import connected
from router.commands.dead_letters import list_dead_letters
from router.core.keys import Keys
from router.process.terminal import CommandFailedError

COMMANDS = [
    "dead-letters list",
    "dead-letters list --json",
    "dead-letters replay --all",
    "quarantine list",
    "quarantine show 1-1",
    "quarantine replay --all",
    "groups list",
    "groups remove mine",
    "explain-signature --id 1-1",
]


@pytest.mark.parametrize("command", COMMANDS)
def test_a_command_without_redis_says_so_in_one_line(environment, monkeypatch, capsys, command):
    """The line names the variable and the address, and neither the password nor a traceback."""
    monkeypatch.setenv("REDIS_URL", "redis://:hush@127.0.0.1:1/0")
    assert main(command.split()) == 1
    shown = capsys.readouterr()
    assert shown.out == ""
    (line,) = shown.err.splitlines()
    assert line.startswith("no response from Redis (REDIS_URL=redis://127.0.0.1:1/0): ConnectionError: ")
    assert "hush" not in line


@pytest.mark.real
async def test_what_redis_refuses_is_one_line_too(environment, redis):
    """A key of another type, for one: the reason is in the line."""
    await redis.set(Keys().dead_letters(0), "no stream", ex=60)
    with pytest.raises(CommandFailedError, match=r"REDIS_URL=redis://.*: ResponseError: WRONGTYPE"):
        await list_dead_letters()


@pytest.mark.real
async def test_an_error_about_a_file_is_not_taken_for_one_of_redis(environment, redis):
    """The block may read and write files."""
    with pytest.raises(FileNotFoundError):
        async with connected():
            raise FileNotFoundError(2, "No such file", "/none")
