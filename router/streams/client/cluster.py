"""A client of a Redis Cluster in which a failing node affects only its own commands.

It holds one ordinary client per node and a map from slots to nodes. A command goes to the node that owns its key. A
pipeline is split by node; if a node does not answer, only its own commands fail.

redis-py's cluster client is not used, for reasons that tests/deployments demonstrates: an error of one node fails whole
pipelines and closes connections in use by other commands, a full pool refuses commands instead of queueing them,
commands are repeated without being asked, and some of its errors are not a RedisError.

A redirection or a node that does not answer marks the map as stale. The next command then reads it again: one reader at
a time, at most every REFRESH_INTERVAL seconds. Redirections: https://redis.io/docs/latest/develop/reference/errors/common/moved/
and https://redis.io/docs/latest/develop/reference/errors/common/ask/
"""

from __future__ import annotations

import asyncio
import random
from collections import defaultdict
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from redis.asyncio import Redis
from redis.asyncio.client import Pipeline
from redis.crc import key_slot
from redis.exceptions import (
    AskError,
    ClusterDownError,
    ConnectionError,  # noqa: A004 - the client's own, which is no OSError
    MovedError,
    RedisError,
    TimeoutError,  # noqa: A004 - the same
)

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence

#: Redirections that one command follows.
MAX_REDIRECTIONS: Final = 4
#: Seconds between two reads of the slot map.
REFRESH_INTERVAL: Final = 0.1
SLOTS: Final = 16384

Address = tuple[str, int]


class CommandTarget(NamedTuple):
    """The node that a command goes to; `is_asking` if its slot is being moved there (ASKING comes first)."""

    address: Address
    is_asking: bool = False


if TYPE_CHECKING:
    #: Runs the commands with these indexes on one node; returns a result or an exception for each.
    Run = Callable[[Redis, Sequence[int], bool], Awaitable[list[Any]]]


