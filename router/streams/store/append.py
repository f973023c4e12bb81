"""Append inbound entries once: the claim of the idempotency key and the XADD are one atomic script.

Concurrent webhooks share one pipeline: what gathers while one is under way goes with the next, those of a partition as
one run of the script. That is what makes durable appending cheap (one command and one system call for many), and it
costs a lone webhook a few turns of the event loop. Of many that wait only half go: if all went, Redis would have them
all while this process waited, and this process while Redis did. So one half is answered, and asked anew, while the
other is being appended.

Each entry names the one before it of the same subject (`after`), so that several workers can keep their order
(router.streams.store.turns).
"""

from __future__ import annotations

import asyncio
import contextlib
from itertools import accumulate, chain
from typing import TYPE_CHECKING, Any, Final

from redis.exceptions import ConnectionError, ResponseError  # noqa: A004 - redis-py's, which is not an OSError

from router.core.errors import NotDurableError
from router.core.values import value
from router.streams.client.connection import Redis, RedisError, load_script
from router.streams.client.error_replies import is_temporary
from router.streams.client.scripts import NO_REPLICATION, Call, Replication, run_all

if TYPE_CHECKING:
    from router.core.keys import Keys

#: So many entries travel in one pipeline; a bound on how long one of them can take.
MAX_BATCH: Final = 512
#: So few are not halved: with less company a pipeline's own cost would be felt.
MIN_BATCH: Final = 32
#: Turns of the event loop for which fewer wait for company. A webhook takes three from its socket to here, and of those
#: that come together the first would go alone, and the others have to wait until it is back.
TURNS: Final = 6
#: So many entries are one run of the script: Redis does nothing else meanwhile, a millisecond at most.
MAX_RUN: Final = 64
#: And so many bytes of bodies, where there is more than one.
MAX_BATCH_BYTES: Final = 4 * 1_048_576
#: So many may wait for the next pipeline; more means that Redis does not keep up, and the caller shall come again.
MAX_WAITING: Final = 20_000
#: And so many bytes of bodies: a body may have a thousand times its usual size.
MAX_WAITING_BYTES: Final = 64 * 1_048_576

#: The fields of every entry, in the order of the script.
FIELDS: Final = ("source", "account", "key", "subject", "received_at", "body")
#: What waits: its partition, the keys and arguments that the script has of it, the size of its body, and its caller.
_Waiting = tuple[int, list[str], list[Any], int, "asyncio.Future[bool]"]

#: Seconds for which the last entry of a subject is remembered. What an outage holds up for longer than this, without
#: another entry of its subject meanwhile, may be overtaken by the next one.
LATEST_LIFE: Final = 86_400


def is_outage(error: NotDurableError) -> bool:
    """Tell whether Redis is away, overloaded or cannot write now: then waiting heals it, and the spool takes over.

    Any other answer is about what was sent or about what lies at the key (WRONGTYPE): it would come again for the
    same entry however often it is tried, so the caller is told 503 rather than that all is well.
    """
    return not isinstance(error.__cause__, ResponseError) or is_temporary(error.__cause__)


@value
class InboundFields:
    """What is appended; `ttl` is the lifetime of the claims of `key` and its `aliases` in seconds.

    `replayed_at` (ISO 8601) marks what was put back; empty for what comes from Twilio just now.
    """

    source: str
    account_id: str
    key: str
    subject: str
    received_at: int
    body: bytes
    ttl: int
    aliases: tuple[str, ...] = ()
    replayed_at: str = ""

    def to_values(self) -> list[Any]:
        """Return the values of FIELDS, then what `replayed` says.

        Encoded here and now: text that cannot be is its own caller's UnicodeEncodeError, not that of a whole pipeline.
        """
        return [
            self.source.encode(),
            self.account_id.encode(),
            self.key.encode(),
            self.subject.encode(),
            self.received_at,
            self.body,
            self.replayed_at.encode(),
        ]


