"""The command line of `python -m router`: its table, help, usage errors and wrong settings."""

from __future__ import annotations

from importlib import import_module

import pytest

from router.__main__ import COMMANDS, main

NAMES = {
    "dev",
    "receive",
    "work",
    "handler",
    "init",
    "sandbox",
    "console",
    "simulate",
    "check",
    "status",
    "erase",
    "waiting",
    "dead-letters",
    "groups",
    "repartition",
    "quarantine",
    "explain",
    "story",
    "explain-signature",
    "schemas",
}


def test_help_lists_every_command_with_its_summary(capsys):
    """`--help` shows a line for each row of the table."""
    with pytest.raises(SystemExit) as ended:
        main(["--help"])
    words = capsys.readouterr().out.split()
    assert (ended.value.code, set(COMMANDS)) == (0, NAMES)
    for name, command in COMMANDS.items():
        assert name in words
        assert " ".join(command.summary.split()) in " ".join(words)


def test_help_of_handler_names_the_handlers(capsys):
    """`handler --help` is written without loading the handlers, and names all that are shipped."""
    with pytest.raises(SystemExit):
        main(["handler", "--help"])
    shown = capsys.readouterr().out
    assert [name for name in ("ai_agent", "human_agent") if name not in shown] == []


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_has_help_and_a_function(name, capsys):
    """`COMMAND --help` works, shows no default that is none, and the function of the row exists."""
    with pytest.raises(SystemExit) as ended:
        main([name, "--help"])
    shown = capsys.readouterr().out
    assert ended.value.code == 0
    assert COMMANDS[name].summary in " ".join(shown.split())
    assert "(default: None)" not in shown
    module, _, function = COMMANDS[name].function.partition(":")
    assert callable(getattr(import_module(module), function))


@pytest.mark.parametrize("arguments", [[], ["smulate"], ["check", "--ofline"]], ids=["none", "command", "option"])
def test_wrong_usage_ends_with_status_2(arguments, capsys):
    """A missing or misspelt command and a misspelt option are named on standard error."""
    with pytest.raises(SystemExit) as ended:
        main(arguments)
    assert ended.value.code == 2
    assert "error: " in capsys.readouterr().err


def test_wrong_settings_end_with_status_2_and_a_list(capsys, monkeypatch):
    """All problems are listed on standard error, one a line, without a traceback."""
    monkeypatch.setenv("ROUTER_WINDOW", "0")
    monkeypatch.setenv("PORT", "none")
    assert main(["sandbox"]) == 2
    first, *problems = capsys.readouterr().err.splitlines()
    assert first == "Wrong or missing settings:"
    assert {line.strip().split(":")[0] for line in problems} == {"ROUTER_WINDOW", "PORT"}
