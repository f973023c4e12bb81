"""Reads a snapshot of a conversation from the API, to be compared with its committed state: a generator without I/O.

It yields requests as a resolution does and returns a ConversationSnapshot, None for a conversation that no longer
exists, or the ApiError of a request that failed: then nothing is known. Pages may shift while a list is read, so a
list proves presence only: an expected participant that it lacks is fetched by id.
"""

from __future__ import annotations

from collections.abc import Collection, Generator
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
from router.core.values import Value

#: Yields requests; is sent each answer, or the ApiError as a value.
SnapshotReading = Generator[Request | ClassicRequest, Any, "ConversationSnapshot | ApiError | None"]


class ConversationSnapshot(Value):
    """A conversation as the API shows it: its members, and the expected ids that the API does not know (`gone`).

    Members of a closed conversation are not read, since its closing ends all stays.
    """

    conversation: Conversation
    members: tuple[Member, ...] = ()
    gone: frozenset[str] = frozenset()

    @property
    def is_closed(self) -> bool:
        """Whether the conversation is closed, which is final."""
        return self.conversation.status == ConversationStatus.CLOSED


class _ConversationRef(Value):
    """A conversation, of v2 or classic (in the service `service_sid`), and the requests about it."""

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


def read_snapshot(conversation_id: str, expected: Collection[str], service_sid: str | None = None) -> SnapshotReading:
    """Read a conversation: two requests, and one for each of the `expected` ids that the list lacks."""
    ref = _ConversationRef(conversation_id, service_sid)
    answer = yield ref.fetch()
    if isinstance(answer, ApiError):
        return None if isinstance(answer, NotFoundError) else answer
    conversation = to_conversation(answer) if isinstance(answer, ClassicConversation) else answer
    if conversation.status == ConversationStatus.CLOSED:
        return ConversationSnapshot(conversation)
    listed = yield ref.list()
    if isinstance(listed, ApiError):
        return None if isinstance(listed, NotFoundError) else listed
    members = [ref.read(each) for each in listed]
    gone = set()
    for participant_id in sorted(set(expected) - {member.participant.id for member in members}):
        answer = yield ref.fetch_participant(participant_id)
        if isinstance(answer, NotFoundError):
            gone.add(participant_id)
        elif isinstance(answer, ApiError):
            return answer
        else:
            members.append(ref.read(answer))
    return ConversationSnapshot(conversation, tuple(members), frozenset(gone))
