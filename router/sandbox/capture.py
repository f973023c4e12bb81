"""Passive capture: what Twilio does when a message or call comes in on a captured number.

Finds the open conversation by the grouping rules or opens one, adds the sides that are missing, records what was
said. Which types Twilio gives the sides is contradictory, so the caller may say them (null: no participant); by
default the outer side is a CUSTOMER and ours what the switch `passive_agent_type` says. Never refused by a grouping
conflict: traffic has to go somewhere.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from pydantic import Field

from router.core.addresses import Address, Channel
from router.core.participants import AGENT_TYPES, ParticipantAddress, ParticipantType
from router.sandbox.bodies import AddressBody, Body, InlineParticipant, Text
from router.sandbox.communications import Utterance, party, record_communication
from router.sandbox.configurations import find_configuration
from router.sandbox.conversations import new_conversation, open_conversation
from router.sandbox.grouping import NO_ANCHORS, Member, keys_of
from router.sandbox.membership import find_collision, find_holder, fix_anchor, hold_ghost, place
from router.sandbox.participants import make_draft
from router.sandbox.profiles import resolve_profile

if TYPE_CHECKING:
    from router.sandbox.records import CommunicationRecord, ConversationRecord, ParticipantRecord, Settings
    from router.sandbox.state import State

#: On these a participant's address carries the call or classic conversation that it belongs to.
_ADDRESS_CARRIES_ID: Final = frozenset({Channel.VOICE, Channel.CHAT, Channel.VIDEO})


class CaptureBody(Body):
    """The body of POST /sandbox/capture; `from` is the customer; without a `body` nothing is said (a call)."""

    channel: Channel
    sender: Text = Field(alias="from")
    to: Text
    body: str | None = None
    channel_id: str | None = None
    resource_id: Text | None = None
    customer_type: ParticipantType | None = ParticipantType.CUSTOMER
    agent_type: ParticipantType | None = None
    configuration_id: str | None = None


@dataclass(frozen=True, slots=True)
class Captured:
    """What came of it."""

    conversation: ConversationRecord
    communication: CommunicationRecord | None
    is_new: bool


def capture(state: State, body: CaptureBody) -> Captured:
    """Take in traffic; raises RefusalError (404) for an unknown configuration."""
    first = next((each.id for each in state.configurations), "of the sandbox")
    settings = find_configuration(state, body.configuration_id or first).settings
    member = _customer_side(state, body)
    conversation = _find(state, settings, body, member)
    is_new = conversation is None
    if conversation is None:
        conversation = new_conversation(state, settings)
    fix_anchor(state, conversation, body.channel, Address(body.channel, body.to).canonical)
    added = _seat(state, conversation, body)
    holder = find_holder(conversation, [ParticipantAddress(channel=body.channel, address=body.sender)])
    if holder is None or holder.type in AGENT_TYPES:
        hold_ghost(state, conversation, member)
    if is_new:
        open_conversation(state, conversation, by_api=False)
    else:
        for participant in added:
            state.emit(conversation, "PARTICIPANT_ADDED", participant.to_wire(state.text), by_api=False)
    communication = None if body.body is None else _record(state, conversation, body)
    return Captured(conversation, communication, is_new)


def _customer_side(state: State, body: CaptureBody) -> Member:
    address = ParticipantAddress(channel=body.channel, address=body.sender)
    kind, profile_id = resolve_profile(state, ParticipantType.CUSTOMER, None, (address,))
    return Member(kind, profile_id, ((address.channel, address.as_address().canonical),))


def _find(state: State, settings: Settings, body: CaptureBody, member: Member) -> ConversationRecord | None:
    anchors = NO_ANCHORS.fix(body.channel, Address(body.channel, body.to).canonical)
    claimed = keys_of(member, anchors, settings.grouping).claimed
    return find_collision(state, settings.configuration_id, claimed, has_inactive=True)


def _seat(state: State, conversation: ConversationRecord, body: CaptureBody) -> list[ParticipantRecord]:
    """Add the sides that have no participant yet."""
    agent_type = body.agent_type if "agent_type" in body.model_fields_set else state.options.passive_agent_type
    channel_id = body.channel_id if body.channel in _ADDRESS_CARRIES_ID else None
    sides = ((body.sender, body.customer_type, channel_id), (body.to, agent_type, None))
    drafts = []
    for address, kind, correlation in sides:
        known = find_holder(conversation, [ParticipantAddress(channel=body.channel, address=address)])
        if kind is None or known is not None:
            continue
        seat = AddressBody.model_construct(channel=body.channel, address=address, channel_id=correlation)
        drafts.append(
            make_draft(
                state,
                InlineParticipant.model_construct(type=kind, name=address, profile_id=None, addresses=(seat,)),
            )
        )
    return place(state, conversation, drafts, is_checked=False)


def _record(state: State, conversation: ConversationRecord, body: CaptureBody) -> CommunicationRecord:
    kind = "TRANSCRIPTION" if body.channel == Channel.VOICE else "TEXT"
    recipient = party(conversation, body.channel.value, body.to) | {"deliveryStatus": "DELIVERED"}
    utterance = Utterance(
        author=party(conversation, body.channel.value, body.sender),
        recipients=(recipient,),
        content={"type": kind, "text": body.body},
        channel_id=body.channel_id,
        resource_id=body.resource_id,
    )
    return record_communication(state, conversation, utterance, by_api=False)
