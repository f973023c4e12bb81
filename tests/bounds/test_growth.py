"""No process grows with the number of its customers, events or refusals."""

from __future__ import annotations

import asyncio
import gc
from collections import deque
from functools import cache, lru_cache

import pytest

from router.core.errors import ServerError
from router.core.keys import Keys
from router.simulator.messages import Scene, scene_callback
from router.streams.client.embedded import free_port
from router.streams.consuming import budget
from router.streams.delivery import Done, Later, Poison, StreamRef
from router.streams.store.recent import Recent
from tests.bounds.deployment import NUMBER
from tests.harness.processes import start_process
from tests.streams.bench import LIMITS, Bench
from tests.support.accounts import ACCOUNT, CONFIGURATION, KEY, OURS, SECRET, TOKEN
from tests.support.growth import Snapshot, grown
from tests.support.waiting import until

#: So many customers in each round, after as many to warm up; growing by nearly as much in each round is a leak.
MANY, TIMES = 80, 2
LEAST = MANY * 3 // 4


class Leaky:
    """Leaks in every way: each kind of container, a cache, and objects spread over small lists."""

    def __init__(self):
        self.texts, self.numbers, self.queue, self.spread = {}, set(), deque(), {}

    @staticmethod
    @cache
    def remember(number):
        return [number]

    def take(self, number):
        self.texts[str(number)] = "x"
        self.numbers.add(number)
        self.queue.append(number)
        self.spread.setdefault(number % 5, []).append(Drop())
        self.remember(number)


class Drop:
    """An object that leaks into small containers, of which none is large."""


def test_leaks_are_found():
    """Containers of any kind, objects spread over many small ones, and a cache without a bound."""
    leaky, snapshots = Leaky(), [Snapshot()]
    for first in range(0, TIMES * MANY, MANY):
        for number in range(first, first + MANY):
            leaky.take(number)
        snapshots.append(Snapshot())
    found = grown(snapshots, LEAST)
    for kind in ("in a builtins.dict", "in a builtins.set", "in a collections.deque", "Drop", "builtins.list"):
        assert [one for one in found if kind in one], (kind, found)


def test_containers_that_grow_once_or_have_a_bound_are_no_leak():
    """A bounded cache may be filled, and so may a pool, up to its size."""
    bounded, pool, snapshots = lru_cache(maxsize=10_000)(lambda number: [number]), [], [Snapshot()]
    for first in range(0, TIMES * MANY, MANY):
        for number in range(first, first + MANY):
            bounded(number)
        pool += [[]] * (2 * MANY - len(pool))
        snapshots.append(Snapshot())
    assert grown(snapshots, LEAST) == []


@pytest.fixture(autouse=True)
def short(monkeypatch):
    """Leave out what is kept for a minute by design, and what other tests have left."""
    monkeypatch.setattr(budget, "WINDOW", 1)
    monkeypatch.setitem(Recent.__init__.__kwdefaults__, "most", MANY)  # so many are kept by design
    gc.freeze()
    yield
    gc.unfreeze()


@pytest.fixture
async def api(tmp_path):
    """The URL of a sandbox in a process of its own, because a sandbox keeps everything by design."""
    port = free_port()
    credentials = {"TWILIO_ACCOUNT_SID": ACCOUNT, "TWILIO_AUTH_TOKEN": TOKEN}
    environment = credentials | {"TWILIO_API_KEY": KEY, "TWILIO_API_SECRET": SECRET}
    process = await start_process(tmp_path, "router", "sandbox", "--port", str(port), **environment)
    await until(lambda: "TWILIO_CONVERSATIONS_URL=" in process.text)
    yield f"http://127.0.0.1:{port}"
    await process.kill()


async def send_everything(deployment, customers):
    """For each number: a customer writes, one joins and leaves by callbacks, and a webhook has no signature."""
    await deployment.send(*customers)
    for number in customers:
        scene = Scene(
            account_sid=ACCOUNT,
            configuration_id=CONFIGURATION,
            channel="SMS",
            customer=NUMBER.format(1_000_000 + number),
            recipient=OURS,
            conversation_id=f"conv_conversation_{number:026d}",
            participant_id=f"conv_participant_{number:026d}",
            now=1_767_787_200_000_000 + number,
        )
        for kind in ("participant-added", "conversation-closed"):
            await deployment.post(scene_callback(kind, scene))
        await deployment.post_unsigned(number)


@pytest.mark.real
@pytest.mark.processes
async def test_a_receiver_a_worker_and_both_consumers_forget_their_customers(redis, redis_url, make_deployment, api):
    """Hundreds of customers leave nothing behind in any of them."""
    deployment = await make_deployment(redis_url, TWILIO_CONVERSATIONS_URL=api, ROUTER_WINDOW="20", ROUTER_BATCH="20")
    await deployment.start_worker()
    for name in ("ai_agent", "human_agent"):
        await deployment.start_handler(name)
    snapshots = []
    for first in range(0, (TIMES + 1) * MANY, MANY):
        await send_everything(deployment, range(first, first + MANY))
        await deployment.until_idle()
        snapshots.append(Snapshot())
    assert grown(snapshots, LEAST) == []
    assert len(await deployment.joined()) == 2 * (TIMES + 1) * MANY


@pytest.mark.real
async def test_a_consumer_forgets_an_entry_whatever_its_outcome(redis, redis_url, lines):
    """Done, put off, failed, given up, released by a full window: nothing of it stays."""
    keys = Keys()
    bench = Bench(redis, redis_url, keys, StreamRef(0, keys.inbound(0)))
    tried = set()

    async def attempt(delivery):
        number = int(delivery.text("n")[1:])
        if number % 7 == 0 and number not in tried:
            tried.add(number)
            return Later("not yet", 0.001)
        if number % 11 == 0 and number not in tried:
            tried.add(number)
            raise ServerError("away", status=503)
        if number % 13 == 0:
            return Poison("no sense")
        await asyncio.sleep(0)
        tried.discard(number)
        return Done()

    consumer = bench.make(limits=LIMITS, attempt=attempt, account=lambda delivery: delivery.text("n")[0])
    snapshots = []
    async with consumer.running():
        for first in range(0, (TIMES + 1) * 4 * MANY, 4 * MANY):
            await bench.add(*[f"{'abc'[number % 3]}{number}" for number in range(first, first + 4 * MANY)])
            await until(bench.is_settled)
            tried.clear()
            snapshots.append(Snapshot())
        assert grown(snapshots, LEAST) == []
        assert bench.results["dead"] > LEAST
