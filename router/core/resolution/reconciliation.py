"""What the API shows of a conversation, to be compared with what is committed of it: a generator without I/O.

It yields requests as a resolution does (core.resolution) and ends in a Sight, in None for a conversation that does not
exist any more, or in the ApiError of a request that failed: then nothing is known. A list tells who is there, not who
is gone, because a page may shift while it is read: whoever is missed in it is asked for by id.
"""

from __future__ import annotations

from collections.abc import Collection, Generator
from dataclasses import dataclass
from typing import Any

from router.core.classic.members import Member, from_resource, is_classic, to_conversation
from router.core.classic.resources import ClassicConversation, ClassicParticipant
from router.core.errors import ApiError, NotFoundError
from router.core.resolution.requests import (
    ClassicRequest,
    FetchClassicConversation,
    FetchClassicParticipant,
    FetchConversation,
    FetchParticipant,
    ListClassicParticipants,
    ListParticipants,
    Request,
)
from router.core.resources import Conversation, ConversationStatus, Participant

#: A request's answer, or the ApiError as a value.
Look = Generator[Request | ClassicRequest, Any, "ConversationSnapshot | ApiError | None"]


@dataclass(frozen=True, slots=True)
class ConversationSnapshot:
    """What the API shows of a conversation: who is in it, and which of those that were expected it does not know.

    Of a closed conversation nobody is told: its closing ends all stays.
    """

    conversation: Conversation
    members: tuple[Member, ...] = ()
    gone: frozenset[str] = frozenset()

    @property
    def is_closed(self) -> bool:
        """Tell whether it has closed, which is final."""
        return self.conversation.status == ConversationStatus.CLOSED


@dataclass(frozen=True, slots=True)
class _ConversationRef:
    """A conversation, of v2 or classic (in `service_sid`), and what is asked of it."""

    conversation_id: str
    service_sid: str | None

    @property
    def is_classic(self) -> bool:
        return is_classic(self.conversation_id)

    def fetch(self) -> Request | ClassicRequest:
        if self.is_classic:
            return FetchClassicConversation(self.conversation_id, self.service_sid)
        return FetchConversation(self.conversation_id)

    def list(self) -> Request | ClassicRequest:
        if self.is_classic:
            return ListClassicParticipants(self.conversation_id, self.service_sid)
        return ListParticipants(self.conversation_id)

    def fetch_participant(self, participant_id: str) -> Request | ClassicRequest:
        if self.is_classic:
            return FetchClassicParticipant(self.conversation_id, participant_id, self.service_sid)
        return FetchParticipant(self.conversation_id, participant_id)

    def read(self, answer: Participant | ClassicParticipant) -> Member:
        if isinstance(answer, ClassicParticipant):
            return from_resource(answer, self.conversation_id)
        return Member(answer, None, None)


def look_at(conversation_id: str, expected: Collection[str], service_sid: str | None = None) -> Look:
    """See how a conversation is: two requests, and one for each participant `expected` (ids) that is not listed."""
    place = _ConversationRef(conversation_id, service_sid)
    answer = yield place.fetch()
    if isinstance(answer, ApiError):
        return None if isinstance(answer, NotFoundError) else answer
    conversation = to_conversation(answer) if isinstance(answer, ClassicConversation) else answer
    if conversation.status == ConversationStatus.CLOSED:
        return ConversationSnapshot(conversation)
    listed = yield place.list()
    if isinstance(listed, ApiError):
        return None if isinstance(listed, NotFoundError) else listed
    members = [place.read(each) for each in listed]
    gone = set()
    for participant_id in sorted(set(expected) - {member.participant.id for member in members}):
        answer = yield place.fetch_participant(participant_id)
        if isinstance(answer, NotFoundError):
            gone.add(participant_id)
        elif isinstance(answer, ApiError):
            return answer
        else:
            members.append(place.read(answer))
    return ConversationSnapshot(conversation, tuple(members), frozenset(gone))
