"""Running Lua scripts: loaded where a server has forgotten them, one or many per pipeline, confirmed by replicas.

WAIT (https://redis.io/docs/latest/commands/wait/) counts the replicas that have received what its connection wrote. A
script that finds its work done already writes nothing, and then some servers count every connected replica, however far
behind. Therefore a key is written before each WAIT. Replication keeps the order of writes, so a replica that confirms
has everything that was written before.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from hashlib import sha1
from importlib.resources import files
from typing import TYPE_CHECKING, Any, Final

from redis.exceptions import NoScriptError, RedisError

from router.core.keys import confirmation
from router.streams.client.cluster import ClusterClient, slot_of
from router.streams.client.gathering import run_commands

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from redis.asyncio import Redis
    from redis.asyncio.client import Pipeline

#: Keys and arguments of one run of a script; at least one key, all in one slot.
Call = tuple["Sequence[str]", "Sequence[Any]"]

#: Seconds until the key that is written before a WAIT expires.
CONFIRMATION_LIFE: Final = 60


class NotReplicatedError(RedisError):
    """The primary has written it, but fewer replicas than required have confirmed: a failover may undo it."""


@dataclass(frozen=True, slots=True)
class Replication:
    """Number of replicas that must confirm a write within `timeout` seconds; 0: the primary's answer is enough."""

    replicas: int = 0
    timeout: float = 1.0


#: Replicas are not waited for.
NO_REPLICATION: Final = Replication()


class Script:
    """A Lua script: its text, and the SHA-1 that EVALSHA takes."""

    __slots__ = ("sha", "text")

    def __init__(self, text: str) -> None:
        self.text = text
        self.sha = sha1(text.encode(), usedforsecurity=False).hexdigest()

    async def run(self, redis: Redis, keys: Sequence[str], args: Sequence[Any]) -> Any:
        """Run it once, sending the text if the server does not have it (after a restart, failover or flush)."""
        try:
            return await redis.evalsha(self.sha, len(keys), *keys, *args)
        except NoScriptError:
            return await redis.eval(self.text, len(keys), *keys, *args)


@cache
def load_script(name: str) -> Script:
    """Return the script `scripts/<name>.lua`."""
    return Script(files("router.streams").joinpath("scripts", f"{name}.lua").read_text(encoding="utf-8"))


def flatten(fields: Mapping[Any, Any]) -> list[Any]:
    """Return the fields of an entry as script arguments: field, value, field, value, ..."""
    return [part for pair in fields.items() for part in pair]


async def run_all(
    redis: Redis,
    script: Script,
    calls: Sequence[Call],
    replication: Replication = NO_REPLICATION,
    *,
    before: Sequence[tuple[Any, ...]] = (),
) -> list[Any]:
    """Run one script for many (keys, args) in one pipeline; returns a result or an exception for each.

    The commands `before` are done first: within the pipeline if one server has all keys and no replica is waited for,
    else each by itself. The first error of theirs is raised; in the pipeline the script has run all the same.
    The result is a NotReplicatedError where too few replicas confirmed. Raises RedisError if the pipeline gets no
    answer: then any of the runs may have happened. In a Cluster each node's part fails by itself; it raises only if no
    node answers.
    """
    if before and (replication.replicas or isinstance(redis, ClusterClient)):
        client: Any = redis  # redis-py's method has no types
        for command in before:
            await client.execute_command(*command)
        before = ()
    results = await _run_all(redis, script, calls, replication, before)
    forgotten = [index for index, result in enumerate(results) if isinstance(result, NoScriptError)]
    if forgotten:
        await redis.script_load(script.text)
        again = await _run_all(redis, script, [calls[index] for index in forgotten], replication)
        for index, result in zip(forgotten, again, strict=True):
            results[index] = result
    return results


