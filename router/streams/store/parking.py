r"""Parked entries: entries of a group that wait outside the pending list until something recovers.

A parked entry stays in its stream and keeps its id; it is no longer pending. It waits in a queue of its subject, which
has the order of the stream, and the subject waits for its due time in a *lane*: the entries that tend to fail together
(one account, one channel). Bringing an entry back makes it pending again, for the consumer that asked: from then on
claims, crash counts and takeovers see an ordinary pending entry. Each step is one script, so an entry is at all times
exactly one of unread, pending, parked or finished.

Five keys for each stream and group (core.keys.parked), all in the slot of the stream:

    queue      sorted set of `<subject>\n<padded entry id>`, by name: the order within each subject
    order      sorted set of entry ids, by their milliseconds: the oldest one, and whether an entry is parked
    subjects   hash of subjects: `<version>\n<since>\n<due>\n<tries>\n<lane>\n<reason>` (times in ms)
    entries    hash of entry ids: `<version> <delivery count> <begun> <kept>`, only where it is not `1 1 0 0`
    due        sorted set of `<lane>\n<padded due time>\n<subject>`, by name: the order within each lane

To move a partition's entries: `list_parked` yields all of them in the order of each subject, `drop_parked` removes
records (the entry itself stays in the stream, finished for the group). A parked entry is as unfinished as pending ones.
"""

from __future__ import annotations

from hashlib import sha256
from typing import TYPE_CHECKING, Any, Final

from router.core.formats import PARKED_EVENT
from router.core.keys import RESOLVER
from router.core.values import Value
from router.logs import log
from router.streams.client.connection import load_script, run_all
from router.streams.delivery import Delivery

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterable, Sequence

    from router.core.keys import Keys
    from router.streams.client.connection import Redis
    from router.streams.delivery import StreamRef

#: The parts of a group's parked entries, in the order of the scripts.
PARTS: Final = ("queue", "order", "subjects", "entries", "due")
#: Characters of a subject, a lane and a reason; a longer subject is replaced by its digest.
MAX_NAME: Final = 200
MAX_REASON: Final = 300
#: Characters of a lane's name, to which `kept_lane` adds a word.
MAX_LANE: Final = 190
#: Entries per run of the park script. Redis does nothing else meanwhile: a millisecond or two.
MAX_PARK: Final = 250
#: Bytes of entries that are brought back at once.
MAX_BYTES: Final = 4 * 1_048_576
#: Milliseconds after which the rest of a subject is due again although nobody has resumed it: its consumer has died, or
#: its attempt takes long.
LEASE: Final = 15_000
#: Lanes that are looked at: more than accounts and channels make.
MAX_LANES: Final = 500
_PAGE: Final = 200


class Waiting(Value):
    """The reason for which entries are parked: in which lane, for how many seconds, and after how many tries.

    `since` is the time in ms since when the subject waits, 0 if it begins now. Tries count attempts that did not
    succeed; entries parked without an attempt have none.
    """

    lane: str
    reason: str
    delay: float = 0.0
    tries: int = 0
    since: int = 0


class Returned(Value):
    """An entry that was brought back. `left` is the number of parked entries of its subject that remain."""

    delivery: Delivery
    subject: str
    left: int


class Lane(Value):
    """A lane with parked subjects; `due_in`: seconds until the first of them is due, 0 or less if one is."""

    name: str
    subjects: int
    due_in: float


class ParkedEntry(Value):
    """A parked entry, for people and for moving it; times in ms since 1970. `reason` is that of its subject."""

    entry_id: str
    subject: str
    lane: str
    reason: str
    since: int
    due: int
    tries: int
    deliveries: int = 1
    is_begun: bool = False
    is_kept: bool = False


def subject_name(account: str, subject: str) -> str:
    """Return the name of a subject in the records: without line breaks, and of a bounded length."""
    name = f"{account} {subject}"
    if len(name) <= MAX_NAME and name.isprintable():
        return name
    return f"{account[:34] if account.isalnum() else ''} ~{sha256(name.encode('utf-8', 'surrogatepass')).hexdigest()}"


