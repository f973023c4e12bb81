"""The webhooks of one conversation: at most five, each for events, for words in messages, or for a Studio flow.

The sandbox runs no flows, so that nothing is sent to one.
https://www.twilio.com/docs/conversations-classic/api/conversation-scoped-webhook-resource
"""

from __future__ import annotations

import re
from dataclasses import replace
from typing import TYPE_CHECKING, Final

from router.sandbox.classic.errors import is_final, refuse
from router.sandbox.classic.events import message_fields
from router.sandbox.classic.forms import read_index
from router.sandbox.classic.records import ScopedWebhookRecord
from router.sandbox.classic.webhooks import POST_ACTIONS, Origin
from router.sandbox.errors import invalid

if TYPE_CHECKING:
    from router.sandbox.classic.forms import ScopedWebhookForm
    from router.sandbox.classic.records import ClassicConversationRecord
    from router.sandbox.state import SandboxState

MAX_WEBHOOKS: Final = 5
MAX_TRIGGERS: Final = 5
MAX_TRIGGER: Final = 248
MAX_URL: Final = 512
_TARGETS: Final = frozenset({"webhook", "trigger", "studio"})
_URL: Final = re.compile(r"https?://[^\s/]+\S*")
_FLOW_SID: Final = re.compile(r"FW[0-9a-fA-F]{32}")


def add_webhook(
    state: SandboxState, conversation: ClassicConversationRecord, form: ScopedWebhookForm
) -> ScopedWebhookRecord:
    """Add a webhook, and send it the messages from the index `replay_after` on; raises RefusalError."""
    if conversation.is_closed:
        raise is_final()
    if not form.target:
        raise refuse(50368, "Target is required")
    if form.target not in _TARGETS:
        raise refuse(50364, "Target is webhook, trigger or studio")
    if len(conversation.webhooks) >= MAX_WEBHOOKS:
        raise refuse(50361, f"A conversation has at most {MAX_WEBHOOKS} webhooks")
    now = state.clock.now()
    webhook = ScopedWebhookRecord(
        id=state.classic.make_sid("WH"),
        moment=state.clock.moment(),
        conversation_sid=conversation.id,
        target=form.target,
        created_at=now,
        updated_at=now,
        replay_after=read_index(form.replay_after, "Configuration.ReplayAfter"),
    )
    webhook = _changed(webhook, form)
    conversation.webhooks.add(webhook)
    if webhook.replay_after is not None:
        for message in conversation.messages:
            if message.index >= webhook.replay_after:
                fields = message_fields(message, "onMessageAdded", conversation.messaging_service_sid)
                state.classic_webhooks.replay(webhook, "onMessageAdded", fields, Origin())
    return webhook


def change_webhook(
    state: SandboxState,
    conversation: ClassicConversationRecord,
    webhook: ScopedWebhookRecord,
    form: ScopedWebhookForm,
) -> None:
    """Change the given fields and keep the others; raises RefusalError, and changes nothing then."""
    if conversation.is_closed:
        raise is_final()
    changed = _changed(webhook, form)
    webhook.url, webhook.method, webhook.filters = changed.url, changed.method, changed.filters
    webhook.triggers, webhook.flow_sid, webhook.updated_at = changed.triggers, changed.flow_sid, state.clock.now()


def _changed(webhook: ScopedWebhookRecord, form: ScopedWebhookForm) -> ScopedWebhookRecord:
    """Return the webhook with the given fields; raises RefusalError if it is not whole."""
    filters, triggers = form.filters, form.triggers
    changed = replace(
        webhook,
        url=webhook.url if form.url is None else form.url,
        method=(form.method or webhook.method).lower(),
        filters=webhook.filters if filters is None else tuple(each for each in filters if each),
        triggers=webhook.triggers if triggers is None else triggers,
        flow_sid=webhook.flow_sid if form.flow_sid is None else form.flow_sid,
    )
    if changed.target == "studio":
        if not _FLOW_SID.fullmatch(changed.flow_sid or ""):
            raise refuse(50367, "Configuration.FlowSid is not the SID of a flow")
        return changed
    _check_url(changed.url)
    if changed.target == "trigger":
        _check_triggers(changed.triggers)
    elif not changed.filters:
        raise refuse(50370, "Configuration.Filters is required")
    if unknown := set(changed.filters) - POST_ACTIONS:
        raise refuse(50365, f"Configuration.Filters: {min(unknown)} is not a post-action event")
    return changed


def _check_url(url: str | None) -> None:
    if not url:
        raise refuse(50369, "Configuration.Url is required")
    if len(url) > MAX_URL:
        raise refuse(50372, f"Configuration.Url is over {MAX_URL} characters")
    if not _URL.fullmatch(url):
        raise invalid("Configuration.Url", "is not an absolute URL")


def _check_triggers(triggers: tuple[str, ...]) -> None:
    if not triggers:
        raise refuse(50371, "Configuration.Triggers is required")
    if len(triggers) > MAX_TRIGGERS:
        raise refuse(50362, f"A webhook has at most {MAX_TRIGGERS} triggers")
    if any(not each or len(each) > MAX_TRIGGER for each in triggers):
        raise refuse(50366, f"Configuration.Triggers has an empty word, or one over {MAX_TRIGGER} characters")
