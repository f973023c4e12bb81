"""Communications: recording them. Each is traffic, which restarts the timers and makes an INACTIVE conversation ACTIVE.

Recording sends nothing; sending is an action. A `resourceId` that the conversation already has updates its
communication instead of adding another.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from router.core.resources import ConversationStatus, ParticipantAddress
from router.sandbox.errors import invalid
from router.sandbox.v2.conversations import change_conversation
from router.sandbox.v2.membership import find_holder
from router.sandbox.v2.records import CommunicationRecord

if TYPE_CHECKING:
    from router.sandbox.bodies import Wire
    from router.sandbox.state import SandboxState
    from router.sandbox.v2.bodies import NewCommunication, PartyBody
    from router.sandbox.v2.records import ConversationRecord


#: Ids that are kept of one conversation's authors and recipients who are no participants.
KEEP_ABSENT: Final = 1_000


@dataclass(frozen=True, slots=True)
class SandboxUtterance:
    """The content of a communication to record; `author` and `recipients` are in wire form."""

    author: Wire
    recipients: tuple[Wire, ...]
    content: Wire
    channel_id: str | None = None
    resource_id: str | None = None
    occurred_at: str | None = None


def create_communication(
    state: SandboxState, conversation: ConversationRecord, body: NewCommunication
) -> CommunicationRecord:
    """Record the communication of a request; raises RefusalError (400) for an unknown participant."""
    recipients = tuple(
        _party(state, conversation, each, f"recipients[{number}]") | {"deliveryStatus": "DELIVERED"}
        for number, each in enumerate(body.recipients)
    )
    content: Wire = {"type": body.content.type, "text": body.content.text}
    if body.content.transcription is not None:
        content["transcription"] = body.content.transcription.model_dump(by_alias=True, exclude_unset=True)
    utterance = SandboxUtterance(
        author=_party(state, conversation, body.author, "author"),
        recipients=recipients,
        content=content,
        channel_id=body.channel_id,
        resource_id=body.resource_id,
        occurred_at=body.occurred_at,
    )
    return record_communication(state, conversation, utterance)


def record_communication(
    state: SandboxState, conversation: ConversationRecord, utterance: SandboxUtterance, *, by_api: bool = True
) -> CommunicationRecord:
    """Record a communication or, if its resource id is known, update it."""
    known = conversation.communications.get(conversation.resources.get(utterance.resource_id or "", ""))
    if known is not None:
        known.author, known.recipients = utterance.author, list(utterance.recipients)
        known.content = utterance.content
        touch_communication(state, conversation, known, by_api=by_api)
        return known
    moment = state.clock.moment()
    record = CommunicationRecord(
        id=state.make_id("conv_communication", moment),
        moment=moment,
        updated_at=moment,
        conversation_id=conversation.id,
        account_id=conversation.account_id,
        author=utterance.author,
        recipients=list(utterance.recipients),
        content=utterance.content,
        channel_id=utterance.channel_id,
        resource_id=utterance.resource_id,
        occurred_at=utterance.occurred_at,
    )
    _keep(state, conversation, record)
    _take_traffic(state, conversation, record, by_api=by_api)
    state.emit(conversation, "COMMUNICATION_CREATED", record.to_wire(state.text), by_api=by_api)
    return record


def touch_communication(
    state: SandboxState, conversation: ConversationRecord, record: CommunicationRecord, *, by_api: bool = True
) -> None:
    """Mark a communication as updated."""
    record.updated_at = state.clock.moment()
    state.emit(conversation, "COMMUNICATION_UPDATED", record.to_wire(state.text), by_api=by_api)


def party(
    state: SandboxState,
    conversation: ConversationRecord,
    channel: str,
    address: str,
    participant_id: str | None = None,
) -> Wire:
    """Return an author or recipient in wire form, with the id of the participant that has the address.

    An address without a participant has an id of its own (switch: null), since Twilio's agent SDK needs one.
    """
    if participant_id is None:
        end = ParticipantAddress(channel=channel, address=address)
        holder = find_holder(conversation, [end])
        participant_id = holder.id if holder else _absent_id(state, conversation, end)
    return {"address": address, "channel": channel, "participantId": participant_id}


def _absent_id(state: SandboxState, conversation: ConversationRecord, end: ParticipantAddress) -> str | None:
    if state.options.absent_party_id == "null":
        return None
    if end.key not in conversation.absent_parties:
        conversation.absent_parties[end.key] = state.make_id("conv_participant", state.clock.moment())
        if len(conversation.absent_parties) > KEEP_ABSENT:
            del conversation.absent_parties[next(iter(conversation.absent_parties))]
    return conversation.absent_parties[end.key]


def _party(state: SandboxState, conversation: ConversationRecord, body: PartyBody, field: str) -> Wire:
    if body.participant_id is not None and conversation.participants.get(body.participant_id) is None:
        raise invalid(f"{field}.participantId", "is not a participant of this conversation")
    return party(state, conversation, body.channel.value, body.address, body.participant_id)


def _keep(state: SandboxState, conversation: ConversationRecord, record: CommunicationRecord) -> None:
    conversation.communications.add(record)
    state.resource_ids.add(_ids(record), conversation.id)
    if record.resource_id:
        conversation.resources[record.resource_id] = record.id
    if len(conversation.communications) > state.options.keep_communications:
        oldest = conversation.communications.ordered[0]
        conversation.communications.remove(oldest.id)
        state.resource_ids.discard(_ids(oldest), conversation.id)
        conversation.resources.pop(oldest.resource_id or "", None)


def _ids(record: CommunicationRecord) -> list[str]:
    return [each for each in (record.channel_id, record.resource_id) if each]


def _take_traffic(
    state: SandboxState, conversation: ConversationRecord, record: CommunicationRecord, *, by_api: bool
) -> None:
    conversation.timers_started_at = state.clock.now()
    conversation.traffic_channels.add(record.author["channel"])
    if conversation.status == ConversationStatus.INACTIVE:
        change_conversation(
            state, conversation, name=conversation.name, status=ConversationStatus.ACTIVE, by_api=by_api
        )
    else:
        state.schedule(conversation)
