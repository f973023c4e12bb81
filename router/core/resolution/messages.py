"""Resolution of an inbound event to its participant and conversation, as generators without I/O.

A generator yields requests to the Conversations API as values, is sent each answer (the resource, or the ApiError as a
value), and returns an outcome:

    Resolved   the participant, its conversation, and how it is known (created by us, found, announced)
    Wait       something else must happen or recover first: try again after `delay` seconds
    Ignored    the event ends here, with the reason
    Unusable   the event can never be resolved: poison, with the reason

A message costs one request if the conversation is new (POST /Conversations with both participants), two if it exists
(the 409 names it, then its participants are listed). A POST whose answer was lost is never repeated blindly: its effect
is looked up first, by the channelId that it would have set.
API: https://www.twilio.com/docs/api/conversations/v2
"""

from __future__ import annotations

from collections.abc import Generator, Iterable
from typing import TYPE_CHECKING, Any, Final

from router.core.errors import (
    ApiError,
    ConflictError,
    NotFoundError,
)
from router.core.resolution.requests import (
    CreateConversation,
    CreateParticipant,
    FetchConversation,
    FetchParticipant,
    FindConversations,
    Ignored,
    ListParticipants,
    ReplaceParticipant,
    Request,
    Resolution,
    ResolutionOutcome,
    Resolved,
    Surroundings,
    Unusable,
    Wait,
)
from router.core.resolution.setbacks import COLLECTION, SHORT_WAIT, setback_of
from router.core.resources import (
    Conversation,
    ConversationStatus,
    NewParticipant,
    Participant,
    ParticipantAddress,
    ParticipantType,
)
from router.core.values import Value, replace

if TYPE_CHECKING:
    from router.core.addresses import Address
    from router.core.events import CommunicationReported, MessageReceived

#: From this length on, a list may have come in several pages: 50 is the API's default page size.
MANY: Final = 50
#: How many conversations may turn out to be closed or gone before the event waits instead.
ROUNDS: Final = 3

#: A part of a resolution; it returns an outcome, or None if its conversation is gone and the resolution begins again.
_Part = Generator[Request, Any, ResolutionOutcome | None]


def _at(address: Address, participants: tuple[Participant, ...] | list[Participant] | None) -> Participant | None:
    """Return the participant at an address; of several, a CUSTOMER before others, then the oldest."""
    found = [one for one in participants or () if one.has_address(address)]
    found.sort(key=lambda one: (one.type != ParticipantType.CUSTOMER, one.created_at or "", one.id))
    return found[0] if found else None


def list_with(
    conversation_id: str, addresses: Iterable[Address]
) -> Generator[Request, Any, list[Participant] | ApiError]:
    """List the participants, a second time if a long list lacks one of `addresses`; return those of both lists.

    The API does not document page tokens while participants are added and removed. If pages shift, a participant that
    was missed would be added again, or an author be taken for unknown.
    """
    listed: list[Participant] | ApiError = yield ListParticipants(conversation_id)
    if isinstance(listed, ApiError) or len(listed) < MANY or all(_at(address, listed) for address in addresses):
        return listed
    again = yield ListParticipants(conversation_id)
    return again if isinstance(again, ApiError) else list({one.id: one for one in (*listed, *again)}.values())


