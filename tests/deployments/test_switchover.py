"""A consumer whose primary becomes a replica while it reads, as for maintenance, reads on after READONLY errors."""

from __future__ import annotations

import asyncio

from router.core.errors import NotDurableError
from router.core.keys import Keys
from router.streams.consuming.consumer import Limits, StreamConsumer
from router.streams.delivery import Done, StreamRef
from router.streams.store.append import Appender
from tests.harness.redis_topologies import SERVICE, Sentinels
from tests.streams.store.test_append import make_fields
from tests.support.waiting import until


async def test_consumer_reads_on_after_a_switchover(tmp_path, clients):
    """Commands and reader find the new primary; the entries from before and after it come once each."""
    sentinels, keys, taken = Sentinels(tmp_path), Keys(), []
    stream = StreamRef(0, keys.inbound(0))

    async def attempt(delivery):
        taken.append(delivery.text("key"))
        return Done()

    try:
        await sentinels.start()
        redis = clients(sentinels.url)
        consumer = StreamConsumer(
            redis=redis,
            url=sentinels.url,
            keys=keys,
            streams=[stream],
            group="g",
            limits=Limits(retry_delay=0.1),
            attempt=attempt,
            subject=lambda delivery: delivery.entry_id,
        )
        async with consumer.running():
            assert await Appender(redis, keys).append(make_fields("before"))
            await until(lambda: taken == ["before"])
            await sentinels.sentinels[0].ask("SENTINEL FAILOVER", SERVICE)
            await until(sentinels.has_failed_over)
            await sentinels.demote()  # until then it accepts writes that will be lost
            await until(lambda: is_taken(redis, keys))
            await until(lambda: "after" in taken)

            async def is_finished():
                return (await redis.xpending(stream.key, "g"))["pending"] == 0

            await until(is_finished)
        assert taken == ["before", "after"]
    finally:
        await asyncio.to_thread(sentinels.stop)


async def is_taken(redis, keys):
    """Try to append; the moment of the switchover is an outage like any other."""
    try:
        await Appender(redis, keys).append(make_fields("after"))
    except NotDurableError:
        return False
    return True
