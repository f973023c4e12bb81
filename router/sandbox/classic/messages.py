"""Messages of classic conversations: written by a member, by a message that comes in, or by a REST call.

A REST call may write in anybody's name; where that is a member's, the message is the member's. What is written begins
the timers anew and wakes an inactive conversation. The newest `keep_communications` of a conversation are kept.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from router.sandbox.classic.conversations import take_traffic
from router.sandbox.classic.errors import is_final, refuse
from router.sandbox.classic.forms import MAX_MEMBER_ATTRIBUTES, check_attributes
from router.sandbox.clock import format_time

if TYPE_CHECKING:
    from router.sandbox.classic.events import Fields
    from router.sandbox.classic.forms import MessageForm
    from router.sandbox.classic.hooks import Origin
    from router.sandbox.classic.records import ClassicConversationRecord, ClassicMember, View
    from router.sandbox.state import State

#: Who writes where a REST call names nobody.
SYSTEM: Final = "system"


@dataclass(slots=True)
class ClassicMessageRecord:
    """One message; `index` counts from 0 in its conversation."""

    id: str
    moment: int
    conversation_sid: str
    participant_sid: str | None
    author: str
    body: str
    attributes: str
    index: int
    created: int

    def to_wire(self, account_sid: str, view: View) -> dict[str, Any]:
        """Return the JSON object of the API."""
        url = f"{view.conversation(self.conversation_sid)}/Messages/{self.id}"
        service = {} if view.service_sid is None else {"chat_service_sid": view.service_sid}
        return {
            "account_sid": account_sid,
            **service,
            "conversation_sid": self.conversation_sid,
            "sid": self.id,
            "index": self.index,
            "author": self.author,
            "body": self.body,
            "media": None,
            "participant_sid": self.participant_sid,
            "attributes": self.attributes,
            "delivery": None,
            "content_sid": None,
            "date_created": format_time(self.created, 0),
            "date_updated": format_time(self.created, 0),
            "url": url,
            "links": {"delivery_receipts": f"{url}/Receipts"},
        }

    def to_fields(self, messaging_service_sid: str) -> Fields:
        """Return the parameters of onMessageAdded."""
        return {
            "ConversationSid": self.conversation_sid,
            "ParticipantSid": self.participant_sid,
            "Body": self.body,
            "Author": self.author,
            "Attributes": self.attributes,
            "MessageSid": self.id,
            "MessagingServiceSid": messaging_service_sid,
            "Index": str(self.index),
            "DateCreated": format_time(self.created, 0),
        }


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
    state: State,
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
