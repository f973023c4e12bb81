"""All that commands print, for people and for programs.

Nothing is written to standard output or standard error elsewhere, except log lines (router.logs) and the output of
child processes. What is printed may come from strangers, so every line is made visible (router.core.printable) and its
phone numbers and mailboxes are masked as in the log, unless the words are our own or an operator asked for the rest. A
reader that is gone (`| head -1`) ends the command without a word.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import sys
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, NoReturn

from router.core.printable import masked, visible, visible_json

if TYPE_CHECKING:
    from collections.abc import Iterable

#: The script that the package installs.
_SCRIPT: Final = "participant-router"
#: Characters of a line; a longer one is cut.
MAX_LINE: Final = 16_384
#: The exit status of a command whose reader is gone: that of a program which SIGPIPE ends.
READER_GONE: Final = 141


class Style(StrEnum):
    """How a terminal shows a line: the parameters of its control sequence (ECMA-48, SGR)."""

    PLAIN = ""
    FAINT = "2"
    RED = "31"
    GREEN = "32"
    YELLOW = "33"
    BLUE = "34"
    MAGENTA = "35"


class OutputLostError(Exception):
    """Standard output cannot be written: its reader is gone (`status` 141, not worth a word), or its disk is full (1).

    No OSError, which would be taken for a failure of the network.
    """

    def __init__(self, cause: OSError) -> None:
        super().__init__(f"standard output cannot be written: {cause.strerror or cause}")
        self.status = READER_GONE if isinstance(cause, BrokenPipeError) else 1

    def end(self) -> int:
        """Say so unless the reader is gone, who had seen enough; returns the exit status."""
        if self.status != READER_GONE:
            complain(str(self))
        return self.status


class CommandFailedError(Exception):
    """A command cannot do its work, for a reason outside it: its text is printed, masked, and the exit status is 1."""


class Parser(argparse.ArgumentParser):
    """A parser of a command line that prints as everything else does."""

    def error(self, message: str) -> NoReturn:
        """End with usage and message, which may quote an argument that was pasted from somewhere."""
        super().error(visible(message))

    def _print_message(self, message: str, file: Any = None) -> None:
        lines = message.removesuffix("\n").split("\n")
        if file is sys.stderr:
            complain(*lines, unmasked=True)
        else:
            show(*lines, unmasked=True)


def show(*lines: str, end: str = "\n", unmasked: bool = False) -> None:
    """Print lines to standard output, each closed by `end`; a line break within one is made visible.

    `unmasked`: the words are our own, or an operator asked for them so. Raises OutputLostError.
    """
    _print_all([_prepared(line, unmasked=unmasked) for line in lines], end)


def show_styled(lines: Iterable[tuple[str, Style]]) -> None:
    """Print lines to a terminal in their styles, all at once; they are masked already. Raises OutputLostError."""
    shown = [(_prepared(line, unmasked=True), style) for line, style in lines]
    _print_all([f"\x1b[{style}m{line}\x1b[0m" if style else line for line, style in shown], "\n")


def own_program() -> str:
    """Return how this program was called, for commands that it suggests: they can be pasted as they stand."""
    name = Path(sys.argv[0])
    return name.name if name.suffix != ".py" and name.name.startswith(_SCRIPT) else f"{_python()} -m router"


def _python() -> str:
    """Return the path of this Python, relative to the working directory where that is shorter."""
    return min(os.path.relpath(sys.executable), sys.executable, key=len)


def has_terminal() -> bool:
    """Return whether standard output is a terminal."""
    return sys.stdout is not None and not sys.stdout.closed and sys.stdout.isatty()


def can_show(text: str) -> bool:
    """Return whether the encoding of standard output has all characters of a text."""
    try:
        text.encode(getattr(sys.stdout, "encoding", None) or "utf-8")
    except UnicodeEncodeError:
        return False
    return True


def show_json(value: Any, *, unmasked: bool = False) -> None:
    """Print a value as one line of JSON, for programs. Raises OutputLostError."""
    import orjson  # noqa: PLC0415 - most commands print no JSON

    text = orjson.dumps(_for_json(value, unmasked=unmasked), default=str).decode()
    _print_all([visible_json(text)], "\n")


def _for_json(value: Any, *, unmasked: bool) -> Any:
    """Return a value whose texts are masked, before escapes of JSON stand next to a number, and can be encoded."""
    if isinstance(value, dict):
        items = value.items()
        return {_for_json(name, unmasked=unmasked): _for_json(one, unmasked=unmasked) for name, one in items}
    if isinstance(value, list | tuple):
        return [_for_json(one, unmasked=unmasked) for one in value]
    if not isinstance(value, str):
        return value
    text = value.encode("utf-8", "backslashreplace").decode()
    return text if unmasked else masked(text)


def show_bytes(content: bytes) -> None:
    """Write bytes to standard output as they are; raises ValueError if that is a terminal, or OutputLostError."""
    if sys.stdout.isatty():
        raise ValueError("a terminal may obey what the bytes say: name a file, or use a pipe")
    try:
        sys.stdout.buffer.write(content)
        sys.stdout.buffer.flush()
    except OSError as error:
        raise _lost(error) from error


def complain(*lines: str, unmasked: bool = False) -> None:
    """Print lines to standard error; never raises, because there is nowhere to say that it failed."""
    with contextlib.suppress(OSError, ValueError):
        _write(sys.stderr, [_prepared(line, unmasked=unmasked) for line in lines], "\n")


def _prepared(text: str, *, unmasked: bool) -> str:
    shown = visible(text if unmasked else masked(text[:MAX_LINE]))
    return shown if len(shown) <= MAX_LINE else f"{shown[:MAX_LINE]}..."


def _print_all(lines: Iterable[str], end: str) -> None:
    try:
        _write(sys.stdout, lines, end)
    except OSError as error:
        raise _lost(error) from error


def _write(stream: Any, lines: Iterable[str], end: str) -> None:
    """Write lines at once; what the encoding of the stream does not have is escaped. A closed stream takes nothing."""
    if stream is None:
        return
    text, encoding = "".join(f"{line}{end}" for line in lines), stream.encoding or "utf-8"
    stream.write(text.encode(encoding, "backslashreplace").decode(encoding))
    stream.flush()


def _lost(cause: OSError) -> OutputLostError:
    """Return the error, after making sure that Python does not try to write the rest once more at the end."""
    with contextlib.suppress(OSError, ValueError):
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, sys.stdout.fileno())
        os.close(nowhere)
    return OutputLostError(cause)
