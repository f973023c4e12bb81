"""An entry in one line for people, addresses masked: `dev` and `simulate` print it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from router.core.addresses import mask
from router.core.entries import (
    CommandRefusedData,
    HandoffData,
    HandoffFailedData,
    HandoffRequestedData,
    HolderChangedData,
    OfferEndedData,
    OfferMadeData,
    ParticipantData,
)
from router.core.keys import Target

if TYPE_CHECKING:
    from collections.abc import Callable

    from router.core.entries import Entry, EntryHolder


def is_told_twice(entry: Entry) -> bool:
    """Return whether an entry for the AI agent is on the stream for people too, which is enough to show."""
    is_for_both = isinstance(entry.data, HolderChangedData | HandoffFailedData | CommandRefusedData)
    return is_for_both and entry.data.target == Target.AI_AGENT


def describe(entry: Entry) -> str:
    """Return the customer and the conversation, then who takes it and why, or what happened to its floor."""
    data, words = entry.data, [f"{entry.type:<22}"]
    if isinstance(data, ParticipantData):
        ours = f"-> {mask(data.recipient.address)}" if data.recipient else ""
        words.append(f"{data.channel:<8} {mask(data.address):<20} {ours:<23}")
        words.append(f"{getattr(data, 'origin', ''):<9} {data.participant.id}")
    elif isinstance(data, HandoffData) and data.participant and data.participant.addresses:
        customer = data.participant.addresses[0]
        words.append(f"{customer.channel:<8} {mask(customer.address):<20}")
    words.append(f"in {data.conversation.id}")
    happened = _HAPPENED.get(type(data))
    if happened is not None:
        words.append(f"epoch {data.epoch}: {happened(data)}")
    else:
        epoch = f" in epoch {data.epoch}" if data.epoch else ""
        words.append(f"taken by {data.target}{epoch}, because: {data.reason}")
    return "  ".join(words)


def _requested(data: HandoffRequestedData) -> str:
    by = f" by {data.request.asked_by}" if data.request.asked_by else ""
    return f"a person is asked for{by} in queue {data.request.queue}, because: {data.request.reason}"


def _made(data: OfferMadeData) -> str:
    return f"{data.agent.name} is asked, until {data.offer.expires_at[11:19]}"


def _ended(data: OfferEndedData) -> str:
    return f"the offer to {data.agent.name} has ended: {data.how}"


def _changed(data: HolderChangedData) -> str:
    return f"{_name(data.from_)} -> {_name(data.to)} has the floor now, because: {data.because}"


def _failed(data: HandoffFailedData) -> str:
    if data.fallback is None:
        return f"the customer left queue {data.request.queue}"
    return f"nobody accepted in queue {data.request.queue}; fallback: {data.fallback}"


def _refused(data: CommandRefusedData) -> str:
    return f"{data.command.type} was refused, because: {data.why}"


def _name(holder: EntryHolder) -> str:
    return holder.agent or holder.target


_HAPPENED: Final[dict[type[Any], Callable[[Any], str]]] = {
    HandoffRequestedData: _requested,
    OfferMadeData: _made,
    OfferEndedData: _ended,
    HolderChangedData: _changed,
    HandoffFailedData: _failed,
    CommandRefusedData: _refused,
}
