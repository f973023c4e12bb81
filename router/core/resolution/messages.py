"""Resolution: from an inbound event to its participant and conversation, as generators that do no I/O.

A generator yields requests to the Conversations API as values, is sent each one's answer (the resource, or the
ApiError as a value), and returns an outcome:

    Resolved   the participant, its conversation, and how we know (created by us, found, announced)
    Wait       something else must happen or recover first: try again after `delay` seconds, nobody's fault
    Ignored    of no interest, with the reason
    Unusable   it can never be resolved: poison, with the reason

A message costs one call where the conversation is new (POST /Conversations with both participants), two where it
exists (the 409 names it, its participants are listed). A POST whose answer was lost is never repeated blindly: what
it may have done is looked up first, by the channelId that it would have left behind.
"""

from __future__ import annotations

from collections.abc import Generator, Iterable
from dataclasses import dataclass, replace
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
from router.core.resolution.setbacks import SHORT_WAIT, setback_of
from router.core.resources import (
    Conversation,
    ConversationStatus,
    NewParticipant,
    Participant,
    ParticipantAddress,
    ParticipantType,
)

if TYPE_CHECKING:
    from router.core.addresses import Address
    from router.core.events import CommunicationReported, MessageReceived

#: Participants from which on a list may have come in several pages: the API shows 50 where nothing is asked for.
MANY: Final = 50
#: How often a conversation may close under our hands before we wait instead.
ROUNDS: Final = 3

#: What the parts of a resolution return: an outcome, or None for "that conversation is gone, begin again".
_Part = Generator[Request, Any, ResolutionOutcome | None]


def _at(address: Address, participants: tuple[Participant, ...] | list[Participant] | None) -> Participant | None:
    """Return the participant at an address; a CUSTOMER before others, then the one that was there first."""
    there = [one for one in participants or () if one.has_address(address)]
    there.sort(key=lambda one: (one.type != ParticipantType.CUSTOMER, one.created_at or "", one.id))
    return there[0] if there else None


def list_with(
    conversation_id: str, addresses: Iterable[Address]
) -> Generator[Request, Any, list[Participant] | ApiError]:
    """List the participants, twice where somebody at `addresses` is missed in a list of many.

    What a page token means while others come and go is not documented: a page may shift, and whoever is missed for
    that would be added once more, or be nobody. Who is in either list is taken for there.
    """
    listed: list[Participant] | ApiError = yield ListParticipants(conversation_id)
    if isinstance(listed, ApiError) or len(listed) < MANY or all(_at(address, listed) for address in addresses):
        return listed
    again = yield ListParticipants(conversation_id)
    return again if isinstance(again, ApiError) else list({one.id: one for one in (*listed, *again)}.values())