class Parking:
    """The parked entries of one group; `consumer` is the one for which entries are brought back."""

    def __init__(self, redis: Redis, keys: Keys, *, group: str, consumer: str) -> None:
        self._redis = redis
        self._keys = keys
        self._group = group
        self._consumer = consumer
        self._others: set[bytes] = set()  # later versions of records that were logged

    def _parts(self, stream: str, *parts: str) -> list[str]:
        return [self._keys.parked(stream, self._group, part) for part in parts or PARTS]

    async def park(
        self,
        stream: StreamRef,
        items: Sequence[tuple[str, Delivery]],
        waiting: Waiting,
        *,
        is_behind_only: bool = False,
    ) -> list[Delivery]:
        """Park (subject, delivery)s, as far as they are pending for this consumer; returns those that are not parked.

        With `is_behind_only` entries are parked only behind a parked one of their subject, and the others are
        returned. Otherwise only RedisError leaves something: then any of the entries may be parked. Do not attempt one
        again before another call has answered.
        """
        left: list[Delivery] = []
        for first in range(0, len(items), MAX_PARK):
            part = items[first : first + MAX_PARK]
            results = await self._park(stream, part, waiting, is_behind_only=is_behind_only)
            left += [one for (_, one), result in zip(part, results, strict=True) if result == _NOT_BEHIND]
        return left

    async def _park(
        self, stream: StreamRef, items: Sequence[tuple[str, Delivery]], waiting: Waiting, *, is_behind_only: bool
    ) -> list[int]:
        args: list[Any] = [
            self._group,
            self._consumer,
            int(is_behind_only),
            on_one_line(waiting.lane, MAX_NAME),
            int(waiting.delay * 1000),
            waiting.since,
            waiting.tries,
            on_one_line(waiting.reason, MAX_REASON),
        ]
        for subject, delivery in items:
            args += (subject, delivery.entry_id, int(delivery.is_redelivered), int(delivery.is_kept))
        results: list[int] = await load_script("park").run(self._redis, [stream.key, *self._parts(stream.key)], args)
        return results

    async def bring_back(
        self, stream: StreamRef, lane: str, *, subjects: int, most: int, of_subject: int, max_bytes: int = MAX_BYTES
    ) -> list[Returned]:
        """Make due entries of a lane pending for this consumer, the longest due subjects first.

        At most `most` of at most `subjects`, and of one subject at most `of_subject`, one if its last attempt did not
        succeed. The rest of it is due
        again once `resume` is called, or after LEASE. Entries that the stream no longer has come without fields.
        """
        keys = [stream.key, *self._parts(stream.key), self._keys.deaths(stream.partition, self._group)]
        args = [self._group, self._consumer, lane, subjects, most, of_subject, max_bytes, LEASE]
        rows, newer = await load_script("bring_back").run(self._redis, keys, args)
        if newer and newer not in self._others:
            self._others.add(newer)
            reason = str(PARKED_EVENT.error(newer.decode()))
            log("format.other", level="warning", stream=stream.key, group=self._group, reason=reason)
        return [_returned(stream, row) for row in rows]

    async def resume(self, stream: StreamRef, subjects: Iterable[str]) -> None:
        """Make the rest of these subjects due now: an entry of theirs has succeeded."""
        await load_script("resume").run(self._redis, self._parts(stream.key, "subjects", "due"), list(subjects))

    async def lanes(self, streams: Sequence[StreamRef]) -> list[list[Lane]]:
        """Return for each stream the lanes that have parked subjects, in one round trip; raises RedisError."""
        calls = [(self._parts(stream.key, "due"), [MAX_LANES]) for stream in streams]
        answers = await run_all(self._redis, load_script("parked_lanes"), calls)
        for answer in answers:
            if isinstance(answer, Exception):
                raise answer
        return [[_lane(row) for row in rows] for rows in answers]


#: The result of the park script for an entry before which nothing is parked.
_NOT_BEHIND: Final = 2


def on_one_line(text: str, most: int) -> str:
    """Return a text as it is stored in a record: without line breaks and runs of blanks, and cut."""
    shown = " ".join(text.split())[:most]
    return shown.encode("utf-8", "replace").decode()


def _lane(row: Any) -> Lane:
    name, subjects, due_in = row
    return Lane(name.decode(), subjects, due_in / 1000)


def _returned(stream: StreamRef, row: Any) -> Returned:
    entry_id, fields, crashes, is_begun, is_kept, subject, tries, since, left = row
    delivery = Delivery(
        stream,
        entry_id.decode(),
        dict(zip(fields[::2], fields[1::2], strict=True)) if fields else {},
        is_redelivered=is_begun == b"1",
        crashes=crashes,
        tries=tries,
        waiting_since=int(since),
        is_kept=is_kept == b"1",
    )
    return Returned(delivery, subject.decode(), left)


