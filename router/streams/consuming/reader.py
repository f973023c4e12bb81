"""Reading with FastStream: a batch subscriber with manual acknowledgment that hands on raw fields.

The properties of FastStream 0.7.8 that shape this are held in tests/redis/test_framework_facts.py: its default parser
loses a whole batch to one field that is not UTF-8, a parser that raises does the same (so ours cannot raise), without
max_records a consumer takes the whole backlog, and nack has no effect.
"""

from __future__ import annotations

import contextlib
from functools import partial
from typing import TYPE_CHECKING, Any, Final

from faststream import AckPolicy
from faststream.redis import StreamSub
from faststream.redis.message import RedisBatchStreamMessage

from router.logs import describe, log
from router.streams.client.brokers import BrokerConnection
from router.streams.delivery import Delivery, StreamRef

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Awaitable, Callable, Sequence

    from faststream.redis import RedisBroker
    from faststream.redis.message import RedisStreamMessage

    from router.streams.client.connection import Redis

#: A subscriber that FastStream has restarted this often cannot read.
MAX_RESTARTS: Final = 50
#: Milliseconds that one XREADGROUP blocks, and so the longest time that a stop takes.
BLOCK: Final = 200


class Reader:
    """Feeds new entries of `streams`, all on one server, to `take`.

    `take` gets one batch at a time per stream: reading of that stream stops until it returns.
    """

    def __init__(
        self,
        redis: Redis,
        url: str,
        streams: Sequence[StreamRef],
        *,
        group: str,
        consumer: str,
        batch: int,
        take: Callable[[list[Delivery]], Awaitable[None]],
    ) -> None:
        self._streams = streams
        self._connection = BrokerConnection(redis, url, [stream.key for stream in streams])
        self._subscribers: list[Any] = []
        self._make_subscriber = partial(_subscribe, group=group, consumer=consumer, batch=batch, take=take)

    @property
    def is_running(self) -> bool:
        """Whether every subscriber still reads.

        FastStream stops a subscriber silently when its group is lost. After a reply such as READONLY or WRONGTYPE it
        restarts it without a pause, thousands of times a second, and each restart leaves a task behind: that counts as
        stopped. So does a subscriber whose task was canceled (it claims to run, but is never restarted), and reading
        from a server that no longer has the streams.
        """
        if self._connection.has_moved:
            return False
        return bool(self._subscribers) and all(
            one.running and len(one.tasks) < MAX_RESTARTS and _is_alive(one.tasks) for one in self._subscribers
        )

    async def start(self) -> None:
        """Begin to read; the groups must exist. Raises RedisError or OSError.

        FastStream gives a subscriber three seconds to begin, and leaves it running after that: a server that answers
        more slowly is read from all the same.
        """
        broker = await self._connection.open()
        self._subscribers = [self._make_subscriber(broker, stream) for stream in self._streams]
        for subscriber in self._subscribers:
            with contextlib.suppress(TimeoutError):
                await subscriber.start()

    async def stop(self) -> None:
        """Stop reading, after the batch that is being taken."""
        tasks = [task for one in self._subscribers for task in one.tasks]
        try:
            await self._connection.close()
        finally:
            for task in tasks:
                task.cancel()  # if this is cut off, FastStream has not done it
                if task.done() and not task.cancelled():
                    task.exception()  # FastStream does not retrieve it, and asyncio would log each one


def _subscribe(
    broker: RedisBroker,
    stream: StreamRef,
    *,
    group: str,
    consumer: str,
    batch: int,
    take: Callable[[list[Delivery]], Awaitable[None]],
) -> Any:
    """Add a subscriber to `broker` that passes the raw entries of `stream` to `take`."""

    async def parse(raw: dict[str, Any]) -> RedisBatchStreamMessage:
        # FastStream 0.7.8 requires `consumer` and `group` to acknowledge through the message, which is not done here.
        owner: Any = consumer
        body: Any = raw["data"]
        message: Any = raw
        return RedisBatchStreamMessage(raw_message=message, body=body, correlation_id="", consumer=owner, group=group)

    async def decode(message: RedisStreamMessage) -> Any:
        return message.raw_message

    async def handle(raw: Any) -> None:
        rows = zip(raw["message_ids"], raw["data"], strict=True)
        try:
            await take([Delivery(stream, entry_id.decode(), fields) for entry_id, fields in rows])
        except Exception as error:  # noqa: BLE001 - FastStream would hide it; the entries stay pending and come again
            log("batch.failed", level="error", stream=stream.key, error=describe(error))

    subscriber = broker.subscriber(
        stream=StreamSub(
            stream.key,
            group=group,
            consumer=consumer,
            batch=True,
            max_records=batch,
            polling_interval=BLOCK,
        ),
        ack_policy=AckPolicy.MANUAL,
        parser=parse,
        decoder=decode,
    )
    subscriber(handle)
    return subscriber


def _is_alive(tasks: Sequence[asyncio.Task[Any]]) -> bool:
    return any(not task.done() for task in tasks)