@dataclass(frozen=True, slots=True)
class MessageResolver:
    """Resolves inbound messages of one configuration; `our_type` is the type that our side gets where we create it."""

    configuration_id: str
    our_type: str = ParticipantType.AI_AGENT

    def resolve(self, message: MessageReceived, *, is_unsure: bool = False) -> Resolution:
        """Find or create the customer's participant; `is_unsure` if an earlier try may have had an effect."""
        for _ in range(ROUNDS):
            outcome = yield from self._enter(message, is_unsure=is_unsure)
            if isinstance(outcome, Wait) and is_unsure:
                return replace(outcome, is_unsure=True)  # what was looked up is not settled yet: look again
            if outcome is not None:
                return outcome
            is_unsure = False
        return Wait("its conversations keep closing", SHORT_WAIT)

    def _enter(self, message: MessageReceived, *, is_unsure: bool) -> _Part:
        if is_unsure:
            found = yield FindConversations(message.message_sid)
            if isinstance(found, ApiError):
                setback = setback_of(found, "looking for what an unanswered POST did")
                return Wait(setback.reason, setback.delay, is_unsure=True) if isinstance(setback, Wait) else setback
            if found:
                return (yield from self._join(message, found[0].id))
        answer = yield CreateConversation(self.configuration_id, (self._customer(message), self._ours(message)))
        if isinstance(answer, Conversation):
            return (yield from self._opened(message, answer))
        if isinstance(answer, ConflictError):
            return (yield from self._conflict(message, answer))
        setback = setback_of(answer, "creating the conversation")
        if isinstance(setback, Wait) and setback.is_unsure and not is_unsure:
            return (yield from self._enter(message, is_unsure=True))
        return setback

    def _opened(self, message: MessageReceived, conversation: Conversation) -> _Part:
        """Take what came back with the new conversation; list only where the answer left the participants out."""
        customer = _at(message.customer, conversation.participants)
        if customer is None:
            return (yield from self._join(message, conversation.id, conversation, origin="created"))
        ours = _at(message.recipient, conversation.participants)
        return Resolved(conversation.id, customer, "created", conversation, (ours,) if ours else ())

    def _conflict(self, message: MessageReceived, conflict: ConflictError) -> _Part:
        """Go to the conversation that a 409 names; where it names none, look through the open ones."""
        if conflict.conflicting_id:
            return (yield from self._join(message, conflict.conflicting_id))
        found = yield FindConversations()
        if isinstance(found, ApiError):
            return setback_of(found, "looking for the conversation that a 409 did not name")
        for conversation in found:
            is_ours = conversation.configuration_id in {None, self.configuration_id}
            if is_ours and _at(message.customer, conversation.participants):
                return (yield from self._join(message, conversation.id, conversation))
        return Unusable("a 409 that names no conversation, and no open one has the address", is_certain=False)

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
        repaired = yield from self.repair(conversation_id, customer, ParticipantType.CUSTOMER)
        if isinstance(repaired, Wait):
            return repaired
        if ours is None:
            return Resolved(conversation_id, repaired, origin, conversation)
        seen = yield from self.repair(conversation_id, ours, self.our_type)
        return seen if isinstance(seen, Wait) else Resolved(conversation_id, repaired, origin, conversation, (seen,))

    def repair(
        self, conversation_id: str, participant: Participant, wanted: str
    ) -> Generator[Request, Any, Participant | Wait]:
        """Give an UNKNOWN the type that the message proves; all four fields, because PUT clears what it lacks."""
        if participant.type not in {None, ParticipantType.UNKNOWN}:
            return participant
        answer = yield ReplaceParticipant(conversation_id, participant.id, participant.as_replacement(type=wanted))
        if isinstance(answer, Participant):
            return answer
        setback = setback_of(answer, "repairing an UNKNOWN participant")
        # A conflict or a refusal leaves it as it is: UNKNOWN participants are announced all the same.
        return setback if isinstance(setback, Wait) else participant

    def _add(self, message: MessageReceived, conversation_id: str, ours: Participant | None) -> _Part:
        answer = yield CreateParticipant(conversation_id, self._customer(message))
        seen = (ours,) if ours else ()
        if isinstance(answer, Participant):
            return Resolved(conversation_id, answer, "created", None, seen)
        setback = setback_of(answer, "adding the participant")
        if isinstance(setback, Wait) and not setback.is_unsure:
            return setback
        # A 409, a refusal or a lost answer: the list tells whether it is there now.
        participants = yield from list_with(conversation_id, [message.customer])
        if isinstance(participants, ApiError):
            return None if isinstance(participants, NotFoundError) else setback_of(participants, "listing again")
        customer = _at(message.customer, participants)
        if customer is not None:
            return Resolved(conversation_id, customer, "found", None, seen)
        return (yield from self._refused(message, conversation_id, answer, setback))

    def _refused(
        self, message: MessageReceived, conversation_id: str, error: ApiError, setback: Wait | Unusable
    ) -> _Part:
        """See why a participant may not enter: its conversation has closed, or another one holds its address."""
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
        return make_new(ParticipantType.CUSTOMER, message.customer, message.message_sid)

    def _ours(self, message: MessageReceived) -> NewParticipant:
        return make_new(self.our_type, message.recipient, None)


def make_new(kind: str, address: Address, channel_id: str | None) -> NewParticipant:
    """Return a participant to create; its channelId makes it findable if the answer gets lost."""
    entry = ParticipantAddress(channel=address.channel, address=address.value, channel_id=channel_id)
    return NewParticipant(type=kind, addresses=(entry,))


def explore(conversation_id: str) -> Resolution:
    """Find out what the policy may want to know of a conversation that was told of by callback.

    A conversation that does not exist (any more) has nothing to tell: that is an answer too.
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
        return Ignored("its conversation does not exist any more")
    if isinstance(participants, ApiError):
        return setback_of(participants, "listing the participants")
    found = _at(author.as_address(), participants)
    return Resolved(conversation_id, found, "found") if found else Ignored("its author is no participant")
