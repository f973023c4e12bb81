"""The data of one customer in Redis: searching for it, and removing it. All of it is safe to repeat.

core.erasing recognizes the customer. Keys are searched by one SCAN over the namespace, streams page by page; nothing is
held in memory but the ids of what was found.
"""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from router.core.sealing import SealedError, SealedKind, TamperedError
from router.core.stored_fields import open_stored
from router.streams.client.connection import load_script
from router.streams.client.scanning import scan_keys
from router.streams.store.inspect import list_groups
from router.streams.store.parking import drop_parked, list_parked
from router.streams.store.shared_bodies import SHARED, shared_keys

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Collection, Iterable, Mapping, Sequence

    from router.core.erasing import ErasedCustomer
    from router.core.keys import Keys
    from router.core.sealing import Sealer
    from router.streams.client.connection import Redis

#: Hashes per run of a script that searches them: Redis answers nothing else meanwhile, for a millisecond.
_RUN: Final = 64
#: Entries per page, whose bodies may be large, and keys and ids per command.
_PAGE: Final = 100
#: Shared bodies per page: mails, of up to some hundred KiB each.
_FEW: Final = 10
_MANY: Final = 500


class FoundKeys(NamedTuple):
    """Keys that mention a customer, by kind: ledgers as (account, conversation)."""

    ledgers: list[tuple[str, str]]
    routes: list[str]
    persons: list[str]
    latest: list[str]
    calls: list[str]


class FoundEntry(NamedTuple):
    """An entry that mentions a customer: its id, the id of its document, and the name of its shared body."""

    entry_id: str
    document_id: str
    shared: bytes


def kind_of(key: str) -> tuple[str, str]:
    """Return the kind of a key, and what follows it."""
    kind, _, rest = key.partition("}:")[2].partition(":")
    return kind, rest


async def find_keys(redis: Redis, keys: Keys, customer: ErasedCustomer, on_page: Callable[[int], None]) -> FoundKeys:
    """Search the keys of a namespace; `on_page` gets the number of keys that were looked at."""
    found, seen = FoundKeys([], [], [], [], []), 0
    async for page in scan_keys(redis, f"{keys.namespace}:{{*}}:*"):
        seen += len(page)
        by_kind: dict[str, list[str]] = {}
        for name in dict.fromkeys(page):
            key = name.decode("utf-8", "surrogateescape")
            by_kind.setdefault(kind_of(key)[0], []).append(key)
        for key in await _mentioning(redis, by_kind.get("conversation", ()), customer):
            account_id, _, conversation_id = kind_of(key)[1].partition(":")
            found.ledgers.append((account_id, conversation_id))
        found.calls.extend(await _mentioning(redis, by_kind.get("call", ()), customer))
        found.routes.extend(await _strings(redis, by_kind.get("route", ()), customer))
        found.persons.extend(await _strings(redis, by_kind.get("person", ()), customer))
        found.latest.extend(key for key in by_kind.get("latest", ()) if _is_named(key, customer))
        found.latest.extend(key for key in by_kind.get("creating", ()) if _is_named(key, customer))
        on_page(seen)
    return FoundKeys(  # a key may come twice
        [*dict.fromkeys(found.ledgers)], *([*dict.fromkeys(names)] for names in found[1:])
    )


def _is_named(key: str, customer: ErasedCustomer) -> bool:
    return customer.is_named_in(kind_of(key)[1].encode("utf-8", "surrogateescape"))


async def _mentioning(redis: Redis, names: Sequence[str], customer: ErasedCustomer) -> list[str]:
    """Return the hashes that mention the customer; a run of the script has keys of one partition."""
    found: list[str] = []
    parts: dict[str, list[str]] = {}
    for name in names:
        parts.setdefault(name.partition("}")[0], []).append(name)
    for part in parts.values():
        for first in range(0, len(part), _RUN):
            some = part[first : first + _RUN]
            rows: Any = await load_script("mentions").run(redis, some, customer.words)
            found += [some[position - 1] for position in rows]
    return found


async def _strings(redis: Redis, names: Sequence[str], customer: ErasedCustomer) -> list[str]:
    """Return the string keys that mention the customer in their name or value."""
    values: list[Any] = []
    for first in range(0, len(names), _MANY):
        pipeline = redis.pipeline(transaction=False)
        for name in names[first : first + _MANY]:
            pipeline.get(name)
        values += await pipeline.execute()
    is_in = [
        _is_named(name, customer) or customer.is_in(value or b"") for name, value in zip(names, values, strict=True)
    ]
    return [name for name, is_own in zip(names, is_in, strict=True) if is_own]


