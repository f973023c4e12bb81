"""The log's stream: it waits for no reader, keeps what is not read yet, and says which lines are lost."""

import contextlib
import fcntl
import json
import os
import resource
import signal
import subprocess
import sys
import threading
import time

import pytest

from router.logs import LinesLostError
from router.process import output
from router.process.output import MAX_KEPT, LogStream
from tests.support.waiting import scaled

LINE = "x" * 99 + "\n"


class Pipe:
    """A pipe whose reader reads when it is asked to."""

    def __init__(self):
        self.reader, self.writer = os.pipe()
        for end in (self.reader, self.writer):
            os.set_blocking(end, False)

    def read(self):
        """Return all that the pipe holds."""
        read = bytearray()
        try:
            while part := os.read(self.reader, 65536):
                read += part
        except BlockingIOError:
            pass
        return bytes(read)


@pytest.fixture
def pipe():
    pipe = Pipe()
    yield pipe
    for end in (pipe.reader, pipe.writer):
        with contextlib.suppress(OSError):
            os.close(end)


def put(stream, text):
    """Write as the log does."""
    stream.write(text)
    stream.flush()


def test_lines_are_written_at_once(pipe):
    """Nothing is kept for a reader that reads."""
    stream = LogStream(pipe.writer)
    put(stream, LINE)
    put(stream, "one\ntwo \udcff\n")
    assert pipe.read() == (LINE + "one\ntwo ?\n").encode()
    assert not stream.is_behind


def test_a_reader_that_stops_is_not_waited_for_and_gets_everything_later(pipe):
    """More than a pipe holds is kept, in order, and no line is cut."""
    stream = LogStream(pipe.writer)
    lines = [f"{number:099}\n" for number in range(2000)]
    for line in lines:
        put(stream, line)
    assert stream.is_behind
    read = b""
    while stream.is_behind:
        read += pipe.read()
        stream.flush()
    read += pipe.read()
    assert read == "".join(lines).encode()


def test_what_is_kept_is_bounded(pipe):
    """Beyond it a line is refused, which the log counts; the lines before it still arrive whole."""
    stream, taken = LogStream(pipe.writer), 0
    while len(stream._kept) < MAX_KEPT:
        put(stream, LINE)
        taken += 1
    with pytest.raises(BlockingIOError):
        stream.write(LINE)
    read = b""
    while stream.is_behind:
        read += pipe.read()
        stream.flush()
    assert read + pipe.read() == LINE.encode() * taken
    put(stream, "again\n")
    assert pipe.read() == b"again\n"


def test_a_reader_that_is_gone_costs_the_lines_that_were_kept(pipe):
    """All of them are counted."""
    stream = LogStream(pipe.writer)
    while not stream.is_behind:
        put(stream, LINE)
    stream.write(LINE * 5)
    os.close(pipe.reader)
    with pytest.raises(LinesLostError) as lost:
        stream.flush()
    assert lost.value.lines == 6
    assert isinstance(lost.value.__cause__, BrokenPipeError)
    assert not stream.is_behind


@pytest.fixture
def small_disk(tmp_path):
    """A file that this process can make 250 bytes long."""
    usual = resource.getrlimit(resource.RLIMIT_FSIZE)
    assert signal.getsignal(signal.SIGXFSZ) == signal.SIG_IGN
    file = os.open(tmp_path / "log", os.O_RDWR | os.O_CREAT | os.O_APPEND)
    resource.setrlimit(resource.RLIMIT_FSIZE, (250, usual[1]))
    yield file
    resource.setrlimit(resource.RLIMIT_FSIZE, usual)
    os.close(file)


def test_a_line_that_a_full_disk_cuts_does_not_spoil_the_next_one(small_disk, tmp_path):
    """The disk takes half a line; when there is room again the next line begins a line of its own."""
    stream = LogStream(small_disk)
    with pytest.raises(LinesLostError) as lost:
        put(stream, LINE * 4)
    assert lost.value.lines == 2
    with pytest.raises(LinesLostError) as lost:
        put(stream, LINE * 3)
    assert lost.value.lines == 3
    resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, resource.getrlimit(resource.RLIMIT_FSIZE)[1]))
    put(stream, LINE)
    assert (tmp_path / "log").read_text().splitlines() == [LINE[:-1], LINE[:-1], "x" * 50, LINE[:-1]]


def test_a_pipe_that_others_share_stays_as_it_is(pipe, monkeypatch):
    """The stream opens the pipe anew: a process that writes to it as well is not surprised by EAGAIN."""
    os.set_blocking(pipe.writer, True)
    monkeypatch.setattr(output, "STANDARD_OUTPUT", pipe.writer)
    stream = LogStream.open()
    put(stream, LINE)
    assert pipe.read() == LINE.encode()
    assert os.get_blocking(pipe.writer)
    assert not fcntl.fcntl(stream._descriptor, fcntl.F_GETFL) & os.O_APPEND
    assert not os.get_blocking(stream._descriptor)
    os.close(stream._descriptor)
    stream._kept.clear()


def test_at_the_end_a_reader_that_is_behind_gets_the_rest(pipe):
    """The last lines of a process are not lost because its reader was late."""
    stream = LogStream(pipe.writer)
    while not stream.is_behind:
        put(stream, LINE)
    put(stream, "end\n")
    read = pipe.read()
    stream.finish()
    assert (read + pipe.read()).endswith(LINE.encode() + b"end\n")
    assert not stream.is_behind


def test_at_the_end_a_slow_reader_gets_everything(pipe, monkeypatch):
    """It is given time for all of it, not for one piece."""
    monkeypatch.setattr(output, "LAST_ATTEMPT", scaled(10))
    stream, lines = LogStream(pipe.writer), [f"{number:099}\n" for number in range(3001)]
    for line in lines:
        put(stream, line)
    read = []

    def read_slowly():
        while sum(map(len, read)) < len(lines) * 100:
            read.append(pipe.read())
            time.sleep(0.01)

    reader = threading.Thread(target=read_slowly, daemon=True)
    reader.start()
    stream.finish()
    reader.join(scaled(10))
    assert b"".join(read) == "".join(lines).encode()


def test_at_the_end_a_reader_that_does_not_read_costs_counted_lines(pipe, monkeypatch):
    """The process ends all the same."""
    monkeypatch.setattr(output, "LAST_ATTEMPT", 0.05)
    stream = LogStream(pipe.writer)
    while not stream.is_behind:
        put(stream, LINE)
    stream.write(LINE * 5)
    with pytest.raises(LinesLostError) as lost:
        stream.finish()
    assert lost.value.lines == 6
    assert not stream.is_behind


@pytest.mark.processes
def test_lines_of_the_last_moment_reach_a_slow_reader():
    """Whatever waits to be written when a process ends comes before the time that its reader gets."""
    code = """
from router import logs
from router.process.output import set_up_log
set_up_log(process="worker", log_format="json", level="info")
with logs.lines_together():
    for number in range(3000):
        logs.log("batch.failed", number=number)
    logs._Output.blocks += 1
logs.log("process.stopped")
"""
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE) as process:
        read = b""
        while part := os.read(process.stdout.fileno(), 65536):
            read += part
            time.sleep(0.01)
    lines = read.splitlines()
    assert len(lines) == 3001
    assert json.loads(lines[-1])["event"] == "process.stopped"


def test_a_closed_output_loses_its_lines(pipe):
    """A process that was started without a standard output works all the same."""
    os.close(pipe.writer)
    stream = LogStream(pipe.writer)
    with pytest.raises(LinesLostError) as lost:
        put(stream, LINE)
    assert lost.value.lines == 1
