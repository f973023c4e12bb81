"""Standard output as the stream of a process' log: writing never waits for a reader.

A full disk, a closed output or a reader that is gone costs the lines. A reader that stops reading gets up to MAX_KEPT
bytes later, and only what is more is dropped: the event loop must not stop because a terminal or a log collector does.
Known gap: a disk that does not answer at all, such as a network file system without its server, blocks a write.
"""

from __future__ import annotations

import errno
import os
import select
import stat
import sys
import time
from contextlib import suppress
from typing import Final, Self

from router.logs import LinesLostError, setup

#: Bytes of lines that are kept for a reader that does not read: a few thousand lines.
MAX_KEPT: Final = 1_048_576
#: Seconds for a reader that is behind when the process ends.
LAST_ATTEMPT: Final = 0.5
STANDARD_OUTPUT: Final = 1
LINE_FEED: Final = 10


def set_up_log(*, process: str, log_format: str, level: str) -> None:
    """Log to standard output in this process (router.logs.setup)."""
    is_own = sys.stdout is not None and sys.stdout is sys.__stdout__  # else somebody captures it, in this process
    setup(process=process, log_format=log_format, level=level, stream=LogStream.open() if is_own else None)


class LogStream:
    """A file descriptor as a stream that waits for no reader; what the reader does not take yet is kept."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor
        self._kept = bytearray()
        self._is_cut = False  # the last byte written is inside a line

    @classmethod
    def open(cls) -> Self:
        """Return the stream of standard output.

        O_NONBLOCK belongs to the open file, which other processes share (a terminal with the shell). So a pipe or a
        terminal is opened anew where the system allows it.
        """
        descriptor = STANDARD_OUTPUT
        with suppress(OSError):  # a file, a closed output: nothing to be changed
            if not stat.S_ISREG(os.fstat(descriptor).st_mode):
                try:
                    descriptor = os.open(f"/proc/self/fd/{descriptor}", os.O_WRONLY | os.O_NONBLOCK | os.O_NOCTTY)
                except OSError:
                    os.set_blocking(descriptor, False)
        return cls(descriptor)

    @property
    def is_behind(self) -> bool:
        """Whether lines are kept that the reader has not taken yet."""
        return bool(self._kept)

    def write(self, text: str) -> None:
        """Take whole lines, and write as much as the reader takes; the rest is written by `flush`.

        Raises LinesLostError if they can never be written, and OSError, having taken nothing, if too much is kept.
        """
        if len(self._kept) >= MAX_KEPT:
            self.flush()
            if len(self._kept) >= MAX_KEPT:
                raise BlockingIOError(errno.EAGAIN, "the reader of the log does not read")
        if self._is_cut and not self._kept:
            self._kept += b"\n"
        self._kept += text.encode("utf-8", "replace")
        self.flush()

    def flush(self) -> None:
        """Write as much of what is kept as the reader takes; raises LinesLostError if the rest can never be written."""
        kept = self._kept
        try:
            while kept:
                written = os.write(self._descriptor, kept)
                self._is_cut = kept[written - 1] != LINE_FEED
                del kept[:written]
        except BlockingIOError:
            return
        except OSError as error:
            raise LinesLostError(self._forget()) from error

    def finish(self) -> None:
        """Give a reader that is behind LAST_ATTEMPT seconds to take what is kept; raises LinesLostError for the rest.

        The log calls it at the end of the process, once it has written all its lines (router.logs).
        """
        last = time.monotonic() + LAST_ATTEMPT
        poll = select.poll()
        poll.register(self._descriptor, select.POLLOUT)
        while self._kept:
            left = last - time.monotonic()
            if left <= 0:
                raise LinesLostError(self._forget()) from TimeoutError(errno.ETIMEDOUT, "the reader does not read")
            poll.poll(left * 1000)
            self.flush()

    def _forget(self) -> int:
        """Drop what is kept; returns the number of lines."""
        lost = self._kept.count(LINE_FEED) - self._kept.startswith(b"\n")
        self._kept.clear()
        return lost
