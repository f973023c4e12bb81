"""Entries of the participants streams, dead letters, and what our side says, as happenings of `dev`.

A first message makes two entries, `participant.joined` and `communication.received`: they become one line, with the
text of one and the decision of the other.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from router.core.addresses import Channel
from router.core.entries import (
    ClosedData,
    CommandRefusedData,
    CommunicationData,
    EntryCommunication,
    EntryData,
    HandoffFailedData,
    HandoffRequestedData,
    HolderChangedData,
    JoinedData,
    LeftData,
    OfferEndedData,
    OfferMadeData,
    ParticipantData,
    TurnData,
    UpdatedData,
)
from router.core.printable import masked_key
from router.core.timestamps import to_microseconds
from router.dev.happening import Happening, LineKind
from router.dev.known import customer_of
from router.simulator.entry_text import is_told_twice

if TYPE_CHECKING:
    from collections.abc import Callable

    from router.core.entries import Entry, EntryHolder
    from router.dev.known import Known
    from router.streams.store.watch import StreamRow

#: µs after the webhook within which its entry is shown at the webhook's time, in the order in which customers wrote.
_AT_ONCE: Final = 1_000_000


def tell_entry(row: StreamRow, known: Known) -> Happening | None:
    """Return an entry as a happening; None for one that the other target is told too.

    A row that is no entry is a trouble: whoever reads the stream finds it too.
    """
    entry = row.entry()
    if entry is None:
        where = row.stream.partition("}:")[2]
        return Happening(time_of(row), LineKind.TROUBLE, "stream", f"no entry: {row.entry_id} on {where}")
    known.note_entry(entry, time_of(row))
    if is_told_twice(entry):
        return None
    tell = _TELLERS.get(type(entry.data), _tell_other)
    return tell(_Told(entry, time_of(row), row.entry_id))


def tell_dead_letter(row: StreamRow, known: Known) -> Happening:
    """Return a dead letter as a happening: what it was, and why it was given up."""
    entry = row.entry()
    if entry is not None:
        known.note_entry(entry, time_of(row))
    origin, reason = row.text("dead-stream").partition("}:")[2], row.text("dead-reason") or "no reason is given"
    who = row.text("source") or row.text("dead-group") or "entry"
    return Happening(
        time_of(row),
        LineKind.DEAD,
        who,
        f"dead letter: {reason}",
        customer=customer_of(entry) if entry is not None else "",
        key=masked_key(row.text("key")),
        ids={"dead letter": row.entry_id, "of": origin, "group": row.text("dead-group")},
    )


def time_of(row: StreamRow) -> int:
    """Return when a row was appended (µs since 1970), by the clock of Redis."""
    return int(row.entry_id.partition("-")[0]) * 1000


class _Told:
    """An entry, and when it was published (µs since 1970)."""

    def __init__(self, entry: Entry, published_at: int, entry_id: str) -> None:
        self.entry = entry
        self.data: Any = entry.data
        self._published_at = published_at
        self._entry_id = entry_id

    def make(self, kind: LineKind, who: str, text: str = "", remark: str = "", **more: Any) -> Happening:
        data: EntryData = self.data
        participant = data.participant.id if isinstance(data, ParticipantData) else ""
        return Happening(
            more.pop("at", self._published_at),
            kind,
            who,
            text,
            remark,
            customer=customer_of(self.entry),
            conversation=data.conversation.id,
            key=masked_key(data.cause.idempotency_key),
            ids={
                "event": data.cause.event_id or "",
                "conversation": data.conversation.id,
                "participant": participant,
                "entry": self._entry_id,
                "epoch": str(data.epoch or ""),
            },
            **more,
        )

    def heard(self, text: str, remark: str) -> Happening:
        """Return a customer's action, at the time of the webhook if the entry followed at once."""
        received_at = to_microseconds(self.data.cause.received_at) or self._published_at
        is_at_once = 0 <= self._published_at - received_at <= _AT_ONCE
        name = f"heard {self.data.conversation.id} {self.data.cause.idempotency_key}"
        at = received_at if is_at_once else self._published_at
        return self.make(LineKind.HEARD, self.data.channel, text, remark, at=at, same=name)


def _tell_joined(told: _Told) -> Happening:
    data: JoinedData = told.data
    text = "calls" if data.channel == Channel.VOICE else ""
    return told.heard(text, f"{'' if data.origin == 'created' else f'{data.origin}, '}{data.target}: {data.reason}")


