"""Cheaper connections and pipelines: commands are packed with hiredis, and replies are read in one loop.

redis-py parses with hiredis but packs in Python, at five times the cost. It also sets a timer for each reply, at ten
times the cost of the reply itself, although most replies of a pipeline arrive together with the first. And it passes
each reply of a pipeline through four functions. Everything else, timeouts included, stays redis-py's.

A command is a name and its arguments; a name of two words (`SCRIPT LOAD`) is sent as two. Arguments that redis-py
refuses raise its DataError here too.
"""

from __future__ import annotations

import asyncio
from inspect import isawaitable
from itertools import islice
from typing import TYPE_CHECKING, Any, Final, TypeVar

import hiredis
from redis import asyncio as redis_py
from redis._parsers.hiredis import NOT_ENOUGH_DATA
from redis.asyncio import Connection, ConnectionPool, SSLConnection, UnixDomainSocketConnection, client
from redis.asyncio.connection import AbstractConnection
from redis.asyncio.sentinel import SentinelManagedConnection, SentinelManagedSSLConnection
from redis.client import EMPTY_RESPONSE, NEVER_DECODE
from redis.exceptions import ConnectionError, DataError, RedisError, ResponseError  # noqa: A004 - redis-py's

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    Argument = bytes | str | int | float

#: The frequent names of commands, which are one word.
_ONE_WORD: Final = frozenset({"EVALSHA", "SET", "GET", "MGET", "DEL", "EXISTS", "EXPIRE", "RPUSH", "XACK"})
#: Bytes that a transport of asyncio takes without asking its writer to wait.
HIGH_WATER: Final = 65_536
#: The types of replies that are no errors.
_PLAIN: Final = frozenset({bytes, int, float, str, bool, list, type(None)})
#: Options that change how a reply is read.
_UNUSUAL: Final = frozenset({EMPTY_RESPONSE, NEVER_DECODE})


def pack(command: Sequence[Argument]) -> bytes:
    """Return the wire form of a command; raises DataError for an argument that is not bytes, text or a number.

    Gain, by a timer: 8.5 to 2.4 µs a command.
    """
    if bool in map(type, command):  # hiredis would send it as a number
        raise DataError("a bool cannot be an argument")
    if (name := command[0]) not in _ONE_WORD and (
        (isinstance(name, str) and " " in name) or (isinstance(name, bytes) and b" " in name)
    ):
        command = (*name.split(), *command[1:])
    try:
        packed: bytes = hiredis.pack_command(tuple(command))  # type: ignore[arg-type]  # its stub takes one argument
    except TypeError as error:
        raise DataError(str(error)) from error
    return packed


Pool = TypeVar("Pool", bound=ConnectionPool)


class _Packing:
    def pack_command(self, *args: Any) -> list[bytes]:
        return [pack(args)]

    def pack_commands(self, commands: Iterable[Iterable[Any]]) -> list[bytes]:
        packing: Any = pack  # of sequences, which they are
        return [b"".join(map(packing, commands))]

    async def read_replies(self: Any, number: int) -> list[Any]:
        """Return the next replies; an error that concerns one command is in its place."""
        replies: list[Any] = []
        while len(replies) < number:
            try:
                replies.append(await self.read_response())
            except ResponseError as error:
                replies.append(error)
        return replies


