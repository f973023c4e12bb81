"""Clients for REDIS_URL in each of its forms (router.streams.client.url), and which keys fail together."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, TypeVar
from urllib.parse import urlsplit

from redis.asyncio import BlockingConnectionPool, Redis, SSLConnection
from redis.asyncio.retry import Retry
from redis.asyncio.sentinel import Sentinel, SentinelConnectionPool, SentinelManagedSSLConnection
from redis.backoff import NoBackoff
from redis.exceptions import RedisError
from redis.maint_notifications import MaintNotificationsConfig

from router.streams.client.cluster import Address, ClusterClient
from router.streams.client.fast_connections import Client, with_fast_connections
from router.streams.client.scripts import Script, load_script, run_all
from router.streams.client.url import RedisUrl, ServerKind, parse_redis_url

if TYPE_CHECKING:
    from collections.abc import Sequence

T = TypeVar("T")

#: Seconds. The client never repeats a command by itself: after a timeout the caller decides.
SOCKET_TIMEOUT: Final = 5.0
CONNECT_TIMEOUT: Final = 3.0
#: Connections per client. Further commands wait for one; redis-py's default pool would refuse them, and a full window
#: of attempts may acknowledge all at once.
MAX_CONNECTIONS: Final = 50
#: Seconds before the next Sentinel is asked.
SENTINEL_TIMEOUT: Final = 0.5

__all__ = ["Redis", "RedisError", "Script", "connect", "load_script", "run_all"]


def connect(url: str, *, timeout: float = SOCKET_TIMEOUT, node_timeout: float | None = None) -> Redis:
    """Return a client for `url` (raw bytes in and out); it connects at first use.

    `timeout` is in seconds. In a Cluster `node_timeout` replaces it, so that callers can give up on one node and still
    use the answers of the others. Raises ValueError for an invalid URL (router.streams.client.url).
    """
    place = parse_redis_url(url)
    if place.kind is ServerKind.CLUSTER and node_timeout is not None:
        timeout = node_timeout
    options: dict[str, Any] = {"max_connections": MAX_CONNECTIONS, "timeout": timeout, **socket_options(timeout)}
    if place.kind is ServerKind.SENTINEL:
        return _connect_by_sentinels(place, options)
    if place.kind is ServerKind.CLUSTER:
        return _connect_to_cluster(place, options)
    if urlsplit(url).scheme == "unix":
        del options["socket_keepalive"]  # a TCP option
    return Client.from_pool(with_fast_connections(BlockingConnectionPool.from_url(url, **options)))


def socket_options(timeout: float) -> dict[str, Any]:
    """Return the options that all connections share."""
    return {
        "socket_timeout": timeout,
        "socket_connect_timeout": CONNECT_TIMEOUT,
        "socket_keepalive": True,
        "health_check_interval": 30,
        "retry": Retry(NoBackoff(), 0),
        # When enabled (the default with RESP3) the pool hands out connections that died while idle.
        "maint_notifications_config": MaintNotificationsConfig(enabled=False),
    }


def sentinel_options(place: RedisUrl) -> dict[str, Any]:
    """Return the options of connections to Sentinels; the timeouts are short, since the next Sentinel knows as much."""
    return {
        **socket_options(SENTINEL_TIMEOUT),
        "socket_connect_timeout": SENTINEL_TIMEOUT,
        "username": place.sentinel_username,
        "password": place.sentinel_password,
        **({"ssl": True, **dict(place.options)} if place.is_tls else {}),
    }


def split_by_server(redis: Redis, items: Sequence[T]) -> list[list[T]]:
    """Divide items, one key each, into parts such that no part is held up by the failure of another part's server.

    In a Cluster each key may lie on a node of its own, now or later: each item is a part. Otherwise all items are one
    part.
    """
    return [[item] for item in items] if isinstance(redis, ClusterClient) else [list(items)]


class _SentinelPool(SentinelConnectionPool, BlockingConnectionPool):
    """Asks the Sentinels for the primary at each new connection; waits while all connections are in use."""


def _connect_by_sentinels(place: RedisUrl, options: dict[str, Any]) -> Redis:
    login: dict[str, Any] = {"db": place.db, "username": place.username, "password": place.password}
    tls = {"connection_class": SentinelManagedSSLConnection, **dict(place.options)} if place.is_tls else {}
    make_sentinels: Any = Sentinel  # redis-py has no types for these two
    make_pool: Any = _SentinelPool
    sentinels = make_sentinels(place.nodes, sentinel_kwargs=sentinel_options(place))
    return _SentinelClient.from_pool(
        with_fast_connections(make_pool(place.service, sentinels, **options, **login, **tls))
    )


async def close_sentinels(client: Redis) -> None:
    """Close a client's connections to Sentinels, if it has any: redis-py leaves them open."""
    pool: Any = client.connection_pool
    if isinstance(pool, SentinelConnectionPool):
        await pool.sentinel_manager.aclose()


class _SentinelClient(Client):
    """Closes its connections to the Sentinels together with its own."""

    async def aclose(self, close_connection_pool: bool | None = None) -> None:  # noqa: FBT001 - redis-py's signature
        await super().aclose(close_connection_pool)
        await close_sentinels(self)


def _connect_to_cluster(place: RedisUrl, options: dict[str, Any]) -> Redis:
    tls: dict[str, Any] = {"connection_class": SSLConnection, **dict(place.options)} if place.is_tls else {}

    def make(address: Address) -> Redis:
        login: dict[str, Any] = {
            "host": address[0],
            "port": address[1],
            "username": place.username,
            "password": place.password,
        }
        return Client.from_pool(with_fast_connections(BlockingConnectionPool(**options, **login, **tls)))

    return ClusterClient(place.nodes, make)
