"""The limit on requests in flight: its arithmetic, and the order of waiting callers."""

import asyncio

import pytest
from hypothesis import given
from hypothesis import strategies as st

from router.conversations.limiter import MAX_HOLD, ConcurrencyWindow, Limiter
from router.core.errors import RateLimitError, TransportError

FAR = 1e9


@pytest.fixture
def limiter(time):
    return Limiter(2, clock=time.clock, sleep=time.sleep)


async def settle():
    """Let every task run as far as it can go."""
    for _ in range(10):
        await asyncio.sleep(0)


class Holder:
    """A task that takes a slot, notes it in `order`, and keeps it until `done` is set."""

    def __init__(self, limiter, order, name, deadline=FAR):
        self.done = asyncio.Event()
        self.task = asyncio.create_task(self.run(limiter, order, name, deadline))

    async def run(self, limiter, order, name, deadline):
        async with limiter.slot(deadline):
            order.append(name)
            await self.done.wait()


def test_maximum_of_zero():
    """A window needs room for at least one request."""
    with pytest.raises(ValueError, match="1 or more"):
        ConcurrencyWindow(0)


def test_fall_and_rise():
    """A 429 halves the cap; as many successes as the cap raise it by one, up to the maximum."""
    window = ConcurrencyWindow(8)
    assert window.throttle(started=0.0, now=1.0)
    assert window.cap == 4
    for _ in range(4):
        window.succeed()
    assert window.cap == 5
    for _ in range(5 + 6 + 7 + 100):
        window.succeed()
    assert window.cap == 8


def test_one_burst_falls_once():
    """429s to requests that were in flight together count once; a later 429 counts again."""
    window = ConcurrencyWindow(64)
    assert window.throttle(started=0.0, now=1.0)
    assert not window.throttle(started=0.5, now=1.1)
    assert not window.throttle(started=0.9, now=1.2)
    assert window.cap == 32
    assert window.throttle(started=1.0, now=2.0)
    assert window.cap == 16


def test_hold_is_never_shortened():
    """The longest Retry-After counts, up to the bound."""
    window = ConcurrencyWindow(1)
    window.hold(MAX_HOLD, now=0)
    window.hold(MAX_HOLD / 4, now=MAX_HOLD / 4)
    assert window.held_for(MAX_HOLD / 2) == MAX_HOLD / 2
    assert window.held_for(MAX_HOLD) == 0
    window.hold(86_400, now=10)
    assert window.held_for(10) == MAX_HOLD