def _tell_communication(told: _Told) -> Happening:
    data: CommunicationData = told.data
    return told.heard(_words(data.communication), "")


def _tell_turn(told: _Told) -> Happening:
    data: TurnData = told.data
    text = f"the turn is ready: {len(data.communications)} communications"
    return told.make(LineKind.NOTE, data.channel, text, is_detail=True)


def _words(said: EntryCommunication) -> str:
    """Return the text of a communication, and in brackets its attachments and other parts."""
    rest = [f"{len(said.media)} attachment{'s' if len(said.media) > 1 else ''}"] if said.media else []
    if said.location:
        rest.append(said.location.label or said.location.address or "a place")
    if said.reply and not said.text:
        rest.append(said.reply.title or said.reply.id or "a choice")
    if said.opt_out:
        rest.append(f"{said.opt_out}: Twilio has answered")
    return " ".join(filter(None, (said.text, *(f"({one})" for one in rest)))) or f"({said.type.lower()})"


def _tell_updated(told: _Told) -> Happening:
    data: UpdatedData = told.data
    text = f"is now {data.participant.type}, {data.participant.name or 'without a name'}"
    return told.make(LineKind.NOTE, data.channel, text)


def _tell_left(told: _Told) -> Happening:
    data: LeftData = told.data
    return told.make(LineKind.NOTE, data.channel, "has left")


def _tell_closed(told: _Told) -> Happening:
    data: ClosedData = told.data
    return told.make(LineKind.NOTE, data.target, "the conversation is closed")


def _tell_requested(told: _Told) -> Happening:
    data: HandoffRequestedData = told.data
    who, summary = data.request.asked_by or "handoff", data.request.summary
    text = f"a person is asked for: {data.request.reason}" + (f" ({summary})" if summary else "")
    return told.make(LineKind.HANDOFF, who, text, f"queue {data.request.queue}")


def _tell_offer(told: _Told) -> Happening:
    data: OfferMadeData = told.data
    return told.make(LineKind.HANDOFF, data.agent.identity, f"is asked, until {_clock(data.offer.expires_at)}")


def _tell_offer_ended(told: _Told) -> Happening:
    data: OfferEndedData = told.data
    return told.make(LineKind.HANDOFF, data.agent.identity, _ENDINGS[data.how])


def _tell_holder(told: _Told) -> Happening:
    data: HolderChangedData = told.data
    note = f": {data.note}" if data.note else ""
    text = f"has the conversation now, from {_name(data.from_)}, {data.because}{note}"
    return told.make(LineKind.HANDOFF, _name(data.to), text)


def _tell_failed(told: _Told) -> Happening:
    data: HandoffFailedData = told.data
    text = f"nobody has accepted; fallback: {data.fallback}" if data.fallback else "the customer has left the queue"
    return told.make(LineKind.HANDOFF, "handoff", text, f"queue {data.request.queue}")


def _tell_refused(told: _Told) -> Happening:
    data: CommandRefusedData = told.data
    who = data.command.data.get("agent")
    text = f"{data.command.type} was refused, because {data.why}" + (f": {data.detail}" if data.detail else "")
    return told.make(LineKind.REFUSED, who if isinstance(who, str) and who else data.target, text)


def _tell_other(told: _Told) -> Happening:
    return told.make(LineKind.NOTE, told.data.target, told.entry.type)


def _name(holder: EntryHolder) -> str:
    return holder.agent or holder.target


def _clock(text: str) -> str:
    """Return a time of an entry as the time of day, the text itself if it is none."""
    return text if to_microseconds(text) is None else text[11:19]


_ENDINGS: Final = {
    "accepted": "has accepted",
    "declined": "has declined",
    "expired": "did not answer in time",
    "withdrawn": "is not asked any more",
}
_TELLERS: Final[dict[type[EntryData], Callable[[_Told], Happening]]] = {
    JoinedData: _tell_joined,
    CommunicationData: _tell_communication,
    UpdatedData: _tell_updated,
    LeftData: _tell_left,
    ClosedData: _tell_closed,
    TurnData: _tell_turn,
    HandoffRequestedData: _tell_requested,
    OfferMadeData: _tell_offer,
    OfferEndedData: _tell_offer_ended,
    HolderChangedData: _tell_holder,
    HandoffFailedData: _tell_failed,
    CommandRefusedData: _tell_refused,
}
