"""Messages of classic conversations, from inbound messages, chat users and REST calls.

A REST call may name any author; if a member has that name, the message is the member's. A message restarts the timers
and makes an inactive conversation active. The newest `keep_communications` of a conversation are kept.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from router.sandbox.classic.conversations import take_traffic
from router.sandbox.classic.errors import is_final, refuse
from router.sandbox.classic.forms import MAX_MEMBER_ATTRIBUTES, check_attributes
from router.sandbox.classic.records import ClassicMessageRecord

if TYPE_CHECKING:
    from router.sandbox.classic.forms import MessageForm
    from router.sandbox.classic.records import ClassicConversationRecord, ClassicMember
    from router.sandbox.classic.webhooks import Origin
    from router.sandbox.state import SandboxState

#: The author if a REST call names none.
SYSTEM: Final = "system"


def check_message(conversation: ClassicConversationRecord, form: MessageForm) -> None:
    """Raise RefusalError for an invalid message, and for a closed conversation."""
    if conversation.is_closed:
        raise is_final()
    if not form.body:
        raise refuse(20001, "Body is required")
    check_attributes(form.attributes, MAX_MEMBER_ATTRIBUTES)


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
    """Record a message that was checked."""
    take_traffic(state, conversation)
    message = ClassicMessageRecord(
        id=state.classic.make_sid("IM"),
        moment=state.clock.moment(),
        conversation_sid=conversation.id,
        participant_sid=member.id if member else None,
        author=form.author or SYSTEM,
        body=form.body or "",
        attributes=form.attributes or "{}",
        index=conversation.written,
        created_at=state.clock.now(),
    )
    conversation.written += 1
    conversation.messages.add(message)
    if len(conversation.messages) > state.options.keep_communications:
        conversation.messages.remove(conversation.messages.ordered[0].id)
    fields = message.to_fields(conversation.messaging_service_sid)
    state.classic_webhooks.publish(conversation.id, "onMessageAdded", fields, origin)
    return message
