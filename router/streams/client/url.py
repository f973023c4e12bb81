"""REDIS_URL in its three forms: one server, a primary behind Sentinels, or the nodes of a Cluster.

    redis://[user:password@]host[:port][/db]                                     also rediss:// (TLS) and unix://
    redis+sentinel://[user:password@]host[:port],host[:port],.../service[/db]    also rediss+sentinel://
    redis+cluster://[user:password@]host[:port],host[:port],...                  also rediss+cluster://

User and password are those of the servers; `?sentinel_username=` and `?sentinel_password=` are the Sentinels' own. TLS
applies to Sentinels too and takes the options `ssl_ca_certs`, `ssl_cert_reqs`, `ssl_certfile` and `ssl_keyfile`.
redis-py parses the URL of one server; in the other two forms an unknown option is an error.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum
from typing import Final
from urllib.parse import parse_qsl, unquote, urlsplit

SENTINEL_PORT: Final = 26379
SERVER_PORT: Final = 6379


class ServerKind(StrEnum):
    """Kind of Redis deployment."""

    SERVER = "server"
    SENTINEL = "sentinel"
    CLUSTER = "cluster"


#: Scheme: (kind, with TLS).
_SCHEMES: Final = {
    "redis": (ServerKind.SERVER, False),
    "rediss": (ServerKind.SERVER, True),
    "unix": (ServerKind.SERVER, False),
    "redis+sentinel": (ServerKind.SENTINEL, False),
    "rediss+sentinel": (ServerKind.SENTINEL, True),
    "redis+cluster": (ServerKind.CLUSTER, False),
    "rediss+cluster": (ServerKind.CLUSTER, True),
}
_TLS_OPTIONS: Final = frozenset({"ssl_ca_certs", "ssl_cert_reqs", "ssl_certfile", "ssl_keyfile"})
_SENTINEL_OPTIONS: Final = frozenset({"sentinel_username", "sentinel_password"})


@dataclass(frozen=True, slots=True)
class RedisUrl:
    """A parsed REDIS_URL. `text` is the URL as given; `nodes` (host, port) are empty for one server.

    `options` are the TLS options, by redis-py's names.
    """

    text: str = field(repr=False)
    kind: ServerKind
    is_tls: bool = False
    nodes: tuple[tuple[str, int], ...] = ()
    service: str = ""
    db: int = 0
    username: str | None = None
    password: str | None = field(default=None, repr=False)
    sentinel_username: str | None = None
    sentinel_password: str | None = field(default=None, repr=False)
    options: tuple[tuple[str, str], ...] = ()


def parse_redis_url(text: str) -> RedisUrl:
    """Parse a REDIS_URL; raises ValueError that says what is wrong and quotes nothing of the URL."""
    scheme = text.partition("://")[0] if "://" in text else ""
    if scheme not in _SCHEMES:
        raise ValueError(f"does not begin with one of {', '.join(f'{name}://' for name in _SCHEMES)}")
    kind, is_tls = _SCHEMES[scheme]
    if kind is ServerKind.SERVER:
        return RedisUrl(text, kind, is_tls)
    try:
        parts = urlsplit(text)
    except ValueError as error:  # half of an IPv6 address, for one
        raise ValueError("is not a URL") from error
    user, _, hosts = parts.netloc.rpartition("@")
    default = SENTINEL_PORT if kind is ServerKind.SENTINEL else SERVER_PORT
    nodes = tuple(_parse_host(number, host, default) for number, host in enumerate(hosts.split(","), 1))
    service, db = _parse_path(kind, parts.path)
    options = _parse_options(kind, parts.query, is_tls=is_tls)
    username, _, password = (unquote(part) for part in user.partition(":"))
    return RedisUrl(
        text,
        kind,
        is_tls,
        nodes,
        service,
        db,
        username or None,
        password or None,
        options.pop("sentinel_username", None),
        options.pop("sentinel_password", None),
        tuple(options.items()),
    )


def _parse_host(number: int, text: str, default: int) -> tuple[str, int]:
    try:
        parts = urlsplit(f"//{text}")
        host, port = parts.hostname, parts.port
    except ValueError as error:
        raise ValueError(f"host number {number} is not host:port") from error
    if not host or port == 0:
        raise ValueError(f"host number {number} is not host:port")
    return host, port or default


def _parse_path(kind: ServerKind, path: str) -> tuple[str, int]:
    """Return the service and the database."""
    words = [unquote(word) for word in path.strip("/").split("/") if word]
    if kind is ServerKind.CLUSTER:
        if words not in ([], ["0"]):
            raise ValueError("a Cluster has database 0 only: remove what follows the hosts")
        return "", 0
    service, db = (*words, "", "0")[:2] if len(words) != 1 else (words[0], "0")
    if not service:
        raise ValueError("names no service: redis+sentinel://host:port,host:port/<service>[/<db>]")
    if len(words) > 2 or not (db.isascii() and db.isdecimal()):  # noqa: PLR2004 - the service and the database
        raise ValueError("only a database number may follow the service")
    return service, int(db)


def _parse_options(kind: ServerKind, query: str, *, is_tls: bool) -> dict[str, str]:
    options = dict(parse_qsl(query, keep_blank_values=True))
    known = (_TLS_OPTIONS if is_tls else frozenset()) | (
        _SENTINEL_OPTIONS if kind is ServerKind.SENTINEL else frozenset()
    )
    if options.keys() - known:
        raise ValueError(f"has an unknown option; known options: {', '.join(sorted(known)) or 'none'}")
    return options
