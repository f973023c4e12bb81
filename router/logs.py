"""Structured logging: one wide line per unit of work, the same field names in every process.

`log(event, **fields)` writes a JSON object (or, for people, text) to standard output. Addresses go through
core.addresses.mask before they come here, and bodies and secrets never do. Lines of libraries go the same way.
`EVENTS` lists every event name with its meaning; a test compares it with the code.
"""

from __future__ import annotations

import logging
import sys
import time
from typing import Any, Final

import orjson

EVENTS: Final = {
    "process.started": "a process is up; its effective configuration, masked",
    "process.stopping": "SIGTERM or SIGINT came; in-flight work is being finished",
    "process.stopped": "a process has ended cleanly",
    "process.restarted": "a supervised process died and is started again",
    "process.failed": "a process ends because something it needs is lost; exit status is not 0",
    "webhook": "one webhook: source, status, result (accepted, duplicate or why it was refused), subject, milliseconds",
    "event": "one inbound event: its result, the reason, participant, conversation and target, milliseconds",
    "batch.failed": "a batch could not be settled as a whole; each of its entries is tried on its own",
    "event.waiting": "an event waits for something to recover (API outage, rate limit); nobody's fault",
    "event.failed": "an event failed and will be tried again",
    "event.dead": "an event was given up and became a dead letter",
    "consumed": "one entry of a participants stream: what a consumer did with it, milliseconds",
    "consumer.waiting": "a consumer's effect waits for something to recover",
    "consumer.failed": "a consumer's effect failed and will be tried again",
    "consumer.dead": "an entry was given up by a consumer and became a dead letter",
    "roster.assigned": "a conversation that had waited got its human agent, who has joined",
    "roster.released": "a human agent was freed of a conversation that had closed without an entry",
    "roster.failed": "the sweep of the human agents failed; it is tried again",
    "claimed": "entries of a dead consumer were taken over",
    "embedded.fake": "fakeredis runs instead of a real server: nothing survives it, and blocked readers wake late",
    "group.created": "a consumer group was created, at the beginning of its stream",
    "heartbeat.failed": "a heartbeat could not be written",
    "claimer.failed": "looking for entries of dead consumers failed; it is tried again",
    "trim.failed": "trimming a stream failed; it is tried again",
    "redis.failed": "Redis did not answer; it is tried again",
    "library": "a line of a library",
}

_LEVELS: Final = {"debug": 10, "info": 20, "warning": 30, "error": 40}


class _Output:
    """Where lines go, and in which form; set once at the start of a process by `setup`."""

    is_json = True
    threshold = 20
    process = "router"
    stream: Any = None


def setup(*, process: str, log_format: str = "json", level: str = "info", stream: Any = None) -> None:
    """Set the form and the threshold for this process, and send the lines of libraries the same way."""
    _Output.is_json = log_format == "json"
    _Output.threshold = _LEVELS[level]
    _Output.process = process
    _Output.stream = stream
    root = logging.getLogger()
    root.handlers[:] = [_LibraryHandler()]
    root.setLevel(max(_LEVELS[level], logging.WARNING))


def log(event: str, *, level: str = "info", **fields: Any) -> None:
    """Write one line; fields that are None are left out."""
    if _LEVELS[level] < _Output.threshold:
        return
    stream = _Output.stream or sys.stdout
    stream.write(_as_json(event, level, fields) if _Output.is_json else _as_text(event, level, fields))
    stream.flush()


def _as_json(event: str, level: str, fields: dict[str, Any]) -> str:
    line = {"time": _now(), "level": level, "event": event, "process": _Output.process}
    line.update((name, value) for name, value in fields.items() if value is not None)
    return orjson.dumps(line, default=str, option=orjson.OPT_APPEND_NEWLINE).decode()


def _as_text(event: str, level: str, fields: dict[str, Any]) -> str:
    shown = " ".join(f"{name}={_plain(value)}" for name, value in fields.items() if value is not None)
    mark = "" if level == "info" else f"{level.upper()} "
    return f"{_now()[11:23]} {_Output.process:<11} {mark}{event} {shown}\n"


def _plain(value: Any) -> str:
    """Return a value on one line: what comes from outside must not be able to forge a line."""
    text = str(value)
    if not text.isprintable() or " " in text or not text:
        return orjson.dumps(text).decode()
    return text


def _now() -> str:
    seconds, fraction = divmod(time.time_ns() // 1_000_000, 1000)
    return f"{time.strftime('%Y-%m-%dT%H:%M:%S', time.gmtime(seconds))}.{fraction:03d}Z"


class _LibraryHandler(logging.Handler):
    def emit(self, record: logging.LogRecord) -> None:
        level = record.levelname.lower() if record.levelname.lower() in _LEVELS else "error"
        error = (
            f"{record.exc_info[0].__name__}: {record.exc_info[1]}" if record.exc_info and record.exc_info[0] else None
        )
        log("library", level=level, logger=record.name, message=record.getMessage(), error=error)
