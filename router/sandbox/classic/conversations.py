"""Classic conversations: opening, changing, closing and deleting them, by the API, by traffic and by timers.

Closed is final and releases the pairs of the members. An inactive conversation holds them, and traffic or the API makes
it active again. Timers count from the last traffic: https://www.twilio.com/docs/conversations-classic/states-timers.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from router.sandbox.classic.errors import is_final, refuse
from router.sandbox.classic.events import conversation_fields, state_fields
from router.sandbox.classic.forms import MAX_CONVERSATION_ATTRIBUTES, check_attributes, read_date, read_duration
from router.sandbox.classic.records import ClassicConversationRecord
from router.sandbox.classic.webhooks import Origin

if TYPE_CHECKING:
    from router.sandbox.classic.forms import ConversationForm
    from router.sandbox.state import SandboxState

#: Shortest timers, in seconds, and the code of a shorter one.
MIN_INACTIVE: Final = 60, 50375
MIN_CLOSED: Final = 600, 50376
UNIQUE_NAME_TAKEN: Final = 50353


def make_conversation(state: SandboxState, form: ConversationForm) -> ClassicConversationRecord:
    """Return a new conversation of a valid `form`, which open_conversation makes visible; raises RefusalError."""
    service_sid, moment = state.options.classic_service_sid, state.clock.moment()
    created_at = read_date(form.date_created, moment)
    conversation = ClassicConversationRecord(
        id=state.classic.make_sid("CH"),
        moment=moment,
        created_at=created_at,
        updated_at=read_date(form.date_updated, created_at, "DateUpdated"),
        account_sid=state.options.account_sid,
        service_sid=service_sid,
        messaging_service_sid=f"MG{service_sid[2:]}",
        timers_started_at=state.clock.now(),
    )
    _check(state, conversation, form)
    _apply(conversation, form)
    conversation.state = form.state or "active"
    return conversation


def open_conversation(state: SandboxState, conversation: ClassicConversationRecord, origin: Origin) -> None:
    """Make the conversation visible."""
    state.classic.conversations.add(conversation)
    if conversation.unique_name is not None:
        state.classic.unique_names[conversation.unique_name] = conversation.id
    state.classic.schedule(conversation)
    if conversation.is_closed:
        state.classic.close(conversation, state.options.keep_closed)
    _publish(state, conversation, "onConversationAdded", origin)


def change_conversation(
    state: SandboxState, conversation: ClassicConversationRecord, form: ConversationForm, origin: Origin
) -> None:
    """Change the given fields and keep the others; raises RefusalError, 50377 for a closed conversation."""
    if conversation.is_closed:
        raise is_final()
    _check(state, conversation, form)
    created_at = read_date(form.date_created, conversation.created_at)
    updated_at = read_date(form.date_updated, state.clock.moment(), "DateUpdated")
    if conversation.unique_name is not None:
        state.classic.unique_names.pop(conversation.unique_name, None)
    _apply(conversation, form)
    if conversation.unique_name is not None:
        state.classic.unique_names[conversation.unique_name] = conversation.id
    conversation.created_at, conversation.updated_at = created_at, updated_at
    if form.model_fields_set - {"state"}:
        _publish(state, conversation, "onConversationUpdated", origin)
    if form.state is not None:
        move(state, conversation, form.state, "API", origin)
    state.classic.schedule(conversation)


def move(
    state: SandboxState, conversation: ClassicConversationRecord, to: str, reason: str, origin: Origin | None = None
) -> None:
    """Change the conversation's state; `reason` is API, TIMER or EVENT."""
    before = conversation.state
    if to == before:
        return
    conversation.state, conversation.updated_at = to, state.clock.moment()
    if to == "active":
        conversation.timers_started_at = state.clock.now()
    if conversation.is_closed:
        state.classic.close(conversation, state.options.keep_closed)
    fields = state_fields(conversation, before, reason)
    state.classic_webhooks.publish(conversation, "onConversationStateUpdated", fields, origin or Origin())
    state.classic.schedule(conversation)


def take_traffic(state: SandboxState, conversation: ClassicConversationRecord) -> None:
    """Restart the timers, and make an inactive conversation active."""
    conversation.timers_started_at = state.clock.now()
    move(state, conversation, "active", "EVENT")
    state.classic.schedule(conversation)


def delete_conversation(state: SandboxState, conversation: ClassicConversationRecord, origin: Origin) -> None:
    """Delete the conversation with its members."""
    state.classic.delete(conversation)
    fields = conversation_fields(conversation, removed=state.clock.now())
    state.classic_webhooks.publish(conversation, "onConversationRemoved", fields, origin)


def run_classic_timers(state: SandboxState) -> None:
    """Make classic conversations inactive or closed whose timers are due."""
    now = state.clock.now()
    for conversation in state.classic.timers.take_due(now):
        if (conversation.closed_at or now + 1) <= now:
            move(state, conversation, "closed", "TIMER")
        elif (conversation.inactive_at or now + 1) <= now:
            move(state, conversation, "inactive", "TIMER")
        state.classic.schedule(conversation)


def _publish(state: SandboxState, conversation: ClassicConversationRecord, event_type: str, origin: Origin) -> None:
    state.classic_webhooks.publish(conversation, event_type, conversation_fields(conversation), origin)


def _check(state: SandboxState, conversation: ClassicConversationRecord, form: ConversationForm) -> None:
    check_attributes(form.attributes, MAX_CONVERSATION_ATTRIBUTES)
    read_duration(form.inactive or "", *MIN_INACTIVE)
    read_duration(form.closed or "", *MIN_CLOSED)
    holder = state.classic.unique_names.get(form.unique_name) if form.unique_name else None
    if holder is not None and holder != conversation.id:
        raise refuse(UNIQUE_NAME_TAKEN, "Conversation with provided unique name already exists", 409)


def _apply(conversation: ClassicConversationRecord, form: ConversationForm) -> None:
    """Write the given fields, which were checked."""
    for name in ("friendly_name", "attributes", "messaging_service_sid"):
        if (value := getattr(form, name)) is not None:
            setattr(conversation, name, value)
    if form.unique_name is not None:
        conversation.unique_name = form.unique_name or None
    if form.inactive is not None:
        conversation.inactive_after = read_duration(form.inactive, *MIN_INACTIVE)
    if form.closed is not None:
        conversation.closed_after = read_duration(form.closed, *MIN_CLOSED)
    if form.email_address is not None:
        conversation.email = {"address": form.email_address, "name": form.email_name}
