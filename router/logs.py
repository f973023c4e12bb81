"""Structured logging: one wide line per unit of work, with the same field names in every process.

`log(event, **fields)` writes a JSON object, or text for people, to standard output. Callers mask addresses with
core.addresses.mask, and never pass bodies or secrets. Lines of libraries are written in the same form. Writing a line
takes a system call, which costs twice as much as making the line: `log_soon` and `lines_together` share one among many.
router.core.log_events lists every event name with its meaning.

A log that cannot be written changes nothing for the work: nothing here raises. The lines are dropped, counted, and
reported once one can be written (`log.dropped`). The stream waits for no reader (router.process.output).
"""

from __future__ import annotations

import asyncio
import atexit
import errno
import json
import logging
import re
import sys
import time
import traceback
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Final

import orjson

from router.core.printable import masked, visible_json

if TYPE_CHECKING:
    from collections.abc import Iterator

#: Characters of a line; in a longer one each field is cut to MAX_FIELD.
MAX_LINE: Final = 16_384
MAX_FIELD: Final = 1000
#: Seconds until the next attempt to report dropped lines, or to write those that the stream keeps.
RETRY_INTERVAL: Final = 1.0
#: What errors of Redis repeat of a command, with its values: redis-py in pipelines, and the server.
_COMMAND: Final = re.compile(r"(?s)(?<=Command # )(\d+) \(.*\)(?= of pipeline )|(, with args beginning with: ).*")
#: Libraries whose warnings any caller can trigger; the refused webhook has its own line.
_NOISY_LIBRARIES: Final = ("python_multipart",)
_LEVELS: Final = {"debug": 10, "info": 20, "warning": 30, "error": 40}


class LinesLostError(Exception):
    """Raised by a stream that keeps lines: `lines` is how many are lost, earlier ones included; its cause says why."""

    def __init__(self, lines: int) -> None:
        super().__init__(lines)
        self.lines = lines


class _Output:
    """Destination and form of all lines; set by `setup` once at the start of a process."""

    is_json = True
    threshold = 20
    process = "router"
    #: Where lines go; None: to the standard output of the moment.
    stream: Any = None
    #: Lines dropped since the last `log.dropped`, the reason, and the next attempt to report and write what is left.
    dropped = 0
    problem = ""
    retry: asyncio.TimerHandle | None = None
    #: Lines that wait to be written together, and the event loop that will write them at the end of its turn.
    lines: ClassVar[list[str]] = []
    loop: asyncio.AbstractEventLoop | None = None
    #: Number of open blocks of `lines_together`.
    blocks = 0
    #: `stamp` is the text of this second.
    second = 0
    stamp = ""


def setup(*, process: str, log_format: str = "json", level: str = "info", stream: Any = None) -> None:
    """Set form and threshold for this process, and route the log lines of libraries here.

    `stream` has `write` and `flush`, which may raise. One that keeps lines for later raises LinesLostError, and has an
    attribute `is_behind`, true as long as `flush` must be called again. A method `finish` is called at the end of the
    process.
    """
    _Output.is_json = log_format == "json"
    _Output.threshold = _LEVELS[level]
    _Output.process = process
    _Output.stream = stream
    root = logging.getLogger()
    root.handlers[:] = [_LibraryHandler()]
    root.setLevel(max(_LEVELS[level], logging.WARNING))
    for name in _NOISY_LIBRARIES:
        logging.getLogger(name).setLevel(logging.ERROR)


def log(event: str, *, level: str = "info", **fields: Any) -> None:
    """Write one line, after all that wait; fields that are None are left out."""
    if _LEVELS[level] < _Output.threshold:
        return
    _Output.lines.append(_line(event, level, fields))
    if not _Output.blocks:
        flush()


def log_soon(event: str, *, level: str = "info", **fields: Any) -> None:
    """Write one line together with all others of this turn of the event loop; without a loop, at once.

    A process that is killed (SIGKILL) may lose the lines of its last turn. Gain, by the profile: single writes were 7 %
    of the receiver's time.
    """
    if _LEVELS[level] < _Output.threshold:
        return
    _Output.lines.append(_line(event, level, fields))
    if _Output.loop is not None and not _Output.loop.is_closed():
        return  # checked first, since get_running_loop is a system call
    try:
        _Output.loop = asyncio.get_running_loop()
        _Output.loop.call_soon(flush)
    except RuntimeError:
        flush()


@contextmanager
def lines_together() -> Iterator[None]:
    """Write all lines of the block together when it ends; the block must not await."""
    _Output.blocks += 1
    try:
        yield
    finally:
        _Output.blocks -= 1
        if not _Output.blocks:
            flush()


def flush() -> None:
    """Write all waiting lines."""
    lines, _Output.lines, _Output.loop = _Output.lines, [], None
    if lines:
        _write("".join(lines))


@atexit.register
def finish() -> None:
    """Write all waiting lines at the end of the process, and let the stream write what it keeps; never raises."""
    flush()
    try:
        getattr(_Output.stream, "finish", lambda: None)()
    except LinesLostError as error:
        _drop(error.lines, error.__cause__)
    except Exception as error:  # noqa: BLE001 - as for a line
        _drop(0, error)


