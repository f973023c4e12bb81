"""Connections that write commands with hiredis: the library reads with it, but packs in Python, at five times the cost.

A command is its name and its arguments; a name of two words (`SCRIPT LOAD`) is sent as two. What the library refuses is
refused here as well, with its DataError.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, TypeVar

import hiredis
from redis.asyncio import Connection, ConnectionPool, SSLConnection, UnixDomainSocketConnection
from redis.asyncio.sentinel import SentinelManagedConnection, SentinelManagedSSLConnection
from redis.exceptions import DataError

if TYPE_CHECKING:
    from collections.abc import Iterable

    from redis.asyncio.connection import AbstractConnection

    Argument = bytes | str | int | float


def pack(command: Iterable[Argument]) -> bytes:
    """Return a command as it is sent; raises DataError for an argument that is neither bytes, text nor number."""
    name, *arguments = command
    if bool in map(type, arguments):  # a number to hiredis
        raise DataError("a bool is no argument")
    words = name.split() if isinstance(name, str | bytes) else [name]
    try:
        packed: bytes = hiredis.pack_command((*words, *arguments))
    except TypeError as error:
        raise DataError(str(error)) from error
    return packed


Pool = TypeVar("Pool", bound=ConnectionPool)


class _Packing:
    """Overrides how a connection writes; how it reads and when it gives up stays the library's."""

    def pack_command(self, *args: Any) -> list[bytes]:
        return [pack(args)]

    def pack_commands(self, commands: Iterable[Iterable[Any]]) -> list[bytes]:
        return [b"".join(map(pack, commands))]


class _Plain(_Packing, Connection):
    pass


class _Tls(_Packing, SSLConnection):
    pass


class _Local(_Packing, UnixDomainSocketConnection):
    pass


class _BehindSentinels(_Packing, SentinelManagedConnection):
    pass


class _TlsBehindSentinels(_Packing, SentinelManagedSSLConnection):
    pass


_PACKING: Final[dict[type[AbstractConnection], type[AbstractConnection]]] = {
    Connection: _Plain,
    SSLConnection: _Tls,
    UnixDomainSocketConnection: _Local,
    SentinelManagedConnection: _BehindSentinels,
    SentinelManagedSSLConnection: _TlsBehindSentinels,
}


def packing(pool: Pool) -> Pool:
    """Return a pool that has not connected yet, with connections of the same kind that pack with hiredis."""
    pool.connection_class = _PACKING[pool.connection_class]
    return pool
