"""Somebody else who changes a conversation in the very moment in which it is read: what a fault can order."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from router.core.addresses import Channel
from router.core.resources import ParticipantAddress, ParticipantType
from router.sandbox.v2.membership import ParticipantDraft, place
from router.sandbox.v2.participants import remove_participant

if TYPE_CHECKING:
    from router.sandbox.state import SandboxState


def churn(state: SandboxState, conversation_id: str, change: Literal["removal", "addition"]) -> None:
    """Take out the participant that a conversation's list shows first, or add an agent, where it is open."""
    conversation = state.conversations.get(conversation_id)
    if conversation is None or conversation.is_closed:
        return
    if change == "addition":
        address = f"churn-{len(conversation.participants)}-{state.entropy.getrandbits(32):08x}"
        addresses = (ParticipantAddress(channel=Channel.CHAT, address=address),)
        (participant,) = place(
            state, conversation, [ParticipantDraft(ParticipantType.HUMAN_AGENT, None, None, addresses)]
        )
        state.emit(conversation, "PARTICIPANT_ADDED", participant.to_wire(state.text), by_api=False)
    elif conversation.participants.ordered:
        newest = -1 if state.options.list_order == "descending" else 0
        remove_participant(state, conversation, conversation.participants.ordered[newest])
