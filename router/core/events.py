"""Inbound events: the normalized facts made from webhooks, the same whichever source reported them.

A webhook becomes an `InboundEntry` (durable in Redis, body still raw), then one of the events below (normalized by the
parser of its source in router.inbound). An event that is disregarded on purpose and one of unknown type are different
outcomes; both carry a reason.
"""

from __future__ import annotations

from enum import StrEnum
from hashlib import sha256
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from router.core.provider_fields import NO_FIELDS
from router.core.values import Value

if TYPE_CHECKING:
    from router.core.addresses import Address
    from router.core.provider_fields import ProviderFields
    from router.core.resources import Communication, Conversation, Participant


class SourceName(StrEnum):
    """The event sources; each has its own route, parser and idempotency key rules."""

    MESSAGING = "messaging"
    VOICE = "voice"
    CONVERSATIONS = "conversations"
    CLASSIC = "classic"
    EVENT_STREAMS = "event-streams"
    EMAIL = "email"


#: The source of entries that a command, a deadline or the desk brought about.
COMMANDS_SOURCE: Final = "commands"


class Identity(Value):
    """The facts about a webhook that the receiver needs: account, idempotency key and subject.

    `subject` is the conversation or the pair of addresses: events of one subject are processed in order. `aliases` are
    keys under which another source reports the same event. They are claimed together with `key`; if any of them was
    claimed before, the webhook is a duplicate.
    """

    account_id: str
    key: str
    subject: str
    aliases: tuple[str, ...] = ()


class SharedBody(Value):
    """The part of the bodies of one webhook's events that is the same in all of them, and therefore stored once."""

    name: str
    data: bytes


def share(data: bytes) -> SharedBody:
    """Return `data` under a name that only the same data has."""
    return SharedBody(sha256(data).hexdigest()[:32], data)


class InboundEntry(Value):
    """One entry of the inbound stream: the raw body and what the receiver determined about it.

    `received_at` is in microseconds since 1970; `is_redelivered` is True if another consumer may have started on it.
    `shared` is the part of the body that the entry shares with others (None: it shares none). `gone` is a conversation
    in which it was published and that the API does not know any more (streams.store.gone): it belongs into another one.
    `event_id` follows from `key` (core.stories).
    """

    entry_id: str
    source: str
    account_id: str
    key: str
    subject: str
    received_at: int
    body: bytes
    is_redelivered: bool = False
    shared: bytes | None = None
    gone: str = ""
    event_id: str = ""

    @property
    def appended_at(self) -> int:
        """When the entry was appended, by the clock of Redis (µs since 1970): the first part of its id is that in ms.

        Ages are measured from here and not from `received_at`, which is the time of another host, and of an event that
        was spooled also long before any worker could see it.
        """
        return int(self.entry_id.partition("-")[0]) * 1000


class Version(NamedTuple):
    """The age of a fact about a resource: its `updatedAt`, then the time of the event that reported it, both in µs.

    The second decides where the API's times have whole seconds only, and lets a callback win over a read.
    """

    updated_at: int
    reported_at: int


class Cause(Value):
    """The webhook that caused an entry. `received_at` is in µs since 1970; `event_id` follows from the key."""

    source: str
    event_type: str
    resource_id: str | None
    idempotency_key: str
    received_at: int
    event_id: str = ""


class Medium(NamedTuple):
    """An attachment of a communication; not every source gives its type and URL."""

    content_type: str | None = None
    url: str | None = None


class Location(NamedTuple):
    """A place that was shared, in degrees (WGS 84)."""

    latitude: float
    longitude: float
    address: str | None = None
    label: str | None = None


class Choice(NamedTuple):
    """A tap on a button or in a list, by `id` and `title`, or the `data` of a form that was filled in."""

    id: str | None = None
    title: str | None = None
    data: dict[str, Any] | None = None


class Referral(NamedTuple):
    """The ad or post from which a customer began to write; `click_id` identifies the click on it."""

    source_type: str | None = None
    source_id: str | None = None
    source_url: str | None = None
    headline: str | None = None
    body: str | None = None
    click_id: str | None = None
    media: tuple[Medium, ...] = ()


