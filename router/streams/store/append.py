"""Append inbound entries once: the claim of the idempotency key and the XADD are one atomic script.

Concurrent webhooks share pipelines: those that arrive while one is under way go with the next, the webhooks of a
partition as one run of the script. This makes durable appending cheap (one command and one system call for many) and
costs a lone webhook a few iterations of the event loop. Of many waiting webhooks only half are sent at once: if all
were, Redis and this process would take turns idling. So one half is answered, and asked anew, while the other is being
appended. Gain, by `make bench`: one run of the script for many - 10 % CPU, halves + 20 % webhooks/s.

Each entry names the entry before it of the same subject (`after`), so that several workers can keep their order
(router.streams.store.subject_order).
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable
from functools import partial
from itertools import accumulate, chain
from typing import TYPE_CHECKING, Any, Final

from redis.exceptions import ConnectionError, ResponseError  # noqa: A004 - redis-py's, which is not an OSError

from router.core.errors import NotDurableError
from router.core.formats import INBOUND_ENTRY
from router.core.keys import checksum
from router.core.values import Value
from router.logs import describe_fully
from router.streams.client.connection import Redis, RedisError, load_script
from router.streams.client.error_replies import is_temporary
from router.streams.client.scripts import NO_REPLICATION, Call, Replication, run_all

if TYPE_CHECKING:
    from router.core.events import SharedBody
    from router.core.keys import Keys

#: Entries per pipeline: bounds the time that a pipeline takes.
MAX_BATCH: Final = 512
#: Number of waiting entries that is not halved: smaller pipelines would not amortize their own cost.
MIN_BATCH: Final = 32
#: Iterations of the event loop for which fewer than MIN_BATCH entries wait for more. A webhook takes three from its
#: socket to here; without the wait the first of several that arrive together would go alone and hold up the others.
#: Gain, by `make bench`: one process - 3 % CPU, two - 10 %.
GATHERING_ITERATIONS: Final = 6
#: Entries per run of the script. Redis does nothing else meanwhile, for a millisecond at most.
MAX_RUN: Final = 64
#: Bytes of bodies per pipeline, if it has more than one entry.
MAX_BATCH_BYTES: Final = 4 * 1_048_576
#: Entries that may wait for the next pipeline; more means that Redis does not keep up, and the caller must retry.
MAX_WAITING: Final = 20_000
#: Bytes of bodies that may wait: a body may be a thousand times the usual size.
MAX_WAITING_BYTES: Final = 64 * 1_048_576

#: The fields of every entry, in the order in which the script takes them.
FIELDS: Final = ("source", "account", "key", "subject", "received_at", "body")
#: The outcome of an append: True, False for a duplicate, or the error.
Outcome = bool | NotDurableError
Resolve = Callable[[Outcome], None]
#: A waiting entry: its partition, its keys and arguments for the script, the size of its body, its shared body, and
#: the function that takes its outcome.
_Waiting = tuple[int, list[str], list[Any], int, "SharedBody | None", Resolve]

#: Seconds for which the last entry of a subject is remembered. An entry that waits for longer than this, without
#: another entry of its subject meanwhile, may be overtaken by the next one.
LATEST_LIFE: Final = 86_400
_UNKNOWN: Final = "the number of partitions is not known yet, or has just changed"


def is_outage(error: NotDurableError) -> bool:
    """Return whether Redis is down, overloaded or cannot write now: then waiting helps, and the spool takes over.

    Any other error reply is about the entry or its key (WRONGTYPE) and would be the same at every retry, so the
    webhook is answered with 503.
    """
    return not isinstance(error.__cause__, ResponseError) or is_temporary(error.__cause__)


class InboundFields(Value):
    """An entry to append; `ttl` is the lifetime of the claims of `key` and its `aliases` in seconds.

    `replayed_at` (ISO 8601) marks a replay; it is empty for a webhook that arrives now. `shared` is the part of the
    body that is stored once for several entries (router.streams.store.shared_bodies).
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
    shared: SharedBody | None = None

    def to_values(self) -> list[Any]:
        """Return the values of FIELDS and `replayed_at`.

        Text is encoded here, so that a UnicodeEncodeError reaches its own caller instead of failing a whole pipeline.
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

    `patience` is the time in seconds that a pipeline may take, its repeat included; None: as long as the client's
    timeouts allow. An entry that too few replicas confirm (`replication`) is not durable, although the primary has it:
    the same webhook again is a duplicate, and waits for the replicas too. A number of partitions that is not Redis' own
    is refused by the script (FENCED), which is an outage here.
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
        self._waiting: list[_Waiting] = []
        self._is_held = False
        self._note_partitions()
        self._bytes = 0  # of bodies waiting or under way
        self._last_shared: SharedBody | None = None
        self._flusher: asyncio.Task[None] | None = None
        self._loop: asyncio.AbstractEventLoop | None = None

    def _note_partitions(self) -> None:
        numbers = range(self._keys.partitions)
        self._streams = [self._keys.inbound(partition) for partition in numbers]
        self._fences = [self._keys.fence(partition) for partition in numbers]

    def hold(self) -> None:
        """Append nothing until `use` is called: the number of partitions is not known."""
        self._is_held = True

    def use(self, keys: Keys) -> None:
        """Append with this number of partitions from now on; entries that wait raise NotDurableError."""
        waiting, self._waiting = self._waiting, []  # their partition is that of the other number
        for one in waiting:
            self._resolve(one, NotDurableError(_UNKNOWN))
        self._keys, self._is_held = keys, False
        self._note_partitions()

    async def append(self, fields: InboundFields) -> bool:
        """Return True once the entry is in Redis, False if its key was claimed before (a duplicate: also durable).

        Raises NotDurableError if Redis refuses it or does not answer. It may have been appended even so; then the same
        webhook again is a duplicate.
        """
        if self._loop is None:
            self._loop = asyncio.get_running_loop()  # a system call, once: all such calls - 7 %, by the profile
        done: asyncio.Future[bool] = self._loop.create_future()
        self.append_soon(fields, partial(_set_outcome, done))
        return await done

    def append_soon(self, fields: InboundFields, resolve: Resolve) -> None:
        """Append as `append` does, and pass what that would return or raise to `resolve`, which must not raise.

        Raises NotDurableError if too many wait. Gain, by tests.benchmarks.steps: no coroutine and no future an entry.
        """
        size, shared = len(fields.body), fields.shared
        if shared is not None and shared is not self._last_shared:  # the entries of one webhook come one after another
            size, self._last_shared = size + len(shared.data), shared
        if len(self._waiting) >= MAX_WAITING or (self._bytes and self._bytes + size > MAX_WAITING_BYTES):
            raise NotDurableError("too many webhooks wait for Redis")
        owner, values = checksum(fields.subject), fields.to_values()
        partition = owner % self._keys.partitions
        keys = [
            self._streams[partition],
            self._keys.latest(partition, fields.account_id, fields.subject),
            self._keys.seen(partition, fields.key),
        ]
        if fields.aliases:
            keys += [self._keys.seen(partition, alias) for alias in fields.aliases]
        self._waiting.append((partition, keys, [len(keys), fields.ttl, *values, owner, 0], size, shared, resolve))
        self._bytes += size
        if self._flusher is None:
            self._flusher = asyncio.create_task(self._flush(), name="append")

    async def check(self) -> None:
        """Raise NotDurableError, RedisError or OSError if Redis would take no entry now, of any partition.

        It tells more than PING: Redis may be read-only or full, the number of partitions unknown, replicas away.
        """
        if self._is_held:
            raise NotDurableError(_UNKNOWN)
        keys = self._keys
        calls = [([keys.fence(one), keys.probe(one)], [keys.partitions]) for one in range(keys.partitions)]
        async with asyncio.timeout(self._patience):
            results = await run_all(self._redis, load_script("can_append"), calls, self._replication)
        problems = [result for result in results if isinstance(result, Exception)]
        if len(problems) == len(results):
            raise NotDurableError(describe_fully(problems[0])) from problems[0]

    async def close(self) -> None:
        """Wait until every append has been answered."""
        while self._flusher is not None:
            await asyncio.wait([self._flusher])

    async def _flush(self) -> None:
        """Send the waiting entries, pipeline by pipeline; every caller gets an answer whatever happens."""
        batch: list[_Waiting] = []
        problem: Exception = NotDurableError("the append was cut off")
        try:
            while self._waiting:
                await self._wait_for_more()
                if self._is_held:
                    problem = NotDurableError(_UNKNOWN)
                    return
                count = self._batch_size()
                batch, self._waiting = self._waiting[:count], self._waiting[count:]
                runs = _runs(batch)
                async with asyncio.timeout(self._patience):
                    answers = await self._append_all([self._call(run) for run in runs])
                results = [_results(answer, len(run)) for run, answer in zip(runs, answers, strict=True)]
                outcomes = list(zip(chain.from_iterable(runs), chain.from_iterable(results), strict=True))
                batch = []  # from here on each of them gets its own outcome
                for one, result in outcomes:
                    self._resolve(one, result)
        except (RedisError, OSError) as error:
            problem = error
        finally:
            # Entries waiting behind a pipeline that got no answer would only wait for the same timeouts, one by one.
            left, self._waiting, self._flusher = [*batch, *self._waiting], [], None
            for one in left:
                self._resolve(one, problem)

    def _resolve(self, one: _Waiting, result: Any) -> None:
        self._bytes -= one[3]
        if isinstance(result, Exception):
            error = NotDurableError(describe_fully(result))
            error.__cause__ = result
            one[-1](error)
        else:
            one[-1](result is not None)

    async def _wait_for_more(self) -> None:
        """Wait for entries that are on their way: some microseconds."""
        for _ in range(GATHERING_ITERATIONS):
            if len(self._waiting) >= MIN_BATCH:
                return
            await asyncio.sleep(0)

    def _batch_size(self) -> int:
        """Return how many of the waiting entries go with the next pipeline, at least one."""
        count = MAX_BATCH
        if not self._replication.replicas:  # with replicas Redis mostly waits, and one wait for all is enough
            count = min(count, max(MIN_BATCH, len(self._waiting) // 2))
        if self._bytes <= MAX_BATCH_BYTES:  # nearly always
            return count
        sizes = accumulate(one[3] for one in self._waiting[:count])
        return max(1, sum(size <= MAX_BATCH_BYTES for size in sizes))

    def _call(self, run: list[_Waiting]) -> Call:
        """Return the keys and arguments of one run; each shared body is sent once."""
        keys: list[str] = [self._fences[run[0][0]]]
        bodies: dict[str, SharedBody] = {one[4].name: one[4] for one in run if one[4] is not None}
        if bodies:
            positions = {name: position for position, name in enumerate(bodies, 1)}
            keys += (self._keys.shared(run[0][0]), self._keys.shared_inbound(run[0][0]))
            for _, _, args, _, shared, _ in run:
                args[-1] = positions[shared.name] if shared is not None else 0
        keys += chain.from_iterable([one[1] for one in run])
        head: list[Any] = [LATEST_LIFE, INBOUND_ENTRY.current, self._keys.partitions, len(bodies)]
        for body in bodies.values():
            head += (body.name, body.data)
        return keys, [*head, *chain.from_iterable([one[2] for one in run])]

    async def _append_all(self, calls: list[Call]) -> list[Any]:
        """Run one pipeline, and repeat once the runs without an answer: the script is repeatable.

        In a Cluster only runs that failed to connect are repeated: waiting for a node that hangs would cost the others
        their answers.
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
    """Split a batch into runs of the script, in order: each of one partition, with MAX_RUN entries at most."""
    parts: dict[int, list[_Waiting]] = {}
    for one in batch:
        parts.setdefault(one[0], []).append(one)
    return [part[first : first + MAX_RUN] for part in parts.values() for first in range(0, len(part), MAX_RUN)]


def _results(answer: Any, count: int) -> list[Any]:
    """Return a result or an exception for each entry of a run; an error of the run is the error of each."""
    return [answer] * count if isinstance(answer, Exception) else list(answer)


def _set_outcome(done: asyncio.Future[bool], outcome: Outcome) -> None:
    if done.done():  # its caller was canceled
        return
    if isinstance(outcome, NotDurableError):
        done.set_exception(outcome)
    else:
        done.set_result(outcome)
