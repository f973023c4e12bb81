"""`python -m tests.benchmarks.backlog`: check that a very large backlog drains at once, within bounded memory.

Messages of known customers are written under another name, by the server itself, and put in place by one RENAME, which
starts the clock. Printed: the time until the first event was done and the number of entries read by then, the memory of
the worker, and the pace. Exit status: 0 it drained as it should, 1 it did not, 2 the run was invalid.
"""

from __future__ import annotations

import argparse
import asyncio
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from router.core.keys import RESOLVER, Keys
from router.core.signing.form import parse_form
from router.inbound.messaging import identify
from router.streams.consuming.groups import ensure_group
from router.streams.consuming.window import HELD_PER_SLOT
from router.streams.store.append import InboundFields
from tests.benchmarks.deployment import KNOWN, SoakDeployment, running_deployment
from tests.benchmarks.filled_stream import fields_of
from tests.benchmarks.frame import BenchmarkError
from tests.benchmarks.memory import can_measure, resident
from tests.benchmarks.report import machine
from tests.benchmarks.soak import say
from tests.benchmarks.webhooks import Senders
from tests.harness.deployment import count_unfinished
from tests.support.accounts import ACCOUNT

if TYPE_CHECKING:
    from collections.abc import Sequence

    from router.streams.client.connection import Redis

#: Entries that one run of the script writes: the server must not be blocked for long.
PAGE: Final = 10_000
#: Entries that a worker may have read when its first is done: those one process holds (ROUTER_WINDOW 500), a batch.
FIRST: Final = 500 * HELD_PER_SLOT + 200
#: MiB that the worker may grow by while it drains.
GROWTH: Final = 24.0
#: The customer and the webhook whose ids the script replaces.
_CUSTOMER, _RUN = 9_000_000, (1 << 60) - 1
#: Writes entries ARGV[1] to ARGV[2] of ARGV[3] customers in turn: the fields from ARGV[6] on, with MessageSid ARGV[4]
#: and the number ARGV[5] replaced.
FILL: Final = """
local latest = {}
for number = tonumber(ARGV[1]), tonumber(ARGV[2]) do
  local fields = {}
  for at = 6, #ARGV do
    local text = string.gsub(ARGV[at], ARGV[4], string.format('SM%032x', number))
    local customer = string.sub(ARGV[5], 1, 4) .. string.format('%07d', number % tonumber(ARGV[3]))
    fields[#fields + 1] = string.gsub(text, ARGV[5], customer)
  end
  local who = number % tonumber(ARGV[3])
  if latest[who] then
    fields[#fields + 1] = 'after'
    fields[#fields + 1] = latest[who]
  end
  latest[who] = redis.call('XADD', KEYS[1], '*', unpack(fields))
end
"""


async def fill(redis: Redis, stream: str, count: int, customers: int, *, first: int = 1) -> None:
    """Write so many messages of known customers, who write in turn, to a stream with the worker's group.

    The messages are numbered from `first` on.
    """
    body = Senders(1, _CUSTOMER).form(_RUN, 0)
    identity = identify(parse_form(body), default_account=ACCOUNT)
    received_at = time.time_ns() // 1000
    fields = InboundFields("messaging", identity.account_id, identity.key, identity.subject, received_at, body, ttl=0)
    await ensure_group(redis, stream, RESOLVER)
    sid, customer = f"SM{_RUN:016x}{0:016x}", f"1555{_CUSTOMER:07d}"
    for number in range(first, first + count, PAGE):
        last = min(number + PAGE, first + count) - 1
        arguments: list[Any] = [number, last, customers, sid, customer, *fields_of(fields)]
        await redis.eval(FILL, 1, stream, *arguments)


@dataclass(slots=True)
class Drain:
    """Observations of a drain; `first` is the seconds until an event was done, `read` the entries read by then."""

    total: int
    start: float
    most: float
    first: float = 0.0
    read: int = 0
    seconds: float = 0.0

    @property
    def verdicts(self) -> list[tuple[str, bool]]:
        """The claims, each with whether it is true."""
        pace, growth = self.total / self.seconds, self.most - self.start
        return [
            (f"the first event was done after {self.first:.2f} s, when {self.read} were read", self.read <= FIRST),
            (f"memory of the worker: {self.start:.1f} MiB before, {self.most:.1f} at most", growth <= GROWTH),
            (f"{self.total} events in {self.seconds:.0f} s, {pace:.0f} a second", True),
        ]


async def drain(running: SoakDeployment, total: int, customers: int) -> Drain:
    """Put the backlog in place and watch the worker until all of it is done."""
    redis, stream, worker = running.redis, Keys().inbound(0), running.pids["worker"]
    await fill(redis, f"{stream}:draft", total, customers)
    seen = Drain(total, resident(worker), resident(worker))
    await redis.rename(f"{stream}:draft", stream)
    begun, done, reported_at = time.monotonic(), 0, time.monotonic()
    while done < total:
        running.check()
        rows: Any = await redis.xinfo_groups(stream)
        done = total - await count_unfinished(redis, stream)
        seen.seconds, seen.most = time.monotonic() - begun, max(seen.most, resident(worker))
        if done and not seen.read:
            seen.first, seen.read = seen.seconds, rows[0]["entries-read"]
        if time.monotonic() - reported_at > 10:
            reported_at = time.monotonic()
            say(f"{done:>12} done{rows[0]['pending']:>8} pending{resident(worker):>10.1f} MiB")
        await asyncio.sleep(0.01)
    return seen


async def run(total: int) -> int:
    """Run the check; returns the exit status."""
    customers = min(KNOWN, max(10, total // 10))
    say(f"{machine()}; a backlog of {total} events of {customers} customers")
    with tempfile.TemporaryDirectory(prefix="backlog-") as directory:
        async with running_deployment(Path(directory)) as running:
            await running.known(customers)
            await running.settle(waiting=0)
            seen = await drain(running, total, customers)
    for text, is_so in seen.verdicts:
        say(f"{'ok' if is_so else 'FALSE':<8}{text}")
    return 0 if all(is_so for _, is_so in seen.verdicts) else 1


def main(argv: Sequence[str] | None = None) -> int:
    """Return the exit status; everything that was started has been ended by then."""
    parser = argparse.ArgumentParser(
        prog="python -m tests.benchmarks.backlog", description=(__doc__ or "").split("\n")[0]
    )
    parser.add_argument("--events", type=int, default=1_000_000, help="events in the backlog (default: 1000000)")
    arguments = parser.parse_args(argv)
    if not can_measure():
        say("skipped: this system has no /proc, where the memory of a process is read")
        return 0
    try:
        return asyncio.run(run(arguments.events))
    except BenchmarkError as error:
        sys.stderr.write(f"no result: {error}\n")
        return 2


if __name__ == "__main__":
    sys.exit(main())