@given(st.integers(1, 100), st.lists(st.one_of(st.none(), st.floats(0, 5)), max_size=300))
def test_cap_stays_in_bounds(maximum, events):
    """The cap stays between one and the maximum, and moves up by one or down by half."""
    window, now = ConcurrencyWindow(maximum), 0.0
    for event in events:
        before = window.cap
        if event is None:
            window.succeed()
            assert before <= window.cap <= before + 1
        else:
            now += 1.0
            window.throttle(started=now - event, now=now)
            assert window.cap in {before, max(1, before // 2)}
        assert 1 <= window.cap <= maximum


@given(st.integers(1, 64))
def test_cap_recovers(maximum):
    """After any number of falls, enough successes restore the maximum."""
    window = ConcurrencyWindow(maximum)
    for moment in range(10):
        window.throttle(started=moment, now=moment)
    assert window.cap == 1
    for _ in range(maximum * maximum):
        window.succeed()
    assert window.cap == maximum


async def test_slots_in_order_of_arrival(limiter):
    """Slots are given in order of arrival, and never more than the cap."""
    order = []
    holders = [Holder(limiter, order, name) for name in range(6)]
    await settle()
    assert order == [0, 1]
    assert (limiter.in_flight, len(limiter._waiters)) == (2, 4)
    holders[1].done.set()
    await settle()
    assert order == [0, 1, 2]
    for holder in holders:
        holder.done.set()
    await asyncio.gather(*(holder.task for holder in holders))
    assert order == list(range(6))
    assert (limiter.in_flight, len(limiter._waiters)) == (0, 0)


async def test_newcomer_does_not_overtake(limiter):
    """A free slot goes to the caller that has waited longest, even if another one asks at the same time."""
    order = []
    holders = [Holder(limiter, order, name) for name in ("a", "b", "waiting")]
    await settle()
    holders[0].done.set()
    holders.append(Holder(limiter, order, "new"))
    await settle()
    assert order == ["a", "b", "waiting"]
    for holder in holders:
        holder.done.set()
    await asyncio.gather(*(holder.task for holder in holders))


async def test_cancelled_while_waiting(limiter):
    """A cancelled waiter leaves the queue and the next one takes its turn."""
    order = []
    holders = [Holder(limiter, order, name) for name in range(4)]
    await settle()
    holders[2].task.cancel()
    await settle()
    assert len(limiter._waiters) == 1
    holders[0].done.set()
    await settle()
    assert order == [0, 1, 3]
    for holder in holders:
        holder.done.set()
    await asyncio.gather(*(holder.task for holder in holders), return_exceptions=True)
    assert limiter.in_flight == 0


async def test_cancelled_during_the_handover(limiter):
    """A slot that was given to a task which is cancelled before it runs goes to the next one."""
    order = []
    holders = [Holder(limiter, order, name) for name in range(4)]
    await settle()
    limiter._waiters[0].get_loop().call_soon(holders[2].task.cancel)
    holders[0].done.set()
    limiter._release()  # task 2 gets the slot now, and its cancellation is already scheduled
    limiter.in_flight += 1  # holder 0 releases it a second time
    await settle()
    assert holders[2].task.cancelled()
    for holder in holders:
        holder.done.set()
    await asyncio.gather(*(holder.task for holder in holders), return_exceptions=True)
    assert 3 in order
    assert (limiter.in_flight, len(limiter._waiters)) == (0, 0)


@given(st.lists(st.sampled_from(["start", "finish", "cancel", "throttle", "succeed"]), max_size=60))
def test_slots_are_never_lost(events):
    """After any sequence of starts, ends and cancellations all slots are free."""

    async def play():
        limiter, order, holders = Limiter(3, clock=lambda: 0.0), [], []
        for number, event in enumerate(events):
            if event == "start":
                holders.append(Holder(limiter, order, number))
            elif event == "finish" and holders:
                holders[number % len(holders)].done.set()
            elif event == "cancel" and holders:
                holders[number % len(holders)].task.cancel()
            elif event == "throttle":
                limiter.throttle(started=0.0)
            elif event == "succeed":
                limiter.succeed()
            if number % 3:
                await settle()
            assert 0 <= limiter.in_flight <= 3
        for holder in holders:
            holder.done.set()
        await asyncio.gather(*(holder.task for holder in holders), return_exceptions=True)
        assert (limiter.in_flight, len(limiter._waiters)) == (0, 0)
        assert order == sorted(order)

    asyncio.run(play())


async def test_no_new_request_above_a_lower_cap(limiter):
    """After a fall no request starts until fewer than the cap are in flight; a rise lets the next one start."""
    order = []
    holders = [Holder(limiter, order, name) for name in range(4)]
    await settle()
    limiter.throttle(started=0.0)
    holders[0].done.set()
    await settle()
    assert order == [0, 1]
    limiter.succeed()
    await settle()
    assert order == [0, 1, 2]
    for holder in holders:
        holder.done.set()
    await asyncio.gather(*(holder.task for holder in holders))


async def test_hold_delays_requests(limiter, time):
    """The next request waits until a Retry-After is over."""
    limiter.hold(0.75)
    async with limiter.slot(FAR):
        assert time.slept == [0.75]


async def test_hold_that_grows_during_the_wait(time):
    """A request also waits for a second Retry-After that arrives during its wait."""

    async def sleep(seconds):
        await time.sleep(seconds)
        if len(time.slept) == 1:
            limiter.hold(0.25)

    limiter = Limiter(1, clock=time.clock, sleep=sleep)
    limiter.hold(0.5)
    async with limiter.slot(FAR):
        assert time.slept == [0.5, 0.25]


async def test_hold_past_the_deadline(limiter, time):
    """A call that a hold keeps past its deadline fails at once and holds no slot."""
    limiter.hold(0.5)
    with pytest.raises(RateLimitError, match="held back") as caught:
        async with limiter.slot(time.now + 0.5):
            pytest.fail("nothing may go out")
    assert caught.value.retry_after == 0.5
    assert time.slept == []
    assert limiter.in_flight == 0


async def test_no_slot_before_the_deadline(limiter, time):
    """Waiting for a slot ends at the deadline, and nothing was sent."""
    order = []
    holders = [Holder(limiter, order, name) for name in range(2)]
    await settle()
    with pytest.raises(TransportError, match="no slot") as caught:
        async with limiter.slot(time.now):
            pytest.fail("there is no slot")
    assert not caught.value.is_sent
    assert (limiter.in_flight, len(limiter._waiters)) == (2, 0)
    for holder in holders:
        holder.done.set()
    await asyncio.gather(*(holder.task for holder in holders))