class Appender:
    """Appends to the inbound streams of all partitions; one per process and event loop.

    `patience` is the time in seconds that a pipeline may take, its repeat included; None: what the client's own
    timeouts allow. What too few replicas confirm (`replication`) is not durable, though the primary has it: the same
    again is a duplicate, and waits for the replicas too.
    """

    def __init__(
        self,
        redis: Redis,
        keys: Keys,
        *,
        patience: float | None = None,
        replication: Replication = NO_REPLICATION,
    ) -> None:
        self._redis = redis
        self._keys = keys
        self._patience = patience
        self._replication = replication
        self._script = load_script("append")
        self._streams = [keys.inbound(partition) for partition in range(keys.partitions)]
        self._waiting: list[_Waiting] = []
        self._loop: asyncio.AbstractEventLoop | None = None
        self._bytes = 0  # of what waits or is under way
        self._flusher: asyncio.Task[None] | None = None

    async def append(self, fields: InboundFields) -> bool:
        """Return True once the entry is in Redis, False if its key was there already (a duplicate: also durable).

        Raises NotDurableError if Redis cannot take it or does not answer; it may then have been taken all the same,
        and the same webhook again is a duplicate.
        """
        size = len(fields.body)
        if len(self._waiting) >= MAX_WAITING or (self._bytes and self._bytes + size > MAX_WAITING_BYTES):
            raise NotDurableError("too many webhooks wait for Redis")
        partition, values = self._keys.partition_of(fields.subject), fields.to_values()
        if self._loop is None:
            self._loop = asyncio.get_running_loop()  # a system call: once, and not for each webhook
        done: asyncio.Future[bool] = self._loop.create_future()
        keys = [
            self._streams[partition],
            self._keys.latest(partition, fields.account_id, fields.subject),
            self._keys.seen(partition, fields.key),
        ]
        if fields.aliases:
            keys += [self._keys.seen(partition, alias) for alias in fields.aliases]
        self._waiting.append((partition, keys, [len(keys), fields.ttl, *values], size, done))
        self._bytes += size
        if self._flusher is None:
            self._flusher = asyncio.create_task(self._flush(), name="append")
        try:
            return await done
        finally:
            self._bytes -= size

    async def close(self) -> None:
        """Wait until all that was given has been answered."""
        while self._flusher is not None:
            await asyncio.wait([self._flusher])

    async def _flush(self) -> None:
        """Send what waits, pipeline by pipeline, and answer every caller whatever happens."""
        batch: list[_Waiting] = []
        problem: Exception = NotDurableError("the append was cut off")
        try:
            while self._waiting:
                await self._gather()
                count = self._fitting()
                batch, self._waiting = self._waiting[:count], self._waiting[count:]
                runs = _runs(batch)
                async with asyncio.timeout(self._patience):
                    answers = await self._append_all([_call(run) for run in runs])
                for run, answer in zip(runs, answers, strict=True):
                    for one, result in zip(run, _each(answer, len(run)), strict=True):
                        _answer(one[-1], result)
        except (RedisError, OSError) as error:
            problem = error
        finally:
            # Those who wait behind a pipeline without an answer would only wait for the same timeouts, one by one.
            left, self._waiting, self._flusher = [*batch, *self._waiting], [], None
            for *_, done in left:
                _answer(done, problem)

    async def _gather(self) -> None:
        """Let those come that are on their way; a lone one waits for some microseconds."""
        for _ in range(TURNS):
            if len(self._waiting) >= MIN_BATCH:
                return
            await asyncio.sleep(0)

    def _fitting(self) -> int:
        """Return how many of those that wait go with one pipeline, at least one."""
        count = MAX_BATCH
        if not self._replication.replicas:  # else Redis does not work but waits, and once for all is enough
            count = min(count, max(MIN_BATCH, len(self._waiting) // 2))
        if self._bytes <= MAX_BATCH_BYTES:  # as nearly always
            return count
        sizes = accumulate(size for _, _, _, size, _ in self._waiting[:count])
        return max(1, sum(size <= MAX_BATCH_BYTES for size in sizes))

    async def _append_all(self, calls: list[Call]) -> list[Any]:
        """Run one pipeline, and once more what gets no answer: the script is repeatable.

        In a Cluster only what a node refused to hear is repeated: one that hangs would cost the others their answers.
        """
        try:
            results = await run_all(self._redis, self._script, calls, self._replication)
        except (RedisError, OSError):
            return await run_all(self._redis, self._script, calls, self._replication)
        lost = [index for index, result in enumerate(results) if isinstance(result, ConnectionError)]
        if lost:
            with contextlib.suppress(RedisError, OSError):
                again = await run_all(self._redis, self._script, [calls[index] for index in lost], self._replication)
                for index, result in zip(lost, again, strict=True):
                    results[index] = result
        return results


def _runs(batch: list[_Waiting]) -> list[list[_Waiting]]:
    """Return what goes into each run of the script, in order: of one partition, and MAX_RUN at most."""
    parts: dict[int, list[_Waiting]] = {}
    for one in batch:
        parts.setdefault(one[0], []).append(one)
    return [part[first : first + MAX_RUN] for part in parts.values() for first in range(0, len(part), MAX_RUN)]


def _call(run: list[_Waiting]) -> Call:
    """Return keys and arguments of one run."""
    keys = chain.from_iterable([one[1] for one in run])
    return list(keys), [LATEST_LIFE, *chain.from_iterable([one[2] for one in run])]


def _each(answer: Any, count: int) -> list[Any]:
    """Return a result, or an exception, for each event of a run; one that failed as a whole did for all."""
    return [answer] * count if isinstance(answer, Exception) else list(answer)


def _answer(done: asyncio.Future[bool], result: Any) -> None:
    if done.done():  # the caller has gone away
        return
    if isinstance(result, Exception):
        error = NotDurableError(f"{type(result).__name__}: {result}")
        error.__cause__ = result
        done.set_exception(error)
    else:
        done.set_result(result is not None)
