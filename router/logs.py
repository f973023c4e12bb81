"""Structured logging: one wide line per unit of work, the same field names in every process.

`log(event, **fields)` writes a JSON object (or, for people, text) to standard output. Addresses go through
core.addresses.mask before they come here, and bodies and secrets never do. Lines of libraries go the same way.
A line costs a system call, twice what making it does: `log_soon` and `lines_together` write many with one.
`EVENTS` lists every event name with its meaning; a test compares it with the code.
"""

from __future__ import annotations

import asyncio
import atexit
import json
import logging
import sys
import time
import traceback
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Final

import orjson

if TYPE_CHECKING:
    from collections.abc import Iterator

EVENTS: Final = {
    "process.started": "a process is up; its effective configuration, masked",
    "process.stopping": "SIGTERM or SIGINT came; in-flight work is being finished",
    "process.stopped": "a process has ended cleanly",
    "process.restarted": "a supervised process died and is started again",
    "process.failed": "a process ends because something it needs is lost; exit status is not 0",
    "webhook": "one webhook: source, status, result (accepted, spooled, duplicate or why it was refused), key,"
    " milliseconds",
    "webhook.shadow": "a webhook was let in whose signature is not right: its source is in shadow mode; what was wrong",
    "shadow.on": "sources are in shadow mode: whoever knows their URLs can post what they like",
    "quarantine.failed": "refused webhooks could not be kept for inspection and replay: why not, and how many",
    "spool.begun": "Redis cannot take webhooks, or a dead process has left some: they go to the spool on disk; why",
    "spool.adopted": "files of the spool that a dead process had left were taken over; how many events are in them",
    "spool.drained": "all that was in the spool is in Redis, and webhooks go there directly again",
    "spool.failed": "the spool cannot be written or read, or Redis refuses what is in it: why; webhooks may get a 503",
    "event": "one inbound event: its result, the reason, participant, conversation and target,"
    " what became of a communication (published, known), milliseconds",
    "batch.failed": "a batch could not be settled as a whole; each of its entries is tried on its own",
    "event.waiting": "an event waits for something to recover (API outage, rate limit); nobody's fault",
    "event.failed": "an event failed and will be tried again",
    "budget.spent": "nearly everything fails: nothing is given up any more, it waits, and somebody must look",
    "budget.recovered": "things succeed again: what still fails is given up as usual",
    "event.dead": "an event was given up and became a dead letter",
    "consumed": "one entry of a participants stream: what a consumer did with it, milliseconds",
    "roster.assigned": "a conversation that had waited got its human agent, who has joined",
    "roster.released": "a human agent was freed of a conversation that had closed without an entry",
    "roster.failed": "a human agent could not join a conversation that had waited; it is tried again",
    "background.failed": "what a handler does beside its consuming failed; it is started again",
    "claimed": "entries of a dead consumer were taken over",
    "configuration.unknown": "the configuration could not be fetched at the start: its numbers are not known as ours",
    "voice.note": "at the start: what is to be known of the voice templates, such as a setting that they lack",
    "voice.doubled": "the configuration captures calls that a voice template transcribes too: paid and told twice",
    "group.created": "a consumer group was created, at the beginning of its stream",
    "reading.lost": "a consumer's reading has stopped (its group or stream is gone, Redis refuses): it begins again",
    "reading.waiting": "it cannot begin to read again yet: why not; it is tried until it can",
    "reading.resumed": "a consumer reads again",
    "reading.failed": "what is at the key of a stream is no stream: a consumer ends",
    "heartbeat.failed": "a heartbeat could not be written",
    "claimer.failed": "looking for entries of dead consumers failed; it is tried again",
    "reconciler.recovered": "a sweep published what no status callback had told: they get lost, or nobody sends any",
    "reconciler.paused": "the API refuses or fails the sweeps of an account: they rest for so many seconds, and why",
    "reconciler.failed": "sweeping failed; it is tried again",
    "trim.failed": "trimming a stream failed; it is tried again",
    "trim.held": "a group does not read or finish what is older than the retention, or more than a stream shall hold:"
    " none of it can go before it does; which group, and its oldest entry",
    "redis.failed": "Redis did not answer; it is tried again",
    "library": "a line of a library",
}

#: What JSON leaves raw and still ends a line or steers a terminal: DEL, C1 controls, line and paragraph separators.
_RAW: Final = {number: f"\\u{number:04x}" for number in (*range(0x7F, 0xA0), 0x2028, 0x2029)}
#: Characters of a line as it usually is; in a longer one each field is cut.
MAX_LINE: Final = 16_384
MAX_FIELD: Final = 1000
#: Libraries whose warnings strangers cause at will; the webhook that is refused for it has its own line.
_WARNED_BY_STRANGERS: Final = ("python_multipart",)
_LEVELS: Final = {"debug": 10, "info": 20, "warning": 30, "error": 40}


class _Output:
    """Where lines go, and in which form; set once at the start of a process by `setup`."""

    is_json = True
    threshold = 20
    process = "router"
    stream: Any = None
    #: Lines that are written together, and the event loop that will do so at the end of its turn.
    lines: ClassVar[list[str]] = []
    loop: asyncio.AbstractEventLoop | None = None
    #: Blocks of `lines_together` that are open.
    blocks = 0
    #: The second that `stamp` is the text of.
    second = 0
    stamp = ""


