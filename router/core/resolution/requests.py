"""Requests to the Conversations API, and the outcomes of a resolution, as values.

A resolution yields requests and returns an outcome; the worker drives it with the client, tests with plain values.
Reference: https://www.twilio.com/docs/api/conversations/v2 and https://www.twilio.com/docs/conversations-classic/api
"""

from __future__ import annotations

from collections.abc import Generator
from typing import TYPE_CHECKING, Any

from router.core.values import Value

if TYPE_CHECKING:
    from router.core.addresses import Address
    from router.core.events import Version
    from router.core.resources import Conversation, NewParticipant, Participant


class CreateConversation(Value):
    """POST /Conversations with its participants; answered by a Conversation."""

    configuration_id: str
    participants: tuple[NewParticipant, ...]


class FetchConversation(Value):
    """GET one conversation; answered by a Conversation."""

    conversation_id: str


class FindConversations(Value):
    """GET the open conversations, all pages, optionally by channelId; answered by a list of Conversation."""

    channel_id: str | None = None


class ListParticipants(Value):
    """GET the participants of a conversation, all pages; answered by a list of Participant."""

    conversation_id: str


class FetchParticipant(Value):
    """GET one participant; answered by a Participant."""

    conversation_id: str
    participant_id: str


class CreateParticipant(Value):
    """POST a participant into a conversation; answered by a Participant."""

    conversation_id: str
    participant: NewParticipant


class ReplaceParticipant(Value):
    """PUT a participant with all four fields, since PUT clears omitted ones; answered by a Participant."""

    conversation_id: str
    participant_id: str
    participant: NewParticipant


Request = (
    CreateConversation
    | FetchConversation
    | FindConversations
    | ListParticipants
    | FetchParticipant
    | CreateParticipant
    | ReplaceParticipant
)


class GroupMember(Value):
    """A further member of a group message; `participant` is None if it could not be added, for the `reason`."""

    address: Address
    participant: Participant | None = None
    origin: str = "found"
    reason: str = ""


class Resolved(Value):
    """The participant of an event, and how it is known (`origin`): created, found or announced.

    `ours`: participants of our side in the same conversation. `members`: the further members of a group message.
    For a classic conversation, `classic_sid` is its SID, `recipient` our side of the member's binding, and `version`
    the age of the member, in the whole seconds of the classic API.
    """

    conversation_id: str
    participant: Participant
    origin: str
    conversation: Conversation | None = None
    ours: tuple[Participant, ...] = ()
    members: tuple[GroupMember, ...] = ()
    classic_sid: str | None = None
    recipient: Address | None = None
    version: Version | None = None

    @property
    def is_new(self) -> bool:
        """Whether the conversation was created with the participant, so that its ledger is most likely empty."""
        return self.origin == "created" and self.conversation is not None


class Surroundings(Value):
    """Facts about a conversation that the policy depends on and the event lacks: its participants and its resource."""

    participants: tuple[Participant, ...] = ()
    conversation: Conversation | None = None


class Wait(Value):
    """Try again after `delay` seconds.

    `is_unsure`: a POST may have had an effect that must be looked up first. `is_usual`: the wait is expected.
    `missing`: what the API does not know although it is configured; the worker bounds the wait for it.
    """

    reason: str
    delay: float
    is_unsure: bool = False
    is_usual: bool = False
    missing: str = ""


class Ignored(Value):
    """The event ends here, with a reason; `gone`: the API does not know this conversation any more."""

    reason: str
    gone: str | None = None


class Unusable(Value):
    """The event can never be resolved; if that is not certain, it is tried a few more times."""

    reason: str
    is_certain: bool = True


ResolutionOutcome = Resolved | Surroundings | Wait | Ignored | Unusable


class FetchClassicConversation(Value):
    """GET one classic conversation; answered by a ClassicConversation."""

    conversation_sid: str
    service_sid: str | None = None


class FetchClassicParticipant(Value):
    """GET one member by SID; answered by a ClassicParticipant."""

    conversation_sid: str
    participant_sid: str
    service_sid: str | None = None


class ListClassicParticipants(Value):
    """GET the members of a classic conversation, all pages; answered by a list of ClassicParticipant."""

    conversation_sid: str
    service_sid: str | None = None


class FindClassicConversations(Value):
    """GET the open classic conversations of an address in which our side is `proxy`, all pages.

    Answered by a list of ParticipantConversation, matched exactly by the address:
    https://www.twilio.com/docs/conversations-classic/api/participant-conversation-resource
    """

    address: str
    proxy: Address
    service_sid: str | None = None


ClassicRequest = FetchClassicConversation | FetchClassicParticipant | ListClassicParticipants | FindClassicConversations

#: A resolution: yields requests, is sent each answer (or the ApiError as a value), and returns an outcome.
Resolution = Generator[Request | ClassicRequest, Any, ResolutionOutcome]
