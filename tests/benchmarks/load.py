"""The load generator: many connections, each with one request at a time, as fast as the responses come.

`wrk` would need a Lua script that walks through a file of prepared requests, and a machine may not have it; it costs
11.5 us a request, nearly all of it system calls, and this program 12. It signs all requests before the clock starts,
needs only Python, and does not use asyncio: a selector, sockets and bytes cost about a third of the cheapest server's
work per request, and the table shows how busy it was.

It reads orders from standard input, a line of JSON each (port, connections, seconds, run, requests, senders), answers
each with a line of JSON, and ends with its input.
"""

from __future__ import annotations

import contextlib
import gc
import selectors
import socket
import sys
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

import orjson

from tests.benchmarks import webhooks

if TYPE_CHECKING:
    from collections.abc import Iterator

#: Seconds without any response after which the server counts as dead.
SILENCE: Final = 10.0
_OK: Final = b"HTTP/1.1 2"


@dataclass(slots=True)
class _Connection:
    socket: socket.socket
    sent_at: float = 0.0
    received: bytes = b""


@dataclass(slots=True)
class _Tally:
    """The responses: seconds of each, and the number of those that were not 2xx."""

    seconds: list[float] = field(default_factory=list)
    refused: int = 0
    length: int = 0  # of the last complete response: the next one most likely has the same


def run(order: dict[str, Any]) -> dict[str, float]:
    """Carry out an order.

    In the result, `begun` is the time of the first request (of `time.monotonic`), `busy` the fraction of the time that
    this process computed; `refused` counts responses other than 2xx.
    """
    prepared = list(webhooks.requests(order["run"], order["requests"], webhooks.Senders(**order["senders"])))
    tally = _Tally()
    with _connect(order["port"], order["connections"]) as (selector, connections):
        gc.disable()  # nothing here makes cycles, and a collection would be measured
        try:
            moment, begun, used = time.monotonic(), time.perf_counter(), time.process_time()
            _drive(selector, connections, iter(prepared), begun + order["seconds"], tally)
            elapsed, used = time.perf_counter() - begun, time.process_time() - used
        finally:
            gc.enable()
    times = sorted(tally.seconds)
    return {
        "requests": len(times),
        "begun": moment,
        "elapsed": elapsed,
        "busy": used / elapsed,
        "refused": tally.refused,
        "p50_ms": times[len(times) // 2] * 1000,
        "p99_ms": times[min(len(times) * 99 // 100, len(times) - 1)] * 1000,
    }


@contextlib.contextmanager
def _connect(port: int, count: int) -> Iterator[tuple[selectors.BaseSelector, list[_Connection]]]:
    with contextlib.ExitStack() as stack:
        selector = stack.enter_context(selectors.DefaultSelector())
        connections = []
        for _ in range(count):
            opened = stack.enter_context(socket.create_connection(("127.0.0.1", port), timeout=SILENCE))
            opened.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            opened.setblocking(False)
            connections.append(_Connection(opened))
            selector.register(opened, selectors.EVENT_READ, connections[-1])
        yield selector, connections


def _drive(
    selector: selectors.BaseSelector,
    connections: list[_Connection],
    requests: Iterator[bytes],
    deadline: float,
    tally: _Tally,
) -> None:
    """Send until the deadline (or the last request), then wait for the responses that are still missing."""
    clock = time.perf_counter
    waiting = 0
    for connection in connections:
        waiting += _send(connection, next(requests, None), clock())
    while waiting:
        ready = selector.select(SILENCE)
        if not ready:
            raise TimeoutError("the server does not answer any more")
        for key, _ in ready:
            connection = key.data
            if not _receive(connection, tally):
                continue
            now = clock()
            tally.seconds.append(now - connection.sent_at)
            waiting -= 1
            if now < deadline:
                waiting += _send(connection, next(requests, None), now)


def _send(connection: _Connection, request: bytes | None, now: float) -> int:
    """Send a complete request; returns the number of requests sent, 0 or 1."""
    if request is None:
        return 0
    connection.sent_at = now
    if connection.socket.send(request) != len(request):  # one at a time always fits into an empty buffer
        raise BlockingIOError("a request did not fit into the buffer")
    return 1


def _receive(connection: _Connection, tally: _Tally) -> bool:
    """Read the available bytes; returns True once the response is complete, which it usually is at once."""
    data = connection.socket.recv(65536)
    if not data:
        raise ConnectionResetError("the server has closed a connection")
    if connection.received:
        data = connection.received + data
    if len(data) != tally.length and not _is_complete(data):
        connection.received = data
        return False
    connection.received, tally.length = b"", len(data)
    tally.refused += not data.startswith(_OK)
    return True


def _is_complete(data: bytes) -> bool:
    head, end, body = data.partition(b"\r\n\r\n")
    lengths = [line[15:] for line in head.lower().split(b"\r\n") if line.startswith(b"content-length:")]
    return bool(end) and len(body) >= (int(lengths[0]) if lengths else 0)


def main() -> None:
    """Carry out orders until the input ends."""
    for line in sys.stdin.buffer:
        sys.stdout.buffer.write(orjson.dumps(run(orjson.loads(line)), option=orjson.OPT_APPEND_NEWLINE))
        sys.stdout.buffer.flush()


if __name__ == "__main__":
    main()
