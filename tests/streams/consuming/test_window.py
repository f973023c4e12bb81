"""The in-flight window: order within a subject, bounds on slots and memory, parking, and closing."""

from __future__ import annotations

import asyncio
from collections import Counter

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from router.streams.consuming import window
from router.streams.consuming.window import HELD_PER_SLOT, Window, WorkResult
from tests.support.waiting import deadline, let_tasks_run, scaled, until


class Gate:
    """Work that lasts until the test opens the gate; notes what runs and in which order."""

    def __init__(self, limit):
        self.window = Window(limit, self.work)
        self.begun, self.done, self.running, self.most = [], [], 0, 0
        self.open = asyncio.Event()

    async def work(self, item):
        self.begun.append(item)
        self.running += 1
        self.most = max(self.most, self.running)
        try:
            await self.open.wait()
        finally:
            self.running -= 1
        self.done.append(item)
        return WorkResult.FINISHED


@pytest.fixture
async def make_gate():
    """Make windows; each is closed at the end."""
    gates = []

    def make(limit):
        gates.append(Gate(limit))
        return gates[-1]

    yield make
    for gate in gates:
        await gate.window.close(0)


async def test_subjects_run_concurrently_and_entries_of_one_in_turn(make_gate):
    """Two subjects begin together; the second entry of a subject begins when the first has ended."""
    gate = make_gate(5)
    for subject, item in (("a", "a1"), ("a", "a2"), ("b", "b1")):
        assert await gate.window.admit(subject, item)
    await until(lambda: len(gate.begun) == 2)
    assert gate.begun == ["a1", "b1"]
    assert gate.window.is_busy("a")
    assert not gate.window.is_busy("c")
    gate.open.set()
    await until(lambda: gate.window.held == 0)
    assert gate.done.index("a1") < gate.done.index("a2")
    assert not gate.window.is_busy("a")


async def test_a_window_is_bounded_in_bytes_too(monkeypatch):
    """Many large entries of few subjects wait in Redis and not here, although slots are free."""
    monkeypatch.setattr(window, "HELD_BYTES", 100)
    go_on = asyncio.Event()

    async def work(_):
        await go_on.wait()
        return WorkResult.FINISHED

    heavy = Window(10, work, weigh=lambda size: size)
    for subject, size in (("a", 60), ("a", 30), ("b", 20)):
        assert heavy.has_room
        assert await heavy.admit(subject, size)
    assert not heavy.has_room
    assert heavy.put("c", 50)  # counts too, although there is no room
    go_on.set()
    await until(lambda: heavy.held == 0)
    assert heavy.has_room
    assert heavy._bytes == 0
    await heavy.close(0)


async def test_a_full_window_holds_up_the_reader(make_gate):
    """With all slots taken `admit` and `wait_for_room` wait until an entry ends."""
    gate = make_gate(2)
    for subject in "ab":
        await gate.window.admit(subject, subject)
    assert not gate.window.has_room
    admitting = asyncio.create_task(gate.window.admit("c", "c"))
    waiting = asyncio.create_task(gate.window.wait_for_room())
    await let_tasks_run()
    assert not admitting.done()
    assert not waiting.done()
    gate.open.set()
    assert await admitting
    assert await waiting


@pytest.mark.parametrize("readers", [1, 3])
async def test_no_more_entries_run_than_there_are_slots(make_gate, readers):
    """However many readers admit concurrently, no more than `limit` run at the same time."""
    gate = make_gate(4)
    gate.open.set()

    async def read(number):
        for item in range(50):
            await gate.window.admit(f"{number}-{item}", item)

    await asyncio.gather(*[read(number) for number in range(readers)])
    await until(lambda: gate.window.held == 0)
    assert len(gate.done) == readers * 50
    assert gate.most <= 4


class Parking:
    """Work in which items named "parks..." park until the test wakes them, and then need a slot for a moment."""

    def __init__(self, limit):
        self.window = Window(limit, self.work)
        self.awake = asyncio.Event()
        self.parked, self.running, self.most, self.done = [], 0, 0, []

    async def work(self, item):
        self._enter()
        if item.startswith("parks"):
            self.running -= 1
            self.parked.append(item)
            async with self.window.parked():
                await self.awake.wait()
            self._enter()
        await asyncio.sleep(0)
        self.running -= 1
        self.done.append(item)
        return WorkResult.FINISHED

    def _enter(self):
        self.running += 1
        self.most = max(self.most, self.running)


async def test_a_parked_entry_gives_its_slot_to_other_subjects_and_keeps_its_place_in_its_own():
    """While one waits for an outage to end, other subjects run; later entries of its own subject wait with it."""
    parking = Parking(1)
    await parking.window.admit("a", "parks")
    await until(lambda: parking.parked)
    await parking.window.admit("a", "behind")
    for number in range(5):
        await parking.window.admit(f"s{number}", f"flows{number}")
    await until(lambda: len(parking.done) == 5)
    assert "behind" not in parking.done
    parking.awake.set()
    await until(lambda: parking.window.held == 0)
    assert parking.done[5:] == ["parks", "behind"]


async def test_entries_that_return_from_parking_wait_for_a_slot():
    """After an outage parked entries go on as slots become free, never more at once than there are slots."""
    parking = Parking(3)
    for number in range(30):
        await parking.window.admit(f"s{number}", f"parks{number}")
    await until(lambda: len(parking.parked) == 30)
    parking.awake.set()
    await until(lambda: parking.window.held == 0)
    assert len(parking.done) == 30
    assert parking.most <= 3


