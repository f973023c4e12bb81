"""Resolution of a group message: its sender as usual, then every further member, all in one conversation.

A generator without I/O. A member that the API refuses (its address belongs to another conversation, for example) is
left out with the reason; the others are announced all the same.
"""

from __future__ import annotations

from collections.abc import Generator
from typing import TYPE_CHECKING, Any, Final

from router.core.errors import ApiError, NotFoundError
from router.core.resolution.messages import list_with, make_new
from router.core.resolution.requests import CreateParticipant, FetchConversation, GroupMember, Request, Resolved, Wait
from router.core.resolution.setbacks import SHORT_WAIT, setback_of
from router.core.resources import AGENT_TYPES, ConversationStatus, Participant, ParticipantType
from router.core.values import replace

if TYPE_CHECKING:
    from collections.abc import Sequence

    from router.core.addresses import Address
    from router.core.events import MessageReceived
    from router.core.resolution.messages import MessageResolver
    from router.core.resolution.requests import Resolution, ResolutionOutcome

#: The reason for a member whom the API refuses with a 409 that names another conversation.
ELSEWHERE: Final = "its address is held by another conversation"

_Part = Generator[Request, Any, GroupMember | Wait]


def resolve_group(
    resolver: MessageResolver, message: MessageReceived, members: Sequence[Address], *, is_unsure: bool = False
) -> Resolution:
    """Find or create the sender's participant, then one for each of `members`, all in one conversation."""
    outcome: ResolutionOutcome = yield from resolver.resolve(message, is_unsure=is_unsure)
    if not members or not isinstance(outcome, Resolved) or outcome.participant.type in AGENT_TYPES:
        return outcome
    listed = yield from list_with(outcome.conversation_id, members)
    if isinstance(listed, ApiError):
        return _wait_after(listed)
    present, found = _by_address(listed), []
    for address in members:
        known = present.get(address.key)
        if known is None:
            member = yield from _add(message, outcome.conversation_id, address)
        else:  # the message proves that an UNKNOWN is a customer
            repaired = yield from resolver.repair(
                outcome.conversation_id, known, ParticipantType.CUSTOMER, name=address.value
            )
            member = repaired if isinstance(repaired, Wait) else GroupMember(address, repaired)
        if isinstance(member, Wait):
            return member
        found.append(member)
    return replace(outcome, members=tuple(found))


def _by_address(participants: Sequence[Participant]) -> dict[str, Participant]:
    """Return the participants by address key; where several share an address, a CUSTOMER before others."""
    ranked = sorted(participants, key=lambda one: one.type == ParticipantType.CUSTOMER)
    return {address.key: one for one in ranked for address in one.addresses}


def _add(message: MessageReceived, conversation_id: str, address: Address) -> _Part:
    body = make_new(ParticipantType.CUSTOMER, address, message.message_sid)
    answer = yield CreateParticipant(conversation_id, body)
    if isinstance(answer, Participant):
        return GroupMember(address, answer, "created")
    setback = setback_of(answer, "adding a group member")
    if isinstance(setback, Wait) and not setback.is_unsure:
        return setback
    # After a 409, a refusal or a lost answer, the list shows whether the member is present.
    listed = yield from list_with(conversation_id, [address])
    if isinstance(listed, ApiError):
        return _wait_after(listed)
    known = _by_address(listed).get(address.key)
    if known is not None:
        return GroupMember(address, known)
    return setback if isinstance(setback, Wait) else (yield from _refused(conversation_id, address, answer))


def _refused(conversation_id: str, address: Address, error: ApiError) -> _Part:
    """Leave a member out; if the conversation has closed instead, wait, so that the whole message is resolved again."""
    conversation = yield FetchConversation(conversation_id)
    if isinstance(conversation, ApiError):
        return _wait_after(conversation)
    if conversation.status == ConversationStatus.CLOSED:
        return Wait("its conversation has just closed", SHORT_WAIT)
    is_elsewhere = error.conflicting_id is not None and error.conflicting_id != conversation_id
    return GroupMember(address, reason=ELSEWHERE if is_elsewhere else f"the API refuses it: {error.status}")


def _wait_after(error: ApiError) -> Wait:
    """Return the wait after a failed read: the sender is resolved, so no such error makes the event unusable."""
    if isinstance(error, NotFoundError):
        return Wait("its conversation is gone", SHORT_WAIT)
    setback = setback_of(error, "looking for group members")
    return setback if isinstance(setback, Wait) else Wait(setback.reason, SHORT_WAIT)
