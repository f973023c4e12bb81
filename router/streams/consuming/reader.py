"""Reading with FastStream: a batch subscriber with manual acknowledgement that hands on raw fields.

What FastStream 0.7.8 does with Redis streams, and what we therefore do ourselves, is held in
tests/redis/test_framework_facts.py: its default parser loses a whole batch to one field that is not UTF-8, and a parser
that raises does the same, so ours cannot raise; without max_records it takes a whole backlog; nack does nothing.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any, Final

from faststream import AckPolicy
from faststream.redis import RedisBroker, RedisSentinelBroker, StreamSub
from faststream.redis.message import RedisBatchStreamMessage
from redis.asyncio.retry import Retry
from redis.asyncio.sentinel import SentinelManagedSSLConnection
from redis.backoff import NoBackoff

from router.logs import describe, log
from router.streams.client.connection import CONNECT_TIMEOUT, SOCKET_TIMEOUT, close_sentinels, sentinel_options
from router.streams.client.url import ServerKind, parse_redis_url
from router.streams.delivery import Delivery, StreamRef

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Awaitable, Callable, Sequence

    from faststream.redis.message import RedisStreamMessage

    from router.streams.client.cluster import Address, ClusterClient
    from router.streams.client.connection import Redis
    from router.streams.client.url import RedisUrl

#: So many new beginnings of one subscriber mean that it cannot read.
RESTARTS: Final = 50
#: Milliseconds that one XREADGROUP blocks; how fast a stop is noticed.
BLOCK: Final = 200


class Reader:
    """Feeds batches of new entries to `take`, one batch at a time per stream: not returning from it stops reading."""

    def __init__(
        self,
        url: str,
        streams: Sequence[StreamRef],
        *,
        group: str,
        consumer: str,
        batch: int,
        take: Callable[[list[Delivery]], Awaitable[None]],
        cluster: ClusterClient | None = None,
    ) -> None:
        self._url = url
        self._streams = streams
        self._cluster = cluster
        self._at: Address | None = None
        self._client: Redis | None = None  # of the framework
        self._broker: RedisBroker | None = None  # which is silent: what fails in `take` is logged below
        self._subscribers: list[Any] = []
        self._make_subscriber = partial(self._subscribe, group=group, consumer=consumer, batch=batch, take=take)
        if cluster is None:
            self._build()

    def _subscribe(
        self,
        broker: RedisBroker,
        stream: StreamRef,
        *,
        group: str,
        consumer: str,
        batch: int,
        take: Callable[[list[Delivery]], Awaitable[None]],
    ) -> Any:
        async def parse(raw: dict[str, Any]) -> RedisBatchStreamMessage:
            # `consumer` and `group` are required by 0.7.8 for acknowledging through the message, which we never do.
            owner: Any = consumer
            body: Any = raw["data"]
            message: Any = raw
            return RedisBatchStreamMessage(
                raw_message=message, body=body, correlation_id="", consumer=owner, group=group
            )

        async def decode(message: RedisStreamMessage) -> Any:
            return message.raw_message

        async def handle(raw: Any) -> None:
            rows = zip(raw["message_ids"], raw["data"], strict=True)
            try:
                await take([Delivery(stream, entry_id.decode(), fields) for entry_id, fields in rows])
            except Exception as error:  # noqa: BLE001 - FastStream would hide it; the entries are pending and come again
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

    @property
    def is_running(self) -> bool:
        """Tell whether every subscriber still reads.

        A lost group stops one silently; an answer such as READONLY or WRONGTYPE makes FastStream begin anew without a
        pause, thousands of times a second, and each time leaves a task behind: that counts as stopped. So does one
        whose task was canceled (it is never begun anew, and the subscriber goes on saying that it runs), and reading
        from a node of a Cluster that the streams have left.
        """
        if self._cluster is not None and any(self._cluster.known_owner(one.key) != self._at for one in self._streams):
            return False
        return all(one.running and len(one.tasks) < RESTARTS and _is_alive(one.tasks) for one in self._subscribers)

    async def start(self) -> None:
        """Begin to read; the groups must exist. In a Cluster the streams lie on one node."""
        if self._cluster is not None:
            self._at = await self._cluster.owner_of(self._streams[0].key)
        broker = self._broker if self._at is None and self._broker is not None else self._build()
        self._client = await broker.connect()
        await broker.start()

    def _build(self) -> RedisBroker:
        self._broker = make_broker(self._url, self._at)
        self._subscribers = [self._make_subscriber(self._broker, stream) for stream in self._streams]
        return self._broker

    async def stop(self) -> None:
        """Stop reading; a batch that is being taken is waited for."""
        if self._broker is None:
            return
        tasks = [task for one in self._subscribers for task in one.tasks]
        await self._broker.stop()
        if self._client is not None:
            await close_sentinels(self._client)
        for task in tasks:
            if task.done() and not task.cancelled():
                task.exception()  # FastStream never asks, and asyncio would log each of them


def _is_alive(tasks: Sequence[asyncio.Task[Any]]) -> bool:
    return any(not task.done() for task in tasks)


#: It makes its own lines per message, which cost a quarter of the speed; types are read where an entry is worked on.
_PLAIN: Final[dict[str, Any]] = {"apply_types": False, "graceful_timeout": None, "logger": None}


def make_broker(url: str, at: Address | None = None) -> RedisBroker:
    """Return a broker that is not connected yet; `at` is the node of a Cluster that it reads from."""
    place = parse_redis_url(url)
    if at is not None:
        return _node(place, at)
    return _behind_sentinels(place) if place.kind is ServerKind.SENTINEL else RedisBroker(place.text, **_PLAIN)


def _behind_sentinels(place: RedisUrl) -> RedisBroker:
    tls = {"connection_class": SentinelManagedSSLConnection, **dict(place.options)} if place.is_tls else {}
    options: dict[str, Any] = _PLAIN | _options(place) | tls
    return RedisSentinelBroker(
        sentinels=place.nodes,
        sentinel_master_name=place.service,
        sentinel_kwargs=sentinel_options(place),
        db=place.db,
        **options,
    )


def _node(place: RedisUrl, at: Address) -> RedisBroker:
    host, port = at
    options: dict[str, Any] = _PLAIN | _options(place) | dict(place.options)
    return RedisBroker(f"redis{'s' if place.is_tls else ''}://", host=host, port=port, **options)


def _options(place: RedisUrl) -> dict[str, Any]:
    return {
        "username": place.username,
        "password": place.password,
        "socket_timeout": SOCKET_TIMEOUT,
        "socket_connect_timeout": CONNECT_TIMEOUT,
        "socket_keepalive": True,
        "retry": Retry(NoBackoff(), 1),
    }
