"""What commands print: on one line each, without control characters, masked, and quietly where nobody reads it."""

from __future__ import annotations

import io
import os
import subprocess
import sys
from pathlib import Path

import orjson
import pytest

from router.process.terminal import MAX_LINE, OutputLostError, Parser, complain, show, show_bytes, show_json
from tests.support.source import ROOT

BAD = "\x1b[2J\nforged: line\u202e\x9b31m"
SHOWN = r"\x1b[2J\nforged: line\u202e\x9b31m"


def test_each_line_is_printed_on_a_line_of_its_own(capsys):
    """A line break within one is shown and breaks nothing."""
    show("one", BAD, "three")
    show("a", "b", end=" ")
    assert capsys.readouterr().out == f"one\n{SHOWN}\nthree\na b "


def test_errors_are_safe_as_well(capsys):
    """Standard error is the same terminal."""
    complain(BAD, "+15551230001")
    assert capsys.readouterr().err == f"{SHOWN}\n+155***01\n"


def test_addresses_are_masked_unless_the_caller_says_otherwise(capsys):
    """Our own words, and what an operator asked for, are printed as they are; but never a control character."""
    show("+15551230001 ana@example.com")
    show("+15551230001 ana@example.com\x1b", unmasked=True)
    assert capsys.readouterr().out == "+155***01 a***@example.com\n+15551230001 ana@example.com\\x1b\n"


def test_a_line_has_a_bounded_length(capsys):
    """Strangers write bodies of a megabyte."""
    show("x" * (3 * MAX_LINE))
    show("\x1b" * (3 * MAX_LINE), unmasked=True)
    assert [len(line) for line in capsys.readouterr().out.splitlines()] == [MAX_LINE, MAX_LINE + 3]


def test_json_is_one_line_with_the_same_value(capsys):
    """Programs read the value back; a terminal that shows it obeys nothing."""
    show_json({"a": BAD, "b": "\U000e0041\x7f"})
    show_json({"a": "+15551230001"})
    show_json({"a": "+15551230001"}, unmasked=True)
    show_json([{"+15551230001": ("\n+15551230001", 5.5, None)}, "\ud800"])
    first, *others, last = capsys.readouterr().out.splitlines()
    assert first.isprintable()
    assert orjson.loads(last) == [{"+155***01": ["\n+155***01", 5.5, None]}, "\\ud800"]
    assert orjson.loads(first) == {"a": BAD, "b": "\U000e0041\x7f"}
    assert [orjson.loads(one)["a"] for one in others] == ["+155***01", "+15551230001"]


@pytest.mark.parametrize("encoding", ["ascii", "iso-8859-1", "utf-8"])
def test_a_terminal_without_unicode_shows_escapes(monkeypatch, encoding):
    """A message in another script does not end the command."""
    stream = io.TextIOWrapper(io.BytesIO(), encoding=encoding)
    monkeypatch.setattr(sys, "stdout", stream)
    show("é 😀")
    stream.seek(0)
    assert stream.read() in {"\\xe9 \\U0001f600\n", "é \\U0001f600\n", "é 😀\n"}


class Failing(io.StringIO):
    """A stream that cannot be written."""

    def __init__(self, error):
        super().__init__()
        self._error = error

    def write(self, _):
        raise self._error


@pytest.mark.parametrize(
    ("error", "status", "words"),
    [
        (BrokenPipeError(32, "Broken pipe"), 141, ""),
        (OSError(28, "No space left on device"), 1, "standard output cannot be written: No space left on device\n"),
    ],
)
def test_output_that_cannot_be_written_ends_the_command(monkeypatch, capsys, error, status, words):
    """It is no failure of the network, and only a full disk is worth a word."""
    monkeypatch.setattr(sys, "stdout", Failing(error))
    for write in (lambda: show("x"), lambda: show_json(1)):
        with pytest.raises(OutputLostError) as lost:
            write()
        assert not isinstance(lost.value, OSError)
        assert lost.value.end() == status
    assert capsys.readouterr().err == words * 2


def test_a_closed_output_takes_nothing(monkeypatch):
    """A command that was started without standard streams does its work all the same."""
    monkeypatch.setattr(sys, "stdout", None)
    monkeypatch.setattr(sys, "stderr", None)
    show("x")
    complain("x")


def test_an_error_that_cannot_be_said_is_let_go(monkeypatch):
    """There is nowhere left to say it."""
    monkeypatch.setattr(sys, "stderr", Failing(OSError(28, "full")))
    complain("x")


def test_raw_bytes_never_go_to_a_terminal(monkeypatch):
    """They may contain anything; a file or a pipe takes them."""

    class Terminal(io.StringIO):
        def isatty(self):
            return True

    monkeypatch.setattr(sys, "stdout", Terminal())
    with pytest.raises(ValueError, match="a pipe"):
        show_bytes(b"\x1b[2J")


def test_wrong_arguments_are_quoted_safely(capsys):
    """An argument may have been pasted from a log or a page."""
    parser = Parser(prog="tool")
    parser.add_argument("--number", type=int)
    for arguments in (["--unknown=\x1b[2J\n"], ["--number", BAD]):
        with pytest.raises(SystemExit):
            parser.parse_args(arguments)
    shown = capsys.readouterr().err
    assert shown.count("usage: tool") == 2
    assert all(line.isprintable() for line in shown.splitlines())
    assert "forged: line" not in [line[:12] for line in shown.splitlines()]


@pytest.mark.processes
@pytest.mark.parametrize("arguments", [["simulate", "--help"], ["schemas", "."], ["check", "--offline"]])
def test_a_reader_that_is_gone_is_no_traceback(tmp_path, arguments):
    """As with `| head -1`: no word, and the status of a program that SIGPIPE ends."""
    reader, writer = os.pipe()
    os.close(reader)
    arguments = [str(tmp_path) if one == "." else one for one in arguments]
    ended = run(writer, *arguments)
    os.close(writer)
    assert (ended.returncode, ended.stderr) == (141, b"")


def run(output, *arguments):
    """Run a command with its standard output there; it has a REDIS_URL, so that it looks for no `dev` of the user's."""
    command = [sys.executable, "-m", "router", *arguments]
    environment = dict(os.environ) | {"REDIS_URL": "redis://127.0.0.1:1"}
    return subprocess.run(command, stdout=output, stderr=subprocess.PIPE, cwd=ROOT, env=environment, check=False)


@pytest.mark.processes
def test_a_full_disk_is_said_in_one_line():
    """Not as a traceback, and not as an exit status of its own."""
    with Path("/dev/full").open("wb") as full:
        ended = run(full, "check", "--offline")
    assert (ended.returncode, ended.stderr) == (1, b"standard output cannot be written: No space left on device\n")
