"""The committed state: reading and committing ledgers, and caches that save API calls.

A commit is atomic per conversation (router.core.ledger), and a batch of them is one pipeline. Routes and own addresses
are caches beside it: losing one costs an API call, never an entry.
"""

from __future__ import annotations

import time
from functools import partial
from itertools import compress
from operator import is_not
from typing import TYPE_CHECKING, Any, Final

import msgspec

from router.core.formats import FIRST, FORMAT, LEDGER, OtherFormatError
from router.core.judging.routes import Route
from router.core.keys import RESOLVER, Keys
from router.core.ledger.ledger import Ledger
from router.core.ledger.marker import BURST_FIELD, COMMON_FIELDS, Hearing
from router.core.ledger.sealing import open_ledger
from router.core.sealing import NO_KEYS
from router.core.values import Value
from router.streams.client.connection import Redis, load_script
from router.streams.client.scripts import NO_REPLICATION, Call, NotReplicatedError, Replication, confirm, run_all
from router.streams.store.calls import CallStore
from router.streams.store.commits import CommitCalls, SealedCommitCalls
from router.streams.store.persons import PersonStore
from router.streams.store.repeats import Repeats
from router.streams.store.shared_bodies import SharedBodies
from router.streams.store.subject_order import SubjectOrder

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

    from router.core.addresses import Address
    from router.core.sealing import Sealer
    from router.streams.store.recent import Recent

#: Seconds after its last use at which a route is forgotten.
ROUTE_LIFE: Final = 7 * 86_400
#: Conversations per run of the script that reads. Redis answers nothing else meanwhile: half a millisecond.
MAX_READ: Final = 64
#: Seconds for which a participant's callback waits for the worker that is creating the participant.
CREATING_LIFE: Final = 60
_IS_GIVEN: Final = partial(is_not, None)
#: Own addresses remembered per account. A handful is usual; an account that receives mail for a whole domain has as
#: many as senders invent.
MAX_OWN_ADDRESSES: Final = 5_000
#: Seconds for which the time of an account's last status callback is remembered.
CALLBACKS_LIFE: Final = 7 * 86_400

_read_route: Final = msgspec.json.Decoder(Route).decode
_SHARED: Final = Hearing.SHARED.encode()


class LedgerQuery(Value):
    """The fields to read of a conversation's ledger."""

    account_id: str
    conversation_id: str
    fields: tuple[str, ...]


