"""The kinds of webhooks that `simulate` can send: one row each, from what the command line asks for to the webhook.

To add a kind: write its builder in router/sandbox/simulated_<source>.py, add its row to KINDS, and its name with what
it says to router/commands/options.py (apart, because `--help` must not import the builders; a test compares the two).
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Final

from router.core.addresses import Address, parse_address
from router.core.errors import WebhookError
from router.core.signature import parse_form
from router.inbound.sources import FORM, SOURCES, Webhook
from router.sandbox.simulated_streams import sink_test, streamed_callback
from router.sandbox.simulator import (
    CALLBACK_KINDS,
    MESSAGE_KINDS,
    Scene,
    SimulatedWebhook,
    message,
    message_sid,
    scene_callback,
    streamed,
)

if TYPE_CHECKING:
    from collections.abc import Callable


@dataclass(frozen=True, slots=True)
class Order:
    """What the command line asks for, the same for all kinds of one scenario: they are about one customer.

    `now` (µs since 1970) is when the events happened. `sid` names the message; without one the same words are the same
    message again, unless `salt` is another one. The ids are those of the participant that callbacks tell of.
    """

    account_sid: str
    configuration_id: str
    sender: str
    recipient: str
    conversation_id: str
    participant_id: str
    now: int
    body: str = "hi"
    channel: str = "SMS"
    participant_type: str = "CUSTOMER"
    sid: str | None = None
    salt: str = ""


def _customer(order: Order) -> Address:
    return Address(order.channel, order.sender)


@dataclass(frozen=True, slots=True)
class Kind:
    """One kind of webhook: how it is made, and whom it is about."""

    build: Callable[[Order], SimulatedWebhook]
    customer: Callable[[Order], Address] = _customer


def _message(kind: str, order: Order) -> SimulatedWebhook:
    sid = order.sid
    if order.salt and sid is None:
        sid = message_sid(kind, order.salt, order.recipient, order.body)
    return message(
        kind,
        account_sid=order.account_sid,
        sender=order.sender,
        recipient=order.recipient,
        body=order.body,
        sid=sid,
    )


def _writer(kind: str, order: Order) -> Address:
    return parse_address(dict(_message(kind, order).pairs)["From"])


def _streamed(kind: str, order: Order) -> SimulatedWebhook:
    told = _message(kind, order)
    return streamed(told, event_id=f"EZ{told.resource_id[2:]}", now=order.now)


def _callback(kind: str, order: Order) -> SimulatedWebhook:
    scene = Scene(
        account_sid=order.account_sid,
        configuration_id=order.configuration_id,
        channel=order.channel,
        customer=order.sender,
        recipient=order.recipient,
        conversation_id=order.conversation_id,
        participant_id=order.participant_id,
        participant_type=order.participant_type,
        body=order.body,
        now=order.now,
    )
    return scene_callback(kind, scene)


def _streamed_callback(kind: str, order: Order) -> SimulatedWebhook:
    return streamed_callback(_callback(kind, order), account_sid=order.account_sid)


def _sink_test(order: Order) -> SimulatedWebhook:
    return sink_test(now=order.now)


KINDS: Final[dict[str, Kind]] = {
    **{kind: Kind(partial(_message, kind), partial(_writer, kind)) for kind in MESSAGE_KINDS},
    **{kind: Kind(partial(_callback, kind)) for kind in CALLBACK_KINDS},
    "event-stream": Kind(partial(_streamed, "sms"), partial(_writer, "sms")),
    **{f"event-stream-{kind}": Kind(partial(_streamed, kind), partial(_writer, kind)) for kind in MESSAGE_KINDS},
    **{f"event-stream-{kind}": Kind(partial(_streamed_callback, kind)) for kind in CALLBACK_KINDS},
    "event-stream-test": Kind(_sink_test),
}


def keys_of(webhook: SimulatedWebhook, account_sid: str) -> list[str]:
    """Return the idempotency keys, aliases included, under which the receiver will take a webhook in; none if it won't.

    Where a callback carries the time, the same command again makes another key.
    """
    source = next((source for source in SOURCES.values() if source.path == webhook.path), None)
    if source is None:
        return []
    pairs = parse_form(webhook.body) if source.content_type == FORM else []
    try:
        pieces = source.split(Webhook(webhook.body, pairs, webhook.token), account_sid)
    except WebhookError:
        return []
    return [key for piece in pieces for key in (piece.identity.key, *piece.identity.aliases)]
