"""Requests without pause from strangers, and signed webhooks at fixed moments beside them, each as a process.

`python -m tests.siege.flood forge` sends one kind of forged request on several connections, each as soon as the one
before is answered, until its input ends; then it reports how often each status was answered. `... probe` sends signed
webhooks on schedule, however long answers take, and reports how long they took, from their scheduled moments on.
Both read one order, a line of JSON, from standard input.
"""

from __future__ import annotations

import itertools
import json
import math
import select
import socket
import sys
import threading
import time
from collections import Counter
from typing import TYPE_CHECKING, Any, Final

from router.core.signing.twilio import SETTINGS_HEADER
from router.inbound.sources import FORM, FORM_BYTES, JSON
from tests.benchmarks import webhooks

if TYPE_CHECKING:
    from collections.abc import Callable

#: Seconds without an answer after which a request counts as unanswered: Twilio waits as long.
PATIENCE: Final = 15.0
MIB: Final = 1_048_576
FORGED: Final = "Zm9yZ2VkIGZvcmdlZCBmb3JnZWQ="
_MAIL_HEADERS: Final = {
    "X-Twilio-Email-Event-Webhook-Signature": "MAYCAQECAQE=",  # the numbers 1 and 1: of the form of a signature
    "Content-Type": "multipart/form-data; boundary=b",
}


def _post(path: str, body: bytes, **headers: str | None) -> bytes:
    given = {"Host": "hooks.example.com", "Content-Type": FORM, "X-Twilio-Signature": FORGED} | headers
    lines = [f"{name}: {value}" for name, value in given.items() if value is not None]
    head = "\r\n".join([f"POST {path} HTTP/1.1", *lines, f"Content-Length: {len(body)}"])
    return head.encode() + b"\r\n\r\n" + body