class ClusterClient(Redis):
    """Sends commands and pipelines to the node that owns the key; `make` returns the client of one node.

    PING and SCRIPT LOAD go to all nodes and succeed if one node answers. Other commands without a key raise RedisError:
    send them to the clients that `nodes` returns.
    """

    def __init__(self, seeds: Sequence[Address], make: Callable[[Address], Redis]) -> None:
        self._make = make
        self._seeds = list(seeds)
        self._clients: dict[Address, Redis] = {}
        self._owners: list[Address | None] = []
        self._suspects: set[Address] = set()
        self._is_stale, self._next_refresh = True, 0.0
        self._lock = asyncio.Lock()
        super().__init__(connection_pool=self._client(self._seeds[0]).connection_pool)

    async def aclose(self, close_connection_pool: bool | None = None) -> None:  # noqa: FBT001 - the library's
        """Close the connections to all nodes."""
        clients, self._clients = self._clients, {}
        for client in clients.values():
            await client.aclose(close_connection_pool)

    async def nodes(self) -> dict[str, Redis]:
        """Return a client for each node that owns slots, by address; raises RedisError if no node answers."""
        await self._ensure_map()
        addresses = sorted({address for address in self._owners if address is not None})
        return {f"{host}:{port}": self._client((host, port)) for host, port in addresses}

    async def owner_of(self, key: str) -> Address:
        """Return the address of the node that owns a key; raises RedisError if the map cannot be read."""
        (owner,) = await self._owners_of([slot_of(key)])
        return owner

    def known_owner(self, key: str) -> Address | None:
        """Return the owner of a key by the map as it was last read, None before the first read."""
        return self._owners[slot_of(key)] if self._owners else None

    async def execute_command(self, *args: Any, **options: Any) -> Any:
        """Run a command on the node that owns its key."""
        if args[0] in _EVERYWHERE:
            return await self._run_everywhere(args, options)

        async def run(node: Redis, _: Sequence[int], is_asking: bool) -> list[Any]:  # noqa: FBT001 - see Run
            if not is_asking:
                return [await _execute(node, *args, **options)]
            pipeline = node.pipeline(transaction=False)
            pipeline.execute_command("ASKING")
            pipeline.execute_command(*args, **options)
            return (await pipeline.execute(raise_on_error=False))[1:]

        (result,) = await self.run_on_nodes([slot_of(key_of(args))], run)
        if isinstance(result, BaseException):
            raise result
        return result

    def pipeline(self, transaction: bool = True, shard_hint: str | None = None) -> Pipeline:  # noqa: ARG002, FBT001, FBT002 - the library's
        """Return a pipeline; all keys of a transaction must lie in one slot."""
        return ClusterPipeline(self, is_transaction=transaction)

    async def run_on_nodes(self, slots: Sequence[int], run: Run) -> list[Any]:
        """Run commands, whose slots are `slots`, on their nodes concurrently; returns a result or an error for each.

        Raises RedisError if no node answered at all.
        """
        results: list[Any] = [None] * len(slots)
        left = {index: CommandTarget(owner) for index, owner in enumerate(await self._owners_of(slots))}
        for _ in range(MAX_REDIRECTIONS):
            parts: defaultdict[CommandTarget, list[int]] = defaultdict(list)
            for index, target in left.items():
                parts[target].append(index)
            answers = await asyncio.gather(*[self._run_part(target, part, run) for target, part in parts.items()])
            for (target, part), answer in zip(parts.items(), answers, strict=True):
                for index, result in zip(part, answer, strict=True):
                    results[index] = result
                    left[index] = target
            left = {
                index: _redirected(results[index], target.address)
                for index, target in left.items()
                if isinstance(results[index], AskError)
            }
            if not left:
                break
        if results and all(isinstance(result, ConnectionError | TimeoutError) for result in results):
            raise results[0]
        return results

    async def _run_part(self, target: CommandTarget, part: list[int], run: Run) -> list[Any]:
        """Run one node's commands; if the node fails, its error is the result of each and the map becomes stale."""
        try:
            results = await run(self._client(target.address), part, target.is_asking)
        except (AskError, ClusterDownError) as error:
            results = [error]
        except (ConnectionError, TimeoutError, OSError) as error:
            self._suspects.add(target.address)
            self._is_stale = True
            return [_as_redis_error(error)] * len(part)
        except RedisError as error:
            return [error] * len(part)
        except asyncio.CancelledError:  # the caller's timeout has passed, perhaps because this node hangs
            self._suspects.add(target.address)
            self._is_stale = True
            raise
        self._suspects.discard(target.address)
        if any(isinstance(result, MovedError | ClusterDownError) for result in results):
            self._is_stale = True
        return results

    async def _run_everywhere(self, args: Sequence[Any], options: dict[str, Any]) -> Any:
        clients = (await self.nodes()).values()
        results = await asyncio.gather(
            *[_execute(client, *args, **options) for client in clients], return_exceptions=True
        )
        answers = [result for result in results if not isinstance(result, BaseException)]
        if answers:
            return answers[0]
        self._is_stale = True
        raise next(result for result in results if isinstance(result, BaseException))

    async def _owners_of(self, slots: Sequence[int]) -> list[Address]:
        await self._ensure_map()
        owners = [self._owners[slot] for slot in slots]
        if None in owners:
            self._is_stale = True
            raise ClusterDownError("CLUSTERDOWN no node owns a slot")
        return [owner for owner in owners if owner is not None]

    async def _ensure_map(self) -> None:
        """Read the map if it is missing or stale; while another task reads it, an old map is used without waiting."""
        loop = asyncio.get_running_loop()
        if self._owners and (not self._is_stale or self._lock.locked() or loop.time() < self._next_refresh):
            return
        async with self._lock:
            if self._is_stale:
                await self._read_map()
                self._next_refresh = loop.time() + REFRESH_INTERVAL

    async def _read_map(self) -> None:
        """Read the map from the first node that answers; nodes that failed recently are asked last."""
        known = {*self._seeds, *(owner for owner in self._owners if owner is not None)}
        addresses = sorted(known, key=lambda address: (address in self._suspects, random.random()))  # noqa: S311 - spreads load
        problem: Exception = ConnectionError("no node is known")
        for address in addresses:
            try:
                rows = await _execute(self._client(address), "CLUSTER SLOTS")
            except (RedisError, OSError) as error:
                self._suspects.add(address)
                problem = error
            else:
                self._owners, self._is_stale = read_slots(rows, address), False
                return
        raise problem

    def _client(self, address: Address) -> Redis:
        if address not in self._clients:
            self._clients[address] = self._make(address)
        return self._clients[address]


