"""Dead letters: entries given up, with where they came from and why; listing and replaying them.

A letter keeps the original fields and adds provenance under names that begin with `dead-`. Replay puts the original
fields back at the end of their stream, marked `replayed`, and removes the letter in the same script, so a replay cannot
double. A replayed entry keeps its `id`: consumers that had finished with it stay silent.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from router.streams.client.connection import Redis, Script, load_script

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from router.core.keys import Keys
    from router.streams.delivery import Delivery

STREAM: Final = b"dead-stream"
ENTRY: Final = b"dead-entry"
GROUP: Final = b"dead-group"
CONSUMER: Final = b"dead-consumer"
REASON: Final = b"dead-reason"
DELIVERIES: Final = b"dead-deliveries"
FAILED_AT: Final = b"dead-failed-at"
_PREFIX: Final = b"dead-"
_PAGE: Final = 200


@dataclass(frozen=True, slots=True)
class DeadLetter:
    """A dead letter: its own id, where it came from, why, and the original fields."""

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


def reason_of(error: BaseException) -> str:
    """Return what an exception says of itself, for the dead letter."""
    try:
        return f"{type(error).__name__}: {error}"
    except Exception:  # noqa: BLE001 - one that cannot even say it has a name all the same
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
) -> bool:
    """Make a dead letter of a delivery and acknowledge it, in one step; False if it was not pending any more."""
    letter: list[Any] = [part for pair in delivery.fields.items() for part in pair]
    provenance = {
        STREAM: delivery.stream.key,
        ENTRY: delivery.entry_id,
        GROUP: group,
        CONSUMER: consumer,
        REASON: reason.encode("utf-8", "backslashreplace"),
        DELIVERIES: deliveries,
        FAILED_AT: failed_at,
    }
    letter += [part for pair in provenance.items() for part in pair]
    script: Script = load_script("give_up")
    stream_keys = [delivery.stream.key, keys.dead_letters(delivery.stream.partition)]
    return await script.run(redis, stream_keys, [group, delivery.entry_id, *letter]) is not None


async def list_letters(redis: Redis, keys: Keys) -> AsyncIterator[DeadLetter]:
    """Yield the dead letters that there are now, of all partitions, oldest first within each, read page by page.

    What dies meanwhile is not among them: a letter that is replayed and dies again would come for ever.
    """
    for partition in range(keys.partitions):
        key, start = keys.dead_letters(partition), "-"
        newest: Any = await redis.xrevrange(key, count=1)
        end = newest[0][0].decode() if newest else "0-0"
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
    )


async def replay(redis: Redis, keys: Keys, letter: DeadLetter, *, replayed_at: str) -> str | None:
    """Put a letter's entry back on its stream; returns the new entry id, or None if the letter was gone already."""
    fields = {**letter.fields, b"replayed": replayed_at.encode()}
    flat = [part for pair in fields.items() for part in pair]
    stream_keys = [keys.dead_letters(letter.partition), letter.stream]
    entry_id = await load_script("replay").run(redis, stream_keys, [letter.letter_id, *flat])
    return entry_id.decode() if entry_id else None