async def run_confirmed(
    redis: Redis, script: Script, keys: Sequence[str], args: Sequence[Any], replication: Replication
) -> Any:
    """Run a script once and return its result; raises NotReplicatedError if too few replicas confirm."""
    if not replication.replicas:
        return await script.run(redis, keys, args)
    (result,) = await run_all(redis, script, [(keys, args)], replication)
    if isinstance(result, Exception):
        raise result
    return result


async def confirm(redis: Redis, key: str, replication: Replication) -> None:
    """Wait until enough replicas have all writes so far of the server that has `key`; raises NotReplicatedError."""

    async def run(node: Redis, *_: Any) -> list[Any]:
        pipeline = node.pipeline(transaction=False)
        written, confirmed = await _send_with_wait(pipeline, key, replication)
        return _only_confirmed([None], written, confirmed, replication)

    if isinstance(redis, ClusterClient):
        (result,) = await redis.run_on_nodes([slot_of(key)], run)
    else:
        (result,) = await run(redis)
    if isinstance(result, Exception):
        raise result


async def _run_all(
    redis: Redis,
    script: Script,
    calls: Sequence[Call],
    replication: Replication,
    before: Sequence[tuple[Any, ...]] = (),
) -> list[Any]:
    if not isinstance(redis, ClusterClient):
        if not replication.replicas:
            return await _run_plain(redis, script, calls, before)
        return await _run_part(redis, script, calls, replication)

    async def run(node: Redis, part: Sequence[int], is_asking: bool) -> list[Any]:  # noqa: FBT001 - see cluster.Run
        return await _run_part(node, script, [calls[index] for index in part], replication, is_asking=is_asking)

    return await redis.run_on_nodes([slot_of(keys[0]) for keys, _ in calls], run)


async def _run_plain(
    redis: Redis, script: Script, calls: Sequence[Call], before: Sequence[tuple[Any, ...]]
) -> list[Any]:
    """Run the calls on the only server."""
    commands = [("EVALSHA", script.sha, len(keys), *keys, *args) for keys, args in calls]
    results = await run_commands(redis, [*before, *commands] if before else commands)
    for result in results[: len(before)]:
        if isinstance(result, Exception):
            raise result
    return results[len(before) :]


async def _run_part(
    redis: Redis, script: Script, calls: Sequence[Call], replication: Replication, *, is_asking: bool = False
) -> list[Any]:
    """Run the calls of one server in one pipeline, with one WAIT at its end."""
    pipeline = redis.pipeline(transaction=False)
    for keys, args in calls:
        if is_asking:
            pipeline.execute_command("ASKING")
        pipeline.evalsha(script.sha, len(keys), *keys, *args)
    if not replication.replicas:
        results = await pipeline.execute(raise_on_error=False)
        return results[1::2] if is_asking else results
    *results, written, confirmed = await _send_with_wait(pipeline, calls[0][0][0], replication, is_asking=is_asking)
    results = results[1 : 2 * len(calls) : 2] if is_asking else results
    return _only_confirmed(results, written, confirmed, replication)


async def _send_with_wait(
    pipeline: Pipeline, key: str, replication: Replication, *, is_asking: bool = False
) -> list[Any]:
    """Append a write beside `key` and a WAIT to a pipeline and send it; returns all results."""
    if is_asking:
        pipeline.execute_command("ASKING")
    pipeline.set(confirmation(key), "1", ex=CONFIRMATION_LIFE)
    pipeline.execute_command("WAIT", replication.replicas, int(replication.timeout * 1000))
    return await pipeline.execute(raise_on_error=False)


def _only_confirmed(results: list[Any], written: Any, confirmed: Any, replication: Replication) -> list[Any]:
    """Return the results if enough replicas confirmed, else NotReplicatedError for each one that is not an error."""
    if not isinstance(written, Exception) and isinstance(confirmed, int) and confirmed >= replication.replicas:
        return results
    number = confirmed if isinstance(confirmed, int) else type(confirmed).__name__
    text = f"{number} of {replication.replicas} replicas (ROUTER_REDIS_WAIT) have confirmed it"
    return [result if isinstance(result, Exception) else NotReplicatedError(text) for result in results]
