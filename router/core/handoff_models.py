"""The data of entries about handoffs: requests, offers, changes of the holder, refused commands."""

from __future__ import annotations

from typing import Any, ClassVar, Literal

from pydantic import Field

from router.core.entry_models import EntryCommunication, EntryData, EntryParticipant, Model, ParticipantData


class EntryRequest(Model):
    """A request for a person."""

    id: str
    reason: str
    queue: str
    summary: str | None = None
    context: dict[str, Any] | None = None
    skills: tuple[str, ...] = ()
    agent: str | None = Field(default=None, description="nobody but this agent is asked")
    priority: int = 0
    asked_by: str | None = Field(default=None, description="the agent who transfers")
    note: str | None = None
    requested_at: str


class EntryAgent(Model):
    """A person of the roster."""

    identity: str
    name: str


class EntryOffer(Model):
    """An offer to one agent."""

    id: str
    queue: str
    expires_at: str
    reason: str
    summary: str | None = None
    context: dict[str, Any] | None = None
    note: str | None = None


class EntryHolder(Model):
    """The holder: a target, and for people the person who accepted, null while nobody has."""

    target: str
    agent: str | None = None


class HandoffData(EntryData):
    """An entry about a handoff; `participant` is the customer's, as far as it is known."""

    participant: EntryParticipant | None = Field(default=None, description="as in participant.joined, as far as known")


class HandoffRequestedData(HandoffData):
    """Data of `handoff.requested`: somebody asked for a person; the holder keeps the floor."""

    type: ClassVar[str] = "handoff.requested"
    request: EntryRequest


class OfferMadeData(HandoffData):
    """Data of `offer.made`: an agent is asked, until `offer.expires_at`."""

    type: ClassVar[str] = "offer.made"
    offer: EntryOffer
    agent: EntryAgent


class OfferEndedData(HandoffData):
    """Data of `offer.ended`."""

    type: ClassVar[str] = "offer.ended"
    offer: EntryOffer
    agent: EntryAgent
    how: Literal["accepted", "declined", "expired", "withdrawn"]


class HolderChangedData(HandoffData):
    """Data of `holder.changed`, for both targets: `to` has the floor from this `epoch` on."""

    type: ClassVar[str] = "holder.changed"
    from_: EntryHolder = Field(alias="from", serialization_alias="from")
    to: EntryHolder
    because: str
    note: str | None = None
    request: EntryRequest | None = Field(default=None, description="the request that led to it")


class HandoffFailedData(HandoffData):
    """Data of `handoff.failed`, for both targets: nobody accepted in time, or the customer left (no `fallback`)."""

    type: ClassVar[str] = "handoff.failed"
    request: EntryRequest
    fallback: Literal["ai-agent", "wait", "message"] | None = Field(
        description="what the queue did; null: the customer left"
    )


class TurnData(ParticipantData):
    """Data of `turn.ready`: all communications of a customer since the last turn, in order."""

    type: ClassVar[str] = "turn.ready"
    communications: tuple[EntryCommunication, ...]
    opt_out: str | None = Field(
        default=None,
        description="STOP if it ends the turn, or STOP, START or HELP if there is nothing else: do not answer",
    )


class EntryCommand(Model):
    """A command as it came in."""

    type: str
    data: dict[str, Any]


class CommandRefusedData(EntryData):
    """Data of `command.refused`: the answer to a command that changes nothing; `epoch` is the present one."""

    type: ClassVar[str] = "command.refused"
    command: EntryCommand
    command_id: str
    why: str
    detail: str = ""
