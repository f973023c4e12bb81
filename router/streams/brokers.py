"""FastStream's broker for each way in which Redis is deployed.

Behind Sentinels each new connection asks for the primary; in a Cluster a broker reads the streams of one slot, wherever
it is, so that a node that is away keeps nobody else from reading (router.streams.reading).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from faststream.redis import RedisBroker, RedisClusterBroker, RedisSentinelBroker
from redis.asyncio.retry import Retry
from redis.asyncio.sentinel import SentinelManagedSSLConnection
from redis.backoff import NoBackoff

from router.core.redis_url import Kind, parse_redis_url
from router.streams.connection import CONNECT_TIMEOUT, SOCKET_TIMEOUT, sentinel_options

if TYPE_CHECKING:
    from collections.abc import Callable

    from router.core.redis_url import RedisUrl

#: It makes its own lines per message, which cost a quarter of the speed; types are read where an entry is worked on.
_PLAIN: Final[dict[str, Any]] = {"apply_types": False, "graceful_timeout": None, "logger": None}


def make_broker(url: str) -> RedisBroker:
    """Return a broker that is not connected yet."""
    place = parse_redis_url(url)
    return _MAKERS[place.kind](place)


def _one_server(place: RedisUrl) -> RedisBroker:
    return RedisBroker(place.text, **_PLAIN)


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


def _of_cluster(place: RedisUrl) -> RedisBroker:
    (host, port), *others = place.nodes
    tls = {"ssl": True, **dict(place.options)} if place.is_tls else {}
    # The slot of its stream is enough for a reader; whether all the others are served is nothing to it.
    options: dict[str, Any] = _PLAIN | _options(place) | tls | {"require_full_coverage": False}
    return RedisClusterBroker(host=host, port=port, startup_nodes=others, **options)


def _options(place: RedisUrl) -> dict[str, Any]:
    return {
        "username": place.username,
        "password": place.password,
        "socket_timeout": SOCKET_TIMEOUT,
        "socket_connect_timeout": CONNECT_TIMEOUT,
        "socket_keepalive": True,
        "retry": Retry(NoBackoff(), 1),
    }


_MAKERS: Final[dict[Kind, Callable[[RedisUrl], RedisBroker]]] = {
    Kind.SERVER: _one_server,
    Kind.SENTINEL: _behind_sentinels,
    Kind.CLUSTER: _of_cluster,
}