class MessageResolver(Value):
    """Resolves inbound messages for one configuration; `our_type`: the type of our side's participant if we create it.

    Participants and their types: https://www.twilio.com/docs/api/conversations/v2/participant
    """

    configuration_id: str
    our_type: str = ParticipantType.AI_AGENT

    def resolve(self, message: MessageReceived, *, is_unsure: bool = False) -> Resolution:
        """Find or create the customer's participant; `is_unsure`: an earlier try may have had an effect."""
        for _ in range(ROUNDS):
            outcome = yield from self._enter(message, is_unsure=is_unsure)
            if isinstance(outcome, Wait) and is_unsure:
                return replace(outcome, is_unsure=True)  # the lookup led to no result yet: look up again
            if outcome is not None:
                return outcome
            is_unsure = False
        return Wait("its conversations keep closing", SHORT_WAIT)

    def _enter(self, message: MessageReceived, *, is_unsure: bool) -> _Part:
        if is_unsure:
            found = yield FindConversations(message.message_sid)
            if isinstance(found, ApiError):
                setback = setback_of(found, "looking for what an unanswered POST did", needs=COLLECTION)
                return replace(setback, is_unsure=True) if isinstance(setback, Wait) else setback
            if found:
                return (yield from self._join(message, found[0].id))
        answer = yield CreateConversation(self.configuration_id, (self._customer(message), self._ours(message)))
        if isinstance(answer, Conversation):
            return (yield from self._opened(message, answer))
        if isinstance(answer, ConflictError):
            return (yield from self._conflict(message, answer))
        setback = setback_of(answer, "creating the conversation", needs=f"configuration {self.configuration_id}")
        if isinstance(setback, Wait) and setback.is_unsure and not is_unsure:
            return (yield from self._enter(message, is_unsure=True))
        return setback

    def _opened(self, message: MessageReceived, conversation: Conversation) -> _Part:
        """Return the participants of the new conversation; list them only if the answer omits them."""
        customer = _at(message.customer, conversation.participants)
        if customer is None:
            return (yield from self._join(message, conversation.id, conversation, origin="created"))
        ours = _at(message.recipient, conversation.participants)
        return Resolved(conversation.id, customer, "created", conversation, (ours,) if ours else ())

    def _conflict(self, message: MessageReceived, conflict: ConflictError) -> _Part:
        """Enter the conversation that a 409 names; if it names none, search the open conversations."""
        if conflict.conflicting_id:
            return (yield from self._join(message, conflict.conflicting_id))
        found = yield FindConversations()
        if isinstance(found, ApiError):
            return setback_of(found, "looking for the conversation that a 409 did not name", needs=COLLECTION)
        for conversation in found:
            is_ours = conversation.configuration_id in {None, self.configuration_id}
            if is_ours and _at(message.customer, conversation.participants):
                return (yield from self._join(message, conversation.id, conversation))
        return Unusable("a 409 names no conversation, and no open one has the address", is_certain=False)

    def _join(
        self,
        message: MessageReceived,
        conversation_id: str,
        conversation: Conversation | None = None,
        *,
        origin: str = "found",
    ) -> _Part:
        participants = yield from list_with(conversation_id, [message.customer])
        if isinstance(participants, NotFoundError):
            return None
        if isinstance(participants, ApiError):
            return setback_of(participants, "listing the participants")
        customer, ours = _at(message.customer, participants), _at(message.recipient, participants)
        if customer is None:
            return (yield from self._add(message, conversation_id, ours))
        name = name_of(message)
        repaired = yield from self.repair(conversation_id, customer, ParticipantType.CUSTOMER, name=name)
        if isinstance(repaired, Wait):
            return repaired
        if ours is None:
            return Resolved(conversation_id, repaired, origin, conversation)
        side = yield from self.repair(conversation_id, ours, self.our_type, name=message.recipient.value)
        return side if isinstance(side, Wait) else Resolved(conversation_id, repaired, origin, conversation, (side,))

    def repair(
        self, conversation_id: str, participant: Participant, wanted: str, *, name: str
    ) -> Generator[Request, Any, Participant | Wait]:
        """Give an UNKNOWN participant the type that the message proves, with all four fields: PUT clears omitted ones.

        One without a name gets `name`. The request: https://www.twilio.com/docs/api/conversations/v2/participant/update-participant-in-conversation
        """
        if participant.type not in {None, ParticipantType.UNKNOWN}:
            return participant
        changes = {"type": wanted, "name": participant.name or name}
        answer = yield ReplaceParticipant(conversation_id, participant.id, participant.as_replacement(**changes))
        if isinstance(answer, Participant):
            return answer
        setback = setback_of(answer, "repairing an UNKNOWN participant")
        # After a conflict or a refusal it stays UNKNOWN, and the policy decides about it as such.
        return setback if isinstance(setback, Wait) else participant

    def _add(self, message: MessageReceived, conversation_id: str, ours: Participant | None) -> _Part:
        answer = yield CreateParticipant(conversation_id, self._customer(message))
        side = (ours,) if ours else ()
        if isinstance(answer, Participant):
            return Resolved(conversation_id, answer, "created", None, side)
        setback = setback_of(answer, "adding the participant")
        if isinstance(setback, Wait) and not setback.is_unsure:
            return setback
        # After a 409, a refusal or a lost answer, the list shows whether the customer is present.
        participants = yield from list_with(conversation_id, [message.customer])
        if isinstance(participants, ApiError):
            return None if isinstance(participants, NotFoundError) else setback_of(participants, "listing again")
        customer = _at(message.customer, participants)
        if customer is not None:
            return Resolved(conversation_id, customer, "found", None, side)
        return (yield from self._refused(message, conversation_id, answer, setback))

    def _refused(
        self, message: MessageReceived, conversation_id: str, error: ApiError, setback: Wait | Unusable
    ) -> _Part:
        """Find out why a participant was refused: its conversation has closed, or another one holds its address."""
        if isinstance(setback, Wait):
            return setback
        conversation = yield FetchConversation(conversation_id)
        if isinstance(conversation, NotFoundError):
            return None
        if isinstance(conversation, ApiError):
            return setback_of(conversation, "fetching the conversation")
        if conversation.status == ConversationStatus.CLOSED:
            return None
        if error.conflicting_id and error.conflicting_id != conversation_id:
            return (yield from self._elsewhere(message, error.conflicting_id, setback))
        return setback

    def _elsewhere(self, message: MessageReceived, conversation_id: str, setback: Unusable) -> _Part:
        """Look for the customer in the conversation that a 409 says has its address."""
        participants = yield from list_with(conversation_id, [message.customer])
        if isinstance(participants, NotFoundError):
            return None
        if isinstance(participants, ApiError):
            return setback_of(participants, "listing the participants of another conversation")
        customer = _at(message.customer, participants)
        return Resolved(conversation_id, customer, "found") if customer else setback

    def _customer(self, message: MessageReceived) -> NewParticipant:
        return make_new(ParticipantType.CUSTOMER, message.customer, message.message_sid, name=name_of(message))

    def _ours(self, message: MessageReceived) -> NewParticipant:
        return make_new(self.our_type, message.recipient, None)


