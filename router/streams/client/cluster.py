"""A client of a Redis Cluster that keeps what happens to one node away from the others.

It is one ordinary client for each node, and the map that says which node has which slot. A command goes to the node of
its key; a pipeline is cut into one for each node, and where one of them does not answer, that is the result of its own
commands only. The client library's cluster client is not used for this: an error of one node makes it fail whole
pipelines and close the connections that other commands are using, it refuses instead of waiting once its connections
are all in use, it repeats commands by itself, and some of its errors are no RedisError (tests/deployments holds these).

Whatever hints that the map is out of date (a redirection, an outage) has it read again before the next command, by one
of those who need it, and at most every PAUSE seconds.
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

#: Redirections that one command follows; a slot moves once or twice, not for ever.
REDIRECTIONS: Final = 4
#: Seconds between two looks at the map.
PAUSE: Final = 0.1
SLOTS: Final = 16384

Address = tuple[str, int]


class CommandTarget(NamedTuple):
    """Where a command goes; `is_asking` where its slot is on the way to that node."""

    address: Address
    is_asking: bool = False


if TYPE_CHECKING:
    #: Runs what has these indexes on one node, and returns a result or an exception for each.
    Run = Callable[[Redis, Sequence[int], bool], Awaitable[list[Any]]]


class ClusterClient(Redis):
    """Commands and pipelines for whichever node has the key; `make` returns the client of one node.

    PING and SCRIPT LOAD go to all nodes and succeed if one does; other commands without a key are for `nodes`.
    """

    def __init__(self, seeds: Sequence[Address], make: Callable[[Address], Redis]) -> None:
        self._make = make
        self._seeds = list(seeds)
        self._clients: dict[Address, Redis] = {}
        self._owners: list[Address | None] = []
        self._suspects: set[Address] = set()
        self._is_stale, self._next_look = True, 0.0
        self._lock = asyncio.Lock()
        super().__init__(connection_pool=self._client(self._seeds[0]).connection_pool)

    async def aclose(self, close_connection_pool: bool | None = None) -> None:  # noqa: FBT001 - the library's
        """Close the connections to all nodes."""
        clients, self._clients = self._clients, {}
        for client in clients.values():
            await client.aclose(close_connection_pool)

    async def nodes(self) -> dict[str, Redis]:
        """Return a client for each node that has slots, by its address; raises RedisError if none answers."""
        await self._know()
        addresses = sorted({address for address in self._owners if address is not None})
        return {f"{host}:{port}": self._client((host, port)) for host, port in addresses}

    async def owner_of(self, key: str) -> Address:
        """Return the address of the node that has a key; raises RedisError where that cannot be told."""
        (owner,) = await self._owners_of([slot_of(key)])
        return owner

    def known_owner(self, key: str) -> Address | None:
        """Return what the map said of a key when it was read last."""
        return self._owners[slot_of(key)] if self._owners else None

    async def execute_command(self, *args: Any, **options: Any) -> Any:
        """Run a command where its key is."""
        if args[0] in _EVERYWHERE:
            return await self._run_everywhere(args, options)

        async def run(node: Redis, _: Sequence[int], is_asking: bool) -> list[Any]:  # noqa: FBT001 - see Run
            if not is_asking:
                return [await _execute(node, *args, **options)]
            pipeline = node.pipeline(transaction=False)
            pipeline.execute_command("ASKING")
            pipeline.execute_command(*args, **options)
            return (await pipeline.execute(raise_on_error=False))[1:]

        (result,) = await self.spread([slot_of(key_of(args))], run)
        if isinstance(result, BaseException):
            raise result
        return result

    def pipeline(self, transaction: bool = True, shard_hint: str | None = None) -> Pipeline:  # noqa: ARG002, FBT001, FBT002 - the library's
        """Return a pipeline; as a transaction it is for keys of one slot."""
        return ClusterPipeline(self, is_transaction=transaction)

    async def spread(self, slots: Sequence[int], run: Run) -> list[Any]:
        """Run what belongs to `slots`, each part on its node and all at once; returns a result or an error for each.

        Raises RedisError where no node has answered at all.
        """
        results: list[Any] = [None] * len(slots)
        left = {index: CommandTarget(owner) for index, owner in enumerate(await self._owners_of(slots))}
        for _ in range(REDIRECTIONS):
            parts: defaultdict[CommandTarget, list[int]] = defaultdict(list)
            for index, place in left.items():
                parts[place].append(index)
            answers = await asyncio.gather(*[self._run_part(place, part, run) for place, part in parts.items()])
            for (place, part), answer in zip(parts.items(), answers, strict=True):
                for index, result in zip(part, answer, strict=True):
                    results[index] = result
                    left[index] = place
            left = {
                index: _redirected(results[index], place.address)
                for index, place in left.items()
                if isinstance(results[index], AskError)
            }
            if not left:
                break
        if results and all(isinstance(result, ConnectionError | TimeoutError) for result in results):
            raise results[0]
        return results

    async def _run_part(self, place: CommandTarget, part: list[int], run: Run) -> list[Any]:
        """Run one node's part; an error of the node is the result of each, and a reason to look at the map again."""
        try:
            results = await run(self._client(place.address), part, place.is_asking)
        except (AskError, ClusterDownError) as error:
            results = [error]
        except (ConnectionError, TimeoutError, OSError) as error:
            self._suspects.add(place.address)
            self._is_stale = True
            return [_as_redis_error(error)] * len(part)
        except RedisError as error:
            return [error] * len(part)
        except asyncio.CancelledError:  # the caller's patience is at an end, perhaps because this node hangs
            self._suspects.add(place.address)
            self._is_stale = True
            raise
        self._suspects.discard(place.address)
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
        await self._know()
        owners = [self._owners[slot] for slot in slots]
        if None in owners:
            self._is_stale = True
            raise ClusterDownError("CLUSTERDOWN a slot is served by no node")
        return [owner for owner in owners if owner is not None]

    async def _know(self) -> None:
        """Read the map if it is missing or out of date; who can do with the old one does not wait for another."""
        loop = asyncio.get_running_loop()
        if self._owners and (not self._is_stale or self._lock.locked() or loop.time() < self._next_look):
            return
        async with self._lock:
            if self._is_stale:
                await self._look()
                self._next_look = loop.time() + PAUSE

    async def _look(self) -> None:
        """Read the map from whoever answers first; those that did not answer lately come last."""
        known = {*self._seeds, *(owner for owner in self._owners if owner is not None)}
        addresses = sorted(known, key=lambda address: (address in self._suspects, random.random()))  # noqa: S311 - spreads load
        problem: Exception = ConnectionError("there is no node")
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
    """Commands for several nodes, sent to each in one go. Unlike one server's, it fails in parts."""

    def __init__(self, cluster: ClusterClient, *, is_transaction: bool) -> None:
        super().__init__(cluster.connection_pool, cluster.response_callbacks, is_transaction, None)
        self._cluster = cluster

    async def execute(self, raise_on_error: bool = True) -> list[Any]:  # noqa: FBT001, FBT002 - the library's
        """Send all that was queued; returns the results in order, or raises the first error if it shall."""
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

        results = await self._cluster.spread([slot_of(key_of(args)) for args, _ in stack], run)
        errors = [result for result in results if isinstance(result, Exception)]
        if errors and raise_on_error:
            raise errors[0]
        return results


