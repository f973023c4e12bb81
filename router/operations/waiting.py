"""The events that wait: parked until something recovers, each with the reason, since when, and when it is tried again.

Entries that are only unread or under way do not wait in this sense; `router.operations.streams` counts them.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from router.core.printable import masked
from router.core.timestamps import to_text
from router.operations.entry_facts import read_facts
from router.streams.store.inspect import consumed_streams, list_groups
from router.streams.store.parking import count_parked, list_parked, subject_at

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from router.core.keys import Keys
    from router.operations.entry_facts import EntryFacts
    from router.operations.selection import Selection
    from router.streams.client.connection import Redis
    from router.streams.store.parking import ParkedEntry

#: Entries that are read at once.
_PAGE: Final = 100


@dataclass(frozen=True, slots=True)
class WaitingEvent:
    """One event that waits for a group. Times in µs since 1970; `tries` count the attempts that did not succeed.

    `is_first`: it is the next of its customer, conversation or call, the `subject`; the others wait behind it, and the
    reason, due time and tries are those of the subject.
    """

    stream: str
    group: str
    entry_id: str
    facts: EntryFacts
    reason: str
    since: int
    due: int
    tries: int
    is_first: bool
    subject: str

    @property
    def event_id(self) -> str:
        """The id of the event over all its stages."""
        return self.facts.event_id

    def shown_reason(self, *, unmasked: bool = False) -> str:
        """Return the reason, whose words may quote what a stranger wrote."""
        return self.reason if unmasked else masked(self.reason, has_ids=False)

    def to_json(self, *, unmasked: bool = False) -> dict[str, Any]:
        """Return the event for programs."""
        return {
            "stream": self.stream,
            "group": self.group,
            "entry_id": self.entry_id,
            **self.facts.to_json(unmasked=unmasked),
            "reason": self.shown_reason(unmasked=unmasked),
            "since": to_text(self.since),
            "due": to_text(self.due),
            "tries": self.tries,
            "is_first": self.is_first,
        }


async def count_waiting(redis: Redis, keys: Keys) -> int:
    """Return the number of events that wait, over all streams and groups."""
    return sum([await count_parked(redis, keys, stream, group) async for stream, group in _groups(redis, keys)])


async def list_waiting(redis: Redis, keys: Keys, selection: Selection) -> AsyncIterator[WaitingEvent]:
    """Yield the events that wait and match, stream by stream, those of one customer or conversation in order."""
    async for event in look_through_waiting(redis, keys, selection):
        if is_wanted(selection, event):
            yield event


async def look_through_waiting(
    redis: Redis, keys: Keys, selection: Selection, *, skip: int = 0
) -> AsyncIterator[WaitingEvent]:
    """Yield all events that wait in the wanted streams and groups, in the same order, also those that do not match.

    The first `skip` of them are not read.
    """
    async for stream, group in _groups(redis, keys):
        if not selection.takes_group(stream, group):
            continue
        previous = ""
        if skip:
            number = await count_parked(redis, keys, stream, group)
            if number <= skip:
                skip -= number
                continue
            previous = await subject_at(redis, keys, stream, group, skip - 1)
        page: list[ParkedEntry] = []
        async for entry in list_parked(redis, keys, stream, group, skip=skip):
            page.append(entry)
            if len(page) == _PAGE:
                for event in await _read(redis, stream, group, page, previous):
                    yield event
                page, previous = [], page[-1].subject
        for event in await _read(redis, stream, group, page, previous):
            yield event
        skip = 0


async def _groups(redis: Redis, keys: Keys) -> AsyncIterator[tuple[str, str]]:
    """Yield all streams with their groups."""
    for partition in range(keys.partitions):
        for stream in consumed_streams(keys, partition):
            for group in await list_groups(redis, stream):
                yield stream, group


async def _read(redis: Redis, stream: str, group: str, page: list[ParkedEntry], previous: str) -> list[WaitingEvent]:
    """Return the events of parked entries; `previous` is the subject before them. One that is gone has no facts."""
    if not page:
        return []
    pipeline = redis.pipeline(transaction=False)
    for entry in page:
        pipeline.xrange(stream, min=entry.entry_id, max=entry.entry_id)
    found = await pipeline.execute()
    subjects = [previous, *(entry.subject for entry in page)]
    return [
        WaitingEvent(
            stream,
            group,
            entry.entry_id,
            read_facts(rows[0][1] if rows else {}),
            entry.reason,
            since=entry.since * 1000,
            due=entry.due * 1000,
            tries=entry.tries,
            is_first=entry.subject != before,
            subject=entry.subject,
        )
        for entry, rows, before in zip(page, found, subjects, strict=False)
    ]


def is_wanted(selection: Selection, event: WaitingEvent) -> bool:
    """Return whether an event matches; `since` and `until` are about the time since when it waits."""
    is_in_time = selection.since <= event.since and (selection.until is None or event.since < selection.until)
    return is_in_time and selection.takes(event.reason, event.facts, stream=event.stream, group=event.group)
