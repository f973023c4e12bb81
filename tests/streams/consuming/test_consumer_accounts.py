"""A consumer of several accounts: one that is stuck holds up no other, and loses no entry itself."""

from __future__ import annotations

import asyncio
from collections import Counter
from dataclasses import replace

import pytest

from router.core.errors import ServerError
from router.streams.delivery import Done
from tests.streams.bench import LIMITS
from tests.support.waiting import until

pytestmark = pytest.mark.real
SMALL = replace(LIMITS, window=2, batch=5, grace=0.1)


def account_of(delivery):
    """The first letter of an entry's name."""
    return delivery.text("n")[0]


@pytest.fixture
def stuck(bench):
    """An event that attempts of account a wait for; attempts of other accounts are done at once."""
    freed = asyncio.Event()
    done = []

    async def attempt(delivery):
        bench.deliveries.append(delivery)
        if account_of(delivery) == "a":
            await freed.wait()
        done.append(delivery.text("n"))
        return Done()

    freed.attempt, freed.done = attempt, done
    return freed


async def test_other_accounts_pass_and_the_stuck_one_loses_nothing(bench, stuck):
    """Far more entries of one account than fit, then others: once freed, each is done once, in its subject's order."""
    for number in range(60):
        await bench.add(f"a{number}", subject=f"s{number % 7}")
    async with bench.make(limits=SMALL, attempt=stuck.attempt, account=account_of).running():
        await bench.add(*[f"b{number}" for number in range(30)])
        await until(lambda: len(stuck.done) == 30)
        assert all(name.startswith("b") for name in stuck.done)
        stuck.set()
        await until(bench.is_settled)
    assert Counter(stuck.done).most_common(1)[0][1] == 1
    theirs = [int(name[1:]) for name in stuck.done if name.startswith("a")]
    assert sorted(theirs) == list(range(60))
    for subject in range(7):
        of_one = [number for number in theirs if number % 7 == subject]
        assert of_one == sorted(of_one)


async def test_setting_an_entry_aside_is_not_a_delivery(bench, stuck):
    """Reading it again leaves its delivery count at one, and it is not marked as redelivered."""
    await bench.add(*[f"a{number}" for number in range(20)])
    async with bench.make(limits=SMALL, attempt=stuck.attempt, account=account_of).running():
        await bench.add("b0")
        await until(lambda: stuck.done == ["b0"])
        assert set((await bench.pending()).values()) == {1}
        stuck.set()
        await until(bench.is_settled)
    assert not any(delivery.is_redelivered for delivery in bench.deliveries)


async def test_entries_aside_are_handed_back_and_a_survivor_does_them(bench, stuck, lines):
    """Stopping counts them as handed back; they stay pending, and the next process claims them."""
    await bench.add(*[f"a{number}" for number in range(20)])
    async with bench.make(limits=SMALL, attempt=stuck.attempt, account=account_of).running():
        await bench.add("b0")
        await until(lambda: stuck.done == ["b0"])
    assert [line["handed_back"] for line in lines("process.stopping")] == [20]
    assert len(await bench.pending()) == 20
    stuck.set()
    async with bench.make(limits=SMALL, attempt=stuck.attempt, account=account_of).running():
        await until(bench.is_settled)
    assert sorted(stuck.done[1:]) == sorted(f"a{number}" for number in range(20))


async def test_parked_entries_of_one_account_leave_room_for_others(bench):
    """An outage parks more entries than an account may hold: the rest is set aside, and other accounts go on."""
    freed = asyncio.Event()

    async def attempt(delivery):
        if account_of(delivery) == "a" and not freed.is_set():
            raise ServerError("away")
        bench.attempts.append(delivery.text("n"))
        return Done()

    await bench.add(*[f"a{number}" for number in range(100)])
    consumer = bench.make(limits=SMALL, attempt=attempt, account=account_of)
    async with consumer.running():
        await until(lambda: consumer._windows.aside > 0)
        await bench.add(*[f"b{number}" for number in range(30)])
        await until(lambda: len(bench.attempts) == 30)
        freed.set()
        await until(bench.is_settled)
    assert len(bench.attempts) == len(set(bench.attempts)) == 130
    assert await bench.letters() == []


async def test_an_intake_settles_no_entry_behind_one_that_is_aside(bench, stuck):
    """The subject of an entry aside is busy, and an intake leaves busy subjects alone."""
    settled = []

    async def intake(deliveries):
        mine = [one for one in deliveries if one.text("n") == "a-last" and not consumer.is_busy(one.text("s"))]
        settled.extend(mine)
        await consumer.acknowledge(mine)
        return [one for one in deliveries if one not in mine]

    consumer = bench.make(limits=SMALL, attempt=stuck.attempt, account=account_of, intake=intake)
    for number in range(10):
        await bench.add(f"a{number}", subject=f"s{number}")
    await bench.add("a-last", subject="s9")
    async with consumer.running():
        await bench.add("b0")
        await until(lambda: stuck.done == ["b0"])
        stuck.set()
        await until(bench.is_settled)
    assert settled == []
    assert stuck.done.index("a9") < stuck.done.index("a-last")
