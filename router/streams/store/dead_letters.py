"""Dead letters: entries that were given up, with their origin and the reason; listing and replaying them.

A letter keeps the original fields and adds its origin under names that begin with `dead-`. A replay appends the
original fields to their stream, marked `replayed`, and removes the letter in the same script, so it happens once. A
replayed entry keeps its `id`: consumers that had finished with it ignore it.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from router.streams.client.connection import Redis, load_script, run_all
from router.streams.client.scripts import flatten
from router.streams.store.shared_bodies import SHARED

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Sequence

    from router.core.keys import Keys
    from router.streams.client.scripts import Call
    from router.streams.delivery import Delivery

STREAM: Final = b"dead-stream"
ENTRY: Final = b"dead-entry"
GROUP: Final = b"dead-group"
CONSUMER: Final = b"dead-consumer"
REASON: Final = b"dead-reason"
DELIVERIES: Final = b"dead-deliveries"
FAILED_AT: Final = b"dead-failed-at"
EVENT: Final = b"dead-event"
_PREFIX: Final = b"dead-"
_PAGE: Final = 200
_ID: Final = re.compile(r"[0-9]{1,19}-[0-9]{1,19}")


@dataclass(frozen=True, slots=True)
class DeadLetter:
    """A dead letter: its own id, its origin, the reason, the original fields, and the id of its event if it has one."""

    partition: int
    letter_id: str
    stream: str
    entry_id: str
    group: str
    consumer: str
    reason: str
    deliveries: int
    failed_at: str
    fields: dict[bytes, bytes]
    event_id: str = ""

    @property
    def name(self) -> str:
        """The id by which people name it: `partition:entry id`."""
        return f"{self.partition}:{self.letter_id}"


def reason_of(error: BaseException) -> str:
    """Return the type and message of an exception, for the dead letter."""
    try:
        return f"{type(error).__name__}: {error}"
    except Exception:  # noqa: BLE001 - its message cannot be formatted
        return type(error).__name__


async def give_up(
    redis: Redis,
    keys: Keys,
    delivery: Delivery,
    *,
    group: str,
    consumer: str,
    reason: str,
    deliveries: int,
    failed_at: str,
    event_id: str = "",
) -> bool:
    """Make a dead letter of a delivery and acknowledge it, in one step; False if it is not pending for `consumer`."""
    origin = {
        STREAM: delivery.stream.key,
        ENTRY: delivery.entry_id,
        GROUP: group,
        CONSUMER: consumer,
        REASON: reason.encode("utf-8", "backslashreplace"),
        DELIVERIES: deliveries,
        FAILED_AT: failed_at,
        EVENT: event_id,
    }
    letter = [*flatten(delivery.fields), *flatten(origin)]
    partition = delivery.stream.partition
    names = [delivery.stream.key, keys.dead_letters(partition), keys.shared_dead(partition)]
    args = [group, delivery.entry_id, delivery.fields.get(SHARED, b""), consumer, *letter]
    return await load_script("give_up").run(redis, names, args) is not None


async def list_letters(
    redis: Redis, keys: Keys, *, after: str = "", since: int = 0, until: int | None = None
) -> AsyncIterator[DeadLetter]:
    """Yield the present dead letters of all partitions, oldest first within each, read page by page.

    `after`: those behind the letter of this name (`partition:entry id`); `since`, `until`: given up between these times
    (ms). Letters added meanwhile are left out: otherwise replaying letters that fail again would never end.
    """
    first, _, passed = after.partition(":")
    partitions = range(int(first or 0), keys.partitions)
    pipeline = redis.pipeline(transaction=False)
    for partition in partitions:
        pipeline.xrevrange(keys.dead_letters(partition), count=1)
    for partition, newest in zip(partitions, await pipeline.execute(raise_on_error=False), strict=True):
        if isinstance(newest, Exception):
            raise newest
        is_passed = passed and partition == int(first)
        key, start = keys.dead_letters(partition), f"({passed}" if is_passed else str(since) if since else "-"
        end = newest[0][0].decode() if newest else "0-0"
        end = end if until is None or int(end.partition("-")[0]) < until else str(until)
        while True:
            rows: list[Any] = await redis.xrange(key, min=start, max=end, count=_PAGE) or []
            for letter_id, fields in rows:
                yield _read(partition, letter_id.decode(), fields)
            if len(rows) < _PAGE:
                break
            start = f"({rows[-1][0].decode()}"


def _read(partition: int, letter_id: str, fields: dict[bytes, bytes]) -> DeadLetter:
    def text(name: bytes) -> str:
        return fields.get(name, b"").decode("utf-8", "backslashreplace")

    deliveries = text(DELIVERIES)
    return DeadLetter(
        partition=partition,
        letter_id=letter_id,
        stream=text(STREAM),
        entry_id=text(ENTRY),
        group=text(GROUP),
        consumer=text(CONSUMER),
        reason=text(REASON),
        deliveries=int(deliveries) if deliveries.isdecimal() else 0,
        failed_at=text(FAILED_AT),
        fields={name: value for name, value in fields.items() if not name.startswith(_PREFIX)},
        event_id=text(EVENT),
    )


async def find_letter(redis: Redis, keys: Keys, name: str) -> DeadLetter | None:
    """Return the letter of a name, `partition:entry id`; None if there is none. Without a partition all are searched.

    Two partitions may have a letter of one entry id; then that of the first.
    """
    partition, colon, letter_id = name.rpartition(":")
    if not _ID.fullmatch(letter_id) or (colon and not partition.isdecimal()):
        return None
    for number in range(keys.partitions) if not colon else {int(partition)} & set(range(keys.partitions)):
        rows: Any = await redis.xrange(keys.dead_letters(number), min=letter_id, max=letter_id)
        if rows:
            return _read(number, letter_id, rows[0][1])
    return None


async def replay_all(
    redis: Redis, keys: Keys, letters: Sequence[DeadLetter], *, replayed_at: str
) -> list[str | Exception | None]:
    """Put the entries of letters back on their streams, in one round trip.

    Returns for each the new entry id, None if the letter was gone, or the error for which it stays.
    """
    calls: list[Call] = []
    for letter in letters:
        fields = {**letter.fields, b"replayed": replayed_at.encode()}
        names = [
            keys.dead_letters(letter.partition),
            letter.stream,
            keys.shared_inbound(letter.partition),
            keys.fence(letter.partition),
            keys.shared(letter.partition),
        ]
        args = [letter.letter_id, letter.fields.get(SHARED, b""), keys.partitions, *flatten(fields)]
        calls.append((names, args))
    results = await run_all(redis, load_script("replay"), calls)
    return [one.decode() if isinstance(one, bytes) else one for one in results]


async def drop(redis: Redis, keys: Keys, letters: Sequence[DeadLetter]) -> list[bool]:
    """Remove letters for good, in one round trip; returns for each whether it was there. Raises RedisError."""
    pipeline = redis.pipeline(transaction=False)
    for letter in letters:
        pipeline.xdel(keys.dead_letters(letter.partition), letter.letter_id)
    return [bool(removed) for removed in await pipeline.execute()]
