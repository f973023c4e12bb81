"""One delivery of an inbound entry: from its raw fields to its log line."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

from router import metrics
from router.core.events import InboundEntry
from router.core.judging.kinds import KINDS
from router.core.judging.summary import summarize
from router.core.judging.work import Work
from router.inbound.sources import normalize
from router.logs import log

if TYPE_CHECKING:
    from collections.abc import Iterable

    from router.core.judging.rules import EventRules
    from router.core.judging.work import AnyWork
    from router.streams.delivery import Delivery
    from router.worker.account_cache import AccountCache

#: Digits of a time in µs that is still a date.
_LONGEST_TIME: Final = 17


@dataclass(slots=True)
class DeliveredWork(Work[Any]):
    """The work on an event, and the delivery that it came in."""

    delivery: Delivery = field(kw_only=True)


def begin(rules: EventRules, accounts: AccountCache, delivery: Delivery) -> DeliveredWork:
    """Return the work on a delivery; raises UnreadableError or UnusableError if it can never be done."""
    entry = read_inbound(delivery)
    event = normalize(entry)
    kind = KINDS[type(event)]
    work = DeliveredWork(entry, event, kind, rules.clock(), entry.account_id, delivery=delivery)
    if kind.decide is not None:
        rules.decide(work, accounts.state(work.account_id))
    return work


class BatchMisses:
    """Messages of the last batch that have no conversation yet: the single path begins where the batch path ended.

    Only the first of each subject, and only at its first try: those behind it begin at the beginning, since the
    conversation is known by then.
    """

    def __init__(self) -> None:
        self._works: dict[tuple[str, str], DeliveredWork] = {}

    def note(self, works: Iterable[DeliveredWork]) -> None:
        """Keep those of a batch, whose turns have come and whose routes have been read; forget the others."""
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
        """Return the work of a delivery that is tried for the first time right after its batch, else None."""
        work = self._works.pop((delivery.stream.key, delivery.entry_id), None)
        return work if work is not None and work.delivery is delivery else None


def subject_of(delivery: Delivery) -> str:
    """Return what an inbound entry is about: entries of one subject are worked on in order."""
    return delivery.text("subject")


def account_of(delivery: Delivery) -> str:
    """Return whose an inbound entry is."""
    return delivery.text("account")


def read_inbound(delivery: Delivery) -> InboundEntry:
    """Return an inbound entry from its fields; a field that is missing is empty and fails in the parser."""
    received_at = delivery.fields.get(b"received_at", b"")
    is_time = received_at.isdigit() and len(received_at) <= _LONGEST_TIME
    return InboundEntry(
        entry_id=delivery.entry_id,
        source=delivery.text("source"),
        account_id=delivery.text("account"),
        key=delivery.text("key"),
        subject=delivery.text("subject"),
        received_at=int(received_at) if is_time else 0,
        body=delivery.fields.get(b"body", b""),
        is_redelivered=delivery.is_redelivered,
    )


def report(work: AnyWork) -> None:
    """Write the log line and the metrics of an event that has ended."""
    outcome, entry = work.outcome, work.entry
    if outcome is None:
        return
    age = time.time_ns() // 1000 - entry.received_at
    metrics.count("router_events", entry.source, outcome.result)
    metrics.EVENT_SECONDS.observe(max(0, age) / 1_000_000)
    log("event", **summarize(work, outcome), ms=round(age / 1000, 2))
