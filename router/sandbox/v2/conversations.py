"""Conversations: opening, changing, closing and deleting them, by the API and by timers.

CLOSED is final: it releases the grouping keys, and every later write is refused. A deleted conversation is gone at
once; its operation reports it later.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from router.core.resources import ConversationStatus
from router.sandbox.errors import invalid
from router.sandbox.v2.bodies import MAX_METADATA
from router.sandbox.v2.configurations import make_callbacks, settings_for
from router.sandbox.v2.membership import insert, release_keys, release_resource_ids
from router.sandbox.v2.participants import make_draft, resolve_duplicates
from router.sandbox.v2.records import ConversationRecord
from router.sandbox.v2.timers import next_change

if TYPE_CHECKING:
    from router.sandbox.bodies import Wire
    from router.sandbox.state import SandboxState
    from router.sandbox.v2.bodies import NewConversation, PatchConversation, ReplaceConversation
    from router.sandbox.v2.records import ConversationSettings, OperationRecord


def create_conversation(state: SandboxState, body: NewConversation) -> ConversationRecord:
    """Open a conversation with all its participants at once.

    Raises RefusalError: 404 for an unknown configuration, 409 if an open conversation holds the same grouping key.
    """
    settings = settings_for(state.configurations, body.configuration_id, body.configuration)
    conversation = new_conversation(state, settings, name=body.name, is_inline=body.configuration is not None)
    conversation.metadata = dict(body.metadata or {})
    drafts = [make_draft(state, each) for each in body.participants or ()]
    insert(state, conversation, resolve_duplicates(drafts, state.options.duplicate_address))
    open_conversation(state, conversation)
    return conversation


def new_conversation(
    state: SandboxState, settings: ConversationSettings, *, name: str | None = None, is_inline: bool = False
) -> ConversationRecord:
    """Return a new conversation, which open_conversation makes visible."""
    moment = state.clock.moment()
    return ConversationRecord(
        id=state.make_id("conv_conversation", moment),
        moment=moment,
        updated_at=moment,
        account_id=state.options.account_sid,
        settings=settings,
        is_inline=is_inline,
        name=name,
        metadata={},
        timers_started_at=state.clock.now(),
    )


def open_conversation(state: SandboxState, conversation: ConversationRecord, *, by_api: bool = True) -> None:
    """Make the conversation visible, and emit the events of it and its participants."""
    state.conversations.add(conversation)
    state.schedule(conversation)
    state.emit(conversation, "CONVERSATION_CREATED", bare_wire(state, conversation), by_api=by_api)
    for participant in conversation.participants:
        state.emit(conversation, "PARTICIPANT_ADDED", state.participant_wire(participant), by_api=by_api)


def replace_conversation(state: SandboxState, conversation: ConversationRecord, body: ReplaceConversation) -> None:
    """PUT: name and metadata are cleared if the body omits them (switch: kept)."""
    is_kept = state.options.put_semantics == "merge"
    if body.metadata is not None or not is_kept:
        conversation.metadata = dict(body.metadata or {})
    name = conversation.name if is_kept and "name" not in body.model_fields_set else body.name
    change_conversation(state, conversation, name=name, status=body.status)


def patch_conversation(state: SandboxState, conversation: ConversationRecord, body: PatchConversation) -> None:
    """PATCH: metadata is merged, null removes a key or the name; raises RefusalError (400) for over 8 entries."""
    given = body.model_fields_set
    metadata = conversation.metadata
    if "metadata" in given:
        merged = metadata | (body.metadata or {})
        metadata = {key: value for key, value in merged.items() if value is not None}
        if len(metadata) > MAX_METADATA:
            raise invalid("metadata", f"has more than {MAX_METADATA} entries")
    conversation.metadata = metadata
    if body.configuration is not None and "status_callbacks" in body.configuration.model_fields_set:
        callbacks = body.configuration.status_callbacks
        conversation.callbacks = None if callbacks is None else make_callbacks(callbacks)
    name = body.name if "name" in given else conversation.name
    change_conversation(state, conversation, name=name, status=body.status or conversation.status)


def change_conversation(
    state: SandboxState, conversation: ConversationRecord, *, name: str | None, status: str, by_api: bool = True
) -> None:
    """Set name and status; there is an event only if one of them changes, as its documentation says."""
    is_changed = (name, status) != (conversation.name, conversation.status)
    if status == ConversationStatus.ACTIVE and conversation.status == ConversationStatus.INACTIVE:
        conversation.timers_started_at = state.clock.now()
    conversation.name, conversation.status = name, str(status)
    conversation.updated_at = state.clock.moment()
    if conversation.is_closed:
        _close(state, conversation)
    state.schedule(conversation)
    if is_changed:
        state.emit(conversation, "CONVERSATION_UPDATED", bare_wire(state, conversation), by_api=by_api)


def delete_conversation(state: SandboxState, conversation: ConversationRecord) -> OperationRecord:
    """Delete the conversation; returns the operation that the 202 names."""
    _drop(state, conversation)
    return state.start_operation({"conversationId": conversation.id})


def run_timers(state: SandboxState) -> None:
    """Make conversations inactive or closed whose timers are due."""
    now = state.clock.now()
    for conversation in state.timers.take_due(now):
        change = next_change(conversation, state.settings_of(conversation), state.options.channel_timeout)
        if change is not None and change[0] <= now:
            change_conversation(state, conversation, name=conversation.name, status=change[1], by_api=False)
        else:
            state.schedule(conversation)


def bare_wire(state: SandboxState, conversation: ConversationRecord) -> Wire:
    """Return the conversation as events carry it, without its participants."""
    settings = state.settings_of(conversation)
    configuration = settings.wire
    if conversation.callbacks is not None:
        configuration = configuration | {"statusCallbacks": [each.to_wire() for each in conversation.callbacks]}
    return {
        "id": conversation.id,
        "accountId": conversation.account_id,
        "configurationId": settings.configuration_id,
        "status": conversation.status,
        "name": conversation.name,
        "metadata": conversation.metadata,
        "createdAt": state.text(conversation.moment),
        "updatedAt": state.text(conversation.updated_at),
        "configuration": configuration,
    }


def full_wire(state: SandboxState, conversation: ConversationRecord) -> Wire:
    """Return the conversation as the API returns it, with all its participants."""
    participants = [state.participant_wire(each) for each in conversation.participants]
    return bare_wire(state, conversation) | {"participants": participants}


def _close(state: SandboxState, conversation: ConversationRecord) -> None:
    """Release the keys of a closed conversation, and drop the oldest closed ones beyond `keep_closed`."""
    release_keys(state, conversation)
    state.closed[conversation.id] = None
    while len(state.closed) > state.options.keep_closed:
        oldest = state.conversations.get(next(iter(state.closed)))
        if oldest is not None:
            _drop(state, oldest)


def _drop(state: SandboxState, conversation: ConversationRecord) -> None:
    if not conversation.is_closed:
        release_keys(state, conversation)
    state.closed.pop(conversation.id, None)
    release_resource_ids(state, conversation)
    state.conversations.remove(conversation.id)
