"""The life of a process: a fast event loop, a settled heap, the request to stop, the exit status, and the last resort.

A process stops at SIGTERM, at SIGINT, and when the supervisor that started it has died. An asyncio event loop gives
signals one handler each (https://docs.python.org/3.11/library/asyncio-eventloop.html#unix-signals), so a process
listens once, here, for as long as it runs.

Each step of an orderly end has a limit of its own. In case one of them lasts all the same, such as the close of a file
on a disk that does not answer, a thread ends the process (`Stop`): everything that must survive survives a kill.
"""

from __future__ import annotations

import asyncio
import contextlib
import gc
import os
import signal
import threading
from typing import TYPE_CHECKING, Any, Final, TypeVar

from router.logs import log
from router.settings.environment import supervisor_pid
from router.tasks import end

if TYPE_CHECKING:
    from collections.abc import Coroutine

Result = TypeVar("Result")

STANDARD_ERROR: Final = 2
#: Seconds between two checks that the supervisor is alive.
ORPHAN_CHECK: Final = 1.0
#: New objects that trigger a collection of the youngest generation: a few megabytes. Python's default is 700.
GC_THRESHOLD: Final = 50_000
#: Seconds beyond the grace after which a process that is to stop is ended; an orderly end takes about half of it.
LEEWAY: Final = 0.9
#: Seconds for all that is left once a process has done everything.
TEARDOWN: Final = 2.0
#: Seconds for the line that says that a process did not end by itself: the log's disk may be what hangs.
LAST_LINE: Final = 0.1
#: Seconds that canceled work may take to clean up before it is canceled again; the sandbox takes up to two.
CANCEL_PATIENCE: Final = 5.0


class _LastResort:
    """The exit status and the current run of a process, for the thread that ends it if it hangs."""

    #: The number of the run that is under way, 0 between two; a process of ours has one.
    run = 0
    runs = 0
    status = 1


def run(main: Coroutine[Any, Any, int]) -> int:
    """Run the main coroutine of a process, on uvloop where it is installed; returns the exit status."""
    _occupy_standard_descriptors()
    try:
        import uvloop  # noqa: PLC0415 - not available on every platform
    except ImportError:
        run_loop = asyncio.run
    else:
        run_loop = uvloop.run
    _LastResort.runs += 1
    _LastResort.run, _LastResort.status = _LastResort.runs, 1
    try:
        return run_loop(_run(main))
    finally:
        _LastResort.run = 0


async def _run(main: Coroutine[Any, Any, int]) -> int:
    _LastResort.status = status = await main
    _end_within(TEARDOWN)  # of tasks and threads that are left
    return status


def _end_within(seconds: float) -> None:
    """End this process after `seconds` unless it has ended by then; a process that does something else goes on.

    It ends LAST_LINE seconds later if the line that says so cannot be written. Both threads begin now, since an
    interpreter that is ending begins none.
    """
    run = _LastResort.run

    def kill(*, is_logged: bool) -> None:
        if _LastResort.run != run and threading.main_thread().is_alive():
            return  # what was to end has ended, and the process was not to end with it
        if is_logged:
            log("process.failed", level="error", reason=f"it did not end by itself within {seconds:.1f} s")
        os._exit(_LastResort.status)

    for delay, is_logged in ((seconds + LAST_LINE, False), (seconds, True)):
        if run:
            timer = threading.Timer(delay, kill, kwargs={"is_logged": is_logged})
            timer.daemon = True
            timer.start()


def _occupy_standard_descriptors() -> None:
    """Open /dev/null in place of standard input, output or error if this process was started without it.

    Otherwise the next socket would get its number, and libuv aborts the process when such a descriptor is closed.
    """
    while (descriptor := os.open(os.devnull, os.O_RDWR)) <= STANDARD_ERROR:
        pass
    os.close(descriptor)


def settle_heap() -> None:
    """Exclude all objects of the start from garbage collection; call it just before a process reports that it is up.

    They live as long as the process, and every full collection would traverse them: 40 ms and more without an answer
    to any webhook. Objects made later are collected as usual, only less often: a few dozen events in flight hold more
    than the default of 700 objects, so the collector traversed them over and over (5 % of the time).
    Gain, by `make bench`: the receiver's p99 from 46.8 to 9.5 ms, CPU - 11 %.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(GC_THRESHOLD, *gc.get_threshold()[1:])


class Stop:
    """The request to stop, noticed from now on: make it before anything that an orderly end must undo.

    With a `grace` (seconds) the process ends that long and LEEWAY after the request, whatever it waits for.
    """

    def __init__(self, grace: float | None = None) -> None:
        self._grace = grace
        self._requested = asyncio.Event()
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self._request)

    def _request(self) -> None:
        """Note the first request; further signals are ignored while the process stops."""
        if not self._requested.is_set() and self._grace is not None:
            _end_within(self._grace + LEEWAY)
        self._requested.set()

    @property
    def is_requested(self) -> bool:
        """Whether the process is to stop."""
        return self._requested.is_set()

    async def wait(self) -> None:
        """Wait for SIGTERM, SIGINT or the death of the supervisor."""
        supervisor = supervisor_pid()
        while not self._requested.is_set():
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(None if supervisor is None else ORPHAN_CHECK):
                    await self._requested.wait()
            if supervisor is not None and os.getppid() != supervisor:
                self._request()  # no supervisor is left to stop this process or to restart it

    async def or_end_of(self, work: Coroutine[Any, Any, Result], *, patience: float = CANCEL_PATIENCE) -> Result | None:
        """Run `work` until it ends, and return its result; None if the process is to stop first.

        In that case `work` has been canceled, again after every `patience` seconds, and has ended. Raises whatever
        `work` raises.
        """
        stopping, working = asyncio.create_task(self.wait()), asyncio.create_task(work)
        try:
            await asyncio.wait({stopping, working}, return_when=asyncio.FIRST_COMPLETED)
            return None if stopping.done() else working.result()
        finally:
            await end(stopping, working, patience=patience)


async def until_stopped_or(work: Coroutine[Any, Any, Result]) -> Result | None:
    """Run `work` until it ends, or the process is to stop (`Stop.or_end_of`)."""
    return await Stop().or_end_of(work)


def fail(reason: str) -> int:
    """Log why the process ends by itself; returns its exit status."""
    log("process.failed", level="error", reason=reason)
    return 1