async def test_parked_entries_are_bounded_too():
    """At the bound reading stops although slots are free, and goes on as soon as an entry leaves."""
    parking = Parking(2)
    for number in range(2 * HELD_PER_SLOT):
        assert await parking.window.admit(f"s{number}", f"parks{number}")
    await until(lambda: len(parking.parked) == 2 * HELD_PER_SLOT)
    assert not parking.window.has_room
    waiting = asyncio.create_task(parking.window.wait_for_room())
    await let_tasks_run()
    assert not waiting.done()
    parking.awake.set()
    assert await waiting
    await until(lambda: parking.window.held == 0)


async def test_earlier_items_go_first_whenever_they_arrive():
    """Even before an item that has begun, if that is requeued; it runs again afterwards."""
    begun = []

    async def work(item):
        begun.append(item)
        await until(lambda: item != 5 or window.has_earlier("s", item) or len(begun) > 1)
        return WorkResult.REQUEUE if window.has_earlier("s", item) else WorkResult.FINISHED

    window = Window(1, work, order=lambda item: item)
    window.put("s", 5)
    await until(lambda: begun == [5])
    for item in (9, 7, 3, 8):
        window.put("s", item)
    assert not window.has_earlier("t", 9)
    await until(lambda: window.held == 0)
    assert begun == [5, 3, 5, 7, 8, 9]
    assert await window.close(1) == 0


async def test_a_requeued_item_that_is_cut_off_is_counted_once():
    """Closing counts an item that has begun twice as one."""

    async def work(item):
        if item == 2 and window.has_earlier("s", item):
            return WorkResult.REQUEUE
        async with window.parked():
            await until(lambda: window.has_earlier("s", item))
        return WorkResult.FINISHED

    window = Window(1, work, order=lambda item: item)
    window.put("s", 2)
    window.put("s", 1)
    assert window.held == 2
    assert await window.close(0) == 2
    assert window.held == 0


async def test_close_lets_running_entries_finish_within_the_grace(make_gate):
    """If the time suffices everything admitted is done, and nothing is cut off."""
    gate = make_gate(2)
    for item in ("a1", "a2"):
        await gate.window.admit("a", item)
    closing = asyncio.create_task(gate.window.close(scaled(5)))
    await asyncio.sleep(0)
    gate.open.set()
    assert await closing == 0
    assert gate.done == ["a1", "a2"]


async def test_close_cuts_off_unfinished_entries_and_counts_them(make_gate):
    """After the grace running, parked and queued entries are cut off; their number is returned."""
    gate = make_gate(3)
    for subject, item in (("a", "a1"), ("a", "a2"), ("b", "b1")):
        await gate.window.admit(subject, item)
    await until(lambda: len(gate.begun) == 2)
    assert await gate.window.close(0.05) == 3
    assert gate.window.held == 0
    assert gate.done == []


async def test_a_closing_window_admits_nothing_and_releases_waiting_readers(make_gate):
    """Readers that wait for room get False at once."""
    gate = make_gate(1)
    await gate.window.admit("a", "a1")
    admitting = asyncio.create_task(gate.window.admit("b", "b1"))
    waiting = asyncio.create_task(gate.window.wait_for_room())
    await asyncio.sleep(0)
    closing = asyncio.create_task(gate.window.close(scaled(5)))
    assert await admitting is False
    assert await waiting is False
    gate.open.set()
    assert await closing == 0
    assert await gate.window.admit("a", "late") is False
    assert gate.done == ["a1"]


async def test_close_does_not_wait_for_parked_entries():
    """They are cut off at once: a survivor claims them."""
    parking = Parking(1)
    for number in range(3):
        await parking.window.admit(f"s{number}", f"parks{number}")
    await until(lambda: len(parking.parked) == 3)
    async with deadline(5):
        assert await parking.window.close(3_600) == 3


entries = st.lists(st.tuples(st.sampled_from("abcd"), st.sampled_from(["works", "parks", "yields"])), max_size=60)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(entries=entries, limit=st.integers(1, 4))
async def test_order_bound_and_completeness_hold_for_any_load(entries, limit):
    """Whatever is admitted: subjects in order, no more running than slots, everything done, nothing held."""
    running, most, done = Counter(), 0, []

    def enter(subject):
        nonlocal most
        running[subject] += 1
        most = max(most, running.total())

    async def work(item):
        _, subject, kind = item
        enter(subject)
        await asyncio.sleep(0)
        if kind == "parks":
            running[subject] -= 1
            async with window.parked():
                await asyncio.sleep(0)
            enter(subject)
        if kind == "yields":
            await asyncio.sleep(0)
        assert running[subject] == 1
        running[subject] -= 1
        done.append(item)
        return WorkResult.FINISHED

    window = Window(limit, work)
    given_items = [(number, subject, kind) for number, (subject, kind) in enumerate(entries)]
    async with deadline(10):
        for item in given_items:
            assert await window.admit(item[1], item)
        await until(lambda: window.held == 0)
        assert await window.close(scaled(10)) == 0
    assert sorted(done) == given_items
    for subject in "abcd":
        assert [item for item in done if item[1] == subject] == [item for item in given_items if item[1] == subject]
    assert most <= limit
    assert window.held == 0
