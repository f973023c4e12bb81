"""Actions: messages from agents to customers. PENDING once accepted, then COMPLETED with a communication, or FAILED.

Completing an action records the message as a communication of its sender, with its delivery. No message leaves the
sandbox. SMS, RCS, WHATSAPP and CHAT can send; VOICE only receives.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from router.core.addresses import Address, Channel
from router.sandbox.errors import invalid, not_found
from router.sandbox.v2.communications import SandboxUtterance, party, record_communication, touch_communication
from router.sandbox.v2.records import ActionRecord

if TYPE_CHECKING:
    from router.sandbox.bodies import Wire
    from router.sandbox.state import SandboxState
    from router.sandbox.v2.bodies import ActionPartyBody, ActionPayload, NewAction
    from router.sandbox.v2.records import ConversationRecord

_SENDABLE: Final = frozenset({Channel.SMS, Channel.RCS, Channel.WHATSAPP, Channel.CHAT})
KEEP_ACTIONS: Final = 1_000


def create_action(
    state: SandboxState, conversation: ConversationRecord, body: NewAction
) -> tuple[ActionRecord, SandboxUtterance]:
    """Accept an action, which the caller completes later with the utterance. Raises RefusalError (400)."""
    moment = state.clock.moment()
    message_sid = f"SM{state.entropy.getrandbits(128):032x}"
    utterance = _utterance(state, conversation, body.payload, message_sid)
    action = ActionRecord(
        id=state.make_id("conv_action", moment),
        moment=moment,
        updated_at=moment,
        conversation_id=conversation.id,
        type=state.options.action_type,
        related={"messageSid": message_sid},
    )
    conversation.actions[action.id] = action
    if len(conversation.actions) > KEEP_ACTIONS:
        del conversation.actions[next(iter(conversation.actions))]
    return action, utterance


def complete_action(
    state: SandboxState, conversation: ConversationRecord, action: ActionRecord, utterance: SandboxUtterance
) -> None:
    """Complete or fail an action; does nothing if its conversation was deleted or reset meanwhile."""
    if state.conversations.get(conversation.id) is not conversation:
        return
    action.updated_at = action.completed_at = state.clock.moment()
    if conversation.is_closed or state.options.action_outcome == "FAILED":
        action.status = "FAILED"
        action.failure_reason = "Conversation is closed" if conversation.is_closed else "Message could not be sent"
        return
    record = record_communication(state, conversation, utterance)
    action.status = "COMPLETED"
    action.related["communicationId"] = record.id
    for recipient in record.recipients:
        recipient["deliveryStatus"] = "DELIVERED"
    if state.options.delivery_updates:
        touch_communication(state, conversation, record)


def find_action(conversation: ConversationRecord, action_id: str) -> ActionRecord:
    """Return the action; raises RefusalError (404)."""
    action = conversation.actions.get(action_id)
    if action is None:
        raise not_found("Action", action_id)
    return action


def _utterance(
    state: SandboxState, conversation: ConversationRecord, payload: ActionPayload, message_sid: str
) -> SandboxUtterance:
    content: Wire = {"type": "TEXT", "text": payload.content.text or ""}
    recipients = tuple(
        _end(state, conversation, each, f"payload.to[{number}]") | {"deliveryStatus": "INITIATED"}
        for number, each in enumerate(payload.to)
    )
    author = _end(state, conversation, payload.sender, "payload.from")
    return SandboxUtterance(author, recipients, content, channel_id=message_sid, resource_id=message_sid)


def _end(state: SandboxState, conversation: ConversationRecord, body: ActionPartyBody, field: str) -> Wire:
    """Return one end of a message in wire form, from any of the three ways to name it."""
    if body.participant_id is None:
        channel, address = str(body.channel), str(body.address)
    else:
        participant = conversation.participants.get(body.participant_id)
        if participant is None:
            raise invalid(f"{field}.participantId", "is not a participant of this conversation")
        found = [
            each
            for each in participant.addresses
            if body.address is None or Address(each.channel, body.address).canonical == each.as_address().canonical
        ]
        if body.address is not None and not found:
            raise invalid(f"{field}.address", "is no address of the participant")
        found = [each for each in found if body.channel in {None, each.channel}]
        if not found or (body.channel is None and len(found) > 1):
            raise invalid(f"{field}.channel", "does not name exactly one address of the participant")
        channel, address = found[0].channel, found[0].address
    if channel not in _SENDABLE:
        raise invalid(f"{field}.channel", f"{channel} cannot send messages")
    return party(state, conversation, channel, address, body.participant_id)
