"""One delivery of an inbound entry: from its raw fields to its log line."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Mapping
from functools import partial
from operator import itemgetter
from typing import TYPE_CHECKING, Any, Final

from router import metrics
from router.core.addresses import mask
from router.core.events import InboundEntry
from router.core.formats import FIRST, FORMAT, INBOUND_ENTRY
from router.core.judging.kinds import KINDS
from router.core.judging.summary import story_line, summarize
from router.core.judging.work import Work
from router.core.printable import masked_key
from router.core.sealing import NO_KEYS, SealedKind
from router.core.stories import event_id, resource_of
from router.core.values import replace
from router.inbound.sources import normalize
from router.logs import log
from router.streams.delivery import Delivery
from router.streams.store.repeats import GONE
from router.streams.store.shared_bodies import SHARED
from router.streams.store.stories import StoryAbout

if TYPE_CHECKING:
    from collections.abc import Iterable

    from router.core.judging.rules import EventRules
    from router.core.sealing import Sealer
    from router.streams.store.stories import StoryWriter
    from router.worker.account_cache import AccountCache

#: Makes an inbound entry of a delivery and the shared bodies of its batch.
InboundReader = Callable[[Delivery, Mapping[bytes, bytes]], InboundEntry]

#: The most digits of a time in µs that is still a valid date.
_LONGEST_TIME: Final = 17
#: How the ids of conversations begin, of v2 and classic ones.
_CONVERSATIONS: Final = ("conv_conversation_", "CH")
#: The name of the version in the fields of an entry, and the versions that are read.
_FORMAT: Final = FORMAT.encode()
_FIRST: Final = FIRST.encode()
#: The field of an entry that was put back, with the time of that.
REPLAYED: Final = b"replayed"
#: The fields that every entry has.
_INBOUND: Final = itemgetter(b"source", b"account", b"key", b"subject", b"received_at", b"body")
_READABLE: Final = frozenset(map(str.encode, INBOUND_ENTRY.readable))


class DeliveredWork(Work[Any], kw_only=True):
    """The work on one event, with its delivery."""

    delivery: Delivery


def begin(
    rules: EventRules,
    accounts: AccountCache,
    delivery: Delivery,
    bodies: Mapping[bytes, bytes],
    read: InboundReader,
) -> DeliveredWork:
    """Read (`inbound_reader`) and normalize a delivery; `bodies` are the shared ones, by name.

    Raises UnreadableError or UnusableError if that can never succeed, OtherFormatError if another release wrote it, or
    if it is sealed with a key that is missing.
    """
    entry = read(delivery, bodies)
    event = normalize(entry)
    kind = KINDS[type(event)]
    work = DeliveredWork(entry, event, kind, rules.clock(), entry.account_id, delivery=delivery)
    if kind.decide is not None:
        rules.decide(work, accounts.state(work.account_id))
    return work


def inbound_reader(sealer: Sealer) -> InboundReader:
    """Return the reader of inbound entries: it opens sealed bodies if there are keys, and costs nothing otherwise.

    Without keys a sealed body is read as it is, and cannot be normalized; see `require_open`.
    """
    return partial(_open_inbound, sealer) if sealer.has_keys else read_inbound


def _open_inbound(sealer: Sealer, delivery: Delivery, bodies: Mapping[bytes, bytes]) -> InboundEntry:
    entry, shared = read_inbound(delivery, bodies), None
    if entry.shared is not None:
        shared = sealer.open_body(entry.shared, SealedKind.SHARED)
    return replace(entry, body=sealer.open_body(entry.body, SealedKind.INBOUND), shared=shared)


def require_open(delivery: Delivery, bodies: Mapping[bytes, bytes]) -> None:
    """Raise SealedError if a delivery that could not be read is sealed, and this process has no keys."""
    _open_inbound(NO_KEYS, delivery, bodies)


class BatchMisses:
    """Messages of the last batch without a known conversation: the single path continues where the batch path ended.

    Only for the first message of each subject, and only at its first attempt: the later ones start over, since the
    conversation is known by then.
    """

    def __init__(self) -> None:
        self._works: dict[tuple[str, str], DeliveredWork] = {}

    def note(self, works: Iterable[DeliveredWork]) -> None:
        """Replace the misses by those of another batch, whose routes have been read."""
        first: dict[str, DeliveredWork] = {}
        for work in works:
            if work.outcome is None:
                first.setdefault(work.entry.subject, work)
        self._works = {
            (work.delivery.stream.key, work.delivery.entry_id): work
            for work in first.values()
            if work.route is None and work.kind.apply_confirmed is not None
        }

    def take(self, delivery: Delivery) -> DeliveredWork | None:
        """Return the work of a miss at its first attempt after the batch, else None."""
        work = self._works.pop((delivery.stream.key, delivery.entry_id), None)
        return work if work is not None and work.delivery is delivery else None


def subject_of(delivery: Delivery) -> str:
    """Return the subject of an inbound entry; entries of one subject are processed in order."""
    return delivery.text("subject")


def account_of(delivery: Delivery) -> str:
    """Return the account SID of an inbound entry."""
    return delivery.text("account")


def lane_of(delivery: Delivery) -> str:
    """Return the lane of an inbound entry: its account, and its channel as far as the subject names it."""
    channel, bar, _ = subject_of(delivery).partition("|")
    return f"{account_of(delivery)} {channel if bar else delivery.text('source')}"


def facts_of(delivery: Delivery) -> dict[str, str | None]:
    """Return the log fields of an entry that waits or fails: source, key, and the masked customer or conversation."""
    channel, *address = subject_of(delivery).split("|")
    return {
        "source": delivery.text("source"),
        "event_id": event_id(delivery.text("key")),
        "key": masked_key(delivery.text("key")),
        "channel": channel if address else None,
        "address": mask(address[0]) if address else None,
        "conversation": channel if not address and channel.startswith(_CONVERSATIONS) else None,
    }


def about_inbound(delivery: Delivery, read: InboundReader) -> StoryAbout:
    """Return the event of an inbound entry for its story; of one that cannot be read, what its fields tell."""
    key, subject = delivery.text("key"), subject_of(delivery)
    parts = subject.split("|")
    is_conversation = len(parts) == 1 and subject.startswith(_CONVERSATIONS)
    resource, addresses = resource_of(key), parts[1:2]
    with contextlib.suppress(Exception):  # its attempt says what is wrong
        event: Any = normalize(read(delivery, {}))
        resource = event.cause.resource_id or resource
        customer = event.customer if KINDS[type(event)].has_customer else None
        addresses += [customer.canonical] if customer is not None else []
    return StoryAbout(
        event_id(key),
        account_of(delivery),
        resource=resource,
        conversation=subject if is_conversation else None,
        addresses=tuple(dict.fromkeys(addresses)),
    )


def read_inbound(delivery: Delivery, bodies: Mapping[bytes, bytes]) -> InboundEntry:
    """Build an inbound entry from a delivery's fields; a missing field is empty, so that the parser refuses it.

    Raises OtherFormatError if another release wrote it.
    """
    if delivery.fields.get(_FORMAT, _FIRST) not in _READABLE:
        raise INBOUND_ENTRY.error(delivery.text(FORMAT))
    fields = delivery.fields
    try:  # not Delivery.text: 60 steps less of a known customer's message
        source, account_id, key, subject, received_at, body = _INBOUND(fields)
        source, account_id, key, subject = source.decode(), account_id.decode(), key.decode(), subject.decode()
    except (KeyError, UnicodeDecodeError):
        source, account_id, key, subject = map(delivery.text, ("source", "account", "key", "subject"))
        received_at, body = fields.get(b"received_at", b""), fields.get(b"body", b"")
    return InboundEntry(
        delivery.entry_id,
        source,
        account_id,
        key,
        subject,
        int(received_at) if received_at.isdigit() and len(received_at) <= _LONGEST_TIME else 0,
        body,
        delivery.is_redelivered,
        bodies.get(fields[SHARED], b"") if SHARED in fields else None,
        delivery.text(GONE.decode()) if GONE in fields else "",
        event_id(key),
    )


def report(work: DeliveredWork, now: int, stories: StoryWriter | None) -> None:
    """Write the log line and the metrics of an event that was settled at `now` (µs since 1970), and tell its story.

    Death between the commit and the story: the event is delivered again, and its line is written then.
    """
    outcome, entry = work.outcome, work.entry
    if outcome is None:
        return
    age = now - entry.received_at
    metrics.count("router_events", entry.source, outcome.result)
    metrics.EVENT_SECONDS.observe(max(0, age) / 1_000_000)
    fields = summarize(work, outcome)
    log("event", **fields, event_id=entry.event_id, ms=round(age / 1000, 2))
    if stories is not None:
        delivery = work.delivery
        replayed = delivery.text("replayed") if REPLAYED in delivery.fields else ""
        try:
            stories.lines[delivery.stream.partition].append(story_line(work, fields, now, replayed, stories))
        except Exception as error:  # noqa: BLE001 - the event is settled, whatever it holds that no line can
            stories.lose(1, error)
