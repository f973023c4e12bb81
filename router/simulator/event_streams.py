"""Webhooks of an Event Streams sink: inbound messages, resources of Conversations v2, and the sink's own test event.

Builders are pure. Each makes the event from the webhook that reports the same thing directly, so that the receiver
gets it from two sources. Events: https://www.twilio.com/docs/events/event-types/messaging/inbound-message,
https://www.twilio.com/docs/events/event-streams/sink-resource/test.
"""

from __future__ import annotations

from hashlib import sha256
from typing import TYPE_CHECKING, Any, Final

import orjson

from router.core.addresses import Channel, read_user_id
from router.core.timestamps import to_text
from router.simulator.messages import SimulatedWebhook

if TYPE_CHECKING:
    from collections.abc import Mapping

PATH: Final = "/webhooks/event-streams"
#: The event type for each event type of a status callback.
TYPES: Final = {
    "CONVERSATION_CREATED": "com.twilio.conversations.conversation.added",
    "CONVERSATION_UPDATED": "com.twilio.conversations.conversation.updated",
    "PARTICIPANT_ADDED": "com.twilio.conversations.participant.added",
    "PARTICIPANT_UPDATED": "com.twilio.conversations.participant.updated",
    "PARTICIPANT_REMOVED": "com.twilio.conversations.participant.removed",
    "COMMUNICATION_CREATED": "com.twilio.conversations.message.added",
    "COMMUNICATION_UPDATED": "com.twilio.conversations.message.updated",
}
MESSAGE: Final = "com.twilio.messaging.inbound-message.received"
TEST: Final = "com.twilio.eventstreams.test-event"
_MESSAGE_SCHEMA: Final = "https://events-schemas.twilio.com/Messaging.InboundMessageV1/8"


def streamed_message(webhook: SimulatedWebhook, *, event_id: str, now: int, is_batch: bool = True) -> SimulatedWebhook:
    """Return the event of the inbound message whose form webhook is `webhook`; `now` is in µs since 1970."""
    params = dict(webhook.pairs)
    event = _event(
        MESSAGE,
        event_id=event_id,
        source=f"/2010-04-01/Accounts/{params['AccountSid']}/Messages/{params['MessageSid']}.json",
        time=to_text(now),
        schema=_MESSAGE_SCHEMA,
        data={
            "messageSid": params["MessageSid"],
            "accountSid": params["AccountSid"],
            **_author(params),
            "to": params["To"],
            "body": params["Body"],
            "numMedia": int(params["NumMedia"]),
            "numSegments": 1,
            "timestamp": to_text(now),
            "recipients": [],
        },
    )
    return _post(event, webhook.resource_id, is_batch=is_batch)


def _author(params: Mapping[str, str]) -> dict[str, str]:
    """Return the fields about who wrote a message; a WhatsApp user whose phone is hidden has no `from`."""
    told = {"externalUserId": "ExternalUserId", "parentExternalUserId": "ParentExternalUserId"}
    told["username"] = "ProfileUsername"
    fields = {name: params[parameter] for name, parameter in told.items() if parameter in params}
    is_hidden = bool(fields) and read_user_id(Channel.WHATSAPP, params["From"]) is not None
    return fields if is_hidden else {"from": params["From"], **fields}


def streamed_callback(webhook: SimulatedWebhook, *, account_sid: str, is_batch: bool = True) -> SimulatedWebhook:
    """Return the event of the resource that a status callback reports; equal callbacks make events of one id."""
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
    """Return the test event of a sink, which names no account; `now` is in µs since 1970."""
    digest = sha256(str(now).encode()).hexdigest()
    event = _event(TEST, event_id=f"EZ{digest[:32]}", source="Sink", time=to_text(now), data={"test_id": digest[:36]})
    return _post(event, event["id"], is_batch=is_batch)


def _event(
    event_type: str, *, event_id: str, source: str, time: str, data: dict[str, Any], schema: str | None = None
) -> dict[str, Any]:
    return {
        "specversion": "1.0",
        "id": event_id,
        "type": event_type,
        "source": source,
        "time": time,
        "datacontenttype": "application/json",
        **({"dataschema": schema} if schema else {}),
        "data": data,
    }


def _post(event: dict[str, Any], resource_id: str, *, is_batch: bool) -> SimulatedWebhook:
    body = orjson.dumps([event] if is_batch else event)
    return SimulatedWebhook(PATH, resource_id, "application/json", body)
