"""Shapes of what the desk's pages take and answer, for their checks and for the OpenAPI document."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, StringConstraints

from router.core.routing.commands import MAX_TEXT, Epoch, Name
from router.core.routing.holding import MAX_SUMMARY


class DeskForm(BaseModel):
    """A form of the desk. `form` is its hidden id: the same one sent twice does its work once."""

    model_config = ConfigDict(extra="ignore", frozen=True)

    form: Annotated[str, StringConstraints(max_length=64)] = Field(
        default="", description="an id that is the same if the form is sent again; without one each is another command"
    )


class OfferForm(DeskForm):
    """The answer to an offer."""

    offer: Name
    answer: Literal["accept", "decline"]


class ActionForm(DeskForm):
    """Something done in a conversation that the person has in an epoch."""

    epoch: Epoch


class ReplyForm(ActionForm):
    """A text to the customer."""

    text: Annotated[str, StringConstraints(min_length=1, max_length=MAX_TEXT)]


class NoteForm(ActionForm):
    """A conversation given away with a note."""

    note: Annotated[str, StringConstraints(max_length=MAX_SUMMARY)] = ""


class TransferForm(NoteForm):
    """Whom to ask: a person, a queue, or anybody with the skills (words with spaces between them)."""

    agent: Annotated[str, StringConstraints(max_length=255)] = ""
    queue: Annotated[str, StringConstraints(max_length=255)] = ""
    skills: Annotated[str, StringConstraints(max_length=1000)] = ""


class PresenceForm(DeskForm):
    """The switch by which a person says that they are away, or back."""

    state: Literal["available", "away"]


class DeskPersonAnswer(BaseModel):
    """The person at the desk; `is_away` is what they have said, `presence` what the router makes of it."""

    identity: str
    name: str
    is_listed: bool = Field(description="whether the person is in the roster")
    presence: Literal["available", "away", "offline"]
    is_away: bool


class DeskNotice(BaseModel):
    """The notice at the top of a page."""

    kind: Literal["done", "problem"]
    text: str


class DeskConversation(BaseModel):
    """A conversation in a list of the desk."""

    id: str
    account: str
    channel: str
    address: str
    name: str
    epoch: int


class DeskOffer(DeskConversation):
    """An offer to the person."""

    offer: str
    expires_at: str
    seconds_left: int
    queue: str
    reason: str
    summary: str | None
    context: dict[str, Any] | None
    note: str | None
    asked_by: str | None


class HeldConversation(DeskConversation):
    """A conversation that the person has; `asked` is the name of the person who is being asked to take it."""

    unread: int
    reason: str
    queue: str
    is_passed_on: bool
    asked: str | None


class UnreadableConversation(BaseModel):
    """A conversation of which the console cannot tell whether the person has it, or is asked about it."""

    id: str
    account: str


class DeskAnswer(BaseModel):
    """The content of `/desk`."""

    agent: DeskPersonAnswer
    offers: list[DeskOffer]
    conversations: list[HeldConversation]
    unreadable: list[UnreadableConversation] = Field(
        description="conversations in data of another release, sealed with a key that the console does not have, or "
        "in a part of Redis that does not answer"
    )
    notice: DeskNotice | None
    form: str


class MemberAnswer(BaseModel):
    """Somebody in a conversation."""

    id: str
    role: str
    name: str
    address: str
    channel: str
    is_here: bool
    label: str


class LineAnswer(BaseModel):
    """A line of a transcript: `said`, a `note` for who takes over, or an `event`."""

    at: str | None
    kind: Literal["said", "note", "event"]
    who: str
    role: str
    agent: str | None
    text: str


class HolderAnswer(BaseModel):
    """Who has a conversation."""

    target: str
    agent: str | None
    name: str


class PersonAnswer(BaseModel):
    """A person to whom a conversation can be passed on; `availability` tells whether they can be asked now."""

    identity: str
    name: str
    availability: Literal["available", "busy", "away", "wrap-up", "assigned-only", "offline"]


class OpenConversationAnswer(DeskConversation):
    """The content of `/desk/conversations/{conversation}`; `left_out` lines are older, 0 if it `is_whole`."""

    is_classic: bool
    is_closed: bool
    is_mine: bool
    holder: HolderAnswer
    is_passed_on: bool
    asked: str | None
    reason: str
    context: dict[str, Any] | None
    members: list[MemberAnswer]
    lines: list[LineAnswer]
    left_out: int
    is_whole: bool
    problem: str
    notice: DeskNotice | None
    draft: dict[str, str]
    target: dict[str, str] = Field(description="to whom it was to be passed on, if that was refused or not confirmed")
    form: str
    people: list[PersonAnswer]
    queues: list[str]
    skills: list[str]


class SentAnswer(BaseModel):
    """The answer to something that was done: `state` done, refused or pending, and why it was refused."""

    state: Literal["done", "refused", "pending"]
    why: str | None
    epoch: int | None
    explanation: str


class SentView(BaseModel):
    """The answer to programs after something was done; if it was not, with an `error`, and what the page shows."""

    answer: SentAnswer | None = None
    error: str | None = None


class PresenceView(BaseModel):
    """The answer to programs after the switch was set."""

    state: Literal["available", "away"]


class CommandDocument(BaseModel):
    """The CloudEvent of a command, as on the commands stream; docs/handoff.md has `data` of each."""

    specversion: Literal["1.0"] = "1.0"
    id: Name
    type: str
    source: str
    data: dict[str, Any]


class CommandAccepted(BaseModel):
    """A command that was written to the commands stream of a partition; what it did is told by entries."""

    id: str
    partition: int