def _form(unit: bytes, size: int, **headers: str | None) -> bytes:
    return _post("/webhooks/messaging", b"Body=" + (unit * (size // len(unit) + 1))[: size - 5], **headers)


def _parameters(unit: bytes, size: int, number: int = 1000) -> bytes:
    """Return a form of as many parameters as are allowed, which fill `size` bytes together."""
    each = unit * (size // number // len(unit) - 2)
    return _post("/webhooks/messaging", b"&".join([b"%41=" + each] * number)[:size])


def _chunks(number: int, size: int) -> bytes:
    """Return a form in so many chunks of so many bytes, and a last one for what makes it another webhook."""
    one, last = b"%x\r\n%s\r\n" % (size, b"a" * size), b"40\r\n%s\r\n0\r\n\r\n" % (b"a" * 64)
    head = _post("/webhooks/messaging", b"", **{"Transfer-Encoding": "chunked"}).replace(b"Content-Length: 0\r\n", b"")
    return head + one * number + last


def _json(size: int) -> bytes:
    body = b'[{"data":{"accountSid":"' + (b"AC" + b"0" * 31 + b" ") * (size // 34) + b'"}}]'
    return _post("/webhooks/event-streams?bodySHA256=" + "0" * 64, body[:size], **{"Content-Type": JSON})


def _mail(part: bytes, size: int, field: bytes = b"x") -> bytes:
    """Return a mail of parts of a field; the first line of each is a header unless it is blank."""
    part = b'--b\r\nContent-Disposition: form-data; name="%s"\r\n' % field + part + b"\r\n"
    headers = _MAIL_HEADERS | {"X-Twilio-Email-Event-Webhook-Timestamp": str(int(time.time()))}
    return _post("/webhooks/email", part * max(1, size // len(part)) + b"--b--\r\n", **headers)


def _parameters_of_a_part() -> bytes:
    return b"Content-Disposition: form-data; name=x" + b"".join(b'; a%d="%s"' % (n, b'\\"' * 40) for n in range(63))


def _raw_mail(size: int) -> bytes:
    """Return a mail in raw mode of very many parts with very many headers."""
    part = b"\r\n--c\r\n" + b"a:\n" * 5000 + b"\n"
    raw = b"Content-Type: multipart/mixed; boundary=c\r\n" + b"b:\n" * 80_000 + b"\n" + part * (size // len(part))
    return _mail(b"\r\n" + raw, size, b"email")


#: Kinds of forged requests: the first four as the fault was seen, the others at the limits that bound the work now.
KINDS: Final[dict[str, Callable[[], bytes]]] = {
    "1 MiB of escapes": lambda: _form(b"%41", MIB),
    "1 MiB, one name again and again": lambda: _post("/webhooks/messaging", (b"a=%41%41%41&" * MIB)[:MIB]),
    "1 MiB of percent signs": lambda: _form(b"%", MIB),
    "1 MiB without a signature": lambda: _form(b"%41", MIB, **{"X-Twilio-Signature": None}),
    "largest form, escapes": lambda: _form(b"%41", FORM_BYTES),
    "largest form, percent signs": lambda: _form(b"%", FORM_BYTES),
    "largest form, a thousand of one name": lambda: _parameters(b"%41", FORM_BYTES),
    "largest form, not UTF-8": lambda: _parameters(b"%e3", FORM_BYTES),
    "largest form, no signature": lambda: _form(b"%41", FORM_BYTES, **{"X-Twilio-Signature": None}),
    "64 KiB that are nearly account SIDs": lambda: _form(b"AC" * 16 + b"Ag", 65_536, **{"X-Twilio-Signature": None}),
    "largest form, another key": lambda: _form(b"%41", FORM_BYTES, **{SETTINGS_HEADER: "key=x"}),
    "4 KiB of percent signs": lambda: _form(b"%", 4096),
    "60,000 chunks of a byte": lambda: _chunks(60_000, 1),
    "250 chunks of a byte": lambda: _chunks(250, 1),
    "largest form, chunks of 512 bytes": lambda: _chunks(FORM_BYTES // 512 - 1, 512),
    "1 MiB of JSON": lambda: _json(MIB),
    "30 MB mail, one part": lambda: _mail(b"\r\n" + b"\r\n--" * 7_500_000, 30_000_000),
    "4 MB mail, parts with long headers": lambda: _mail(b"a: " + b";" * 8000 + b"\r\n\r\n", 4_000_000),
    "1 MB mail, parts with many parameters": lambda: _mail(_parameters_of_a_part() + b"\r\n\r\n", 1_000_000),
    "1 MB mail, parts with many headers": lambda: _mail(b"a:\r\n" * 15 + b"\r\n", 1_000_000),
    "2 KB mail, parts with many headers": lambda: _mail(b"a:\r\n" * 15 + b"\r\n", 2000),
    "8 MB raw mail, parts with many headers": lambda: _raw_mail(8_000_000),
}


#: The kinds that were seen, and those that are the worst now: the short form of the run.
SEEN: Final = (
    "1 MiB of escapes",
    "1 MiB, one name again and again",
    "largest form, not UTF-8",
    "1 MB mail, parts with many headers",
)


def forge(order: dict[str, Any]) -> dict[str, Any]:
    """Send one kind on so many connections until the input ends; returns the statuses."""
    request, statuses, is_over = KINDS[order["kind"]](), Counter[str](), threading.Event()
    threads = [
        threading.Thread(target=_forge, args=(order["port"], request, statuses, is_over), daemon=True)
        for _ in range(order["connections"])
    ]
    for thread in threads:
        thread.start()
    sys.stdout.write("{}\n")
    sys.stdout.flush()
    sys.stdin.buffer.readline()
    is_over.set()
    for thread in threads:
        thread.join(PATIENCE)
    return {"statuses": statuses}


def _forge(port: int, request: bytes, statuses: Counter[str], is_over: threading.Event) -> None:
    body, numbers = bytearray(request), itertools.count(threading.get_ident())
    place = len(body) - 40
    while not is_over.is_set():
        try:
            with socket.create_connection(("127.0.0.1", port), timeout=2 * PATIENCE) as connection:
                while not is_over.is_set():
                    body[place : place + 16] = b"%016d" % (next(numbers) % 10**16)  # each one is another webhook
                    status, is_last = _ask(connection, body)
                    statuses[status] += 1
                    if is_last:
                        break
        except (OSError, EOFError):
            statuses["closed"] += 1


def _ask(connection: socket.socket, request: bytearray) -> tuple[str, bool]:
    """Return the status of the answer, which may come before all of the request has been sent, and if it is the last.

    The last one of its connection: the receiver closes it.
    """
    view = memoryview(request)
    while view:
        readable, writable, _ = select.select([connection], [connection], [], 2 * PATIENCE)
        if writable:
            view = view[connection.send(view[:262_144]) :]
        elif not readable:
            return "none", True
    answer = connection.recv(65536)
    if not answer:
        raise EOFError
    return answer[9:12].decode(), b"\r\nconnection: close\r\n" in answer.lower()


class Probe:
    """Signed webhooks at fixed moments on several connections."""

    def __init__(self, port: int, requests: list[bytes], rate: float) -> None:
        self._port, self._requests, self._rate = port, requests, rate
        self._free: list[socket.socket] = []
        self._busy: dict[int, tuple[socket.socket, float]] = {}
        self._poll = select.poll()
        self.seconds: list[float] = []
        self.statuses: Counter[str] = Counter()

    def run(self, connections: int) -> None:
        """Send everything, and wait until all is answered or nobody waits any longer."""
        for _ in range(connections):
            self._connect()
        begin, number = time.monotonic() + 0.1, 0
        end = begin + len(self._requests) / self._rate + PATIENCE
        while (number < len(self._requests) or self._busy) and time.monotonic() < end:
            now = time.monotonic()
            if number < len(self._requests) and now >= (due := begin + number / self._rate):
                self._send(self._requests[number], due)
                number += 1
                continue
            pause = end - now if number == len(self._requests) else begin + number / self._rate - now
            for descriptor, _ in self._poll.poll(math.ceil(max(0.0, pause) * 1000)):
                self._receive(descriptor)
        self.statuses["none"] += len(self._busy)
        self.seconds += [PATIENCE] * len(self._busy)

    def _connect(self) -> None:
        connection = socket.create_connection(("127.0.0.1", self._port), timeout=PATIENCE)
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._poll.register(connection, select.POLLIN)
        self._free.append(connection)

    def _send(self, request: bytes, due: float) -> None:
        if not self._free:
            self._connect()
        connection = self._free.pop()
        connection.sendall(request)
        self._busy[connection.fileno()] = connection, due

    def _receive(self, descriptor: int) -> None:
        connection, due = self._busy.pop(descriptor)
        answer = connection.recv(65536)
        self.seconds.append(time.monotonic() - due)
        self.statuses[answer[9:12].decode() or "closed"] += 1
        if answer:
            self._free.append(connection)
        else:
            self._poll.unregister(connection)


def probe(order: dict[str, Any]) -> dict[str, Any]:
    """Send signed webhooks on schedule; returns percentiles in milliseconds, and the statuses."""
    count = int(order["rate"] * order["seconds"])
    senders = webhooks.Senders(customers=1000, base=order["base"])
    one = Probe(order["port"], list(webhooks.requests(order["run"], count, senders)), order["rate"])
    one.run(order["connections"])
    ordered = sorted(one.seconds)
    shares = {"p50": 0.5, "p99": 0.99, "longest": 1.0}
    times = {name: ordered[min(int(len(ordered) * share), len(ordered) - 1)] * 1000 for name, share in shares.items()}
    return times | {"statuses": one.statuses}


def main() -> None:
    """Carry out the order of standard input, as the role in the arguments, and answer with a line of JSON."""
    order = json.loads(sys.stdin.buffer.readline())
    answer = {"forge": forge, "probe": probe}[sys.argv[1]](order)
    sys.stdout.write(json.dumps(answer) + "\n")


if __name__ == "__main__":
    main()
