"""Part 1: strangers send forged requests without pause, and signed webhooks are answered all the same."""

from __future__ import annotations

import asyncio
import json
import secrets
import sys
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any, Final

from tests.siege.deployment import besieged
from tests.siege.figures import Figure, at_most, exactly
from tests.siege.flood import KINDS, SEEN
from tests.support.source import ROOT

if TYPE_CHECKING:
    from asyncio.subprocess import Process
    from collections.abc import AsyncIterator, Callable
    from pathlib import Path

    from tests.siege.deployment import Siege, Start
    from tests.siege.sizes import Size

#: Connections of the strangers, and of Twilio.
STRANGERS: Final = 8
CONNECTIONS: Final = 16
#: Signed webhooks a second.
RATE: Final = 100.0
#: Milliseconds within which 99 of 100 signed webhooks must be answered.
TARGET: Final = 50.0
#: The answers that a forged request may get.
REFUSALS: Final = frozenset({"403", "413"})


async def forged_requests(directory: Path, start: Start, size: Size, say: Callable[[str], None]) -> list[Figure]:
    """Eight connections send forged requests, of one kind after the other; signed webhooks come in beside them."""
    figures = []
    kinds = {name: KINDS[name] for name in size.pick(list(KINDS), list(KINDS), list(SEEN))}
    async with besieged(directory, start, size, processes=("receiver",)) as siege:
        await _probe(siege, 1.0)  # the first webhooks of a process take longer
        before = await _probe(siege, size.pick(10, 4, 1))
        say(f"undisturbed: p99 {before['p99']:.1f} ms")
        for kind in kinds:
            async with _flooded(siege, kind) as flood:
                during = await _probe(siege, size.pick(10, 4, 1))
            say(f"{kind}: p99 {during['p99']:.1f} ms; {_show(flood['statuses'])} of the forged")
            figures += _figures(kind, before, during, flood["statuses"])
    return figures


def _figures(kind: str, before: dict[str, Any], during: dict[str, Any], statuses: dict[str, int]) -> list[Figure]:
    wrong = sum(number for status, number in statuses.items() if status not in REFUSALS)
    lost = [sum(number for status, number in one["statuses"].items() if status != "200") for one in (before, during)]
    return [
        at_most(f"{kind}: p99 of signed webhooks, ms", before["p99"], during["p99"], TARGET),
        exactly("... of them refused or not answered", *lost, 0),
        exactly("... forged ones with another answer than 403, 413", None, wrong, 0),
    ]


def _show(statuses: dict[str, int]) -> str:
    return ", ".join(f"{number} x {status}" for status, number in sorted(statuses.items()))


async def _probe(siege: Siege, seconds: float) -> dict[str, Any]:
    """Send signed webhooks for a while; returns percentiles in milliseconds, and the statuses."""
    order = {
        "port": _port(siege),
        "base": siege.environment["PUBLIC_BASE_URL"],
        "run": secrets.randbits(60),
        "rate": RATE,
        "seconds": seconds,
        "connections": CONNECTIONS,
    }
    async with _role("probe", order) as process:
        return await _answer(process)


@asynccontextmanager
async def _flooded(siege: Siege, kind: str) -> AsyncIterator[dict[str, Any]]:
    """Let the strangers send while the block runs; afterwards `statuses` of the yielded object are those they got."""
    found: dict[str, Any] = {}
    async with _role("forge", {"port": _port(siege), "kind": kind, "connections": STRANGERS}) as process:
        await _answer(process)  # they have begun
        yield found
        assert process.stdin is not None
        process.stdin.write(b"\n")
        found |= await _answer(process)


def _port(siege: Siege) -> int:
    return int(siege.receiver_url.rpartition(":")[2])


@asynccontextmanager
async def _role(role: str, order: dict[str, Any]) -> AsyncIterator[Process]:
    pipe = asyncio.subprocess.PIPE
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "tests.siege.flood", role, cwd=ROOT, stdin=pipe, stdout=pipe
    )
    try:
        assert process.stdin is not None
        process.stdin.write(json.dumps(order).encode() + b"\n")
        yield process
        await process.wait()
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()


async def _answer(process: Process) -> dict[str, Any]:
    assert process.stdout is not None
    line = await process.stdout.readline()
    assert line, "a process of the flood has ended"
    answer: dict[str, Any] = json.loads(line)
    return answer
