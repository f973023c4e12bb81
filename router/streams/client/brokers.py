"""FastStream brokers for REDIS_URL in each of its forms, and the one from which some streams can be read now.

A broker reads from one server. In a Cluster that is the node that owns the streams, which may change.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from faststream.redis import RedisBroker, RedisSentinelBroker
from redis.asyncio.retry import Retry
from redis.asyncio.sentinel import SentinelManagedSSLConnection
from redis.backoff import NoBackoff

from router.streams.client.cluster import ClusterClient
from router.streams.client.connection import CONNECT_TIMEOUT, SOCKET_TIMEOUT, close_sentinels, sentinel_options
from router.streams.client.url import ServerKind, parse_redis_url

if TYPE_CHECKING:
    from collections.abc import Sequence

    from router.streams.client.cluster import Address
    from router.streams.client.connection import Redis
    from router.streams.client.url import RedisUrl

#: FastStream's line per message costs a quarter of the throughput; types are parsed where an entry is worked on.
_PLAIN: Final[dict[str, Any]] = {"apply_types": False, "graceful_timeout": None, "logger": None}


class BrokerConnection:
    """The connection of a broker to the server that owns `keys`, which must all be on one server."""

    def __init__(self, redis: Redis, url: str, keys: Sequence[str]) -> None:
        self._url = url
        self._keys = keys
        self._cluster = redis if isinstance(redis, ClusterClient) else None
        self._address: Address | None = None
        self._broker: RedisBroker | None = None
        self._client: Redis | None = None  # FastStream's

    @property
    def has_moved(self) -> bool:
        """Whether a key now lies on another server than the one that was connected to."""
        cluster = self._cluster
        return cluster is not None and any(cluster.known_owner(key) != self._address for key in self._keys)

    async def open(self) -> RedisBroker:
        """Return a connected broker that has not been started; raises RedisError or OSError."""
        if self._cluster is not None:
            self._address = await self._cluster.owner_of(self._keys[0])
        self._broker = make_broker(self._url, self._address)
        self._client = await self._broker.connect()
        return self._broker

    async def close(self) -> None:
        """Stop the broker, if there is one, and close its connections."""
        if self._broker is not None:
            await self._broker.stop()
        if self._client is not None:
            await close_sentinels(self._client)


def make_broker(url: str, node: Address | None = None) -> RedisBroker:
    """Return a broker that is not connected yet; `node` is the Cluster node that it reads from."""
    place = parse_redis_url(url)
    if node is not None:
        return _make_node_broker(place, node)
    return _make_sentinel_broker(place) if place.kind is ServerKind.SENTINEL else RedisBroker(place.text, **_PLAIN)


def _make_sentinel_broker(place: RedisUrl) -> RedisBroker:
    tls = {"connection_class": SentinelManagedSSLConnection, **dict(place.options)} if place.is_tls else {}
    options: dict[str, Any] = _PLAIN | _connection_options(place) | tls
    return RedisSentinelBroker(
        sentinels=place.nodes,
        sentinel_master_name=place.service,
        sentinel_kwargs=sentinel_options(place),
        db=place.db,
        **options,
    )


def _make_node_broker(place: RedisUrl, node: Address) -> RedisBroker:
    host, port = node
    options: dict[str, Any] = _PLAIN | _connection_options(place) | dict(place.options)
    return RedisBroker(f"redis{'s' if place.is_tls else ''}://", host=host, port=port, **options)


def _connection_options(place: RedisUrl) -> dict[str, Any]:
    return {
        "username": place.username,
        "password": place.password,
        "socket_timeout": SOCKET_TIMEOUT,
        "socket_connect_timeout": CONNECT_TIMEOUT,
        "socket_keepalive": True,
        "retry": Retry(NoBackoff(), 1),
    }
