"""Lua scripts that survive a server that has forgotten them: alone or many in one pipeline, confirmed by replicas.

WAIT counts the replicas that have what its connection has written. A script that finds its work done already writes
nothing, and then some servers count every replica that is connected, however far behind; so a key is written before
each WAIT. An order that the server keeps follows: whatever a replica confirms, it has all that came before as well.
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

if TYPE_CHECKING:
    from collections.abc import Sequence

    from redis.asyncio import Redis
    from redis.asyncio.client import Pipeline

#: Keys and arguments of one run of a script; the keys lie in one slot, and there is one at least.
Call = tuple["Sequence[str]", "Sequence[Any]"]

#: Seconds: the life of what is written before a WAIT.
MARK_LIFE: Final = 60


class NotReplicatedError(RedisError):
    """It is done on the primary, but fewer replicas than asked for have confirmed it: a failover may undo it."""


@dataclass(frozen=True, slots=True)
class Replication:
    """How many replicas must confirm within `timeout` seconds; none: the primary's word is enough."""

    replicas: int = 0
    timeout: float = 1.0


#: Nothing is waited for.
NO_REPLICATION: Final = Replication()


class Script:
    """A Lua script: its text, and the hash that Redis knows it by."""

    __slots__ = ("sha", "text")

    def __init__(self, text: str) -> None:
        self.text = text
        self.sha = sha1(text.encode(), usedforsecurity=False).hexdigest()

    async def run(self, redis: Redis, keys: Sequence[str], args: Sequence[Any]) -> Any:
        """Run it once; loads it where the server does not have it (restarted, failed over, flushed)."""
        try:
            return await redis.evalsha(self.sha, len(keys), *keys, *args)
        except NoScriptError:
            return await redis.eval(self.text, len(keys), *keys, *args)


@cache
def load_script(name: str) -> Script:
    """Return the script `scripts/<name>.lua`."""
    return Script(files("router.streams").joinpath("scripts", f"{name}.lua").read_text(encoding="utf-8"))


async def run_all(
    redis: Redis, script: Script, calls: Sequence[Call], replication: Replication = NO_REPLICATION
) -> list[Any]:
    """Run one script for many (keys, args) in one pipeline; returns a result or an exception for each.

    What too few replicas confirm has NotReplicatedError for a result. Raises RedisError if the pipeline itself gets no
    answer: then any of them may have run. In a Cluster it fails in parts, and raises only if no part gets an answer.
    """
    results = await _run_all(redis, script, calls, replication)
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
    """Run a script once and return its result; raises NotReplicatedError if too few replicas confirm it."""
    if not replication.replicas:
        return await script.run(redis, keys, args)
    (result,) = await run_all(redis, script, [(keys, args)], replication)
    if isinstance(result, Exception):
        raise result
    return result


async def confirm(redis: Redis, key: str, replication: Replication) -> None:
    """Return once enough replicas have what was written so far where `key` is; raises NotReplicatedError."""

    async def run(node: Redis, *_: Any) -> list[Any]:
        pipeline = node.pipeline(transaction=False)
        marked, confirmed = await _close(pipeline, key, replication)
        return _judge([None], marked, confirmed, replication)

    if isinstance(redis, ClusterClient):
        (result,) = await redis.spread([slot_of(key)], run)
    else:
        (result,) = await run(redis)
    if isinstance(result, Exception):
        raise result


async def _run_all(redis: Redis, script: Script, calls: Sequence[Call], replication: Replication) -> list[Any]:
    if not isinstance(redis, ClusterClient):
        return await _run_part(redis, script, calls, replication)

    async def run(node: Redis, part: Sequence[int], is_asking: bool) -> list[Any]:  # noqa: FBT001 - see cluster.Run
        return await _run_part(node, script, [calls[index] for index in part], replication, is_asking=is_asking)

    return await redis.spread([slot_of(keys[0]) for keys, _ in calls], run)


async def _run_part(
    redis: Redis, script: Script, calls: Sequence[Call], replication: Replication, *, is_asking: bool = False
) -> list[Any]:
    """Run what belongs to one server, in one pipeline with one WAIT at its end."""
    pipeline = redis.pipeline(transaction=False)
    for keys, args in calls:
        if is_asking:
            pipeline.execute_command("ASKING")
        pipeline.evalsha(script.sha, len(keys), *keys, *args)
    if not replication.replicas:
        results = await pipeline.execute(raise_on_error=False)
        return results[1::2] if is_asking else results
    *results, marked, confirmed = await _close(pipeline, calls[0][0][0], replication, is_asking=is_asking)
    return _judge(results[1 : 2 * len(calls) : 2] if is_asking else results, marked, confirmed, replication)


async def _close(pipeline: Pipeline, key: str, replication: Replication, *, is_asking: bool = False) -> list[Any]:
    """Write a key beside `key`, wait for the replicas and send it all; returns all results."""
    if is_asking:
        pipeline.execute_command("ASKING")
    pipeline.set(confirmation(key), "1", ex=MARK_LIFE)
    pipeline.execute_command("WAIT", replication.replicas, int(replication.timeout * 1000))
    return await pipeline.execute(raise_on_error=False)


def _judge(results: list[Any], marked: Any, confirmed: Any, replication: Replication) -> list[Any]:
    """Return the results as far as they are confirmed; errors stay what they are."""
    if not isinstance(marked, Exception) and isinstance(confirmed, int) and confirmed >= replication.replicas:
        return results
    told = confirmed if isinstance(confirmed, int) else type(confirmed).__name__
    text = f"{told} of {replication.replicas} replicas (ROUTER_REDIS_WAIT) have confirmed it"
    return [result if isinstance(result, Exception) else NotReplicatedError(text) for result in results]