class Content(Value):
    """The content of a communication. `is_cut` if the source did not keep the whole text.

    `in_reply_to` is the id of the message that is answered. `opt_out` is STOP, START or HELP if Twilio has answered the
    message itself. `provider` holds the fields of the source that have no other place.
    """

    text: str = ""
    kind: str = "TEXT"
    is_cut: bool = False
    media: tuple[Medium, ...] = ()
    location: Location | None = None
    choice: Choice | None = None
    in_reply_to: str | None = None
    referral: Referral | None = None
    opt_out: str | None = None
    provider: ProviderFields = NO_FIELDS


class Person(Value):
    """A customer's ids and names besides the address; None where the channel does not give them.

    `external_user_id` identifies a WhatsApp user, whose phone may be hidden, and `parent_external_user_id` the same
    user for all businesses of a group. `username` and `profile_name` are chosen by the user.
    """

    external_user_id: str | None = None
    parent_external_user_id: str | None = None
    username: str | None = None
    profile_name: str | None = None


#: A customer of whom only the address is known.
STRANGER: Final = Person()


class MessageReceived(Value):
    """A customer wrote to one of our addresses; the conversation is not known yet.

    `person` is who wrote it. `others` are the further members of a group message, if the source names them. `sent_at`
    is the source's own time of the message, as text. `aliases` are further addresses of the same customer; if there are
    any, `user` is the address by which the customer is recognized. `name` tells the message apart from others with its
    resource id; None if that id is of one message alone.
    """

    cause: Cause
    account_id: str
    customer: Address
    recipient: Address
    message_sid: str
    others: tuple[Address, ...] = ()
    content: Content = Content()
    sent_at: str | None = None
    person: Person = STRANGER
    aliases: tuple[Address, ...] = ()
    user: Address | None = None
    name: str | None = None

    @property
    def known_as(self) -> Address:
        """The address by which the customer is recognized: an id if the message tells one, since phones may hide."""
        return self.user or self.customer


class Change(StrEnum):
    """A participant's change, as a callback reports it."""

    ADDED = "added"
    UPDATED = "updated"
    REMOVED = "removed"


class ParticipantReported(Value):
    """Twilio reported a participant: the payload is the participant."""

    cause: Cause
    account_id: str
    change: Change
    participant: Participant
    version: Version


class ConversationReported(Value):
    """Twilio reported a conversation; this is how its closing becomes known."""

    cause: Cause
    account_id: str
    conversation: Conversation
    version: Version


class CommunicationReported(Value):
    """Twilio reported a communication; the participant id identifies its author."""

    cause: Cause
    account_id: str
    communication: Communication


class ClassicReported(Value):
    """Twilio reported a change in a classic conversation (SIDs CH, MB, IM).

    `kind` is participant, conversation or message. A participant is identified by address (`customer` at our
    `recipient`) or by `identity` (in a group MMS with the `projected` address that the others see). `state` is that of
    a conversation. `author` wrote the `text` and `media` of a message, number `index` of its conversation; `provider`
    is that of Content. `is_by_api` if a REST call caused the event. `service_sid` is the chat service, if the event
    names it. Times are the resource's, as text.
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
    media: tuple[Medium, ...] = ()
    provider: ProviderFields = NO_FIELDS
    index: int | None = None
    service_sid: str | None = None
    is_by_api: bool = False
    created_at: str | None = None
    updated_at: str | None = None


class CallReported(Value):
    """Twilio reported an inbound call that comes in, continues, or is over (`is_over`), by its CallStatus.

    `customer` is None if the caller withheld the number, `recipient` if an app called no number. No webhook names the
    call's conversation: Twilio opens it, with the CallSid as `channelId`. `handoff` is HandoffData as it came if the AI
    agent hands the caller over, empty if its session failed without any, None if neither is so.
    """

    cause: Cause
    account_id: str
    call_sid: str
    status: str
    recipient: Address | None = None
    customer: Address | None = None
    is_over: bool = False
    handoff: str | None = None


class Disregarded(Value):
    """An event that is irrelevant here or of an unknown type; `reason` says which."""

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
