"""Room for each account: windows apart, what is set aside, its order, its bound, and the end."""

from __future__ import annotations

import asyncio

import pytest

from router.streams.consuming import account_windows as module
from router.streams.consuming.account_windows import AccountWindows, read_aside
from router.streams.delivery import Delivery, StreamRef
from tests.support.waiting import until

STREAM = StreamRef(0, "router:{0}:inbound")
A, B = "AC-a", "AC-b"


class Bench:
    """Shares whose work, per account, lasts until the test lets the account go on."""

    def __init__(self, limit, *, has_several_accounts=True):
        self.shares = AccountWindows(limit, self.work, has_several_accounts=has_several_accounts)
        self.open = {A: asyncio.Event(), B: asyncio.Event()}
        self.begun, self.done, self.number = [], [], 0

    async def work(self, delivery):
        account, name = delivery.text("account"), delivery.text("n")
        self.begun.append(name)
        await self.open[account].wait()
        self.done.append(name)

    async def admit(self, account, name, subject=None, *, is_redelivered=False):
        self.number += 1
        fields = {b"account": account.encode(), b"n": name.encode()}
        delivery = Delivery(STREAM, f"{self.number}-0", fields, is_redelivered)
        return await self.shares.admit(account, subject or name, delivery)

    def bring_back(self, most=100):
        """Bring back what has room, as if Redis held all of it."""
        for account, names in self.shares.due(most):
            fields = {b"account": account.encode()}
            self.shares.bring_back(
                account,
                names,
                [Delivery(STREAM, one.entry_id, fields | {b"n": one.subject.encode()}) for one in names],
            )


@pytest.fixture
async def make_bench():
    made = []

    def make(limit, **options):
        made.append(Bench(limit, **options))
        return made[-1]

    yield make
    for bench in made:
        await bench.shares.close(0)


async def test_a_full_account_leaves_room_for_others(make_bench):
    """What is over one account's slots is set aside; the other account's begins at once."""
    bench = make_bench(2)
    for number in range(5):
        assert await bench.admit(A, f"a{number}")
    assert await bench.admit(B, "b0")
    await until(lambda: len(bench.begun) == 3)
    assert bench.begun == ["a0", "a1", "b0"]
    assert bench.shares.aside == 3


async def test_what_is_aside_comes_back_in_order_as_there_is_room(make_bench):
    """First come first served within the account, and no more at once than asked for or than there is room."""
    bench = make_bench(2)
    for number in range(6):
        await bench.admit(A, f"a{number}")
    assert [*bench.shares.due(10)] == []
    bench.open[A].set()
    await until(lambda: len(bench.done) == 2)
    (due,) = bench.shares.due(1)
    assert [name.subject for name in due[1]] == ["a2"]
    while bench.shares.aside:
        bench.bring_back()
        await asyncio.sleep(0)
    await until(lambda: len(bench.done) == 6)
    assert bench.done == [f"a{number}" for number in range(6)]


async def test_later_ones_queue_up_behind_what_is_aside(make_bench):
    """As long as one of an account is aside the next goes there too, room or not: order is kept."""
    bench = make_bench(1)
    await bench.admit(A, "first", "s")
    await bench.admit(A, "second", "s2")
    bench.open[A].set()
    await until(lambda: bench.done == ["first"])
    assert await bench.admit(A, "third", "s3")
    assert bench.shares.aside == 2
    assert bench.begun == ["first"]


async def test_subjects_in_flight_and_aside_are_busy(make_bench):
    """Whoever settles batches must leave both alone; what has come back and is done is free again."""
    bench = make_bench(1)
    await bench.admit(A, "x", "in-flight")
    await bench.admit(A, "aside")
    await bench.admit(A, "aside")
    assert bench.shares.is_busy("in-flight")
    assert bench.shares.is_busy("aside")
    assert not bench.shares.is_busy("elsewhere")
    bench.open[A].set()
    while bench.shares.aside:
        bench.bring_back(1)
        await asyncio.sleep(0)
    await until(lambda: not bench.shares.is_busy("aside"))


