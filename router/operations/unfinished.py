"""The present state of events that are not finished: found by their claim, by their customer, or by where they wait.

An event that no worker has looked at has left no line of its story. Its claim leads to its inbound entry; those of a
customer are found among the parked entries, and among the next ones that the workers will read.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from router.core.addresses import Channel
from router.core.calls import GOING_ON, OVER, call_key
from router.core.keys import RESOLVER, Target
from router.core.printable import masked, masked_key
from router.core.stories import StageName, StoryLine, StoryStage, resource_of
from router.core.timestamps import to_text
from router.operations.entry_facts import read_facts
from router.streams.store.inspect import has_consumer, is_beating, last_delivered, list_pending
from router.streams.store.parking import find_parked, list_parked_of

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from router.core.keys import Keys
    from router.operations.entry_facts import EntryFacts
    from router.streams.client.connection import Redis

#: Unread entries that are searched for a customer's, per partition.
MOST_UNREAD: Final = 500
#: Parked entries of a customer that are shown, per partition and channel.
MOST_PARKED: Final = 50
_TAKEN: Final = frozenset({StageName.CONSUMED, StageName.DEAD, StageName.SENT})
_ENDS: Final = frozenset({StageName.RESOLVED, StageName.DEAD, StageName.CONSUMED})


class Unfinished:
    """Looks for events that are not finished in all partitions; `accounts` are SIDs."""

    def __init__(self, redis: Redis, keys: Keys, accounts: Sequence[str]) -> None:
        self._redis = redis
        self._keys = keys
        self._accounts = accounts

    def keys_of(self, name: str) -> list[str]:
        """Return the idempotency keys that an id may be in, and itself."""
        keys = [name]
        for account in self._accounts:
            keys.append(f"{account}:messaging:{name}")
            keys += [call_key(account, name, status) for status in sorted(GOING_ON | OVER) if name.startswith("CA")]
        return keys

    async def find_claimed(self, keys: Sequence[str]) -> list[StoryLine]:
        """Return the known facts of the events of these keys, by their claims."""
        lines = []
        for partition in range(self._keys.partitions):
            claims: Any = await self._redis.mget([self._keys.seen(partition, key) for key in keys])
            ids = [claim.decode("utf-8", "replace").partition(" ")[0] for claim in claims if claim]
            lines += await self._read(partition, [one for one in ids if one[:1].isdigit()])
        return lines

    async def find_event(self, event: str) -> list[StoryLine]:
        """Return the known facts of an event among those that the workers read next: no key follows from its id."""
        lines = []
        for partition in range(self._keys.partitions):
            unread = await self._unread(self._keys.inbound(partition))
            lines += await self._read(partition, [entry for entry, facts in unread if facts.event_id == event])
        return lines

    async def find_customer(self, forms: Iterable[str]) -> list[StoryLine]:
        """Return the known facts of the parked and the unread events of a customer, by the forms of the address."""
        wanted, lines = set(forms), []
        for partition in range(self._keys.partitions) if wanted else ():
            stream = self._keys.inbound(partition)
            ids = dict.fromkeys([*await self._pending_of(stream, wanted), *await self._unread_of(stream, wanted)])
            for account in self._accounts:
                for subject in [f"{account} {channel}|{form}|" for channel in Channel for form in sorted(wanted)]:
                    ids |= dict.fromkeys(await list_parked_of(self._redis, self._keys, stream, subject, MOST_PARKED))
            lines += await self._read(partition, list(ids))
        return lines

    async def describe(self, lines: Iterable[StoryLine]) -> list[StoryStage]:
        """Return where the events of lines wait now, of those that are not finished."""
        ended = {line.event for line in lines for stage in line.stages if stage.stage in _ENDS}
        received = {line.event for line in lines for stage in line.stages if stage.stage is StageName.RECEIVED}
        places = {(line.event, line.place) for line in lines if line.place is not None and line.event not in ended}
        stages: list[StoryStage] = []
        for event, (stream, entry_id, group) in sorted(places):
            rows: Any = await self._redis.xrange(stream, min=entry_id, max=entry_id)
            if rows and group == RESOLVER and event not in received:
                stages += (await self._inbound(stream, entry_id, rows[0][1])).stages
            elif rows and (stage := await self._waiting(stream, entry_id, group, rows[0][1], event)) is not None:
                stages.append(stage)
        return stages

    async def find_untaken(self, lines: Iterable[StoryLine]) -> list[StoryStage]:
        """Return which events wait for a consumer of which none is alive: published, and neither consumed nor ended."""
        stages = [stage for line in lines for stage in line.stages]
        taken = {stage.id for stage in stages if stage.stage in _TAKEN}
        published = [stage for stage in stages if stage.stage is StageName.PUBLISHED and stage.id not in taken]
        waiting = []
        for target in Target:
            last = {stage.id: stage.at for stage in published if f" for {target}" in stage.detail}
            if last and not await self._is_read(target):
                detail = f"waits now for {target}: no consumer of it is alive"
                waiting += [StoryStage(at + 1, StageName.WAITING, "", event, detail) for event, at in last.items()]
        return waiting

    async def _is_read(self, target: Target) -> bool:
        """Return whether a consumer of a target is alive in any partition."""
        for partition in range(self._keys.partitions):
            if await has_consumer(self._redis, self._keys, self._keys.participants(partition, target), target):
                return True
        return False

    async def _unread_of(self, stream: str, wanted: set[str]) -> list[str]:
        """Return the ids of the customer's entries among those that the workers read next."""
        return [entry_id for entry_id, facts in await self._unread(stream) if facts.address in wanted]

    async def _pending_of(self, stream: str, wanted: set[str]) -> list[str]:
        """Return the ids of the customer's entries among those that workers have read and not finished."""
        pipeline = self._redis.pipeline(transaction=False)
        for one in await list_pending(self._redis, stream, RESOLVER, count=MOST_UNREAD):
            pipeline.xrange(stream, min=one.entry_id, max=one.entry_id)
        entries = [entry for found in await pipeline.execute() for entry in found]
        return [entry_id.decode() for entry_id, fields in entries if read_facts(fields).address in wanted]

    async def _unread(self, stream: str) -> list[tuple[str, EntryFacts]]:
        """Return the entries that the workers read next, up to MOST_UNREAD."""
        last = await last_delivered(self._redis, stream, RESOLVER)
        entries: Any = await self._redis.xrange(stream, min=f"({last}", count=MOST_UNREAD)
        return [(entry_id.decode(), read_facts(fields)) for entry_id, fields in entries]

    async def _read(self, partition: int, ids: Sequence[str]) -> list[StoryLine]:
        stream, lines = self._keys.inbound(partition), []
        for entry_id in ids:
            rows: Any = await self._redis.xrange(stream, min=entry_id, max=entry_id)
            lines += [await self._inbound(stream, entry_id, fields) for _, fields in rows]
        return lines

    async def _inbound(self, stream: str, entry_id: str, fields: dict[bytes, bytes]) -> StoryLine:
        """Return the known facts of an inbound entry: that it was received, and whether it waits."""
        facts = read_facts(fields)
        received_at = fields.get(b"received_at", b"")
        at = int(received_at) if received_at.isdigit() else int(entry_id.partition("-")[0]) * 1000
        parts = [f"by {facts.kind}", f"key {masked_key(facts.key)}", f"durable as entry {entry_id} of {stream}"]
        waiting = await self._waiting(stream, entry_id, RESOLVER, fields, facts.event_id)
        if waiting is None:
            parts += await self._progress(stream, entry_id)
        stages = [StoryStage(at, StageName.RECEIVED, "", facts.event_id, ", ".join(parts))]
        stages += [waiting] if waiting is not None else []
        return StoryLine(facts.event_id, facts.resource_id or resource_of(facts.key), tuple(stages))

    async def _progress(self, stream: str, entry_id: str) -> list[str]:
        """Return in words who works on an inbound entry; nothing of one that is finished."""
        is_alive = await has_consumer(self._redis, self._keys, stream, RESOLVER)
        workers = "workers are alive" if is_alive else "no worker is alive"
        if await self._is_unread(stream, entry_id):
            return [f"not processed yet, {workers}"]
        for one in await list_pending(self._redis, stream, RESOLVER, first=entry_id, last=entry_id):
            if await is_beating(self._redis, self._keys, stream, RESOLVER, one.consumer):
                return ["a worker is at it"]
            return [f"its worker has died before it was done, {workers}"]
        return []

    async def _is_unread(self, stream: str, entry_id: str) -> bool:
        return _position(entry_id) > _position(await last_delivered(self._redis, stream, RESOLVER))

    async def _waiting(
        self, stream: str, entry_id: str, group: str, fields: dict[bytes, bytes], event: str
    ) -> StoryStage | None:
        """Return since when and why an entry is parked; None if it is not."""
        facts = read_facts(fields)
        subject = fields[b"subject"].decode("utf-8", "backslashreplace") if b"subject" in fields else facts.conversation
        parked = await find_parked(self._redis, self._keys, stream, group, facts.account, subject, entry_id)
        if parked is None:
            return None
        when = f"since {to_text(parked.since * 1000)}, next try {to_text(parked.due * 1000)}, {parked.tries} tries"
        detail = f"waits now for {group}: {masked(parked.reason, has_ids=False)} ({when})"
        return StoryStage(parked.since * 1000, StageName.WAITING, "", event, detail)


def _position(entry_id: str) -> tuple[int, int]:
    millis, _, number = entry_id.partition("-")
    return int(millis), int(number or 0)