class _Fast(_Packing, AbstractConnection):
    """Reads a reply that has arrived already without a timer. Gain, estimated from single timers: 8 µs each.

    What the transport takes at once is sent without a task, which redis-py starts for its timeout. Gain, by a timer: 27
    to 10 µs a pipeline.

    Not for Sentinel-managed connections, which must check each error for a primary that was demoted.
    """

    async def send_packed_command(self, command: Any, check_health: bool = True) -> None:  # noqa: FBT001, FBT002 - redis-py's signature
        """Send commands; waits only if the connection must be made or checked, or may not take them at once."""
        writer: Any = self._writer
        is_ready = isinstance(command, list) and self.is_connected and not writer.transport.is_closing()
        if is_ready and check_health and self.health_check_interval:
            is_ready = asyncio.get_running_loop().time() <= self.next_health_check
        if is_ready and sum(map(len, command)) <= HIGH_WATER:
            writer.writelines(command)
        else:
            await super().send_packed_command(command, check_health=check_health)

    async def read_response(
        self,
        disable_decoding: bool = False,  # noqa: FBT001, FBT002 - redis-py's signature
        timeout: float | None = None,  # noqa: ASYNC109 - redis-py's signature
        *,
        disconnect_on_error: bool = True,
        push_request: bool | None = False,
    ) -> Any:
        """Return the next reply, without a timer if it has arrived; raises an error reply, as redis-py does."""
        parser: Any = self._parser
        is_plain = timeout is None and not disable_decoding and self.is_connected
        reply = parser._reader.gets() if is_plain else NOT_ENOUGH_DATA  # noqa: SLF001 - there is no public way
        if reply is NOT_ENOUGH_DATA or isinstance(reply, hiredis.PushNotification):  # not requested anywhere
            return await super().read_response(
                disable_decoding, timeout, disconnect_on_error=disconnect_on_error, push_request=push_request
            )
        if isinstance(reply, ConnectionError) and disconnect_on_error:
            await self.disconnect(nowait=True)
        if isinstance(reply, RedisError):
            raise reply
        return reply

    async def read_replies(self, number: int) -> list[Any]:
        """Return the next replies, all that have arrived by one call in C.

        Gain, by tests.benchmarks.steps: 55 of the 60 steps of reading a reply of a pipeline.
        """
        replies: list[Any] = []
        parser: Any = self._parser
        while len(replies) < number:
            replies += await super().read_replies(1)
            arrived = list(islice(iter(parser._reader.gets, NOT_ENOUGH_DATA), number - len(replies)))  # noqa: SLF001 - there is no public way
            if not _PLAIN.issuperset(map(type, arrived)):
                arrived = [reply for reply in arrived if not isinstance(reply, hiredis.PushNotification)]
                await self._raise_ending(arrived)
            replies += arrived
        return replies

    async def _raise_ending(self, replies: list[Any]) -> None:
        """Raise an error reply that ends the connection, such as LOADING, and close it."""
        for reply in replies:
            if isinstance(reply, ConnectionError):
                await self.disconnect(nowait=True)
                raise reply


class Pipeline(client.Pipeline):
    """A pipeline whose replies are read and converted in loops; transactions are redis-py's.

    Names of commands are in upper case, as redis-py's methods send them; HIMPORT, which must be prepared for each
    connection, is not for it. Gain, by tests.benchmarks.steps: 2,000 of the 25,000 steps of a new customer's message.
    """

    async def _execute_pipeline(self, connection: Any, commands: Any, raise_on_error: bool) -> list[Any]:  # noqa: FBT001 - redis-py's signature
        if any(not _UNUSUAL.isdisjoint(options) for _, options in commands if options):
            unusual: list[Any] = await super()._execute_pipeline(connection, commands, raise_on_error)
            return unusual
        await connection.send_packed_command(connection.pack_commands([arguments for arguments, _ in commands]))
        replies: list[Any] = await connection.read_replies(len(commands))
        callbacks: Any = self.response_callbacks
        for index, (arguments, options) in enumerate(commands):
            callback = dict.get(callbacks, arguments[0])
            if callback is not None and not isinstance(replies[index], ResponseError):
                options.pop("keys", None)  # redis-py's own, for its cache
                reply = callback(replies[index], **options)
                replies[index] = await reply if isawaitable(reply) else reply
        if raise_on_error:
            self.raise_first_error(commands, replies)
        return replies


class Client(redis_py.Redis):
    """A client of one server, or of the primary behind Sentinels, with such pipelines."""

    def pipeline(self, transaction: bool = True, shard_hint: str | None = None) -> Pipeline:  # noqa: FBT001, FBT002 - redis-py's signature
        """Return a pipeline."""
        return Pipeline(self.connection_pool, self.response_callbacks, transaction, shard_hint)


class _FastTcp(_Fast, Connection):
    pass


class _FastTls(_Fast, SSLConnection):
    pass


class _FastUnix(_Fast, UnixDomainSocketConnection):
    pass


class _PackingSentinel(_Packing, SentinelManagedConnection):
    pass


class _PackingSentinelTls(_Packing, SentinelManagedSSLConnection):
    pass


_FASTER: Final[dict[type[AbstractConnection], type[AbstractConnection]]] = {
    Connection: _FastTcp,
    SSLConnection: _FastTls,
    UnixDomainSocketConnection: _FastUnix,
    SentinelManagedConnection: _PackingSentinel,
    SentinelManagedSSLConnection: _PackingSentinelTls,
}


def with_fast_connections(pool: Pool) -> Pool:
    """Make a pool that has not connected yet use the fast variant of its connection class; returns the pool."""
    pool.connection_class = _FASTER[pool.connection_class]
    return pool