async def find_shared(redis: Redis, keys: Keys, partition: int, customer: ErasedCustomer, sealer: Sealer) -> set[bytes]:
    """Return the names of a partition's shared bodies that mention a customer; one that cannot be opened does not."""
    found, cursor = set[bytes](), 0
    while True:
        rows: Any
        cursor, rows = await redis.hscan(keys.shared(partition), cursor, count=_FEW)
        for name, body in rows.items():
            with suppress(SealedError, TamperedError):
                if customer.is_in(sealer.open_body(body, SealedKind.SHARED)):
                    found.add(name)
        if not cursor:
            return found


def is_of(fields: Mapping[bytes, bytes], customer: ErasedCustomer, sealer: Sealer, shared: Collection[bytes]) -> bool:
    """Return whether an entry mentions a customer, or shares one of these bodies."""
    opened, _ = open_stored(fields, sealer)
    return (
        customer.has_subject(opened.get(b"subject", b"").decode("utf-8", "replace"))
        or fields.get(SHARED) in shared
        or any(customer.is_in(value) for value in opened.values())
    )


async def find_entries(
    redis: Redis,
    stream: str,
    customer: ErasedCustomer,
    sealer: Sealer,
    shared: Collection[bytes],
    on_page: Callable[[int], None],
) -> AsyncIterator[FoundEntry]:
    """Yield the entries of a stream that mention a customer or share one of these bodies, oldest first.

    `on_page` gets the number of entries that were read.
    """
    start, seen = "-", 0
    while True:
        rows: Any = await redis.xrange(stream, min=start, count=_PAGE) or []
        for entry_id, fields in rows:
            if is_of(fields, customer, sealer, shared):
                document_id = fields.get(b"id", b"").decode("utf-8", "replace")
                yield FoundEntry(entry_id.decode(), document_id, fields.get(SHARED, b""))
        seen += len(rows)
        on_page(seen)
        if len(rows) < _PAGE:
            return
        start = f"({rows[-1][0].decode()}"


async def drop_from_parked(redis: Redis, keys: Keys, stream: str, ids: frozenset[str]) -> int:
    """Drop the records of parked entries of a stream in all of its groups; returns their number."""
    dropped = 0
    for group in await list_groups(redis, stream):
        parked = [one async for one in list_parked(redis, keys, stream, group) if one.entry_id in ids]
        if parked:
            dropped += await drop_parked(redis, keys, stream, group, parked)
    return dropped


async def count_unfinished(redis: Redis, stream: str, ids: Iterable[str]) -> int:
    """Return how many of these entries some group has not finished: they are pending, or not read yet."""
    last, pending = "0-0", set[str]()
    groups: Any = await redis.xinfo_groups(stream) if await redis.exists(stream) else []
    wanted = sorted(ids, key=place_of)
    if not wanted or not groups:
        return 0
    last = min((row["last-delivered-id"].decode() for row in groups), key=place_of)
    for row in groups:
        rows: Any = await redis.xpending_range(stream, row["name"], min=wanted[0], max=wanted[-1], count=10_000)
        pending |= {one["message_id"].decode() for one in rows}
    return sum(one in pending or place_of(one) > place_of(last) for one in wanted)


def place_of(entry_id: str) -> tuple[int, int]:
    """Return the sort key of an entry id."""
    milliseconds, _, number = entry_id.partition("-")
    return int(milliseconds), int(number)


async def delete_entries(redis: Redis, stream: str, ids: Sequence[str]) -> int:
    """Delete entries of a stream, and acknowledge them in all groups; returns how many there still were.

    One that stays pending is returned as an id without fields, with which not every client can go on.
    """
    deleted, groups = 0, await list_groups(redis, stream)
    for first in range(0, len(ids), _MANY):
        part = ids[first : first + _MANY]
        deleted += await redis.xdel(stream, *part)
        for group in groups:
            await redis.xack(stream, group, *part)
    return deleted


async def delete_shared(redis: Redis, keys: Keys, partition: int, names: Iterable[bytes]) -> int:
    """Delete the bodies that erased entries have shared; returns their number."""
    wanted = sorted(names)
    if not wanted:
        return 0
    number: int = await load_script("erase_shared").run(redis, shared_keys(keys, partition), wanted)
    return number


async def delete_keys(redis: Redis, names: Sequence[str]) -> int:
    """Delete keys of any partition; returns how many there still were."""
    return sum([await redis.delete(name) for name in names])


async def blank_effects(redis: Redis, names: Iterable[str], steps: Sequence[str]) -> int:
    """Blank the values that effects (by their keys) keep of these steps, which stay done; returns their number."""
    blanked = 0
    for name in names:
        values: Any = await redis.hmget(name, list(steps))
        kept: dict[Any, Any] = {
            step: b"d" for step, value in zip(steps, values, strict=True) if value and value[:1] in b"ds" and value[1:]
        }
        if kept:
            await redis.hset(name, mapping=kept)
            blanked += len(kept)
    return blanked


async def forget_call(redis: Redis, name: str) -> None:
    """Remove conversation and participant from the facts about a call; that it is over stays."""
    await redis.hdel(name, "conversation", "participant")
