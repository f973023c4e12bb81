"""Log lines: one per call whatever its values, and a table of events that matches the code."""

import ast
import asyncio
import errno
import io
import json
import logging
import re
import sys
from contextlib import suppress
from functools import partial

import pytest
from redis import ConnectionError as RedisConnectionError
from redis.asyncio import Redis
from redis.exceptions import ResponseError

from router import logs, metrics
from router.core.log_events import EVENTS
from router.logs import describe, describe_fully, lines_together, log, log_soon, setup
from tests.support.source import modules, name_of
from tests.support.waiting import until

CODE = modules("router", "handlers")
NASTY = [
    "line\nfeed",
    'forged\n{"level":"info","event":"webhook"}',
    "carriage\rreturn",
    "\x00\x1b[31mred\x1b[0m",
    "\x7f",
    "\x85next line",
    "\x9b31m",
    "\u2028\u2029",
    "\u202egnp.exe\u200b",
    "\ud800 alone",
    "\udcff\udcfe from bytes",
    "",
    "a b",
    "ä 陳 👋",
    'quote " and \\ backslash',
]


@pytest.fixture
def written(monkeypatch):
    """A function that sets logging up and returns a reader of what is written; restored afterwards."""
    for name in ("is_json", "threshold", "process", "stream", "dropped", "problem", "retry"):
        monkeypatch.setattr(logs._Output, name, getattr(logs._Output, name))
    root = logging.getLogger()
    monkeypatch.setattr(root, "handlers", root.handlers[:])
    monkeypatch.setattr(root, "level", root.level)
    for name in logs._NOISY_LIBRARIES:
        monkeypatch.setattr(logging.getLogger(name), "level", logging.getLogger(name).level)
    stream = io.StringIO()

    def start(**options):
        setup(**({"process": "tests", "stream": stream} | options))
        return stream.getvalue

    return start


@pytest.mark.parametrize("text", NASTY, ids=ascii)
def test_one_call_is_one_json_line(written, text):
    """Any value makes exactly one line of JSON."""
    output = written(level="debug")
    log("webhook", reason=text, nested={"key": text})
    (line,) = output().splitlines()
    assert output().endswith("\n")
    read = json.loads(line)
    assert (read["event"], read["level"], read["process"]) == ("webhook", "info", "tests")
    shown = text.encode("utf-8", "replace").decode()
    assert read["reason"] == shown
    line.encode("utf-8")


@pytest.mark.parametrize("text", NASTY, ids=ascii)
def test_one_call_is_one_text_line(written, text):
    """The same holds for text; no control character reaches the terminal."""
    output = written(log_format="text")
    log("webhook", level="warning", reason=text)
    (line,) = output().splitlines()
    assert line.isprintable()
    assert re.fullmatch(r"\d\d:\d\d:\d\d\.\d{3} tests +WARNING webhook reason=.+", line)
    line.encode("utf-8")


@pytest.mark.parametrize(
    "value",
    [2**80, {1: 2}, object(), b"bytes", {"x"}, ValueError("x"), float("nan")],
    ids=lambda value: type(value).__name__,
)
def test_any_value_can_be_logged(written, value):
    """A line is never lost because of its values."""
    output = written()
    log("event", value=value)
    assert json.loads(output())["event"] == "event"


@pytest.mark.parametrize("log_format", ["json", "text"])
def test_long_values_make_bounded_lines(written, log_format):
    """A line has a maximum length, however long or nested its values are; numbers stay numbers."""
    output = written(log_format=log_format)
    log("webhook", key="x" * 1_000_000, nested={str(number): "y" * 100 for number in range(10_000)}, status=200)
    (line,) = output().splitlines()
    assert len(line) < 4 * logs.MAX_FIELD
    assert "200" in line
    if log_format == "json":
        assert json.loads(line)["status"] == 200


def test_line_has_time_level_event_and_process(written):
    """Every line begins with the same four fields; a field that is None is left out."""
    output = written(process="web")
    log("webhook", status=200, reason=None)
    line = json.loads(output())
    assert list(line) == ["time", "level", "event", "process", "status"]
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", line["time"])


@pytest.mark.parametrize(("level", "shown"), [("debug", 4), ("info", 3), ("warning", 2), ("error", 1)])
def test_lines_below_the_level_are_not_written(written, level, shown):
    """Each level shows itself and the levels above it."""
    output = written(level=level)
    for each in ("debug", "info", "warning", "error"):
        log("event", level=each)
    assert len(output().splitlines()) == shown


def test_lines_of_libraries_have_the_same_form(written):
    """A library's warning is a line like ours; its errors show type and place, not the exception's message."""
    output = written()
    library = logging.getLogger("some.library")
    library.info("not shown")
    library.warning("watch %s", "out")
    try:
        int("+15551230001 said hello")
    except ValueError:
        library.exception("it failed")
    first, second = map(json.loads, output().splitlines())
    assert (first["event"], first["logger"], first["message"]) == ("library", "some.library", "watch out")
    assert (second["level"], second["message"]) == ("error", "it failed")
    assert second["error"].startswith("ValueError at test_logs.py:")
    assert "15551230001" not in output()


