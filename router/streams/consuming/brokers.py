"""FastStream's broker for each way in which Redis is deployed.

Behind Sentinels each new connection asks for the primary. In a Cluster a broker reads from one node, like from any
other server, and is replaced when its streams move (router.streams.reader). FastStream's own broker for a Cluster is
not used: its client asks some node where the keys of each XREADGROUP are, always the same one, and when that is away
nothing is read from the others either (tests/deployments holds this).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from faststream.redis import RedisBroker, RedisSentinelBroker
from redis.asyncio.retry import Retry
from redis.asyncio.sentinel import SentinelManagedSSLConnection
from redis.backoff import NoBackoff

from router.streams.client.connection import CONNECT_TIMEOUT, SOCKET_TIMEOUT, sentinel_options
from router.streams.client.url import Kind, parse_redis_url

if TYPE_CHECKING:
    from router.streams.client.cluster import Address
    from router.streams.client.url import RedisUrl

#: It makes its own lines per message, which cost a quarter of the speed; types are read where an entry is worked on.
_PLAIN: Final[dict[str, Any]] = {"apply_types": False, "graceful_timeout": None, "logger": None}


def make_broker(url: str, at: Address | None = None) -> RedisBroker:
    """Return a broker that is not connected yet; `at` is the node of a Cluster that it reads from."""
    place = parse_redis_url(url)
    if at is not None:
        return _node(place, at)
    return _behind_sentinels(place) if place.kind is Kind.SENTINEL else RedisBroker(place.text, **_PLAIN)


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