def setup(*, process: str, log_format: str = "json", level: str = "info", stream: Any = None) -> None:
    """Set the form and the threshold for this process, and send the lines of libraries the same way."""
    _Output.is_json = log_format == "json"
    _Output.threshold = _LEVELS[level]
    _Output.process = process
    _Output.stream = stream
    root = logging.getLogger()
    root.handlers[:] = [_LibraryHandler()]
    root.setLevel(max(_LEVELS[level], logging.WARNING))
    for name in _WARNED_BY_STRANGERS:
        logging.getLogger(name).setLevel(logging.ERROR)


def log(event: str, *, level: str = "info", **fields: Any) -> None:
    """Write one line, behind all that came before it; fields that are None are left out."""
    if _LEVELS[level] < _Output.threshold:
        return
    _Output.lines.append(_line(event, level, fields))
    if not _Output.blocks:
        flush()


def log_soon(event: str, *, level: str = "info", **fields: Any) -> None:
    """Write one line together with all others of this turn of the event loop; without a loop, at once.

    A process that is killed (SIGKILL) may die with the lines of its last turn.
    """
    if _LEVELS[level] < _Output.threshold:
        return
    _Output.lines.append(_line(event, level, fields))
    if _Output.loop is not None and not _Output.loop.is_closed():
        return  # first, since asking for the running loop is a system call
    try:
        _Output.loop = asyncio.get_running_loop()
        _Output.loop.call_soon(flush)
    except RuntimeError:
        flush()


@contextmanager
def lines_together() -> Iterator[None]:
    """Write what is logged in the block when it is left; nothing may be awaited in it."""
    _Output.blocks += 1
    try:
        yield
    finally:
        _Output.blocks -= 1
        if not _Output.blocks:
            flush()


@atexit.register
def flush() -> None:
    """Write the lines that wait."""
    lines, _Output.lines, _Output.loop = _Output.lines, [], None
    if lines:
        stream = _Output.stream or sys.stdout
        stream.write("".join(lines))
        stream.flush()


def _line(event: str, level: str, fields: dict[str, Any]) -> str:
    return _as_json(event, level, fields) if _Output.is_json else _as_text(event, level, fields)


def _as_json(event: str, level: str, fields: dict[str, Any]) -> str:
    line = {"time": _now(), "level": level, "event": event, "process": _Output.process, **fields}
    if None in line.values():
        line = {name: value for name, value in line.items() if value is not None}
    text = _dumps(line)
    return f"{text if len(text) <= MAX_LINE else _dumps(_shortened(line))}\n"


def _shortened(fields: dict[str, Any]) -> dict[str, Any]:
    """Return fields that make a line of bounded length: what comes from outside has no end of its own."""
    return {name: value if isinstance(value, int | float) else str(value)[:MAX_FIELD] for name, value in fields.items()}


def _dumps(value: Any) -> str:
    """Return JSON on one line; never raises, because a webhook or an event must not fail for want of its line."""
    try:
        text = orjson.dumps(value, default=str).decode()
    except TypeError:  # text from outside that is not UTF-8, a number beyond JSON's
        text = json.dumps(value, default=str, ensure_ascii=False).encode("utf-8", "replace").decode()
    return text if text.isascii() and "\x7f" not in text else text.translate(_RAW)


def describe(error: BaseException) -> str:
    """Name a failure by its kind and place; its own words may hold what no log line shows."""
    frames = traceback.extract_tb(error.__traceback__)
    place = f" at {Path(frames[-1].filename).name}:{frames[-1].lineno}" if frames else ""
    return f"{type(error).__name__}{place}"


def _as_text(event: str, level: str, fields: dict[str, Any]) -> str:
    named = {name: value for name, value in fields.items() if value is not None}
    shown = " ".join(f"{name}={_plain(value)}" for name, value in named.items())
    if len(shown) > MAX_LINE:
        shown = " ".join(f"{name}={_plain(value)}" for name, value in _shortened(named).items())
    mark = "" if level == "info" else f"{level.upper()} "
    return f"{_now()[11:23]} {_Output.process:<11} {mark}{event} {shown}\n"


def _plain(value: Any) -> str:
    """Return a value on one line: what comes from outside must not be able to forge a line."""
    text = str(value)
    if not text.isprintable() or " " in text or not text:
        return _dumps(text)
    return text


def _now() -> str:
    seconds, fraction = divmod(time.time_ns() // 1_000_000, 1000)
    if seconds != _Output.second:  # a busy process asks thousands of times a second
        _Output.second, _Output.stamp = seconds, time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(seconds))
    return f"{_Output.stamp}.{fraction:03d}Z"


class _LibraryHandler(logging.Handler):
    def emit(self, record: logging.LogRecord) -> None:
        level = record.levelname.lower() if record.levelname.lower() in _LEVELS else "error"
        error = describe(record.exc_info[1]) if record.exc_info and record.exc_info[1] else None
        log("library", level=level, logger=record.name, message=record.getMessage(), error=error)
