"""The state of a conversation's floor: its holder with an epoch, an open request, and the offer to one agent.

Exactly one holder has the floor at every moment. A request does not change that: the holder keeps the floor until an
agent accepts. `epoch` rises by one with every change of the holder and never falls, so that words which were prepared
for an earlier holder can be refused. The transitions are in core.routing.transitions.
"""

from __future__ import annotations

import json
from enum import StrEnum
from typing import Any, Final

from pydantic import BaseModel, ConfigDict, Field

from router.core.formats import FIRST, HOLDING
from router.core.keys import Target
from router.core.lenient_json import is_deeper
from router.core.sealing import NO_KEYS, SealedKind

#: Bytes of JSON that the context of a request may have, and how deep it may be nested: readers in many languages
#: refuse deep documents, and entries nest it further.
MAX_CONTEXT: Final = 8192
MAX_DEPTH: Final = 50
#: Characters of a summary, and of a note.
MAX_SUMMARY: Final = 4000
#: How many ids of earlier requests are remembered, so that an event that is worked on again asks once.
MAX_ASKED: Final = 20


class _Model(BaseModel):
    model_config = ConfigDict(frozen=True, extra="ignore")


class Because(StrEnum):
    """The reason of a change of the holder."""

    ACCEPTED = "accepted"
    ASSIGNED = "assigned"  # by a queue that does not ask
    RELEASED = "released"
    FALLBACK = "fallback"  # nobody accepted, and the queue's fallback is the AI agent
    LAPSED = "presence-lapsed"
    ADDED = "added-by-another-system"
    REMOVED = "removed-by-another-system"


class OfferEnd(StrEnum):
    """The end of an offer."""

    ACCEPTED = "accepted"
    DECLINED = "declined"
    EXPIRED = "expired"
    WITHDRAWN = "withdrawn"


class Why(StrEnum):
    """The reasons of refusals, in the words of `command.refused`."""

    CLOSED = "conversation-closed"
    STALE_EPOCH = "stale-epoch"
    NOT_HOLDER = "not-the-holder"
    PENDING = "handoff-pending"
    REPEATED = "already-requested"
    ITSELF = "already-the-holder"
    NO_OFFER = "offer-ended"
    EXPIRED = "offer-expired"
    NOT_ASKED = "offer-of-another-agent"
    UNKNOWN_CONVERSATION = "unknown-conversation"
    UNKNOWN_AGENT = "unknown-agent"
    UNKNOWN_QUEUE = "unknown-queue"
    NO_SUCH_SKILLS = "nobody-has-these-skills"
    CANNOT_CLOSE = "cannot-close"  # the API refuses it for good
    CANNOT_SEND = "cannot-send"  # the channel, the customer or our side's address does not allow it


class Holder(_Model):
    """A target, and of people the person who accepted; without one, the queue holds."""

    target: Target
    agent: str | None = None


class HandoffRequest(_Model):
    """An open request for a person. Times are in ms since 1970.

    `asked_by` is the agent who transfers, None for the AI agent, a rule or a call. `agent`: nobody but this one is
    asked. `declined` are not asked again while the queue has patience, `missed` are asked after all others: they let
    their offer expire. `is_overdue`: the patience is over, and the fallback is to wait; then all are asked again.
    """

    id: str
    reason: str
    queue: str
    since: int
    summary: str | None = None
    context: dict[str, Any] | None = None
    skills: tuple[str, ...] = ()
    agent: str | None = None
    priority: int = 0
    asked_by: str | None = None
    note: str | None = None
    declined: tuple[str, ...] = ()
    missed: tuple[str, ...] = ()
    is_overdue: bool = False
    #: When those who had declined could be asked again the last time, 0 if that never was.
    asked_again_at: int = 0
    #: When the request came to its present queue: patience and relaxation count from here.
    queued_at: int = 0


class Offer(_Model):
    """The question to one agent; it can be accepted before `expires_at` (ms since 1970)."""

    id: str
    agent: str
    name: str
    made_at: int
    expires_at: int


class Holding(_Model):
    """The floor of one conversation. `offers` counts the offers ever made, which makes their ids unique."""

    format: str = FIRST
    holder: Holder
    epoch: int = Field(default=0, ge=0)
    request: HandoffRequest | None = None
    offer: Offer | None = None
    offers: int = 0
    is_closed: bool = False
    #: The customer in the shape of EntryParticipant, as far as the ledger knows them.
    customer: dict[str, Any] | None = None
    #: The agent who had the conversation last, or another one of this customer.
    last_agent: str | None = None
    #: The request by which the present person came to it; of a queue, the one that ended as the customer left.
    taken: HandoffRequest | None = None
    #: The ids of the last requests, open or not, the newest last.
    asked: tuple[str, ...] = ()

    def changed(self, **fields: Any) -> Holding:
        """Return a copy with other values."""
        return self.model_copy(update=fields)


def read_holding(text: str) -> Holding:
    """Parse the ledger's field; raises OtherFormatError if another release wrote it, ValidationError if it is none.

    Raises SealedError for a sealed one: with keys, ledgers are opened where they are read (core.ledger.sealing).
    """
    text = NO_KEYS.open_text(text, SealedKind.HOLDING)
    holding = Holding.model_validate_json(text)
    HOLDING.require(holding.format)
    return holding


def measure_context(context: dict[str, Any]) -> int | None:
    """Return the bytes of a context's JSON; None if it is nested deeper than MAX_DEPTH."""
    if is_deeper(context, MAX_DEPTH):
        return None
    text = json.dumps(context, ensure_ascii=False, separators=(",", ":"))
    return len(text.encode("utf-8", "surrogatepass"))
