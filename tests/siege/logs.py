"""Part 2: a log that cannot be written, because its disk is full or its reader is gone or hangs, stops no work."""

from __future__ import annotations

import fcntl
import os
from contextlib import ExitStack, suppress
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Final

from router.streams.client.embedded import free_port
from tests.harness.processes import spawn
from tests.harness.settings import COMMANDS
from tests.siege.deployment import Siege, besieged
from tests.siege.figures import Figure, at_least, exactly
from tests.siege.probe import Served, new_customers, serve
from tests.siege.waiting import PATIENCE

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.siege.deployment import Start
    from tests.siege.sizes import Size

#: What a process logs to, as a path: a full disk; a pipe whose reader ends; a pipe that nobody reads.
OUTPUTS: Final = ("full disk", "reader gone", "reader hangs")
FULL_DISK: Final = Path("/dev/full")
NAMES: Final = ("receiver", "worker")
#: Bytes of a pipe that nobody reads.
PIPE: Final = 4096
DROPPED: Final = "router_log_lines_dropped_total"
#: Messages of other customers: more lines than a pipe holds.
MESSAGES: Final = 300
RATE: Final = 50.0


async def unwritable_log(directory: Path, start: Start, size: Size, say: Callable[[str], None]) -> list[Figure]:
    """Receiver and worker log to where nothing can be written, from their start on."""
    figures, number = [], size.pick(MESSAGES, MESSAGES, 40)
    for output in OUTPUTS[: size.pick(3, 3, 1)]:
        async with besieged(directory, start, size) as siege:
            before = await serve(siege, new_customers(number), rate=RATE, patience=PATIENCE)
            for name in NAMES:
                await siege.stop(name)
            with ExitStack() as stack:
                urls = [await _start(siege, name, output, stack) for name in NAMES]
                say(f"{output}: {sum(url is not None for url in urls)} of receiver and worker are up")
                found = await _figures(siege, urls, before, is_dropping=output != "reader hangs")
        figures += [replace(one, what=f"{output}: {one.what}") for one in found]
    return figures


async def _figures(siege: Siege, urls: list[str | None], before: Served, *, is_dropping: bool) -> list[Figure]:
    """Let others write, and return the figures; lines are kept for a while for a reader that is only slow."""
    up = [url for url in urls if url is not None]
    started = exactly("processes that start", len(NAMES), len(up), len(NAMES))
    if len(up) < len(NAMES):
        return [started]
    during = await serve(siege, new_customers(len(before.sent)), rate=RATE, patience=PATIENCE)
    dropped = [int(await siege.metric(url, DROPPED) or 0) for url in up]
    with suppress(TimeoutError):
        await siege.until_idle()
    return [
        started,
        exactly("webhooks refused or not answered", 0, siege.unanswered, 0),
        exactly("messages published", before.number, during.number, len(during.sent)),
        exactly("... twice", before.doubled, during.doubled, 0),
        exactly("entries left unfinished", 0, await siege.count_unfinished(), 0),
        *[
            at_least(f"lines counted as dropped by the {name}", 0, number, int(is_dropping))
            for name, number in zip(NAMES, dropped, strict=True)
        ],
    ]


async def _start(siege: Siege, name: str, output: str, stack: ExitStack) -> str | None:
    """Start a process that logs to such an output; returns the URL of its metrics, None if it has ended."""
    port = free_port()
    environment = siege.environment | ({"ROUTER_METRICS_PORT": str(port)} if name == "worker" else {})
    path, reader = FULL_DISK, None
    if output != "full disk":
        path = siege.directory / f"{name}.pipe"
        os.mkfifo(path)
        reader = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
        fcntl.fcntl(reader, fcntl.F_SETPIPE_SZ, PIPE)
    siege.processes[name] = await spawn(path, "-m", *COMMANDS[name], environment=environment)
    if output == "reader gone":
        os.close(reader)
    elif reader is not None:
        stack.callback(os.close, reader)
    if not await siege.until_ready(name):
        return None
    return f"http://127.0.0.1:{port}" if name == "worker" else siege.receiver_url
