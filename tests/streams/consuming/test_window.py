"""The in-flight window: order within a subject, bounds on slots and memory, pauses, and closing."""

from __future__ import annotations

import asyncio
from collections import Counter

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from router.streams.consuming import window
from router.streams.consuming.window import FIRST_RUN, HELD_PER_SLOT, MOST_ALONE, RunPace, Window, WorkResult
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
        assert gate.window.put(subject, item)
    await until(lambda: len(gate.begun) == 2)
    assert gate.begun == ["a1", "b1"]
    assert gate.window.is_busy("a")
    assert not gate.window.is_busy("c")
    gate.open.set()
    await until(lambda: gate.window.held == 0)
    assert gate.done.index("a1") < gate.done.index("a2")
    assert not gate.window.is_busy("a")


async def test_room_is_bounded_in_entries_and_in_bytes(monkeypatch):
    """Many large entries of few subjects leave no room, although slots are free; what is put in all the same counts."""
    monkeypatch.setattr(window, "HELD_BYTES", 100)
    go_on = asyncio.Event()

    async def work(_):
        await go_on.wait()
        return WorkResult.FINISHED

    heavy = Window(10, work, weigh=lambda size: size)
    for subject, size, room in (("a", 60, 39), ("a", 30, 38), ("b", 20, 0), ("c", 50, 0)):
        assert heavy.put(subject, size)
        assert heavy.room == room
    go_on.set()
    await until(lambda: heavy.held == 0)
    assert heavy.room == 10 * HELD_PER_SLOT
    assert heavy._bytes == 0
    for number in range(10 * HELD_PER_SLOT + 5):
        heavy.put(f"s{number}", 0)
    assert heavy.room == 0
    await heavy.close(0)


async def test_queued_entries_can_be_taken_out_in_order(make_gate):
    """They are no longer held, the one at work goes on, and a subject without any other is idle afterwards."""
    idle = []
    gate = make_gate(2)
    gate.window._on_idle = idle.append
    for item in ("a3", "a1", "a2"):
        gate.window.put("a", item)
    await until(lambda: gate.begun)
    assert gate.window.queued("a") == 2
    assert gate.window.take_queued("a") == ["a1", "a2"]
    assert gate.window.take_queued("no such subject") == []
    assert (gate.window.held, gate.window.queued("a"), idle) == (1, 0, [])
    gate.open.set()
    await until(lambda: idle == ["a"])
    assert gate.done == ["a3"]


async def test_entries_taken_out_while_their_subject_waits_for_a_slot_are_not_run(make_gate):
    """A subject whose entries have gone ends without work."""
    gate = make_gate(1)
    gate.window.put("a", "a1")
    await until(lambda: gate.begun)
    gate.window.put("b", "b1")
    await let_tasks_run()
    assert gate.window.take_queued("b") == ["b1"]
    gate.open.set()
    await until(lambda: not gate.window.is_busy("b"))
    assert gate.done == ["a1"]
    assert await gate.window.close(0) == 0


@pytest.mark.parametrize("readers", [1, 3])
async def test_no_more_entries_run_than_there_are_slots(make_gate, readers):
    """However many readers admit concurrently, no more than `limit` run at the same time."""
    gate = make_gate(4)
    gate.open.set()

    async def read(number):
        for item in range(50):
            gate.window.put(f"{number}-{item}", item)

    await asyncio.gather(*[read(number) for number in range(readers)])
    await until(lambda: gate.window.held == 0)
    assert len(gate.done) == readers * 50
    assert gate.most <= 4


class Pausing:
    """Work in which items named "pauses..." pause until the test wakes them, and then need a slot for a moment."""

    def __init__(self, limit):
        self.window = Window(limit, self.work)
        self.awake = asyncio.Event()
        self.paused, self.running, self.most, self.done = [], 0, 0, []

    async def work(self, item):
        self._enter()
        if item.startswith("pauses"):
            self.running -= 1
            self.paused.append(item)
            async with self.window.paused():
                await self.awake.wait()
            self._enter()
        await asyncio.sleep(0)
        self.running -= 1
        self.done.append(item)
        return WorkResult.FINISHED

    def _enter(self):
        self.running += 1
        self.most = max(self.most, self.running)


async def test_a_pausing_entry_gives_its_slot_to_other_subjects_and_keeps_its_place_in_its_own():
    """While one waits for an outage to end, other subjects run; later entries of its own subject wait with it."""
    pausing = Pausing(1)
    pausing.window.put("a", "pauses")
    await until(lambda: pausing.paused)
    pausing.window.put("a", "behind")
    for number in range(5):
        pausing.window.put(f"s{number}", f"flows{number}")
    await until(lambda: len(pausing.done) == 5)
    assert "behind" not in pausing.done
    pausing.awake.set()
    await until(lambda: pausing.window.held == 0)
    assert pausing.done[5:] == ["pauses", "behind"]


async def test_entries_that_return_from_a_pause_wait_for_a_slot():
    """After an outage pausing entries go on as slots become free, never more at once than there are slots."""
    pausing = Pausing(3)
    for number in range(30):
        pausing.window.put(f"s{number}", f"pauses{number}")
    await until(lambda: len(pausing.paused) == 30)
    pausing.awake.set()
    await until(lambda: pausing.window.held == 0)
    assert len(pausing.done) == 30
    assert pausing.most <= 3


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
        async with window.paused():
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
        gate.window.put("a", item)
    closing = asyncio.create_task(gate.window.close(scaled(5)))
    await asyncio.sleep(0)
    gate.open.set()
    assert await closing == 0
    assert gate.done == ["a1", "a2"]