def name_of(message: MessageReceived) -> str:
    """Return the name of a customer: the one of the profile, else the address as it is written."""
    return message.person.profile_name or message.customer.value


def make_new(kind: str, address: Address, channel_id: str | None, *, name: str | None = None) -> NewParticipant:
    """Return a participant to create; it can be found by its channelId if the answer gets lost.

    It always has a name: the API allows participants without one, but Twilio's Agent Connect drops what they say.
    """
    entry = ParticipantAddress(channel=address.channel, address=address.value, channel_id=channel_id)
    return NewParticipant(type=kind, name=name or address.value, addresses=(entry,))


def fetch_surroundings(conversation_id: str) -> Resolution:
    """Fetch the facts about a conversation that the policy may depend on and a callback lacks.

    For a conversation that does not exist (any more) these are empty Surroundings.
    """
    conversation = yield FetchConversation(conversation_id)
    if isinstance(conversation, NotFoundError):
        return Surroundings()
    if isinstance(conversation, ApiError):
        return setback_of(conversation, "fetching the conversation")
    if conversation.participants:
        return Surroundings(conversation.participants, conversation)
    participants = yield ListParticipants(conversation_id)
    if isinstance(participants, NotFoundError):
        return Surroundings()
    if isinstance(participants, ApiError):
        return setback_of(participants, "listing the participants")
    return Surroundings(tuple(participants), conversation)


def resolve_communication(event: CommunicationReported) -> Resolution:
    """Find the author of a communication that is not known yet: by its id, else by its address."""
    communication = event.communication
    author, conversation_id = communication.author, communication.conversation_id
    if author is None or not conversation_id:
        return Ignored("a communication without author or conversation")
    if author.participant_id:
        answer = yield FetchParticipant(conversation_id, author.participant_id)
        if isinstance(answer, Participant):
            return Resolved(conversation_id, answer, "found")
        if not isinstance(answer, NotFoundError):
            return setback_of(answer, "fetching the author")
    participants = yield from list_with(conversation_id, [author.as_address()])
    if isinstance(participants, NotFoundError):
        return Ignored("its conversation no longer exists", gone=conversation_id)
    if isinstance(participants, ApiError):
        return setback_of(participants, "listing the participants")
    found = _at(author.as_address(), participants)
    return Resolved(conversation_id, found, "found") if found else Ignored("its author is no participant")