class ClusterPipeline(Pipeline):
    """Commands for several nodes, one pipeline per node. Unlike the pipeline of one server it may fail in part."""

    def __init__(self, cluster: ClusterClient, *, is_transaction: bool) -> None:
        super().__init__(cluster.connection_pool, cluster.response_callbacks, is_transaction, None)
        self._cluster = cluster

    async def execute(self, raise_on_error: bool = True) -> list[Any]:  # noqa: FBT001, FBT002 - the library's
        """Send the queued commands; returns the results in order, or raises the first error."""
        stack, self.command_stack = self.command_stack, []
        if not stack:
            return []

        async def run(node: Redis, part: Sequence[int], is_asking: bool) -> list[Any]:  # noqa: FBT001 - see Run
            pipeline = node.pipeline(transaction=self.is_transaction)
            for index in part:
                if is_asking:
                    pipeline.execute_command("ASKING")
                args, options = stack[index]
                pipeline.execute_command(*args, **options)
            results = await pipeline.execute(raise_on_error=False)
            return results[1::2] if is_asking else results

        results = await self._cluster.run_on_nodes([slot_of(key_of(args)) for args, _ in stack], run)
        errors = [result for result in results if isinstance(result, Exception)]
        if errors and raise_on_error:
            raise errors[0]
        return results


#: Commands that go to all nodes; the answer of any node is returned.
_EVERYWHERE: Final = frozenset({"PING", "SCRIPT LOAD"})
#: Index of the key in a command, if it is not 1.
_KEY_AT: Final = {"EVAL": 3, "EVALSHA": 3}
#: Commands whose key follows this word.
_KEY_AFTER: Final = {"XREAD": b"STREAMS", "XREADGROUP": "STREAMS"}
#: Commands of a server that have no key.
_KEYLESS: Final = frozenset({"INFO", "CONFIG GET", "SCAN", "FLUSHALL", "DBSIZE", "KEYS", "WAIT", "CLIENT LIST"})


def key_of(args: Sequence[Any]) -> bytes:
    """Return the (first) key of a command; raises RedisError for a command without a key."""
    name = str(args[0]).upper()
    index = _KEY_AT.get(name, 1)
    if name in _KEY_AFTER:
        index = [part if isinstance(part, bytes) else str(part).encode() for part in args].index(b"STREAMS") + 1
    if name in _KEYLESS or len(args) <= index:
        raise RedisError(f"{name} has no key: send it to a node, not to the cluster")
    key = args[index]
    return key if isinstance(key, bytes) else str(key).encode()


def slot_of(key: str | bytes) -> int:
    """Return the slot of a key."""
    return int(key_slot(key.encode() if isinstance(key, str) else key))


def read_slots(rows: Sequence[Any], asked: Address) -> list[Address | None]:
    """Return the owner of each slot from a reply to CLUSTER SLOTS; a row without a host means the node `asked`."""
    owners: list[Address | None] = [None] * SLOTS
    for first, last, primary, *_ in rows:
        host = primary[0].decode() if isinstance(primary[0], bytes) else primary[0]
        owner = (host if host and host != "?" else asked[0], int(primary[1]))
        owners[first : last + 1] = [owner] * (last + 1 - first)
    return owners


async def _execute(node: Redis, *args: Any, **options: Any) -> Any:
    client: Any = node  # the library's method has no types
    return await client.execute_command(*args, **options)


def _redirected(error: AskError, asked: Address) -> CommandTarget:
    """Return the target of a redirection; one without a host means another port of the node `asked`."""
    return CommandTarget((error.host or asked[0], error.port), not isinstance(error, MovedError))


def _as_redis_error(error: Exception) -> RedisError:
    if isinstance(error, RedisError):
        return error
    wrapped = ConnectionError(f"{type(error).__name__}: {error}")
    wrapped.__cause__ = error
    return wrapped
