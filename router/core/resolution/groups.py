"""Resolution of a group message: its sender as always, then every further member into the same conversation.

Sans-I/O like core.resolution. A member whom the API does not let in (its address belongs to another conversation,
say) is left out with the reason and keeps nobody else from being announced.
"""

from __future__ import annotations

from collections.abc import Generator
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Final

from router.core.errors import ApiError, NotFoundError
from router.core.resolution.messages import list_with, make_new
from router.core.resolution.requests import CreateParticipant, FetchConversation, GroupMember, Request, Resolved, Wait
from router.core.resolution.setbacks import SHORT_WAIT, setback_of
from router.core.resources import AGENT_TYPES, ConversationStatus, Participant, ParticipantType

if TYPE_CHECKING:
    from collections.abc import Sequence

    from router.core.addresses import Address
    from router.core.events import MessageReceived
    from router.core.resolution.messages import MessageResolver
    from router.core.resolution.requests import Resolution, ResolutionOutcome

#: Why a member is left out.
ELSEWHERE: Final = "its address is held by another conversation"

_Part = Generator[Request, Any, GroupMember | Wait]


def resolve_group(
    resolver: MessageResolver, message: MessageReceived, members: Sequence[Address], *, is_unsure: bool = False
) -> Resolution:
    """Find or create the sender's participant, then one for each of `members`, all in one conversation."""
    outcome: ResolutionOutcome = yield from resolver.resolve(message, is_unsure=is_unsure)
    if not members or not isinstance(outcome, Resolved) or outcome.participant.type in AGENT_TYPES:
        return outcome
    there = yield from list_with(outcome.conversation_id, members)
    if isinstance(there, ApiError):
        return _setback(there)
    seats, found = _seats(there), []
    for address in members:
        known = seats.get(address.key)
        if known is None:
            member = yield from _add(message, outcome.conversation_id, address)
        else:  # an UNKNOWN becomes the customer that the message proves it to be
            seen = yield from resolver.repair(outcome.conversation_id, known, ParticipantType.CUSTOMER)
            member = seen if isinstance(seen, Wait) else GroupMember(address, seen)
        if isinstance(member, Wait):
            return member
        found.append(member)
    return replace(outcome, members=tuple(found))


def _seats(participants: Sequence[Participant]) -> dict[str, Participant]:
    """Return who sits at which address; a CUSTOMER before others."""
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
    # A 409, a refusal or a lost answer: the list tells whether it is there now.
    there = yield from list_with(conversation_id, [address])
    if isinstance(there, ApiError):
        return _setback(there)
    known = _seats(there).get(address.key)
    if known is not None:
        return GroupMember(address, known)
    return setback if isinstance(setback, Wait) else (yield from _refused(conversation_id, address, answer))


def _refused(conversation_id: str, address: Address, error: ApiError) -> _Part:
    """Leave a member out, unless it is the conversation that has ended: then all begin anew."""
    conversation = yield FetchConversation(conversation_id)
    if isinstance(conversation, ApiError):
        return _setback(conversation)
    if conversation.status == ConversationStatus.CLOSED:
        return Wait("its conversation has just closed", SHORT_WAIT)
    is_elsewhere = error.conflicting_id is not None and error.conflicting_id != conversation_id
    return GroupMember(address, reason=ELSEWHERE if is_elsewhere else f"the API refuses it: {error.status}")


def _setback(error: ApiError) -> Wait:
    """Return the wait that a read which failed asks for: the sender is fine, so nothing of it is the event's fault."""
    if isinstance(error, NotFoundError):
        return Wait("its conversation is gone", SHORT_WAIT)
    setback = setback_of(error, "looking for group members")
    return setback if isinstance(setback, Wait) else Wait(setback.reason, SHORT_WAIT)
