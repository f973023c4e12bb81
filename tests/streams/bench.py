"""Consumers for tests: scripted attempts, entries to work on, and questions about what became of them."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace

from redis.exceptions import ResponseError

from router.streams.consuming.consumer import Limits, StreamConsumer
from router.streams.delivery import Done
from router.streams.store.dead_letters import list_letters
from router.streams.store.parking import list_parked
from tests.harness.deployment import count_parked, count_unfinished
from tests.support.waiting import scaled

GROUP = "resolver"
LIMITS = Limits(window=20, batch=10, max_deliveries=3, retry_delay=0.01, heartbeat_ttl=0.6, grace=2)


async def is_settled(redis, stream):
    """Return whether every entry of a stream was delivered to its groups and none is pending or parked."""
    return not await count_unfinished(redis, stream.key)


def make_consumer(redis, url, keys, streams, *, attempt, limits=LIMITS, group=GROUP, **options):
    """Return a consumer; heartbeat and grace are for a quiet machine and are scaled.

    Without a `subject` each entry is its own.
    """
    limits = replace(limits, heartbeat_ttl=scaled(limits.heartbeat_ttl), grace=scaled(limits.grace))
    options = {"subject": lambda delivery: delivery.entry_id} | options
    return StreamConsumer(
        redis=redis, url=url, keys=keys, streams=streams, group=group, limits=limits, attempt=attempt, **options
    )


class Bench:
    """Consumers of one stream with scripted attempts: `script[name]` is for the entry whose field n is that name.

    A script has a verdict, an exception or a function for each attempt; after its end an entry is Done.
    """

    def __init__(self, redis, url, keys, stream):
        self.redis, self.url, self.keys, self.stream = redis, url, keys, stream
        self.script, self.attempts, self.deliveries, self.results = {}, [], [], Counter()

    async def attempt(self, delivery):
        name = delivery.text("n")
        self.attempts.append(name)
        self.deliveries.append(delivery)
        steps = self.script.get(name, [])
        step = steps.pop(0) if steps else Done()
        if callable(step):
            step = await step(delivery)
        if isinstance(step, BaseException):
            raise step
        return step

    def make(self, *, streams=None, limits=LIMITS, attempt=None, **options):
        """Return a consumer; the subject of an entry is its field s, else the entry itself."""
        options = {"subject": lambda delivery: delivery.text("s") or delivery.entry_id} | options
        return make_consumer(
            self.redis,
            self.url,
            self.keys,
            streams or [self.stream],
            limits=limits,
            attempt=attempt or self.attempt,
            on_result=lambda result: self.results.update([result]),
            **options,
        )

    async def add(self, *names, subject=None):
        """Add entries; returns their ids."""
        pipeline = self.redis.pipeline(transaction=False)
        for name in names:
            pipeline.xadd(self.stream.key, {"n": name} | ({"s": subject} if subject else {}))
        return [entry_id.decode() for entry_id in await pipeline.execute()]

    async def pending(self):
        """Return the delivery count of each pending entry."""
        try:
            rows = await self.redis.xpending_range(self.stream.key, GROUP, "-", "+", 1_000)
        except ResponseError:  # no group yet
            return {}
        return {row["message_id"].decode(): row["times_delivered"] for row in rows}

    async def parked(self):
        """Return the parked entries."""
        return [one async for one in list_parked(self.redis, self.keys, self.stream.key, GROUP)]

    async def is_parked(self, number):
        """Return whether so many entries are parked."""
        return await count_parked(self.redis, self.stream.key, GROUP) == number

    async def is_settled(self):
        return await is_settled(self.redis, self.stream)

    async def letters(self):
        return [letter async for letter in list_letters(self.redis, self.keys)]
