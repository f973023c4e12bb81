"""The batch path: settles the events of a whole batch in a few round trips, except those that need the API.

Routes take one pipeline; ledgers and commits take one per part of the batch. Events that remain unsettled (the API is
needed, a commit lost a race, the entry is unreadable) are left to the single path, with all later events of their
subjects.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, Final

from router.core.errors import RouterError
from router.core.formats import OtherFormatError
from router.core.ledger.fields import FieldNotReadError
from router.streams.store.ledgers import LedgerQuery
from router.worker.closings import Closings
from router.worker.work import begin, inbound_reader, subject_of

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Mapping, Sequence

    from router.core.judging.rules import EventRules
    from router.core.judging.unconfirmed import Unconfirmed
    from router.streams.delivery import Delivery
    from router.streams.store.ledgers import Store
    from router.worker.account_cache import AccountCache
    from router.worker.work import BatchMisses, DeliveredWork

#: Events of one part of a batch. Redis needs about as long for them as the worker needs to apply the next part.
#: Gain, by `make bench`: the worker is busy 85 % of the time instead of 53 %.
PART: Final = 50
#: Turns of the event loop within which a command is sent on an open connection.
TURNS: Final = 5


class BatchPath:
    """Settles batches."""

    def __init__(
        self,
        *,
        store: Store,
        accounts: AccountCache,
        rules: EventRules,
        misses: BatchMisses,
        unconfirmed: Unconfirmed,
    ) -> None:
        self._store = store
        self._read = inbound_reader(store.sealer)
        self._closings = Closings(store, rules)
        self._accounts = accounts
        self._rules = rules
        self._misses = misses
        self._unconfirmed = unconfirmed

    async def settle(
        self, deliveries: Sequence[Delivery], *, is_busy: Callable[[Delivery], bool]
    ) -> tuple[list[DeliveredWork], list[Delivery]]:
        """Settle a batch; return the committed works, which may be acknowledged, and the deliveries left, in order."""
        await self._accounts.know({delivery.text("account") for delivery in deliveries})
        waiting = await self._store.subject_order.waiting(deliveries)
        bodies = await self._store.shared_bodies.read(deliveries)
        works, behind = self._begin(deliveries, bodies, lambda one: one.entry_id in waiting or is_busy(one))
        await self._accounts.know({work.account_id for work in works if self._is_doubtful(work)}, is_fresh=True)
        await self._read_routes(works)
        for work in works:
            work.needed = self._rules.needed(work)
        await self._settle_parts(part_works(works), behind)
        await self._accounts.share_callbacks()
        self._misses.note(works)
        settled = [work for work in works if work.outcome is not None]
        self._unconfirmed.note(settled)
        done = {id(work.delivery) for work in settled}
        return settled, [delivery for delivery in deliveries if id(delivery) not in done]

    def _is_doubtful(self, work: DeliveredWork) -> bool:
        if work.kind.is_doubtful is None:
            return False
        return self._rules.is_doubtful(work, self._accounts.state(work.account_id))

    def _begin(
        self, deliveries: Sequence[Delivery], bodies: Mapping[bytes, bytes], is_behind: Callable[[Delivery], bool]
    ) -> tuple[list[DeliveredWork], set[str]]:
        works: list[DeliveredWork] = []
        behind: set[str] = set()
        for delivery in deliveries:
            subject = subject_of(delivery)
            if subject in behind or is_behind(delivery):
                behind.add(subject)
                continue
            try:
                work = begin(self._rules, self._accounts, delivery, bodies, self._read)
            except RouterError:  # the single path turns it into a dead letter
                behind.add(subject)
                continue
            works.append(work)
            if work.kind.is_callback:
                self._accounts.note_callback(work.account_id)
        return works, behind

    async def _read_routes(self, works: Sequence[DeliveredWork]) -> None:
        wanted = [(work, name) for work in works if (name := self._rules.route_name(work)) is not None]
        if wanted:
            routes = await self._store.read_routes([(work.account_id, name) for work, name in wanted])
            for (work, _), route in zip(wanted, routes, strict=True):
                work.route = route
        arrivals = [(work, work.kind.arriving(work.event)) for work in works if work.kind.arriving is not None]
        if arrivals:
            creating = await self._store.are_being_created([(work.account_id, keys) for work, keys in arrivals])
            for (work, _), is_being_created in zip(arrivals, creating, strict=True):
                work.is_being_created = is_being_created

    async def _settle_parts(self, parts: Sequence[Sequence[DeliveredWork]], behind: set[str]) -> None:
        """Read, apply and commit part by part; Redis reads the next part and commits the last while one is applied."""
        reading = await begin_now(self._read_ledgers(parts[0], behind))
        under_way = [reading]
        try:
            for number, part in enumerate(parts, 1):
                await reading
                if number < len(parts):
                    reading = await begin_now(self._read_ledgers(parts[number], behind))
                    under_way.append(reading)
                self._apply(part, behind)
                under_way.append(await begin_now(self._commit(part)))
        finally:
            results = await asyncio.gather(*under_way, return_exceptions=True)
        for result in results:
            if isinstance(result, BaseException):
                raise result

    async def _read_ledgers(self, works: Sequence[DeliveredWork], behind: set[str]) -> None:
        """Read each conversation's ledger once, with the fields that all its events need.

        An event whose ledger another release wrote stays unsettled.
        """
        fields: dict[tuple[str, str], list[str]] = {}
        wanted: list[tuple[DeliveredWork, tuple[str, str]]] = []
        for work in works:
            if (needed := work.needed) is not None:
                conversation = (work.account_id, needed[0])
                earlier = fields.get(conversation)
                fields[conversation] = needed[1] if earlier is None else list(dict.fromkeys(earlier + needed[1]))
                wanted.append((work, conversation))
        if not fields:
            return
        queries = [LedgerQuery(*conversation, tuple(names)) for conversation, names in fields.items()]
        ledgers = dict(zip(fields, await self._store.find_ledgers(queries), strict=True))
        for work, conversation in wanted:
            ledger = ledgers[conversation]
            if isinstance(ledger, OtherFormatError):
                behind.add(work.entry.subject)
            else:
                work.ledger = ledger

    def _apply(self, works: Sequence[DeliveredWork], behind: set[str]) -> None:
        """Apply events in order; an event that stays unsettled leaves all later ones of its subject unsettled."""
        spoiled: set[int] = set()
        for work in works:
            if work.entry.subject in behind:
                continue
            try:
                work.outcome = self._rules.apply(work, self._accounts.state(work.account_id))
            except (FieldNotReadError, OtherFormatError):
                spoiled.add(id(work.ledger))
            if work.outcome is None:
                behind.add(work.entry.subject)
        _unsettle(works, spoiled)

    async def _commit(self, works: Sequence[DeliveredWork]) -> None:
        ledgers = {id(work.ledger): work.ledger for work in works if work.ledger is not None and work.outcome}
        changed = [ledger for ledger in ledgers.values() if ledger.has_news]
        for work in works:
            if work.learned:  # rarely
                await self._store.persons.write(work.account_id, *work.learned)
        results = await self._store.commit(changed)
        _unsettle(works, {id(ledger) for ledger, is_ours in zip(changed, results, strict=True) if not is_ours})
        for ledger in ledgers.values():
            if ledger.is_closing and not ledger.has_news:
                await self._closings.follow(ledger)


def part_works(works: Sequence[DeliveredWork]) -> list[list[DeliveredWork]]:
    """Split works into parts, in order, so that no subject and no conversation is in two parts."""
    parts: list[list[DeliveredWork]] = [[]]
    part_of: dict[object, list[DeliveredWork]] = {}
    for work in works:
        subject, needed = work.entry.subject, work.needed
        conversation = None if needed is None else (work.account_id, needed[0])
        of_subject, of_conversation = part_of.get(subject), part_of.get(conversation)
        if of_subject is not None and of_conversation is not None and of_subject is not of_conversation:
            return [list(works)]  # it belongs to two parts, which is rare: one part is always correct
        part = of_subject or of_conversation or parts[-1]
        if len(part) >= PART and of_subject is None and of_conversation is None:
            part = []
            parts.append(part)
        part.append(work)
        part_of[subject] = part
        if conversation is not None:
            part_of[conversation] = part
    return parts


async def begin_now(coroutine: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
    """Start a task that talks to Redis, and let the loop run until its command has been sent.

    The caller computes next without awaiting, so otherwise the command would only be sent after that.
    """
    task = asyncio.create_task(coroutine)
    for _ in range(TURNS):
        await asyncio.sleep(0)
    return task


def _unsettle(works: Sequence[DeliveredWork], ledgers: set[int]) -> None:
    """Reset the outcomes that depend on these ledgers (ids), since those are not committed."""
    for work in works:
        if id(work.ledger) in ledgers:
            work.outcome = None
