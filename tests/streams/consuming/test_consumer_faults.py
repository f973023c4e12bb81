"""Faults between reading and the window, and in the consumer itself: no entry stays held by nobody."""

from __future__ import annotations

import asyncio
from dataclasses import replace

import pytest

from router.streams.consuming.admission import Admission
from router.streams.delivery import Done, Later
from router.streams.store.parking import Parking
from router.tasks import end
from tests.streams.bench import LIMITS
from tests.support.waiting import until

pytestmark = [pytest.mark.real, pytest.mark.promise(4)]
NAMES = [f"n{number}" for number in range(10)]


async def cut_off_the_reader(consumer):
    """Cancel the reader in the middle of a batch, as the watchdog does with one that has to be replaced."""
    [watchdog] = consumer._reading._watchdogs
    [subscriber] = watchdog._reader._subscribers
    await end(*subscriber.tasks)


async def test_a_batch_that_was_cut_off_in_intake_is_taken_up_again(bench):
    """Its reader was replaced before a single entry had reached the window."""
    begun, gate = [], asyncio.Event()

    async def intake(deliveries):
        begun.append(len(deliveries))
        if len(begun) == 1:
            await gate.wait()
        return deliveries

    await bench.add(*NAMES)
    consumer = bench.make(intake=intake)
    async with consumer.running():
        await until(lambda: begun)
        await cut_off_the_reader(consumer)
        assert consumer._pending.held == set()
        await until(bench.is_settled)
    assert sorted(bench.attempts) == NAMES


async def test_a_batch_that_was_cut_off_while_it_was_parked_is_taken_up_again(bench, monkeypatch):
    """What had reached the window is attempted once, and the rest when the claimer finds it."""
    gate, park = asyncio.Event(), Parking.park

    async def park_late(self, *args, is_behind_only=False):
        if not is_behind_only:
            await gate.wait()
        return await park(self, *args, is_behind_only=is_behind_only)

    monkeypatch.setattr(Parking, "park", park_late)
    monkeypatch.setattr(Admission, "_may_queue", lambda *_: False)

    async def wait(_):
        await gate.wait()
        return Done()

    bench.script = {name: [wait] for name in NAMES}
    await bench.add(*NAMES)
    consumer = bench.make(limits=replace(LIMITS, window=8))
    async with consumer.running():
        await until(lambda: len(bench.attempts) == 4)
        await until(lambda: len(consumer._pending.held) == len(NAMES))
        await cut_off_the_reader(consumer)
        assert len(consumer._pending.held) == 4
        gate.set()
        await until(bench.is_settled)
    assert sorted(bench.attempts) == NAMES


@pytest.mark.parametrize("verdict", [Later("not yet", 0), ValueError(), asyncio.CancelledError()], ids=type)
@pytest.mark.parametrize("problem", [RuntimeError(), asyncio.CancelledError()], ids=type)
async def test_an_error_while_a_result_is_settled_keeps_the_entry_and_those_behind_it(bench, lines, verdict, problem):
    """It is logged, the entry is attempted again, and the next ones of its subject follow in order."""
    problems = [problem]

    def on_result(_):
        if problems:
            raise problems.pop()

    bench.script["n0"] = [verdict]
    await bench.add(*NAMES, subject="same")
    consumer = bench.make()
    consumer._attempts._on_result = on_result
    async with consumer.running():
        await until(bench.is_settled)
    assert bench.attempts == ["n0", *NAMES]
    assert consumer._pending.held == set()
    assert len(lines("event.failed")) == 1


async def test_an_error_while_an_entry_is_parked_leaves_nothing_held(bench, lines, monkeypatch):
    """The entry comes back as a stray, and those behind it are not lost."""
    consumer = bench.make()
    problems, park_behind = [RuntimeError()], consumer._parker.park_behind

    async def fail_once(deliveries):
        if len(deliveries) == 1 and problems:
            raise problems.pop()
        return await park_behind(deliveries)

    monkeypatch.setattr(consumer._parker, "park_behind", fail_once)
    await bench.add(*NAMES, subject="same")
    async with consumer.running():
        await until(bench.is_settled)
        await until(lambda: not consumer._pending.held)
    assert sorted(bench.attempts) == NAMES
    assert [line["level"] for line in lines("parking.failed")] == ["error"]