async def test_an_entry_that_is_gone_is_forgotten(make_bench):
    """Somebody else has finished it: what is behind it comes back all the same."""
    bench = make_bench(1)
    for name in ("a0", "gone", "a2"):
        await bench.admit(A, name)
    bench.open[A].set()
    await until(lambda: bench.done == ["a0"])
    (due,) = bench.shares.due(1)
    bench.shares.bring_back(*due, [None])
    assert bench.shares.aside == 1
    assert not bench.shares.is_busy("gone")
    bench.bring_back()
    await until(lambda: bench.done == ["a0", "a2"])


async def test_reading_stops_when_too_many_are_aside(make_bench, monkeypatch):
    """Names take memory too: at the bound reading waits, and goes on when one comes back."""
    monkeypatch.setattr(module, "ASIDE_PER_SLOT", 3)
    bench = make_bench(1)
    for number in range(3):
        await bench.admit(A, f"a{number}")
    await asyncio.wait_for(bench.shares.wait_for_room(), 5)
    await bench.admit(A, "a3")
    waiting = asyncio.create_task(bench.shares.wait_for_room())
    await asyncio.wait([waiting], timeout=0.05)
    assert not waiting.done()
    bench.open[A].set()
    await until(lambda: bench.done)
    bench.bring_back()
    await asyncio.wait_for(waiting, 5)


async def test_with_one_account_a_full_window_stops_the_reading(make_bench):
    """Nothing is set aside where there is nobody to make room for."""
    bench = make_bench(1, has_several_accounts=False)
    await bench.admit(A, "a0")
    admitting = asyncio.create_task(bench.admit(A, "a1"))
    waiting = asyncio.create_task(bench.shares.wait_for_room())
    await asyncio.wait([admitting, waiting], timeout=0.05)
    assert not admitting.done()
    assert not waiting.done()
    assert bench.shares.aside == 0
    bench.open[A].set()
    assert await admitting
    await waiting


async def test_the_end_counts_what_is_aside_and_lets_nothing_in(make_bench):
    """What was set aside is handed back like what is cut off; who waits is let go."""
    bench = make_bench(1)
    for name in ("a0", "a1", "a2"):
        await bench.admit(A, name)
    await bench.admit(B, "b0")
    bench.open[B].set()
    await until(lambda: bench.done == ["b0"])
    assert await bench.shares.close(0) == 3
    assert await bench.admit(B, "late") is False
    assert [*bench.shares.due(10)] == []
    await asyncio.wait_for(bench.shares.wait_for_room(), 5)


async def test_what_comes_back_while_it_ends_stays_aside(make_bench):
    """The windows take nothing more: it stays pending for a survivor."""
    bench = make_bench(1)
    for name in ("a0", "a1"):
        await bench.admit(A, name)
    bench.open[A].set()
    await until(lambda: bench.done == ["a0"])
    (due,) = bench.shares.due(10)
    await bench.shares.close(0)
    bench.shares.bring_back(*due, [Delivery(STREAM, "2-0", {})])
    assert bench.shares.aside == 1


async def test_entries_are_read_by_their_names(redis, make_bench):
    """In the order of the names, with how they were delivered; None for what is no longer there."""
    ids = [(await redis.xadd(STREAM.key, {"n": str(number)})).decode() for number in range(3)]
    await redis.xdel(STREAM.key, ids[1])
    names = [module.AsideEntry(STREAM, entry_id, "s", is_redelivered=entry_id == ids[2]) for entry_id in reversed(ids)]
    found = await read_aside(redis, names)
    assert found == [
        Delivery(STREAM, ids[2], {b"n": b"2"}, is_redelivered=True),
        None,
        Delivery(STREAM, ids[0], {b"n": b"0"}),
    ]
