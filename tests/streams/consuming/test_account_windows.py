"""A window per account: entries set aside, their order, their bound, and closing."""

from __future__ import annotations

import asyncio

import pytest

from router.streams.consuming import account_windows as module
from router.streams.consuming.account_windows import AccountWindows, AsideEntry, read_aside
from router.streams.consuming.window import WorkResult
from router.streams.delivery import Delivery, StreamRef
from tests.support.waiting import deadline, let_tasks_run, until

STREAM = StreamRef(0, "router:{0}:inbound")
A, B = "AC-a", "AC-b"


class Bench:
    """Account windows whose work lasts until the test opens its account's gate."""

    def __init__(self, limit, *, has_several_accounts=True):
        self.windows = AccountWindows(limit, self.work, has_several_accounts=has_several_accounts)
        self.gates = {A: asyncio.Event(), B: asyncio.Event()}
        self.begun, self.done, self.number = [], [], 0

    async def work(self, delivery):
        account, name = delivery.text("account"), delivery.text("n")
        self.begun.append(name)
        await self.gates[account].wait()
        self.done.append(name)
        return WorkResult.FINISHED

    async def admit(self, account, name, subject=None, *, is_redelivered=False):
        self.number += 1
        fields = {b"account": account.encode(), b"n": name.encode()}
        delivery = Delivery(STREAM, f"{self.number}-0", fields, is_redelivered)
        return await self.windows.admit(account, subject or name, delivery)

    def bring_back(self, most=100):
        """Bring back the entries that have room, as if Redis held all of them."""
        for account, entries in self.windows.due(most):
            fields = {b"account": account.encode()}
            found = [Delivery(STREAM, one.entry_id, fields | {b"n": one.subject.encode()}) for one in entries]
            self.windows.bring_back(account, entries, found)


@pytest.fixture
async def make_bench():
    made = []

    def make(limit, **options):
        made.append(Bench(limit, **options))
        return made[-1]

    yield make
    for bench in made:
        await bench.windows.close(0)


async def test_a_full_account_leaves_room_for_others(make_bench):
    """Entries beyond one account's slots are set aside; another account's begin at once."""
    bench = make_bench(2)
    for number in range(5):
        assert await bench.admit(A, f"a{number}")
    assert await bench.admit(B, "b0")
    await until(lambda: len(bench.begun) == 3)
    assert bench.begun == ["a0", "a1", "b0"]
    assert bench.windows.aside == 3


async def test_entries_aside_come_back_in_order_as_there_is_room(make_bench):
    """They come in the order of arrival, and no more at once than asked for or than fit."""
    bench = make_bench(2)
    for number in range(6):
        await bench.admit(A, f"a{number}")
    assert [*bench.windows.due(10)] == []
    bench.gates[A].set()
    await until(lambda: len(bench.done) == 2)
    (due,) = bench.windows.due(1)
    assert [entry.subject for entry in due[1]] == ["a2"]
    while bench.windows.aside:
        bench.bring_back()
        await asyncio.sleep(0)
    await until(lambda: len(bench.done) == 6)
    assert bench.done == [f"a{number}" for number in range(6)]


async def test_later_entries_of_an_account_queue_behind_those_aside(make_bench):
    """While one is aside the next goes there too, even if there is room: order is kept."""
    bench = make_bench(1)
    await bench.admit(A, "first", "s")
    await bench.admit(A, "second", "s2")
    bench.gates[A].set()
    await until(lambda: bench.done == ["first"])
    assert await bench.admit(A, "third", "s3")
    assert bench.windows.aside == 2
    assert bench.begun == ["first"]


async def test_subjects_in_flight_and_aside_are_busy(make_bench):
    """A batch must leave both alone; once an entry has come back and is done its subject is free again."""
    bench = make_bench(1)
    await bench.admit(A, "x", "in-flight")
    await bench.admit(A, "aside")
    await bench.admit(A, "aside")
    assert bench.windows.is_busy("in-flight")
    assert bench.windows.is_busy("aside")
    assert not bench.windows.is_busy("elsewhere")
    bench.gates[A].set()
    while bench.windows.aside:
        bench.bring_back(1)
        await asyncio.sleep(0)
    await until(lambda: not bench.windows.is_busy("aside"))


