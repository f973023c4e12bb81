"""The log line of an event and the line of its story: its outcome, customer, conversation and entries."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from router.core.addresses import canonicalize, mask
from router.core.entries import ClosedData, CommunicationData, JoinedData
from router.core.ledger.marker import Result
from router.core.printable import masked_key
from router.core.stories import EVENT_LINE, to_json_bytes

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from router.core.judging.work import AnyWork
    from router.core.ledger.marker import Outcome


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


def story_line(
    work: AnyWork, fields: Mapping[str, Any], *, at: int, process: str, replayed: str, digest: Callable[[str], str]
) -> bytes:
    """Return the line of a settled event (core.stories.SettledEvent), `at` in µs; `fields` are those of `summarize`.

    `digest` makes the name of a customer's address. One call for each event: few steps matter more than names.
    """
    entry, published = work.entry, work.published
    event, resource, subject = entry.event_id, work.event.cause.resource_id, entry.subject.split("|")
    is_news = fields["result"] is Result.JOINED
    if is_news or len(subject) == 1:
        digests = [digest(one) for one in _addresses(work, subject)]
    else:
        digests = [digest(subject[1])]
    head = to_json_bytes(
        (event, resource, work.account_id, fields["conversation"], fields["participant"], digests, is_news)
    )
    types = [one.type for one in published]
    if resource and ("@" in resource or "+" in resource):  # the Message-ID of a mail
        resource = masked_key(resource)
    text = (EVENT_LINE, event, at, entry.received_at, entry.entry_id, process, replayed, types, resource)
    return head + b"\n" + to_json_bytes((*text, *fields.values()))


def _addresses(work: AnyWork, subject: list[str]) -> set[str]:
    """Return the canonical forms of a customer's addresses: of the subject, the event and an announced participant."""
    found = set(subject[1:2])
    if work.kind.has_customer and work.event.customer is not None:  # a classic conversation may have none
        found.add(work.event.customer.canonical)
    for draft in work.published:
        if draft.type == JoinedData.type:
            data = draft.document["data"]
            found.add(canonicalize(data["channel"], data["address"]))
    return found - {""}


def _communication(work: AnyWork) -> str | None:
    """Return "published", "known" if another source reported the communication first, or None without one."""
    ids = {entry.id for entry in work.published if entry.type == CommunicationData.type}
    if not ids or work.ledger is None:
        return None
    return "known" if ids <= work.ledger.repeated else "published"