async def test_close_cuts_off_unfinished_entries_and_counts_them(make_gate):
    """After the grace running, pausing and queued entries are cut off; their number is returned."""
    gate = make_gate(3)
    for subject, item in (("a", "a1"), ("a", "a2"), ("b", "b1")):
        gate.window.put(subject, item)
    await until(lambda: len(gate.begun) == 2)
    assert await gate.window.close(0.05) == 3
    assert gate.window.held == 0
    assert gate.done == []


async def test_a_closing_window_takes_nothing_in(make_gate):
    """What it has is finished within the grace."""
    gate = make_gate(1)
    gate.window.put("a", "a1")
    await until(lambda: gate.begun)
    closing = asyncio.create_task(gate.window.close(scaled(5)))
    await asyncio.sleep(0)
    assert gate.window.is_closing
    assert gate.window.put("b", "b1") is False
    gate.open.set()
    assert await closing == 0
    assert gate.done == ["a1"]


async def test_close_does_not_wait_for_pausing_entries():
    """They are cut off at once: a survivor claims them."""
    pausing = Pausing(1)
    for number in range(3):
        pausing.window.put(f"s{number}", f"pauses{number}")
    await until(lambda: len(pausing.paused) == 3)
    async with deadline(5):
        assert await pausing.window.close(3_600) == 3


entries = st.lists(st.tuples(st.sampled_from("abcd"), st.sampled_from(["works", "pauses", "yields"])), max_size=60)


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
        if kind == "pauses":
            running[subject] -= 1
            async with window.paused():
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
            assert window.put(item[1], item)
        await until(lambda: window.held == 0)
        assert await window.close(scaled(10)) == 0
    assert sorted(done) == given_items
    for subject in "abcd":
        assert [item for item in done if item[1] == subject] == [item for item in given_items if item[1] == subject]
    assert most <= limit
    assert window.held == 0


class Lane:
    """A window whose first item waits for the gate; notes what was worked on alone, and which runs together."""

    def __init__(self, *, settles=lambda items: items, most=100):
        self.window = Window(5, self.work, together=self.together, most=most)
        self.settles = settles
        self.alone, self.runs, self.done = [], [], []
        self.open = asyncio.Event()

    async def work(self, item):
        self.alone.append(item)
        await self.open.wait()
        self.done.append(item)
        return WorkResult.FINISHED

    async def together(self, items):
        self.runs.append(items)
        settled = self.settles(items)
        self.done += settled
        return [item for item in items if item not in settled]

    async def drain(self, count):
        for item in range(count):
            assert self.window.put("a", item)
        self.open.set()
        await until(lambda: not self.window.is_busy("a"))
        assert self.window.held == 0
        assert self.window.room == Window(5, self.work).room
        assert await self.window.close(0) == 0


async def test_items_that_queued_behind_another_go_together():
    """Alone goes the first one only, and order is kept."""
    lane = Lane()
    await lane.drain(200)
    assert lane.alone == [0]
    assert lane.done == list(range(200))
    assert [len(run) for run in lane.runs] == [8, 16, 32, 64, 79]


@pytest.mark.parametrize(
    "settles",
    [lambda _: [], lambda items: items[:1], lambda items: [one for one in items if one % 7], lambda items: items[:-1]],
    ids=["none", "first", "others", "all but the last"],
)
async def test_items_that_a_run_leaves_are_worked_on_alone(settles):
    """Each item is worked on once, whatever a run settles."""
    lane = Lane(settles=settles)
    await lane.drain(200)
    assert sorted(lane.done) == list(range(200))


async def test_a_run_that_is_cut_off_leaves_no_item_held():
    """A closing window begins no run, and one that is under way counts as cut off."""
    begun = asyncio.Event()

    async def together(_):
        begun.set()
        await asyncio.Event().wait()

    async def work(_):
        return WorkResult.FINISHED

    window = Window(5, work, together=together, most=10)
    for item in range(10):
        assert window.put("a", item)
    await begun.wait()
    assert await window.close(0) == 9
    assert window.held == 0


# --- how many go together -------------------------------------------------------------------------


def drain(pace, queued, settle):
    """Drain a queue; `settle(tried)` returns how many of a run are settled. Returns the number of steps."""
    runs, alone = [], 0
    while queued:
        tried = pace.next_run(queued)
        if not tried:
            queued, alone = queued - 1, alone + 1
            continue
        settled = settle(tried)
        runs.append(tried)
        pace.note(tried, settled)
        queued -= settled
    return runs, alone


def test_a_long_queue_drains_in_growing_runs():
    """Ten thousand entries take some fifty runs, and one entry alone."""
    runs, alone = drain(RunPace(200), 10_000, lambda tried: tried)
    assert (runs[:6], alone) == ([8, 16, 32, 64, 128, 200], 1)
    assert len(runs) < 60


def test_runs_in_vain_get_rare():
    """Where every entry needs a call of its own, few are tried twice."""
    runs, alone = drain(RunPace(200), 10_000, lambda _: 0)
    assert alone == 10_000
    assert set(runs) <= set(range(2, FIRST_RUN + 1))
    assert sum(runs) < 10_000 / MOST_ALONE * FIRST_RUN + 100


def test_one_call_in_many_costs_one_entry_alone():
    """An entry that needs a call ends its run; the next run follows after it."""
    runs, alone = drain(RunPace(200), 1000, lambda tried: tried - 1)
    assert alone < 160
    assert max(runs) == FIRST_RUN


@given(st.integers(1, 300), st.integers(0, 500), st.data())
def test_every_entry_is_worked_on(most, queued, data):
    """Whatever the runs settle, the queue ends, and no run is larger than allowed."""
    runs, alone = drain(RunPace(most), queued, lambda tried: data.draw(st.integers(0, tried)))
    assert all(2 <= tried <= most for tried in runs)
    assert alone <= queued