def _write(text: str) -> None:
    """Write whole lines; never raises."""
    stream = _Output.stream or sys.stdout
    try:
        if stream is None:
            raise OSError(errno.EBADF, "standard output is closed")  # noqa: TRY301 - dropped like any other failure
        if _Output.dropped:
            _report_dropped(stream, text)
        stream.write(text)
        stream.flush()
    except LinesLostError as error:
        _drop(error.lines, error.__cause__)
    except Exception as error:  # noqa: BLE001 - no work may fail for its log line, whatever stands for the output
        _drop(text.count("\n"), error)
    if _Output.dropped or getattr(stream, "is_behind", False):
        _retry_later()


def _report_dropped(stream: Any, text: str) -> None:
    """Write how many lines were dropped before `text`; raises LinesLostError, which counts `text`, or OSError."""
    number = _Output.dropped
    try:
        stream.write(_line("log.dropped", "error", {"lines": number, "reason": _Output.problem}))
        stream.flush()
    except LinesLostError as error:
        raise LinesLostError(error.lines - 1 + text.count("\n")) from error.__cause__
    _Output.dropped -= number


def _drop(lines: int, error: BaseException | None) -> None:
    _Output.dropped += lines
    _Output.problem = f"{type(error).__name__}: {getattr(error, 'strerror', None) or 'cannot be written'}"
    with suppress(Exception):
        from router.metrics import count  # noqa: PLC0415 - commands that never drop a line start faster without it

        count("router_log_lines_dropped", by=lines)


def _retry_later() -> None:
    """Try again soon even if no further line is logged; without an event loop the next line or the end does it."""
    try:
        loop = asyncio.get_running_loop()
    except RuntimeError:
        return
    if _Output.retry is None or _Output.retry.when() <= loop.time():
        _Output.retry = loop.call_later(RETRY_INTERVAL, _write, "")


def _line(event: str, level: str, fields: dict[str, Any]) -> str:
    """Return one line; never raises, because a webhook or an event must not fail for its log line."""
    try:
        return _as_json(event, level, fields) if _Output.is_json else _as_text(event, level, fields)
    except Exception as error:  # noqa: BLE001 - a value whose text cannot be made, for one
        return _as_json(event, level, {"unprintable": describe(error)})


def _as_json(event: str, level: str, fields: dict[str, Any]) -> str:
    if None in fields.values():
        fields = {name: value for name, value in fields.items() if value is not None}
    line = {"time": _now(), "level": level, "event": event, "process": _Output.process, **fields}
    text = _dumps(line)
    return f"{text if len(text) <= MAX_LINE else _dumps(_shortened(line))}\n"


def _shortened(fields: dict[str, Any]) -> dict[str, Any]:
    """Cut each field so that the line has a bounded length: values from outside may be of any length."""
    return {name: value if isinstance(value, int | float) else str(value)[:MAX_FIELD] for name, value in fields.items()}


def _dumps(value: Any) -> str:
    """Return JSON on one line."""
    try:
        text = orjson.dumps(value, default=str).decode()
    except TypeError:  # text that is not UTF-8, or a number outside JSON's range
        text = json.dumps(value, default=str, ensure_ascii=False).encode("utf-8", "replace").decode()
    return text if text.isascii() and "\x7f" not in text else visible_json(text)


def describe(error: BaseException) -> str:
    """Return type and place of an exception; its message may hold private data."""
    frames = traceback.extract_tb(error.__traceback__)
    place = f" at {Path(frames[-1].filename).name}:{frames[-1].lineno}" if frames else ""
    return f"{type(error).__name__}{place}"


def describe_fully(error: BaseException) -> str:
    """Return type and message of an error of Redis, the system or our own, masked and without the command it names."""
    return f"{type(error).__name__}: {masked(_COMMAND.sub(_without_values, str(error)))}"


def _without_values(found: re.Match[str]) -> str:
    return found[1] or f"{found[2]}..."


def describe_end(task: asyncio.Task[Any]) -> str | None:
    """Return for the log that a task which should run has ended, and why; None while it runs."""
    if not task.done():
        return None
    error = None if task.cancelled() else task.exception()
    return f"its task {task.get_name()} has ended" + (f": {describe(error)}" if error else "")


def _as_text(event: str, level: str, fields: dict[str, Any]) -> str:
    named = {name: value for name, value in fields.items() if value is not None}
    shown = " ".join(f"{name}={_plain(value)}" for name, value in named.items())
    if len(shown) > MAX_LINE:
        shown = " ".join(f"{name}={_plain(value)}" for name, value in _shortened(named).items())
    mark = "" if level == "info" else f"{level.upper()} "
    return f"{_now()[11:23]} {_Output.process:<11} {mark}{event} {shown}\n"


def _plain(value: Any) -> str:
    """Return a value on one line, so that values from outside cannot forge a line."""
    text = str(value)
    return text if text.isprintable() and text and " " not in text else _dumps(text)


def _now() -> str:
    seconds, fraction = divmod(time.time_ns() // 1_000_000, 1000)
    if seconds != _Output.second:  # a busy process gets here thousands of times a second
        _Output.second, _Output.stamp = seconds, time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(seconds))
    return f"{_Output.stamp}.{fraction:03d}Z"


class _LibraryHandler(logging.Handler):
    def emit(self, record: logging.LogRecord) -> None:
        level = record.levelname.lower() if record.levelname.lower() in _LEVELS else "error"
        error = describe(record.exc_info[1]) if record.exc_info and record.exc_info[1] else None
        try:
            message = record.getMessage()
        except Exception:  # noqa: BLE001 - arguments that do not fit the message
            message = str(record.msg)
        log("library", level=level, logger=record.name, message=message, error=error)
