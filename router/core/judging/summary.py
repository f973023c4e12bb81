"""The log line of an event: its outcome, customer, conversation and entries."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from router.core.addresses import mask
from router.core.entries import ClosedData, CommunicationData
from router.core.printable import masked_key

if TYPE_CHECKING:
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


def _communication(work: AnyWork) -> str | None:
    """Return "published", "known" if another source reported the communication first, or None without one."""
    ids = {entry.id for entry in work.published if entry.type == CommunicationData.type}
    if not ids or work.ledger is None:
        return None
    return "known" if ids <= work.ledger.repeated else "published"