class Store:
    """The committed state of one namespace; `marker_ttl` is in seconds, `clock` returns µs since 1970.

    `calls` has the facts by CallSid, `repeats` the entries that are processed again, `subject_order` the order of
    events over all workers, `shared_bodies` the mails to several mailboxes. With a `recent` each commit notes its
    conversation there as active. A commit that too few replicas have confirmed (`replication`) can be read, but a
    failover may undo it; so reading its ledger here waits for the replicas first, and no event is acknowledged because
    of it. With keys, `sealer` seals what customers write; an open ledger is one whose key is there.
    """

    def __init__(
        self,
        redis: Redis,
        keys: Keys,
        *,
        marker_ttl: int,
        recent: Recent | None = None,
        replication: Replication = NO_REPLICATION,
        sealer: Sealer = NO_KEYS,
        clock: Callable[[], int] = lambda: time.time_ns() // 1000,
    ) -> None:
        self._redis = redis
        self._keys = keys
        self._clock = clock
        self.sealer = sealer
        self._make: Callable[..., Ledger | OtherFormatError] = Ledger
        self._commits = CommitCalls(keys, marker_ttl=marker_ttl, recent=recent, clock=clock)
        if sealer.has_keys:
            self._make = partial(open_ledger, sealer)
            self._commits = SealedCommitCalls(keys, marker_ttl=marker_ttl, recent=recent, clock=clock, sealer=sealer)
        self._recent = recent
        self._replication = replication
        self._unconfirmed: set[str] = set()
        #: Gets the time (ms since 1970) at which a committed conversation must be looked at.
        self.on_wake: Callable[[int], None] = lambda _: None
        self._commit, self._read = load_script("commit"), load_script("ledgers")
        self.calls = CallStore(redis, keys)
        self.persons = PersonStore(redis, keys, marker_ttl)
        self.repeats = Repeats(redis, keys)
        self.subject_order = SubjectOrder(redis, keys, RESOLVER)
        self.shared_bodies = SharedBodies(redis, keys)

    async def read_ledgers(self, queries: Sequence[LedgerQuery]) -> list[Ledger]:
        """Read ledgers in one round trip, in the order of the queries; raises OtherFormatError."""
        return [_require(ledger) for ledger in await self.find_ledgers(queries)]

    async def find_ledgers(self, queries: Sequence[LedgerQuery]) -> list[Ledger | OtherFormatError]:
        """Read ledgers like `read_ledgers`; in the place of one that another release wrote is the error.

        Checking what is read is enough to overwrite nothing: a commit fails if the revision has changed since.
        """
        names = [self._keys.conversation(one.account_id, one.conversation_id) for one in queries]
        if self._unconfirmed:
            await self._confirm(set(names))
        calls, positions = self._reads(queries, names)
        ledgers: list[Any] = [None] * len(queries)
        for part, rows in zip(positions, await run_all(self._redis, self._read, calls), strict=True):
            if isinstance(rows, Exception):
                raise rows
            for position, row in zip(part, rows, strict=True):
                ledgers[position] = self._ledger(queries[position], row)
        return ledgers

    def _reads(self, queries: Sequence[LedgerQuery], names: Sequence[str]) -> tuple[list[Call], list[list[int]]]:
        """Return the calls that read ledgers, and for each the positions of the queries that it answers."""
        known = len(COMMON_FIELDS)
        shared = COMMON_FIELDS if all(query.fields[:known] == COMMON_FIELDS for query in queries) else ()
        parts = _by_partition(self._keys, [query.conversation_id for query in queries])
        pieces = [part[first : first + MAX_READ] for part in parts.values() for first in range(0, len(part), MAX_READ)]
        calls: list[Call] = []
        for piece in pieces:
            args: list[Any] = [len(shared), *shared]
            for position in piece:
                fields = queries[position].fields
                args += (len(fields) - len(shared), *fields[len(shared) :])
            calls.append(([names[position] for position in piece], args))
        return calls, pieces

    def _ledger(self, query: LedgerQuery, row: Sequence[bytes | None]) -> Ledger | OtherFormatError:
        # Without a loop in Python: a tenth of the steps of a comprehension, for every event.
        given: Iterator[Any] = filter(_IS_GIVEN, row)
        values = map(bytes.decode, given)
        fields = dict(zip(compress(query.fields, map(_IS_GIVEN, row)), values, strict=True))
        if fields.get(FORMAT, FIRST) not in LEDGER.readable:
            return LEDGER.error(fields[FORMAT])
        return self._make(self._keys.namespace, query.account_id, query.conversation_id, fields, query.fields)

    def make_ledger(self, account_id: str, conversation_id: str) -> Ledger:
        """Return an empty ledger; committing it fails if the conversation has one already."""
        return Ledger(self._keys.namespace, account_id, conversation_id, {})

    async def read_whole(self, account_id: str, conversation_id: str) -> Ledger:
        """Read the whole ledger of a conversation; raises OtherFormatError."""
        rows: Any = await self._redis.hgetall(self._keys.conversation(account_id, conversation_id))
        return self._whole(account_id, conversation_id, rows)

    async def read_whole_and_claim(self, account_id: str, conversation_id: str, claim: str) -> tuple[Ledger, bool]:
        """Read the whole ledger, and then, in the same round trip, whether there is a claim; raises OtherFormatError.

        In this order: of a commit in between the claim is seen, and the ledger is too old to be committed.
        """
        pipeline = self._redis.pipeline(transaction=False)
        pipeline.hgetall(self._keys.conversation(account_id, conversation_id))
        pipeline.get(self._keys.communication(account_id, conversation_id, claim))
        rows, value = await pipeline.execute()
        return self._whole(account_id, conversation_id, rows), value not in {None, _SHARED}

    def _whole(self, account_id: str, conversation_id: str, rows: dict[bytes, bytes]) -> Ledger:
        fields = {name.decode(): value.decode() for name, value in rows.items()}
        LEDGER.require(fields.get(FORMAT, FIRST))
        return _require(self._make(self._keys.namespace, account_id, conversation_id, fields))

    async def has_turns(self, account_id: str, conversation_id: str) -> bool:
        """Return whether what is said in a conversation comes in turns too: its rule has a burst."""
        return bool(await self._redis.hexists(self._keys.conversation(account_id, conversation_id), BURST_FIELD))

    async def commit(self, ledgers: Sequence[Ledger], *, routes: Iterable[tuple[str, str, Route]] = ()) -> list[bool]:
        """Commit changed ledgers in one round trip; False where another worker was first: read again and repeat.

        The (account, pair, route)s are written before, if possible in the same round trip.

        Each ledger knows afterwards whether it is committed and which of its entries had been published before. Raises
        RedisError if there is no answer or too few replicas confirm: any of them may have been committed, and repeating
        them changes nothing.
        """
        if not ledgers:
            return []
        calls = self._commits.make(ledgers)
        try:
            runs: list[Call] = [(call.keys, call.args) for call in calls]
            before = [self._route_command(*route) for route in routes] if routes else ()
            answers = await run_all(self._redis, self._commit, runs, self._replication, before=before)
            for call, answer in zip(calls, answers, strict=True):
                if isinstance(answer, NotReplicatedError):
                    self._unconfirmed.update(call.hashes)
            for answer in answers:
                if isinstance(answer, Exception):
                    raise answer
            for call, answer in zip(calls, answers, strict=True):
                for ledger, result in zip(call.ledgers, answer, strict=True):
                    ledger.is_committed = result is not None
                    ledger.repeated = frozenset(entry_id.decode() for entry_id in result or ())
                if call.wake_at is not None:
                    self.on_wake(call.wake_at)
        finally:
            self._unnote(ledger for ledger in ledgers if not ledger.is_committed)
        return [ledger.is_committed for ledger in ledgers]

    async def read_claims(self, account_id: str, conversation_id: str, names: Iterable[str]) -> list[str | None]:
        """Return the value of each claim to a communication in a conversation (marker.Hearing).

        None: not published under this name, or only others that share it.
        """
        keys = [self._keys.communication(account_id, conversation_id, name) for name in names]
        claims: Any = await self._redis.mget(keys)
        return [claim.decode() if claim and claim != _SHARED else None for claim in claims]

    async def _confirm(self, names: set[str]) -> None:
        """Wait until replicas have the commits of these conversations; raises NotReplicatedError."""
        for name in names & self._unconfirmed:
            await confirm(self._redis, name, self._replication)
            self._unconfirmed.discard(name)

    def _unnote(self, ledgers: Iterable[Ledger]) -> None:
        if self._recent is not None:
            for ledger in ledgers:
                self._recent.unnote(ledger.account_id, ledger.conversation_id)

    async def read_routes(self, wanted: Sequence[tuple[str, str]]) -> list[Route | None]:
        """Return the route of each (account, pair), None if there is none, in one round trip."""
        parts = _by_partition(self._keys, [pair for _, pair in wanted])
        pipeline = self._redis.pipeline(transaction=False)
        for part in parts.values():
            pipeline.mget([self._keys.route(*wanted[position]) for position in part])
        routes: list[Route | None] = [None] * len(wanted)
        for part, rows in zip(parts.values(), await pipeline.execute(), strict=True):
            for position, row in zip(part, rows, strict=True):
                routes[position] = _read_route(row) if row else None
        return routes

    async def write_routes(self, routes: Iterable[tuple[str, str, Route | None]]) -> None:
        """Write (account, pair, route)s; None deletes the route."""
        for account_id, pair, route in routes:
            if route is None:
                await self._redis.delete(self._keys.route(account_id, pair))
            else:
                await self._send(self._route_command(account_id, pair, route))

    async def _send(self, command: tuple[Any, ...]) -> None:
        redis: Any = self._redis  # redis-py's method has no types
        await redis.execute_command(*command)

    def _route_command(self, account_id: str, pair: str, route: Route) -> tuple[Any, ...]:
        return _setting(self._keys.route(account_id, pair), msgspec.json.encode(route), ROUTE_LIFE)

    async def begin_creating(self, account_id: str, address: Address) -> None:
        """Note that a participant is being created at `address`: its callback waits for the creator's commit."""
        await self._send(_setting(self._keys.creating(account_id, address.key), "1", CREATING_LIFE))

    async def end_creating(self, account_id: str, addresses: Iterable[Address]) -> None:
        """Note that participants have been created and committed, or will not be."""
        for command in self.ending_creating(account_id, addresses):  # hardly ever more than one
            await self._send(command)

    def ending_creating(self, account_id: str, addresses: Iterable[Address]) -> tuple[tuple[str, ...], ...]:
        """Return the commands of `end_creating`, for a caller that sends others with them."""
        return tuple(("DEL", self._keys.creating(account_id, address.key)) for address in addresses)

    async def are_being_created(self, wanted: Sequence[tuple[str, Sequence[str]]]) -> list[bool]:
        """Return for each (account, address keys) whether a participant is being created at one of them."""
        pipeline = self._redis.pipeline(transaction=False)
        for account_id, addresses in wanted:
            for key in addresses:
                pipeline.exists(self._keys.creating(account_id, key))
        found = iter(await pipeline.execute() if len(pipeline) else ())
        return [sum(next(found) for _ in addresses) > 0 for _, addresses in wanted]

    async def add_own_addresses(self, account_id: str, addresses: Iterable[Address]) -> None:
        """Remember own addresses, of too many the latest ones; participants at them are never announced."""
        now = self._clock() // 1000
        if own := {address.key: now for address in addresses}:
            key = self._keys.own_addresses(account_id)
            pipeline = self._redis.pipeline(transaction=False)
            pipeline.zadd(key, own, gt=True)
            pipeline.zremrangebyrank(key, 0, -MAX_OWN_ADDRESSES - 1)
            await pipeline.execute()

    async def read_account(self, account_id: str) -> tuple[dict[str, int], int]:
        """Return an account's own addresses and the time of its last status callback (µs, 0 if never).

        The addresses are by key, each with the time it was last seen (ms).
        """
        pipeline = self._redis.pipeline(transaction=False)
        pipeline.zrange(self._keys.own_addresses(account_id), 0, -1, withscores=True)
        pipeline.get(self._keys.callbacks(account_id))
        addresses, callbacks_seen_at = await pipeline.execute()
        return {address.decode(): int(seen_at) for address, seen_at in addresses}, int(callbacks_seen_at or 0)

    async def write_callback_time(self, account_id: str, seen_at: int) -> None:
        """Remember when the account's last status callback arrived (µs)."""
        await self._redis.set(self._keys.callbacks(account_id), seen_at, ex=CALLBACKS_LIFE)


def _by_partition(keys: Keys, subjects: Sequence[str]) -> dict[int, list[int]]:
    """Return the positions of subjects or conversations in each of their partitions.

    Gain of the shortcut, by tests.benchmarks.steps: 60 of the 5,400 steps of a known customer's message.
    """
    if keys.partitions == 1:
        return {0: list(range(len(subjects)))} if subjects else {}
    parts: dict[int, list[int]] = {}
    for position, subject in enumerate(subjects):
        parts.setdefault(keys.partition_of(subject), []).append(position)
    return parts


def _require(ledger: Ledger | OtherFormatError) -> Ledger:
    if isinstance(ledger, OtherFormatError):
        raise ledger
    return ledger


def _setting(key: str, text: str | bytes, life: int) -> tuple[Any, ...]:
    """Return the command that sets a string for `life` seconds, without the options that redis-py's `set` checks.

    Gain, by tests.benchmarks.steps: 650 of the 20,000 steps of a new customer's message.
    """
    return ("SET", key, text, "EX", life)
