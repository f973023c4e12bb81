"""The log line of an event and the line of its story: its outcome, customer, conversation and entries."""

from __future__ import annotations

from operator import attrgetter
from typing import TYPE_CHECKING, Any, Final

from router.core.addresses import canonicalize, mask
from router.core.entries import ClosedData, CommunicationData, JoinedData
from router.core.printable import masked_key
from router.core.stories import EVENT_LINE, LONGEST_ADDRESS, LONGEST_SUBJECT, name_of, to_json_bytes

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from router.core.judging.work import AnyWork
    from router.core.ledger.marker import Outcome
    from router.core.stories import LineMaker

_TYPE: Final = attrgetter("type")


def summarize(work: AnyWork, outcome: Outcome) -> dict[str, Any]:
    """Return the fields of the log line, the customer's address masked."""
    entry, ledger, published = work.entry, work.ledger, work.published
    customer = work.event.customer if work.kind.has_customer else None
    last, key = published[-1] if published else None, entry.key
    return {
        "source": entry.source,
        "type": work.event.cause.event_type,
        "result": outcome.result,
        "reason": outcome.reason,
        "address": mask(customer.value) if customer else None,
        "conversation": ledger.conversation_id if ledger else None,
        "participant": last.subject if last is not None and last.type != ClosedData.type else None,
        "target": ledger.fields.get("target") if ledger else None,
        "communication": _communication(work),
        "key": masked_key(key) if "+" in key or "@" in key else key,
    }


def story_line(work: AnyWork, fields: Mapping[str, Any], at: int, replayed: str, maker: LineMaker) -> bytes:
    """Return the line of an event that was settled `at` (µs); `fields` are those of `summarize`.

    Written for few steps, as every event has one: 70 of the 4,000 of a known customer's message, by
    tests.benchmarks.steps.
    """
    entry, resource = work.entry, work.event.cause.resource_id or ""
    digests = maker.digests_of(entry.subject[:LONGEST_SUBJECT]) or [maker.digest(one) for one in _addresses(work)]
    if "@" in resource or fields["key"] is not entry.key:
        return _mail_line(work, fields, at, replayed, maker, digests)
    return to_json_bytes(
        (
            EVENT_LINE,
            entry.event_id,
            at,
            entry.received_at,
            entry.entry_id,
            maker.process,
            replayed,
            list(map(_TYPE, work.published)),
            resource,
            *fields.values(),
            {},
            work.account_id,
            digests,
        )
    )


def _mail_line(
    work: AnyWork, fields: Mapping[str, Any], at: int, replayed: str, maker: LineMaker, digests: Sequence[str]
) -> bytes:
    """Return the line of an event whose ids may hold an address, as a mail's may: they are masked."""
    entry, resource = work.entry, work.event.cause.resource_id or ""
    times = (at, entry.received_at, entry.entry_id, maker.process, replayed)
    types, shown = list(map(_TYPE, work.published)), masked_key(resource)
    hidden = name_of(resource) if shown != resource else None
    line = (EVENT_LINE, entry.event_id, *times, types, shown, *fields.values(), {}, work.account_id, digests, hidden)
    return to_json_bytes(line)


def _addresses(work: AnyWork) -> set[str]:
    """Return the canonical forms of a customer's addresses: of the event and of an announced participant."""
    customer = work.event.customer if work.kind.has_customer else None
    found = {customer.canonical} if customer is not None else set()
    for draft in work.published:
        if draft.type == JoinedData.type:
            data = draft.document["data"]
            found.add(canonicalize(data["channel"], data["address"]))
    parts = work.entry.subject.split("|")
    return {one[:LONGEST_ADDRESS] for one in {*found, *parts[1:2]} - {""}}


def _communication(work: AnyWork) -> str | None:
    """Return "published", "known" if another source reported the communication first, or None without one."""
    ids = {entry.id for entry in work.published if entry.type == CommunicationData.type}
    if not ids or work.ledger is None:
        return None
    return "known" if ids <= work.ledger.repeated else "published"