async def test_an_entry_that_is_gone_is_dropped(make_bench):
    """Another consumer has finished it: the entries behind it come back all the same."""
    bench = make_bench(1)
    for name in ("a0", "gone", "a2"):
        await bench.admit(A, name)
    bench.gates[A].set()
    await until(lambda: bench.done == ["a0"])
    (due,) = bench.windows.due(1)
    bench.windows.bring_back(*due, [None])
    assert bench.windows.aside == 1
    assert not bench.windows.is_busy("gone")
    bench.bring_back()
    await until(lambda: bench.done == ["a0", "a2"])


async def test_reading_stops_when_too_many_are_aside(make_bench, monkeypatch):
    """References take memory too: at the bound reading waits, and goes on when an entry comes back."""
    monkeypatch.setattr(module, "ASIDE_PER_SLOT", 3)
    bench = make_bench(1)
    for number in range(3):
        await bench.admit(A, f"a{number}")
    async with deadline(5):
        await bench.windows.wait_for_room()
    await bench.admit(A, "a3")
    waiting = asyncio.create_task(bench.windows.wait_for_room())
    await let_tasks_run()
    assert not waiting.done()
    bench.gates[A].set()
    await until(lambda: bench.done)
    bench.bring_back()
    async with deadline(5):
        await waiting


async def test_with_one_account_a_full_window_stops_the_reading(make_bench):
    """Nothing is set aside: there is no other account to make room for."""
    bench = make_bench(1, has_several_accounts=False)
    await bench.admit(A, "a0")
    admitting = asyncio.create_task(bench.admit(A, "a1"))
    waiting = asyncio.create_task(bench.windows.wait_for_room())
    await let_tasks_run()
    assert not admitting.done()
    assert not waiting.done()
    assert bench.windows.aside == 0
    bench.gates[A].set()
    assert await admitting
    await waiting


async def test_closing_counts_entries_aside_and_admits_nothing(make_bench):
    """Entries aside are handed back like those that are cut off; waiting readers are released."""
    bench = make_bench(1)
    for name in ("a0", "a1", "a2"):
        await bench.admit(A, name)
    await bench.admit(B, "b0")
    bench.gates[B].set()
    await until(lambda: bench.done == ["b0"])
    assert await bench.windows.close(0) == 3
    assert await bench.admit(B, "late") is False
    assert [*bench.windows.due(10)] == []
    async with deadline(5):
        await bench.windows.wait_for_room()


async def test_an_entry_that_comes_back_while_the_windows_close_stays_aside(make_bench):
    """The windows take nothing more: it stays pending for a survivor."""
    bench = make_bench(1)
    for name in ("a0", "a1"):
        await bench.admit(A, name)
    bench.gates[A].set()
    await until(lambda: bench.done == ["a0"])
    (due,) = bench.windows.due(10)
    await bench.windows.close(0)
    bench.windows.bring_back(*due, [Delivery(STREAM, "2-0", {})])
    assert bench.windows.aside == 1


async def test_entries_aside_are_read_again(redis):
    """They come in the order asked for, marked as they were delivered; None for an entry that is gone."""
    ids = [(await redis.xadd(STREAM.key, {"n": str(number)})).decode() for number in range(3)]
    await redis.xdel(STREAM.key, ids[1])
    entries = [AsideEntry(STREAM, entry_id, "s", is_redelivered=entry_id == ids[2]) for entry_id in reversed(ids)]
    assert await read_aside(redis, entries) == [
        Delivery(STREAM, ids[2], {b"n": b"2"}, is_redelivered=True),
        None,
        Delivery(STREAM, ids[0], {b"n": b"0"}),
    ]
