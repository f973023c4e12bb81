"""Inbound events: what one webhook says, normalized, whichever source reported it.

A webhook is first a `Webhook` (bytes at the door), then an `InboundEntry` (durable in Redis, still raw), then one of
the events below (normalized by the parser of its source in router.inbound). Deliberately disregarded and unknown are
two different things, and both have a reason.
"""

from __future__ import annotations

from enum import StrEnum
from typing import TYPE_CHECKING, NamedTuple

from router.core.values import value

if TYPE_CHECKING:
    from router.core.addresses import Address
    from router.core.resources import Communication, Conversation, Participant


class SourceName(StrEnum):
    """The event sources; each has its route, its parser and its rules for the idempotency key."""

    MESSAGING = "messaging"
    VOICE = "voice"
    CONVERSATIONS = "conversations"
    CLASSIC = "classic"
    EVENT_STREAMS = "event-streams"
    EMAIL = "email"


@value
class Identity:
    """What the receiver must know of a webhook: whose it is, its idempotency key, and what it is about.

    `subject` names the conversation or the pair of addresses: events of one subject are worked on in order.
    `aliases` are keys under which another source reports the same event: they are claimed in the same step as `key`,
    and where any of them has been claimed before it is a duplicate.
    """

    account_id: str
    key: str
    subject: str
    aliases: tuple[str, ...] = ()


@value
class InboundEntry:
    """One entry of the inbound stream: the raw body, with what the receiver found out at the door.

    `received_at` is in microseconds since 1970; `is_redelivered` is True where another consumer may have begun.
    """

    entry_id: str
    source: str
    account_id: str
    key: str
    subject: str
    received_at: int
    body: bytes
    is_redelivered: bool = False


class Version(NamedTuple):
    """The age of a fact about a resource: its `updatedAt`, then the time of the event that reported it, both in µs.

    The second decides where the API's times have whole seconds only, and lets a callback win over a read.
    """

    updated_at: int
    reported_at: int


@value
class Cause:
    """Why an entry exists: the webhook that told us. `received_at` is in microseconds since 1970."""

    source: str
    event_type: str
    resource_id: str | None
    idempotency_key: str
    received_at: int


class Medium(NamedTuple):
    """Something attached to a communication, as far as its source tells: not every source names type or URL."""

    content_type: str | None = None
    url: str | None = None


@value
class Content:
    """What a communication says. `is_cut` if its source did not keep all of the text."""

    text: str = ""
    kind: str = "TEXT"
    is_cut: bool = False
    media: tuple[Medium, ...] = ()


@value
class MessageReceived:
    """A customer wrote to one of our addresses; which conversation it belongs to is not known yet.

    `others` are the further members of a group message, known only where the source tells them. `sent_at` is the
    source's own time of the message, as text.
    """

    cause: Cause
    account_id: str
    customer: Address
    recipient: Address
    message_sid: str
    others: tuple[Address, ...] = ()
    content: Content = Content()
    sent_at: str | None = None


class Change(StrEnum):
    """What a callback says happened to a participant."""

    ADDED = "added"
    UPDATED = "updated"
    REMOVED = "removed"


@value
class ParticipantReported:
    """Twilio told us of a participant: the payload is the participant."""

    cause: Cause
    account_id: str
    change: Change
    participant: Participant
    version: Version


@value
class ConversationReported:
    """Twilio told us of a conversation, among others that it has closed."""

    cause: Cause
    account_id: str
    conversation: Conversation
    version: Version


@value
class CommunicationReported:
    """Twilio told us of a communication; its author is known by participant id."""

    cause: Cause
    account_id: str
    communication: Communication


@value
class ClassicReported:
    """Twilio told us of something in a classic conversation (SIDs CH, MB, IM).

    `kind` is participant, conversation or message. A participant is known by address (`customer` at our `recipient`)
    or by `identity` (in a group MMS with the `projected` address that others see); `state` is that of a conversation.
    `author` wrote the `text` of a message, the `index`-th of its conversation; `is_by_api` if a REST call caused the
    event. `service_sid` is the chat service, where the event names it. Times are those of the resource, as they came.
    """

    cause: Cause
    account_id: str
    kind: str
    change: Change
    version: Version
    conversation_sid: str
    participant_sid: str | None = None
    message_sid: str | None = None
    identity: str | None = None
    customer: Address | None = None
    recipient: Address | None = None
    state: str | None = None
    author: str | None = None
    projected: Address | None = None
    text: str | None = None
    index: int | None = None
    service_sid: str | None = None
    is_by_api: bool = False
    created_at: str | None = None
    updated_at: str | None = None


@value
class CallReported:
    """Twilio told us of an inbound call: it comes in, goes on, or is over (`is_over`), by its CallStatus.

    `customer` is None where the caller withheld the number, `recipient` where an app called no number. Which
    conversation the call is in is told by nobody: Twilio opens it, with the CallSid as `channelId`.
    """

    cause: Cause
    account_id: str
    call_sid: str
    status: str
    recipient: Address | None = None
    customer: Address | None = None
    is_over: bool = False


@value
class Disregarded:
    """An event that is of no interest here, or of a type that is not known; `reason` says which."""

    cause: Cause
    account_id: str
    reason: str


Event = (
    MessageReceived
    | ParticipantReported
    | ConversationReported
    | CommunicationReported
    | ClassicReported
    | CallReported
    | Disregarded
)
