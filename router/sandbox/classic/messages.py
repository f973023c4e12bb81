"""Messages of classic conversations: written by a member, by a message that comes in, or by a REST call.

A REST call may write in anybody's name; where that is a member's, the message is the member's. What is written begins
the timers anew and wakes an inactive conversation. The newest `keep_communications` of a conversation are kept.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from router.sandbox.classic.conversations import take_traffic
from router.sandbox.classic.errors import is_final, refuse
from router.sandbox.classic.forms import MAX_MEMBER_ATTRIBUTES, check_attributes
from router.sandbox.classic.records import ClassicMessageRecord

if TYPE_CHECKING:
    from router.sandbox.classic.forms import MessageForm
    from router.sandbox.classic.hooks import Origin
    from router.sandbox.classic.records import ClassicConversationRecord, ClassicMember
    from router.sandbox.state import SandboxState

#: Who writes where a REST call names nobody.
SYSTEM: Final = "system"


def check_message(conversation: ClassicConversationRecord, form: MessageForm) -> None:
    """Raise RefusalError for a message that the conversation cannot take."""
    if conversation.is_closed:
        raise is_final()
    if not form.body:
        raise refuse(20001, "Body is required")
    check_attributes(form.attributes, MAX_MEMBER_ATTRIBUTES)


def author_of(conversation: ClassicConversationRecord, author: str) -> ClassicMember | None:
    """Return the member in whose name a REST call writes."""
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
    """Record a message that was checked, and tell of it."""
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
        created=state.clock.now(),
    )
    conversation.written += 1
    conversation.messages.add(message)
    if len(conversation.messages) > state.options.keep_communications:
        conversation.messages.remove(conversation.messages.ordered[0].id)
    fields = message.to_fields(conversation.messaging_service_sid)
    state.classic_hooks.publish_event(conversation.id, "onMessageAdded", fields, origin)
    return message