#: Commands for all nodes; the answer of one is the answer.
_EVERYWHERE: Final = frozenset({"PING", "SCRIPT LOAD"})
#: Where the key of a command is, if it is not the first argument.
_KEY_AT: Final = {"EVAL": 3, "EVALSHA": 3}
#: The key follows this word.
_KEY_AFTER: Final = {"XREAD": b"STREAMS", "XREADGROUP": "STREAMS"}
#: Commands of the server and not of a key.
_KEYLESS: Final = frozenset({"INFO", "CONFIG GET", "SCAN", "FLUSHALL", "DBSIZE", "KEYS", "WAIT", "CLIENT LIST"})


def key_of(args: Sequence[Any]) -> bytes:
    """Return the (first) key of a command; raises RedisError if it has none, or is none that is used here."""
    name = str(args[0]).upper()
    place = _KEY_AT.get(name, 1)
    if name in _KEY_AFTER:
        place = [part if isinstance(part, bytes) else str(part).encode() for part in args].index(b"STREAMS") + 1
    if name in _KEYLESS or len(args) <= place:
        raise RedisError(f"{name} has no key: it is for a node, not for the cluster")
    key = args[place]
    return key if isinstance(key, bytes) else str(key).encode()


def slot_of(key: str | bytes) -> int:
    """Return the slot of a key."""
    return int(key_slot(key.encode() if isinstance(key, str) else key))


def read_slots(rows: Sequence[Any], asked: Address) -> list[Address | None]:
    """Return the owner of each slot from an answer of CLUSTER SLOTS; one without a host is who was asked."""
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
    """Return where a redirection points; one without a host is about another port of who was asked."""
    return CommandTarget((error.host or asked[0], error.port), not isinstance(error, MovedError))


def _as_redis_error(error: Exception) -> RedisError:
    if isinstance(error, RedisError):
        return error
    wrapped = ConnectionError(f"{type(error).__name__}: {error}")
    wrapped.__cause__ = error
    return wrapped