def test_callers_cannot_make_a_library_log(written):
    """Warnings of the multipart parser, which any caller can trigger, are dropped: the webhook has its own line."""
    output = written()
    logging.getLogger("python_multipart.multipart").warning("Found invalid character")
    assert output() == ""
    logging.getLogger("python_multipart.multipart").error("broken")
    assert "broken" in output()


def test_an_unknown_level_is_an_error(written):
    """CRITICAL is written as error."""
    output = written()
    logging.getLogger("x").critical("bad")
    assert json.loads(output())["level"] == "error"


def test_an_error_that_was_never_raised_has_no_place():
    """Its description is its type alone."""
    assert describe(ValueError("secret")) == "ValueError"


def test_an_error_of_redis_shows_neither_command_nor_address():
    """redis-py puts the command that failed into the error of a pipeline, and the server the arguments of one."""
    error = ResponseError("WRONGTYPE Operation against a key")
    Redis().pipeline().annotate_exception(
        error, 2, [b"ZADD", "key (a)\n", 1.5, "SMS|+15557650000", "EMAIL|ana@b.example"]
    )
    assert "15557650000" in str(error)
    assert "ana@b.example" in str(error)
    shown = "ResponseError: Command # 2 of pipeline caused error: ('WRONGTYPE Operation against a key',)"
    assert describe_fully(error) == shown
    error = ResponseError("unknown command 'ZADX', with args beginning with: 'a' '15557650000' ")
    assert describe_fully(error) == "ResponseError: unknown command 'ZADX', with args beginning with: ..."


def test_the_message_of_any_other_error_is_masked():
    """What operators need stays: places, files and reasons."""
    assert describe_fully(ResponseError("no key route:SMS|+15557650000")) == "ResponseError: no key route:SMS|+155***00"
    assert describe_fully(OSError(28, "No space left", "/spool/a")) == "OSError: [Errno 28] No space left: '/spool/a'"
    refused = "ConnectionError: Error 111 connecting to 127.0.0.1:6379. Connection refused."
    assert describe_fully(RedisConnectionError(refused.partition(": ")[2])) == refused


def test_standard_output_is_looked_up_when_a_line_is_written(written, capsys):
    """Without a stream of its own, a process writes to the standard output of that moment."""
    written(stream=None)
    log("event", value=1)
    assert json.loads(capsys.readouterr().out)["value"] == 1


class Counting(io.StringIO):
    """Counts flushes, each of which costs a system call."""

    flushed = 0

    def flush(self):
        self.flushed += 1


def results(stream):
    """Return the results in the lines written so far, in order."""
    return [json.loads(line)["result"] for line in stream.getvalue().splitlines()]


async def test_lines_of_one_turn_of_the_loop_are_written_together(written):
    """No line is written before the turn ends, and all of them after it; the same holds for the next turn."""
    stream = Counting()
    written(stream=stream)
    for turn in (1, 2):
        before = results(stream)
        for number in range(3):
            log_soon("webhook", result=f"{turn}.{number}")
        assert results(stream) == before
        await asyncio.sleep(0)
        assert stream.flushed == turn
    assert results(stream) == ["1.0", "1.1", "1.2", "2.0", "2.1", "2.2"]


async def test_an_immediate_line_is_written_after_the_waiting_ones(written):
    """Lines keep the order in which they were made, whether written immediately or later."""
    stream = Counting()
    written(stream=stream, level="info")
    log_soon("webhook", result="first")
    log_soon("webhook", level="debug", result="not shown")
    log("webhook", result="second")
    assert results(stream) == ["first", "second"]
    await asyncio.sleep(0)
    assert stream.flushed == 1


def test_without_a_loop_lines_are_written_at_once(written):
    """No event loop would write them later."""
    stream = Counting()
    written(stream=stream)
    log_soon("webhook", result="now")
    assert results(stream) == ["now"]


def test_lines_survive_a_loop_that_ends(written):
    """A line that a loop did not write is written with the next line, or by the next loop."""
    stream = Counting()
    written(stream=stream)

    for result in ("one", "two"):
        loop = asyncio.new_event_loop()
        loop.call_soon(partial(log_soon, "webhook", result=result))
        loop.call_soon(loop.stop)
        loop.run_forever()
        loop.close()
    log("webhook", result="end")
    assert results(stream) == ["one", "two", "end"]


