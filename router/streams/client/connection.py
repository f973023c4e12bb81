"""Connections to Redis, however it is deployed (router.streams.client.url)."""

from __future__ import annotations

from typing import Any, Final
from urllib.parse import urlsplit

from redis.asyncio import BlockingConnectionPool, Redis, SSLConnection
from redis.asyncio.retry import Retry
from redis.asyncio.sentinel import Sentinel, SentinelConnectionPool, SentinelManagedSSLConnection
from redis.backoff import NoBackoff
from redis.exceptions import RedisError
from redis.maint_notifications import MaintNotificationsConfig

from router.core.errors import SettingsError
from router.streams.client.cluster import Address, ClusterClient
from router.streams.client.fast_connections import quick
from router.streams.client.scripts import Script, load_script, run_all
from router.streams.client.url import RedisUrl, ServerKind, parse_redis_url

#: Seconds. A stalled server is noticed, and the caller decides; the client never repeats a command by itself.
SOCKET_TIMEOUT: Final = 5.0
CONNECT_TIMEOUT: Final = 3.0
#: Connections of one client at most. Further commands wait for one; the client's usual pool would refuse them, and a
#: full window of attempts may well acknowledge at the same moment.
MAX_CONNECTIONS: Final = 50
#: Seconds that one Sentinel may take before the next one is asked.
SENTINEL_TIMEOUT: Final = 0.5

__all__ = ["Redis", "RedisError", "Script", "connect", "ensure_answering", "load_script", "run_all"]


def connect(url: str, *, timeout: float = SOCKET_TIMEOUT) -> Redis:
    """Return a client for `url` (raw bytes in and out); it connects at first use. `timeout` is in seconds.

    Raises ValueError for a URL that is none (router.streams.client.url).
    """
    place = parse_redis_url(url)
    options: dict[str, Any] = {"max_connections": MAX_CONNECTIONS, "timeout": timeout, **socket_options(timeout)}
    if place.kind is ServerKind.SENTINEL:
        return _behind_sentinels(place, options)
    if place.kind is ServerKind.CLUSTER:
        return _of_cluster(place, options)
    if urlsplit(url).scheme == "unix":
        del options["socket_keepalive"]  # there is no network that could lose its other side
    return Redis.from_pool(quick(BlockingConnectionPool.from_url(url, **options)))


def socket_options(timeout: float) -> dict[str, Any]:
    """Return what all connections have in common."""
    return {
        "socket_timeout": timeout,
        "socket_connect_timeout": CONNECT_TIMEOUT,
        "socket_keepalive": True,
        "health_check_interval": 30,
        "retry": Retry(NoBackoff(), 0),
        # With them (on by default where RESP3 is spoken) the pool hands out connections that died while idle.
        "maint_notifications_config": MaintNotificationsConfig(enabled=False),
    }


def sentinel_options(place: RedisUrl) -> dict[str, Any]:
    """Return how Sentinels are asked: quickly, since the next one knows as well."""
    return {
        **socket_options(SENTINEL_TIMEOUT),
        "socket_connect_timeout": SENTINEL_TIMEOUT,
        "username": place.sentinel_username,
        "password": place.sentinel_password,
        **({"ssl": True, **dict(place.options)} if place.is_tls else {}),
    }


class _SentinelPool(SentinelConnectionPool, BlockingConnectionPool):
    """Asks the Sentinels for the primary at each new connection, and waits where all connections are in use."""


def _behind_sentinels(place: RedisUrl, options: dict[str, Any]) -> Redis:
    login: dict[str, Any] = {"db": place.db, "username": place.username, "password": place.password}
    tls = {"connection_class": SentinelManagedSSLConnection, **dict(place.options)} if place.is_tls else {}
    make_sentinels: Any = Sentinel  # the library has no types for these two
    make_pool: Any = _SentinelPool
    sentinels = make_sentinels(place.nodes, sentinel_kwargs=sentinel_options(place))
    return _SentinelClient.from_pool(quick(make_pool(place.service, sentinels, **options, **login, **tls)))


async def close_sentinels(client: Redis) -> None:
    """Close the connections to the Sentinels of a client, where it has some: the library keeps them open."""
    pool: Any = client.connection_pool
    if isinstance(pool, SentinelConnectionPool):
        await pool.sentinel_manager.aclose()


class _SentinelClient(Redis):
    """Closes its connections to the Sentinels with its own."""

    async def aclose(self, close_connection_pool: bool | None = None) -> None:  # noqa: FBT001 - the library's
        await super().aclose(close_connection_pool)
        await close_sentinels(self)


def _of_cluster(place: RedisUrl, options: dict[str, Any]) -> Redis:
    tls: dict[str, Any] = {"connection_class": SSLConnection, **dict(place.options)} if place.is_tls else {}

    def make(address: Address) -> Redis:
        login: dict[str, Any] = {
            "host": address[0],
            "port": address[1],
            "username": place.username,
            "password": place.password,
        }
        return Redis.from_pool(quick(BlockingConnectionPool(**options, **login, **tls)))

    return ClusterClient(place.nodes, make)


async def ensure_answering(redis: Redis) -> None:
    """Return if the server answers; raises SettingsError that names the variable and the reason if not."""
    try:
        await redis.ping()
    except (RedisError, OSError) as error:
        raise SettingsError([f"REDIS_URL: {type(error).__name__}: {error}"]) from error
