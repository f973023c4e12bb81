"""Passive capture: what Twilio does with a message or call to a captured number.

It finds the open conversation by the grouping rules or opens one, adds the missing sides as participants, and records
the text. Sources contradict each other on the participants' types, so the caller may give them (null: no participant);
by default the customer is a CUSTOMER and our side has the type of the switch `passive_agent_type`. A grouping conflict
never refuses traffic.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from pydantic import Field

from router.core.addresses import Address, Channel
from router.core.resources import AGENT_TYPES, ParticipantAddress, ParticipantType
from router.sandbox.bodies import Body, Text
from router.sandbox.v2.bodies import AddressBody, InlineParticipant
from router.sandbox.v2.communications import SandboxUtterance, party, record_communication
from router.sandbox.v2.configurations import find_by_id_or_name
from router.sandbox.v2.conversations import new_conversation, open_conversation
from router.sandbox.v2.grouping import NO_ANCHORS, GroupingMember, keys_of
from router.sandbox.v2.membership import (
    ParticipantDraft,
    find_collision,
    find_holder,
    hold_absent_customer,
    insert,
    pin_anchor,
    replace,
)
from router.sandbox.v2.participants import make_draft, resolve_profile

if TYPE_CHECKING:
    from router.sandbox.state import SandboxState
    from router.sandbox.v2.records import (
        CommunicationRecord,
        ConversationRecord,
        ConversationSettings,
        ParticipantRecord,
    )

#: Channels on which a participant's address carries the id of its call or classic conversation.
_ADDRESS_CARRIES_ID: Final = frozenset({Channel.VOICE, Channel.CHAT, Channel.VIDEO})


class CaptureBody(Body):
    """The body of POST /sandbox/capture; `from` is the customer. Without a `body` (a call) no text is recorded.

    `conversationId` names the conversation, as TwiML can.
    """

    channel: Channel
    sender: Text = Field(alias="from")
    to: Text
    body: str | None = None
    channel_id: str | None = None
    resource_id: Text | None = None
    customer_type: ParticipantType | None = ParticipantType.CUSTOMER
    agent_type: ParticipantType | None = None
    configuration_id: str | None = None
    conversation_id: str | None = None


@dataclass(frozen=True, slots=True)
class CaptureResult:
    """The conversation that took the traffic, and the communication that recorded it."""

    conversation: ConversationRecord
    communication: CommunicationRecord | None
    is_new: bool


def capture(state: SandboxState, body: CaptureBody) -> CaptureResult:
    """Capture traffic; raises RefusalError: 404 for an unknown configuration or conversation, 409 for a closed one."""
    first = next((each.id for each in state.configurations), "of the sandbox")
    settings = find_by_id_or_name(state.configurations, body.configuration_id or first).settings
    customer = _customer(state, body)
    named = body.conversation_id
    conversation = state.find_open(named) if named else _find(state, settings, body, customer)
    is_new = conversation is None
    if conversation is None:
        conversation = new_conversation(state, settings)
    pin_anchor(state, conversation, body.channel, Address(body.channel, body.to).canonical)
    moved = _move_call(state, conversation, body)
    added = _add_sides(state, conversation, body)
    holder = find_holder(conversation, [ParticipantAddress(channel=body.channel, address=body.sender)])
    if holder is None or holder.type in AGENT_TYPES:
        hold_absent_customer(state, conversation, customer)
    if is_new:
        open_conversation(state, conversation, by_api=False)
    else:
        events = [("PARTICIPANT_UPDATED", each) for each in moved] + [("PARTICIPANT_ADDED", each) for each in added]
        for event_type, participant in events:
            state.emit(conversation, event_type, state.participant_wire(participant), by_api=False)
    communication = None if body.body is None else _record(state, conversation, body)
    return CaptureResult(conversation, communication, is_new)


def _customer(state: SandboxState, body: CaptureBody) -> GroupingMember:
    address = ParticipantAddress(channel=body.channel, address=body.sender)
    kind, profile_id = resolve_profile(state, ParticipantType.CUSTOMER, None, (address,))
    return GroupingMember(kind, profile_id, ((address.channel, address.as_address().canonical),))


def _find(
    state: SandboxState, settings: ConversationSettings, body: CaptureBody, customer: GroupingMember
) -> ConversationRecord | None:
    anchors = NO_ANCHORS.pin(body.channel, Address(body.channel, body.to).canonical)
    claimed = keys_of(customer, anchors, settings.grouping).claimed
    return find_collision(state, settings.configuration_id, claimed, has_inactive=True)


def _add_sides(state: SandboxState, conversation: ConversationRecord, body: CaptureBody) -> list[ParticipantRecord]:
    """Add the sides that are not participants yet."""
    agent_type = body.agent_type if "agent_type" in body.model_fields_set else state.options.passive_agent_type
    channel_id = body.channel_id if body.channel in _ADDRESS_CARRIES_ID else None
    sides = ((body.sender, body.customer_type, channel_id), (body.to, agent_type, None))
    drafts = []
    for address, kind, side_id in sides:
        known = find_holder(conversation, [ParticipantAddress(channel=body.channel, address=address)])
        is_next_call = known is not None and side_id is not None and not _holders(conversation, body, side_id)
        if kind is None or (known is not None and not (is_next_call and body.channel == Channel.VOICE)):
            continue
        addresses = (AddressBody.model_construct(channel=body.channel, address=address, channel_id=side_id),)
        side = InlineParticipant.model_construct(type=kind, name=address, profile_id=None, addresses=addresses)
        drafts.append(make_draft(state, side))
    return insert(state, conversation, drafts, is_checked=False)


def _move_call(state: SandboxState, conversation: ConversationRecord, body: CaptureBody) -> list[ParticipantRecord]:
    """Give the customer's address the CallSid of the next call, if the switch says so; returns who was changed."""
    sid = body.channel_id
    if body.channel != Channel.VOICE or not sid or state.options.call_participant == "new":
        return []
    holders = _holders(conversation, body)
    if not holders or _holders(conversation, body, sid):
        return []
    customer, key = holders[0], ParticipantAddress(channel=body.channel, address=body.sender).key
    addresses = tuple(
        each.model_copy(update={"channel_id": sid}) if each.key == key else each for each in customer.addresses
    )
    draft = ParticipantDraft(customer.type, customer.name, customer.profile_id, addresses)
    replace(state, conversation, customer, draft)
    return [customer]


def _holders(
    conversation: ConversationRecord, body: CaptureBody, channel_id: str | None = None
) -> list[ParticipantRecord]:
    """Return the participants with the customer's address, or only those with `channel_id` on it."""
    key = ParticipantAddress(channel=body.channel, address=body.sender).key
    return [
        participant
        for participant in conversation.participants
        for each in participant.addresses
        if each.key == key and channel_id in {None, each.channel_id}
    ]


def _record(state: SandboxState, conversation: ConversationRecord, body: CaptureBody) -> CommunicationRecord:
    kind = "TRANSCRIPTION" if body.channel == Channel.VOICE else "TEXT"
    recipient = party(state, conversation, body.channel.value, body.to) | {"deliveryStatus": "DELIVERED"}
    utterance = SandboxUtterance(
        author=party(state, conversation, body.channel.value, body.sender),
        recipients=(recipient,),
        content={"type": kind, "text": body.body},
        channel_id=body.channel_id,
        resource_id=body.resource_id,
    )
    return record_communication(state, conversation, utterance, by_api=False)
