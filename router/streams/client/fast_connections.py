"""Connections that do less for each command: they pack with hiredis, and take a reply that is there without a timer.

The library reads with hiredis, but packs in Python, at five times the cost. And it sets a timer for each reply, which
costs ten times what the reply does: of a pipeline all but the first have mostly come with it. When a connection gives
up, and everything else, stays the library's.

A command is its name and its arguments; a name of two words (`SCRIPT LOAD`) is sent as two. What the library refuses is
refused here as well, with its DataError.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, TypeVar

import hiredis
from redis._parsers.hiredis import NOT_ENOUGH_DATA
from redis.asyncio import Connection, ConnectionPool, SSLConnection, UnixDomainSocketConnection
from redis.asyncio.connection import AbstractConnection
from redis.asyncio.sentinel import SentinelManagedConnection, SentinelManagedSSLConnection
from redis.exceptions import ConnectionError, DataError, RedisError  # noqa: A004 - the client's own

if TYPE_CHECKING:
    from collections.abc import Iterable

    Argument = bytes | str | int | float


def pack(command: tuple[Argument, ...]) -> bytes:
    """Return a command as it is sent; raises DataError for an argument that is neither bytes, text nor number."""
    if bool in map(type, command):  # a number to hiredis
        raise DataError("a bool is no argument")
    name = command[0]
    if (isinstance(name, str) and " " in name) or (isinstance(name, bytes) and b" " in name):
        command = (*name.split(), *command[1:])
    try:
        packed: bytes = hiredis.pack_command(command)  # type: ignore[arg-type]  # its stub: one argument
    except TypeError as error:
        raise DataError(str(error)) from error
    return packed


Pool = TypeVar("Pool", bound=ConnectionPool)


class _Packing:
    def pack_command(self, *args: Any) -> list[bytes]:
        return [pack(args)]

    def pack_commands(self, commands: Iterable[Iterable[Any]]) -> list[bytes]:
        return [b"".join([pack(tuple(command)) for command in commands])]


class _Quick(_Packing, AbstractConnection):
    """Not for connections behind Sentinels, which look at each error for a primary that is none any more."""

    async def read_response(
        self,
        disable_decoding: bool = False,  # noqa: FBT001, FBT002 - the library's
        timeout: float | None = None,  # noqa: ASYNC109 - the library's
        *,
        disconnect_on_error: bool = True,
        push_request: bool | None = False,
    ) -> Any:
        """Return the next reply, at once if all of it is there; raises an error that it is, as the library does."""
        parser: Any = self._parser
        is_plain = timeout is None and not disable_decoding and self.is_connected
        reply = parser._reader.gets() if is_plain else NOT_ENOUGH_DATA  # noqa: SLF001 - nothing else tells
        if reply is NOT_ENOUGH_DATA or isinstance(reply, hiredis.PushNotification):  # which nobody here asks for
            return await super().read_response(
                disable_decoding, timeout, disconnect_on_error=disconnect_on_error, push_request=push_request
            )
        if isinstance(reply, ConnectionError) and disconnect_on_error:
            await self.disconnect(nowait=True)
        if isinstance(reply, RedisError):
            raise reply
        return reply


class _Plain(_Quick, Connection):
    pass


class _Tls(_Quick, SSLConnection):
    pass


class _Local(_Quick, UnixDomainSocketConnection):
    pass


class _BehindSentinels(_Packing, SentinelManagedConnection):
    pass


class _TlsBehindSentinels(_Packing, SentinelManagedSSLConnection):
    pass


_QUICK: Final[dict[type[AbstractConnection], type[AbstractConnection]]] = {
    Connection: _Plain,
    SSLConnection: _Tls,
    UnixDomainSocketConnection: _Local,
    SentinelManagedConnection: _BehindSentinels,
    SentinelManagedSSLConnection: _TlsBehindSentinels,
}


def quick(pool: Pool) -> Pool:
    """Return a pool that has not connected yet, with connections of the same kind that do it in this way."""
    pool.connection_class = _QUICK[pool.connection_class]
    return pool
