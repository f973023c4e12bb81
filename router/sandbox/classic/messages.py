"""Messages of classic conversations, from inbound messages, chat users and REST calls, and their delivery receipts.

A REST call may name any author; if a member has that name, the message is the member's. A message restarts the timers
and makes an inactive conversation active. The newest `keep_communications` of a conversation are kept.

Every other member who is no chat user gets a message by their channel, and has a receipt of it: sent, and then what the
switch `classic_delivery_status` says. No message leaves the sandbox.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from router.sandbox.classic.conversations import take_traffic
from router.sandbox.classic.errors import is_final, refuse
from router.sandbox.classic.events import message_fields, receipt_fields
from router.sandbox.classic.forms import MAX_MEMBER_ATTRIBUTES, check_attributes, check_media, read_date
from router.sandbox.classic.records import ClassicMessageRecord, MediaRecord, ReceiptRecord
from router.sandbox.classic.webhooks import Origin

if TYPE_CHECKING:
    from router.sandbox.classic.forms import MessageForm
    from router.sandbox.classic.records import ClassicConversationRecord, ClassicMember
    from router.sandbox.state import SandboxState

#: The author if a REST call names none.
SYSTEM: Final = "system"
#: The error code of a receipt that is failed or undelivered: "unknown error".
_NOT_DELIVERED: Final = 30008


def check_message(conversation: ClassicConversationRecord, form: MessageForm) -> None:
    """Raise RefusalError for an invalid new message, and for a closed conversation."""
    if conversation.is_closed:
        raise is_final()
    check_media(form.media_sid, form.content_sid, form.content_variables)
    if not (form.body or form.media_sid or form.content_sid):
        raise refuse(20001, "Body, MediaSid or ContentSid is required")
    check_attributes(form.attributes, MAX_MEMBER_ATTRIBUTES)


def media_of(form: MessageForm) -> list[MediaRecord]:
    """Return the media of a new message; those beside a content template are ignored."""
    return [MediaRecord(form.media_sid)] if form.media_sid and not form.content_sid else []


def find_author(conversation: ClassicConversationRecord, author: str) -> ClassicMember | None:
    """Return the member whose identity or address is `author`."""
    for member in conversation.members:
        if author in {member.identity, member.binding.address if member.binding else None}:
            return member
    return None


def write_message(
    state: SandboxState,
    conversation: ClassicConversationRecord,
    form: MessageForm,
    member: ClassicMember | None,
    origin: Origin,
) -> ClassicMessageRecord:
    """Record a message that was checked; raises RefusalError for a wrong date."""
    created_at = read_date(form.date_created, state.clock.now())
    updated_at = read_date(form.date_updated, created_at, "DateUpdated")
    take_traffic(state, conversation)
    message = ClassicMessageRecord(
        id=state.classic.make_sid("IM"),
        moment=state.clock.moment(),
        conversation_sid=conversation.id,
        participant_sid=member.id if member else None,
        author=form.author or SYSTEM,
        body=None if form.content_sid else form.body or "",
        attributes=form.attributes or "{}",
        index=conversation.written,
        created_at=created_at,
        updated_at=updated_at,
        media=media_of(form),
        content_sid=form.content_sid or None,
    )
    conversation.written += 1
    conversation.messages.add(message)
    if len(conversation.messages) > state.options.keep_communications:
        conversation.messages.remove(conversation.messages.ordered[0].id)
    _publish(state, conversation, message, "onMessageAdded", origin)
    _deliver(state, conversation, message)
    return message


def change_message(
    state: SandboxState,
    conversation: ClassicConversationRecord,
    message: ClassicMessageRecord,
    form: MessageForm,
    origin: Origin,
) -> None:
    """Change the given fields and keep the others; raises RefusalError, and changes nothing then."""
    check_change(conversation, message, form)
    created_at = read_date(form.date_created, message.created_at)
    updated_at = read_date(form.date_updated, state.clock.now(), "DateUpdated")
    if form.author:
        member = find_author(conversation, form.author)
        message.author, message.participant_sid = form.author, member.id if member else None
    message.body = message.body if form.body is None else form.body
    message.attributes = message.attributes if form.attributes is None else form.attributes or "{}"
    message.created_at, message.updated_at = created_at, updated_at
    _publish(state, conversation, message, "onMessageUpdated", origin)


def check_change(conversation: ClassicConversationRecord, message: ClassicMessageRecord, form: MessageForm) -> None:
    """Raise RefusalError for an invalid change of a message, and for a closed conversation."""
    if conversation.is_closed:
        raise is_final()
    if form.body == "" and not (message.media or message.content_sid):
        raise refuse(20001, "Body is required")
    check_attributes(form.attributes, MAX_MEMBER_ATTRIBUTES)


def remove_message(
    state: SandboxState, conversation: ClassicConversationRecord, message: ClassicMessageRecord, origin: Origin
) -> None:
    """Remove a message with its receipts; the others keep their index."""
    conversation.messages.remove(message.id)
    _publish(state, conversation, message, "onMessageRemoved", origin, removed=state.clock.now())


def _publish(
    state: SandboxState,
    conversation: ClassicConversationRecord,
    message: ClassicMessageRecord,
    event_type: str,
    origin: Origin,
    removed: int | None = None,
) -> None:
    fields = message_fields(message, event_type, conversation.messaging_service_sid, removed)
    state.classic_webhooks.publish(conversation, event_type, fields, origin)


def _deliver(state: SandboxState, conversation: ClassicConversationRecord, message: ClassicMessageRecord) -> None:
    """Make the receipts of a new message; the channels report them, so REST calls need no header for the webhooks."""
    status, now = state.options.classic_delivery_status, state.clock.now()
    for member in conversation.members:
        if member.binding is None or member.binding.address is None or member.id == message.participant_sid:
            continue
        prefix = "WA" if member.binding.type == "whatsapp" else "MM" if message.media else "SM"
        receipt = ReceiptRecord(
            id=state.classic.make_sid("DY"),
            moment=state.clock.moment(),
            message=message,
            participant_sid=member.id,
            channel_message_sid=state.classic.make_sid(prefix),
            status="sent",
            created_at=now,
            updated_at=now,
        )
        message.receipts.add(receipt)
        for reached in dict.fromkeys(("failed",) if status == "failed" else ("sent", status)):
            receipt.status = reached
            receipt.error_code = _NOT_DELIVERED if reached in {"failed", "undelivered"} else 0
            fields = receipt_fields(receipt, conversation.service_sid)
            state.classic_webhooks.publish(conversation, "onDeliveryUpdated", fields, Origin())
