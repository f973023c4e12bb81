"""What an Event Streams sink is sent besides messages: the resources of Conversations v2, and the sink's own test.

Pure builders, like those of the simulator. One status callback makes one event with one id, so that sending it again
is a repeat.
"""

from __future__ import annotations

from hashlib import sha256
from typing import Any, Final

import orjson

from router.core.timestamps import to_text
from router.simulator.messages import SimulatedWebhook

PATH: Final = "/webhooks/event-streams"
#: Of a status callback: the type of the event that says the same.
TYPES: Final = {
    "CONVERSATION_CREATED": "com.twilio.conversations.conversation.added",
    "CONVERSATION_UPDATED": "com.twilio.conversations.conversation.updated",
    "PARTICIPANT_ADDED": "com.twilio.conversations.participant.added",
    "PARTICIPANT_UPDATED": "com.twilio.conversations.participant.updated",
    "PARTICIPANT_REMOVED": "com.twilio.conversations.participant.removed",
    "COMMUNICATION_CREATED": "com.twilio.conversations.message.added",
    "COMMUNICATION_UPDATED": "com.twilio.conversations.message.updated",
}
TEST: Final = "com.twilio.eventstreams.test-event"


def streamed_callback(webhook: SimulatedWebhook, *, account_sid: str, is_batch: bool = True) -> SimulatedWebhook:
    """Return what a sink is sent about the resource that a status callback `webhook` tells of."""
    document = orjson.loads(webhook.body)
    event = _event(
        TYPES[document["eventType"]],
        event_id=f"EZ{sha256(webhook.body).hexdigest()[:32]}",
        source=f"/v2/Accounts/{account_sid}/Conversations",
        time=document["timestamp"],
        data=document["data"],
    )
    return _post(event, webhook.resource_id, is_batch=is_batch)


def sink_test(*, now: int, is_batch: bool = True) -> SimulatedWebhook:
    """Return the event by which a sink is tried, which names no account; `now` is in µs since 1970."""
    digest = sha256(str(now).encode()).hexdigest()
    event = _event(TEST, event_id=f"EZ{digest[:32]}", source="Sink", time=to_text(now), data={"test_id": digest[:36]})
    return _post(event, event["id"], is_batch=is_batch)


def _event(event_type: str, *, event_id: str, source: str, time: str, data: dict[str, Any]) -> dict[str, Any]:
    return {
        "specversion": "1.0",
        "id": event_id,
        "type": event_type,
        "source": source,
        "time": time,
        "datacontenttype": "application/json",
        "data": data,
    }


def _post(event: dict[str, Any], resource_id: str, *, is_batch: bool) -> SimulatedWebhook:
    body = orjson.dumps([event] if is_batch else event)
    return SimulatedWebhook(PATH, resource_id, "application/json", body)
