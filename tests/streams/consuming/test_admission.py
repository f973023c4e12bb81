"""Entries that find no place at once: they queue for a moment, or are parked, and keep their order in both."""

from __future__ import annotations

import asyncio
from dataclasses import replace

import pytest

from router.streams.consuming import admission
from router.streams.delivery import Done
from tests.streams.bench import LIMITS
from tests.support.waiting import until

pytestmark = pytest.mark.real
#: Five subjects begin at once; twenty entries queue.
SMALL = replace(LIMITS, window=10, batch=10, grace=0.1)


@pytest.fixture
def gate(bench):
    """An event that every attempt waits for."""
    gate = asyncio.Event()

    async def attempt(delivery):
        bench.attempts.append(delivery.text("n"))
        await gate.wait()
        return Done()

    gate.attempt = attempt
    return gate


async def test_a_short_burst_queues_and_is_not_parked(bench, gate, monkeypatch):
    """Each entry begins as soon as its lane has room, the entries of a subject in order."""
    monkeypatch.setattr(admission, "PATIENCE", 3_600)
    for number in range(18):
        await bench.add(f"n{number}", subject=f"s{number % 9}")
    consumer = bench.make(limits=SMALL, attempt=gate.attempt)
    async with consumer.running():
        await until(lambda: len(consumer._pending.held) == 18)
        assert sorted(bench.attempts) == [f"n{number}" for number in range(5)]
        gate.set()
        await until(bench.is_settled)
        await until(lambda: consumer._window.held == 0)  # each is let go after its acknowledgment
    assert consumer._parker.begun == 0
    for number in range(9):
        assert [name for name in bench.attempts if name in {f"n{number}", f"n{number + 9}"}] == [
            f"n{number}",
            f"n{number + 9}",
        ]


async def test_what_queues_is_parked_when_its_consumer_stops(bench, gate, monkeypatch, lines):
    """Only what has begun is handed back; whoever goes on brings the others back at once."""
    monkeypatch.setattr(admission, "PATIENCE", 3_600)
    await bench.add(*[f"n{number}" for number in range(18)])
    consumer = bench.make(limits=SMALL, attempt=gate.attempt)
    async with consumer.running():
        await until(lambda: len(consumer._pending.held) == 18)
    assert [line["handed_back"] for line in lines("process.stopping")] == [5]
    assert (len(await bench.pending()), len(await bench.parked())) == (5, 13)
    gate.set()
    async with bench.make(limits=SMALL, attempt=gate.attempt).running():
        await until(bench.is_settled)
    assert len(bench.attempts) == 18 + 5


async def test_a_lane_that_closes_parks_its_queue(bench, gate, monkeypatch):
    """What queues waits for nothing then; the others of the account go on."""
    monkeypatch.setattr(admission, "PATIENCE", 3_600)
    await bench.add(*[f"a{number}" for number in range(18)])

    def lane(delivery):
        return delivery.text("n")[0]

    consumer = bench.make(limits=SMALL, attempt=gate.attempt, lane=lane)
    async with consumer.running():
        await until(lambda: len(consumer._pending.held) == 18)
        for number in range(5):
            consumer._lanes.note_failure("a", f"s{number}", tries=0)
        consumer._lanes.changed.set()
        await until(lambda: bench.is_parked(13))
        await bench.add("b")
        await until(lambda: "b" in bench.attempts)
        gate.set()
        await until(bench.is_settled)
    assert sorted(bench.attempts) == sorted(["b", *(f"a{number}" for number in range(18))])


async def test_what_is_due_comes_before_what_is_read_later(bench, gate, monkeypatch):
    """While something of a lane is due, its new entries are parked behind it."""
    monkeypatch.setattr(admission, "PATIENCE", 0.01)
    await bench.add(*[f"a{number}" for number in range(8)])
    consumer = bench.make(limits=SMALL, attempt=gate.attempt)
    async with consumer.running():
        await until(lambda: bench.is_parked(3))
        await until(lambda: consumer._lanes.of("").is_crowded)
        await bench.add("late")
        await until(lambda: bench.is_parked(4))
        gate.set()
        await until(bench.is_settled)
    assert bench.attempts[-1] == "late"
