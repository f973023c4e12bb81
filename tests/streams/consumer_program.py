"""A real consumer process: `python -m tests.streams.consumer_program URL STUCK_FROM DELAY GRACE TTL`.

Each attempt is counted, takes DELAY seconds, and has an effect that can be repeated (SADD); from entry number
STUCK_FROM on it never ends. An entry with a field `kills` kills the process with SIGKILL.
"""

from __future__ import annotations

import asyncio
import os
import signal
import sys

from router.core.keys import Keys
from router.logs import log
from router.process.loop import run, until_stopped_or
from router.streams.client.connection import connect
from router.streams.consuming.consumer import Limits, StreamConsumer
from router.streams.delivery import Delivery, Done, StreamRef
from tests.support.waiting import scaled

GROUP = "resolver"
EFFECTS = "effects"
ATTEMPTS = "attempts"


async def main(url: str, stuck_from: float, delay: float, grace: float, ttl: float) -> int:
    """Consume until SIGTERM; returns 1 if reading fails for good."""
    redis, keys = connect(url, timeout=scaled(20)), Keys()

    async def attempt(delivery: Delivery) -> Done:
        await redis.hincrby(ATTEMPTS, delivery.entry_id, 1)
        if int(delivery.text("n")) >= stuck_from:
            await asyncio.Event().wait()
        if delivery.text("kills"):
            os.kill(os.getpid(), signal.SIGKILL)
        await asyncio.sleep(delay)
        await redis.sadd(EFFECTS, delivery.text("n"))
        return Done()

    consumer = StreamConsumer(
        redis=redis,
        url=url,
        keys=keys,
        streams=[StreamRef(0, keys.inbound(0))],
        group=GROUP,
        limits=Limits(window=20, batch=20, heartbeat_ttl=ttl, grace=grace),
        attempt=attempt,
        subject=lambda delivery: delivery.entry_id,
    )
    async with consumer.running():
        log("process.started", consumer=consumer.name)
        failure = await until_stopped_or(consumer.failed())
    await redis.aclose()
    log("process.stopped")
    return 0 if failure is None else 1


if __name__ == "__main__":
    sys.exit(run(main(sys.argv[1], *map(float, sys.argv[2:]))))
