"""Webhooks at fixed moments, and the entries that result: two processes that share a clock and a schedule.

`send` posts webhook `number` of a run at `begin + number / rate` (of `time.monotonic`, which all processes of a system
share), however long responses take: it has many connections and does not wait. `read` blocks on the participants stream
and notes when the entry of a message became readable. The measured time begins at the scheduled moment, so that a stall
of any process counts, the generator's included.

Both read orders from standard input, a line of JSON each, answer with a line each, and end with their input.
"""

from __future__ import annotations

import argparse
import re
import selectors
import socket
import sys
import time
from contextlib import ExitStack
from typing import TYPE_CHECKING, Any, Final

import orjson
from redis import Redis

from router.core.entries import CommunicationData
from tests.benchmarks import webhooks

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

CONNECTIONS: Final = 64
#: Seconds after the last scheduled moment within which everything must have been answered and read.
PATIENCE: Final = 20.0
#: The run and the number in a MessageSid (webhooks.py).
_SID: Final = re.compile(rb"SM([0-9a-f]{16})([0-9a-f]{16})")
_OK: Final = b"HTTP/1.1 2"


def spread(seconds: Sequence[float]) -> dict[str, float]:
    """Return the median, the 99th percentile and the maximum of some times, in ms."""
    ordered = sorted(seconds)
    count = len(ordered)
    return {
        "p50_ms": ordered[count // 2] * 1000,
        "p99_ms": ordered[min(count * 99 // 100, count - 1)] * 1000,
        "max_ms": ordered[-1] * 1000,
    }


class Sender:
    """Sends on any free connection; if there is none, it waits for the next response."""

    def __init__(self, requests: Sequence[bytes], begin: float, rate: float) -> None:
        self._requests = requests
        self._begin = begin
        self._rate = rate
        self._free: list[socket.socket] = []
        # select() waits for microseconds, where epoll and poll of Python wait for whole milliseconds
        self._selector = selectors.SelectSelector()
        self._sent = self._answered = self.refused = 0
        self.late: list[float] = []

    def run(self, port: int) -> None:
        """Send everything and wait for all responses; raises TimeoutError."""
        end = self._begin + len(self._requests) / self._rate + PATIENCE
        with self._selector, ExitStack() as stack:
            for _ in range(CONNECTIONS):
                connection = stack.enter_context(socket.create_connection(("127.0.0.1", port), timeout=PATIENCE))
                connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                self._selector.register(connection, selectors.EVENT_READ)
                self._free.append(connection)
            while self._answered < len(self._requests):
                self._send_due()
                if time.monotonic() > end:
                    raise TimeoutError(f"{self._answered} of {len(self._requests)} answered")
                for key, _ in self._selector.select(self._pause()):
                    self._receive(key.fileobj)

    def _send_due(self) -> None:
        while self._sent < len(self._requests) and self._free:
            now, due = time.monotonic(), self._begin + self._sent / self._rate
            if due > now:
                return
            self._free.pop().sendall(self._requests[self._sent])
            self.late.append(now - due)
            self._sent += 1

    def _pause(self) -> float:
        if self._sent == len(self._requests) or not self._free:
            return 1.0
        return max(0.0, self._begin + self._sent / self._rate - time.monotonic())

    def _receive(self, connection: Any) -> None:
        answer = connection.recv(65536)  # the receiver writes an answer in one piece
        if not answer:
            raise ConnectionResetError("the server has closed a connection")
        self.refused += not answer.startswith(_OK)
        self._answered += 1
        self._free.append(connection)


def send(order: dict[str, Any], _: Redis) -> dict[str, float]:
    """Post webhooks on schedule; `late_ms` is the delay of the generator itself (99th percentile)."""
    requests = list(webhooks.requests(order["run"], order["requests"], webhooks.Senders(**order["senders"])))
    sender = Sender(requests, order["begin"], order["rate"])
    sender.run(order["port"])
    return {"refused": sender.refused, "late_ms": spread(sender.late)["p99_ms"]}


def read(order: dict[str, Any], redis: Redis) -> dict[str, float]:
    """Read until every message of the run has been published; `entries` is the number of entries."""
    stream, last = order["stream"], order["after"]
    deadline = order["begin"] + order["requests"] / order["rate"] + PATIENCE
    seconds: dict[int, float] = {}
    entries = 0
    while len(seconds) < order["requests"] and time.monotonic() < deadline:
        rows: Any = redis.xread({stream: last}, count=500, block=1000)
        now = time.monotonic()
        for _, found in rows or ():
            last = found[-1][0]
            for _, fields in found:
                sid = _SID.search(fields[b"event"])
                if fields[b"type"] != CommunicationData.type.encode() or sid is None or int(sid[1], 16) != order["run"]:
                    continue
                number = int(sid[2], 16)
                seconds[number] = now - (order["begin"] + number / order["rate"])
                entries += 1
    return {"published": len(seconds), "entries": entries, **(spread([*seconds.values()]) if seconds else {})}


ROLES: Final[dict[str, Callable[[dict[str, Any], Redis], dict[str, float]]]] = {"send": send, "read": read}


def main() -> None:
    """Carry out orders until the input ends."""
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks.open_loop", description=__doc__)
    parser.add_argument("role", choices=ROLES)
    parser.add_argument("--redis", required=True, help="URL of the server")
    arguments = parser.parse_args()
    with Redis.from_url(arguments.redis) as redis:
        redis.ping()  # connected before the first order
        for line in sys.stdin.buffer:
            answer = ROLES[arguments.role](orjson.loads(line), redis)
            sys.stdout.buffer.write(orjson.dumps(answer, option=orjson.OPT_APPEND_NEWLINE))
            sys.stdout.buffer.flush()


if __name__ == "__main__":
    main()