async def count_parked(redis: Redis, keys: Keys, stream: str, group: str) -> int:
    """Return the number of parked entries of a group."""
    number: int = await redis.zcard(keys.parked(stream, group, "order"))
    return number


async def list_lanes(redis: Redis, keys: Keys, stream: str, group: str) -> list[Lane]:
    """Return the lanes of a group's parked subjects."""
    rows: Any = await load_script("parked_lanes").run(redis, [keys.parked(stream, group, "due")], [MAX_LANES])
    return [_lane(row) for row in rows]


async def list_parked(
    redis: Redis, keys: Keys, stream: str, group: str, *, skip: int = 0
) -> AsyncIterator[ParkedEntry]:
    """Yield the parked entries of a group, subject by subject, each in the order of the stream; read page by page.

    The first `skip` of them are passed over without reading them.
    """
    queue = keys.parked(stream, group, "queue")
    start = ""
    while True:
        rows: Any = await (
            redis.zrangebylex(queue, start, "+", 0, _PAGE) if start else redis.zrange(queue, skip, skip + _PAGE - 1)
        )
        if not rows:
            return
        places = [row.decode().rpartition("\n") for row in rows]
        subjects = list(dict.fromkeys(subject for subject, _, _ in places))
        ids = [_plain(entry_id) for _, _, entry_id in places]
        records: Any = await redis.hmget(keys.parked(stream, group, "subjects"), subjects)
        states: Any = await redis.hmget(keys.parked(stream, group, "entries"), ids)
        by_subject = dict(zip(subjects, records, strict=True))
        for (subject, _, _), entry_id, state in zip(places, ids, states, strict=True):
            if (record := by_subject[subject]) is not None:
                yield _read(entry_id, subject, record.decode(), (state or b"1 1 0 0").decode())
        start = f"({rows[-1].decode()}"


async def subject_at(redis: Redis, keys: Keys, stream: str, group: str, place: int) -> str:
    """Return the subject of the entry at a place in the order of `list_parked`, empty if there is none."""
    rows: Any = await redis.zrange(keys.parked(stream, group, "queue"), place, place)
    return rows[0].decode().rpartition("\n")[0] if rows else ""


async def find_parked(
    redis: Redis, keys: Keys, stream: str, group: str, account: str, subject: str, entry_id: str
) -> ParkedEntry | None:
    """Return one entry of an account's subject as it is parked; None if it is not."""
    name = subject_name(account, subject)
    pipeline = redis.pipeline(transaction=False)
    pipeline.zscore(keys.parked(stream, group, "order"), entry_id)
    pipeline.hget(keys.parked(stream, group, "subjects"), name)
    score, record = await pipeline.execute()
    return None if score is None or record is None else _read(entry_id, name, record.decode(), "1 1 0 0")


async def list_parked_of(redis: Redis, keys: Keys, stream: str, beginning: str, most: int) -> list[str]:
    """Return the ids of the first parked inbound entries whose subject's name begins so."""
    queue, end = keys.parked(stream, RESOLVER, "queue"), f"{beginning[:-1]}{chr(ord(beginning[-1]) + 1)}"
    rows: Any = await redis.zrangebylex(queue, f"[{beginning}", f"({end}", 0, most)
    return [_plain(row.decode().rpartition("\n")[2]) for row in rows]


async def drop_parked(redis: Redis, keys: Keys, stream: str, group: str, entries: Iterable[ParkedEntry]) -> int:
    """Drop the records of parked entries; returns how many there were. The entries count as finished from then on."""
    names = [keys.parked(stream, group, part) for part in PARTS]
    args = [text for entry in entries for text in (entry.subject, entry.entry_id)]
    number: int = await load_script("drop_parked").run(redis, names, args)
    return number


def _plain(padded: str) -> str:
    """Return an entry id without the zeros by which the queue sorts."""
    millis, _, number = padded.partition("-")
    return f"{int(millis)}-{int(number)}"


def _read(entry_id: str, subject: str, record: str, state: str) -> ParkedEntry:
    _, since, due, tries, lane, reason = record.split("\n", 5)
    _, deliveries, is_begun, is_kept = state.split(" ")[:4]
    return ParkedEntry(
        entry_id,
        subject,
        lane,
        reason,
        since=int(since),
        due=int(due),
        tries=int(tries),
        deliveries=int(deliveries),
        is_begun=is_begun == "1",
        is_kept=is_kept == "1",
    )
