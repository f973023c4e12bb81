"""Classic conversations: opening, changing, closing and deleting them, by the API, by traffic and by their timers.

Closed is final and frees the pairs of the members; inactive holds them, and traffic or the API makes it active again.
Timers count from the last traffic.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from router.sandbox.classic.errors import is_final, refuse
from router.sandbox.classic.events import conversation_fields, state_fields
from router.sandbox.classic.forms import MAX_CONVERSATION_ATTRIBUTES, check_attributes, read_date, read_duration
from router.sandbox.classic.hooks import Origin
from router.sandbox.classic.records import ClassicConversationRecord

if TYPE_CHECKING:
    from router.sandbox.classic.forms import ConversationForm
    from router.sandbox.state import SandboxState

MIN_INACTIVE = 60
MIN_CLOSED = 600
UNIQUE_NAME_TAKEN = 50353


def make_conversation(state: SandboxState, form: ConversationForm) -> ClassicConversationRecord:
    """Return the conversation that `form` asks for, checked and not open yet; raises RefusalError."""
    service_sid, moment = state.options.classic_service_sid, state.clock.moment()
    created = read_date(form.date_created, moment)
    conversation = ClassicConversationRecord(
        id=state.classic.make_sid("CH"),
        moment=moment,
        created=created,
        updated=read_date(form.date_updated, created),
        account_sid=state.options.account_sid,
        service_sid=service_sid,
        messaging_service_sid=f"MG{service_sid[2:]}",
        restarted=state.clock.now(),
    )
    _check(state, conversation, form)
    _apply(conversation, form)
    conversation.state = form.state or "active"
    return conversation


def open_conversation(state: SandboxState, conversation: ClassicConversationRecord, origin: Origin) -> None:
    """Let everybody see the conversation, and tell of it."""
    state.classic.conversations.add(conversation)
    if conversation.unique_name is not None:
        state.classic.unique_names[conversation.unique_name] = conversation.id
    state.classic.schedule(conversation)
    if conversation.is_closed:
        state.classic.bury(conversation, state.options.keep_closed)
    _tell(state, conversation, "onConversationAdded", origin)


def change_conversation(
    state: SandboxState, conversation: ClassicConversationRecord, form: ConversationForm, origin: Origin
) -> None:
    """Change what `form` gives and keep the rest; raises RefusalError, 50377 for a closed one."""
    if conversation.is_closed:
        raise is_final()
    _check(state, conversation, form)
    if conversation.unique_name is not None:
        state.classic.unique_names.pop(conversation.unique_name, None)
    _apply(conversation, form)
    if conversation.unique_name is not None:
        state.classic.unique_names[conversation.unique_name] = conversation.id
    conversation.created = read_date(form.date_created, conversation.created)
    conversation.updated = read_date(form.date_updated, state.clock.moment())
    if form.model_fields_set - {"state"}:
        _tell(state, conversation, "onConversationUpdated", origin)
    if form.state is not None:
        move(state, conversation, form.state, "API", origin)
    state.classic.schedule(conversation)


def move(
    state: SandboxState, conversation: ClassicConversationRecord, to: str, reason: str, origin: Origin | None = None
) -> None:
    """Bring the conversation into another state, and tell of it; `reason` is API, TIMER or EVENT."""
    before = conversation.state
    if to == before:
        return
    conversation.state, conversation.updated = to, state.clock.moment()
    if to == "active":
        conversation.restarted = state.clock.now()
    if conversation.is_closed:
        state.classic.bury(conversation, state.options.keep_closed)
    fields = state_fields(conversation, before, reason)
    state.classic_hooks.publish_event(conversation.id, "onConversationStateUpdated", fields, origin or Origin())
    state.classic.schedule(conversation)


def take_traffic(state: SandboxState, conversation: ClassicConversationRecord) -> None:
    """Begin the timers anew, and wake an inactive conversation."""
    conversation.restarted = state.clock.now()
    move(state, conversation, "active", "EVENT")
    state.classic.schedule(conversation)


def delete_conversation(state: SandboxState, conversation: ClassicConversationRecord, origin: Origin) -> None:
    """Delete the conversation with its members, and tell of it."""
    state.classic.forget(conversation)
    fields = conversation_fields(conversation, removed=state.clock.now())
    state.classic_hooks.publish_event(conversation.id, "onConversationRemoved", fields, origin)


def run_classic_timers(state: SandboxState) -> None:
    """Make every classic conversation inactive or closed whose time has come."""
    now = state.clock.now()
    for conversation in state.classic.due(now):
        if (conversation.closed_at or now + 1) <= now:
            move(state, conversation, "closed", "TIMER")
        elif (conversation.inactive_at or now + 1) <= now:
            move(state, conversation, "inactive", "TIMER")
        state.classic.schedule(conversation)


def _tell(state: SandboxState, conversation: ClassicConversationRecord, event_type: str, origin: Origin) -> None:
    state.classic_hooks.publish_event(conversation.id, event_type, conversation_fields(conversation), origin)


def _check(state: SandboxState, conversation: ClassicConversationRecord, form: ConversationForm) -> None:
    check_attributes(form.attributes, MAX_CONVERSATION_ATTRIBUTES)
    read_duration(form.inactive or "", MIN_INACTIVE, 50375)
    read_duration(form.closed or "", MIN_CLOSED, 50376)
    holder = state.classic.unique_names.get(form.unique_name) if form.unique_name else None
    if holder is not None and holder != conversation.id:
        raise refuse(UNIQUE_NAME_TAKEN, "Conversation with provided unique name already exists", 409)


def _apply(conversation: ClassicConversationRecord, form: ConversationForm) -> None:
    """Write the checked fields."""
    for name in ("friendly_name", "attributes", "messaging_service_sid"):
        if (value := getattr(form, name)) is not None:
            setattr(conversation, name, value)
    if form.unique_name is not None:
        conversation.unique_name = form.unique_name or None
    if form.inactive is not None:
        conversation.inactive_after = read_duration(form.inactive, MIN_INACTIVE, 50375)
    if form.closed is not None:
        conversation.closed_after = read_duration(form.closed, MIN_CLOSED, 50376)
    if form.email_address is not None:
        conversation.email = {"address": form.email_address, "name": form.email_name}