def test_lines_of_a_block_are_written_together_at_its_end(written):
    """There is one write, also if the block ends with an error or is nested."""
    stream = Counting()
    written(stream=stream)
    with suppress(ValueError), lines_together():
        log("webhook", result="a")
        with lines_together():
            log("webhook", result="b")
        assert stream.flushed == 0
        log("webhook", result="c")
        raise ValueError
    assert stream.flushed == 1
    assert results(stream) == ["a", "b", "c"]


class Broken(io.StringIO):
    """An output that cannot be written while it has a `problem`."""

    problem = OSError(errno.ENOSPC, "No space left on device")

    def write(self, text):
        if self.problem:
            raise self.problem
        return super().write(text)


def dropped_lines():
    return metrics.REGISTRY.get_sample_value("router_log_lines_dropped_total")


@pytest.mark.parametrize(
    "problem",
    [
        OSError(errno.ENOSPC, "No space left on device"),
        BrokenPipeError(errno.EPIPE, "Broken pipe"),
        ValueError("I/O operation on closed file"),
        UnicodeEncodeError("ascii", "x", 0, 1, "ordinal not in range"),
    ],
    ids=lambda problem: type(problem).__name__,
)
def test_a_log_that_cannot_be_written_raises_nothing_and_counts_its_lines(written, problem):
    """All ways to log go on; the first line that can be written again says how many were dropped, and why."""
    stream = Broken()
    stream.problem = problem
    written(stream=stream)
    before = dropped_lines()
    log("event")
    log_soon("webhook")
    with lines_together():
        log("event")
        log("event")
    logging.getLogger("some.library").warning("careful")
    assert dropped_lines() == before + 5
    stream.problem = None
    log("event", result="written")
    log("event", result="written")
    report, *others = map(json.loads, stream.getvalue().splitlines())
    assert (report["event"], report["level"], report["lines"]) == ("log.dropped", "error", 5)
    assert report["reason"].startswith(type(problem).__name__)
    assert [line["result"] for line in others] == ["written", "written"]
    assert dropped_lines() == before + 5


def test_a_closed_standard_output_raises_nothing(written, monkeypatch):
    """A process that was started without one works all the same."""
    written(stream=None)
    monkeypatch.setattr(sys, "stdout", None)
    before = dropped_lines()
    log("event")
    assert dropped_lines() == before + 1


async def test_dropped_lines_are_reported_even_if_nothing_else_is_logged(written, monkeypatch):
    """The report does not wait for the next line of a process that has little to say."""
    monkeypatch.setattr(logs, "RETRY_INTERVAL", 0.01)
    stream = Broken()
    written(stream=stream)
    log("event")
    stream.problem = None
    await until(stream.getvalue)
    assert json.loads(stream.getvalue())["lines"] == 1


class Mute:
    def __str__(self):
        raise RuntimeError


def test_a_value_without_a_text_does_not_cost_the_line(written):
    """The line is written without its fields, and says that one of them cannot be shown."""
    output = written()
    log("event", value=Mute())
    line = json.loads(output())
    assert line["event"] == "event"
    assert line["unprintable"].startswith("RuntimeError at test_logs.py")


def test_a_library_that_logs_wrong_arguments_is_logged(written):
    """Its message is written as it stands: no work of ours fails for it."""
    output = written()
    logging.getLogger("some.library").warning("%d of %d", "one")  # noqa: PLE1206 - that is the point
    assert json.loads(output())["message"] == "%d of %d"


#: Functions that pass an event's name on.
PASSING = ("_log", "log", "log_soon", "_line")


def events_in_code():
    """Return every event name given to `log` or `log_soon`, or to a function that passes it on."""
    found, unnamed = set(), []
    for module in CODE:
        passing = {id(call) for one in module.functions() if one.name in PASSING for call in ast.walk(one)}
        for call in module.calls("log", "log_soon", "_log", "_line"):
            if isinstance(call.func, ast.Attribute) and call.func.attr == "log":
                continue  # another object's method
            if isinstance(call.args[0], ast.Constant):
                found.add(call.args[0].value)
            elif id(call) not in passing:
                unnamed.append(f"{module.path}:{call.lineno}")
    assert not unnamed, f"the event's name is not a literal: {unnamed}"
    return found


def test_the_table_of_events_matches_the_code():
    """Every logged event has its meaning in the table, and the table has no other."""
    assert set(EVENTS) == events_in_code()


def test_no_field_replaces_a_standard_one():
    """No call names a field like one of those that every line begins with."""
    for module in CODE:
        for call in module.calls("log", "log_soon"):
            given = {keyword.arg for keyword in call.keywords}
            assert not given & {"time", "event", "process"}, f"{module.path}:{call.lineno}"


def test_only_commands_print():
    """Processes log; only commands for people print."""
    commands = ("router/commands/", "router/dev/", "router/simulator/", "router/__main__", "handlers/__main__")
    for module in CODE:
        if not module.path.startswith(commands):
            assert not [call for call in module.calls("print") if name_of(call.func) == "print"], module.path
