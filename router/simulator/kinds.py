"""The kinds of webhooks that `simulate` can send: one row each, from what the command line asks for to the webhook.

To add a kind: write its builder in router/sandbox/simulated_<source>.py, add its row to KINDS, and its name with what
it says to router/commands/options.py (apart, because `--help` must not import the builders; a test compares the two).
"""

from __future__ import annotations

import argparse
from dataclasses import dataclass, field, replace
from functools import partial
from typing import TYPE_CHECKING, Final

from router.core.addresses import Address, Channel, parse_address
from router.core.calls import call_party
from router.core.classic.resources import spell
from router.core.errors import WebhookError
from router.core.signing.form import NO_FORM, parse_form
from router.inbound.sources import FORM, SOURCES
from router.inbound.webhook import Webhook
from router.sandbox.options import DEFAULT_CLASSIC_SERVICE_SID
from router.simulator.classic import CLASSIC_KINDS, ClassicScene, classic_webhook
from router.simulator.event_streams import sink_test, streamed_callback
from router.simulator.mail_command import mail_keys, mailboxes_of, make_mail, make_sender
from router.simulator.messages import (
    CALLBACK_KINDS,
    MESSAGE_KINDS,
    Scene,
    Sender,
    SimulatedWebhook,
    form,
    message,
    message_sid,
    scene_callback,
    streamed,
)
from router.simulator.voice_command import connect_call, voice_webhook

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping


@dataclass(frozen=True, slots=True)
class Order:
    """What the command line asks for, the same for all kinds of one scenario: they are about one customer.

    `now` (µs since 1970) is when the events happened. `sid` names the message; without one the same words are the same
    message again, unless `salt` is another one. The ids are those of the participant that callbacks tell of.
    `arguments` is the command line as it came, for what only one kind wants to know.
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
    service_sid: str = DEFAULT_CLASSIC_SERVICE_SID
    arguments: argparse.Namespace = field(default_factory=argparse.Namespace)


def _customer(order: Order) -> Address:
    return Address(order.channel, order.sender)


def _sender(environment: Mapping[str, str], auth_token: str) -> Sender:
    return Sender(
        receiver_url=environment["ROUTER_URL"], public_base_url=environment["PUBLIC_BASE_URL"], auth_token=auth_token
    )


def keys_of(webhook: SimulatedWebhook, account_sid: str) -> list[str]:
    """Return the idempotency keys, aliases included, under which the receiver takes a webhook in; none if it does not.

    Where a callback carries the time, the same command again makes another key.
    """
    source = next((source for source in SOURCES.values() if source.path == webhook.path), None)
    if source is None:
        return []
    form = parse_form(webhook.body) if source.content_type == FORM else NO_FORM
    try:
        pieces = source.split(Webhook(webhook.body, form, webhook.token), account_sid)
    except WebhookError:
        return []
    return [key for piece in pieces for key in (piece.identity.key, *piece.identity.aliases)]


@dataclass(frozen=True, slots=True)
class WebhookKind:
    """One kind of webhook: how it is made, whom it is about, what signs it, and by which keys a repeat is known.

    `sender` gets the variables and the auth token, `keys` the webhook and the account. `follow` is Twilio's part, where
    the answer asks for more than taking note of it: it gets the variables, the webhook and the answer's body, and
    returns what came of it in words.
    """

    build: Callable[[Order], SimulatedWebhook]
    customer: Callable[[Order], Address] = _customer
    sender: Callable[[Mapping[str, str], str], Sender] = _sender
    keys: Callable[[SimulatedWebhook, str], list[str]] = keys_of
    follow: Callable[[Mapping[str, str], SimulatedWebhook, bytes], Awaitable[str | None]] | None = None


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


def _status(order: Order) -> SimulatedWebhook:
    """Return what the number's URL may be told of a message that we sent: that it has arrived."""
    told = replace(order, sender=order.recipient, recipient=order.sender)
    webhook = _message("sms", told)
    params = dict(webhook.pairs) | {"SmsStatus": "delivered", "MessageStatus": "delivered"}
    return form(webhook.path, webhook.resource_id, params)


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


def _caller(order: Order) -> Address:
    return Address(Channel.VOICE, order.sender) if order.arguments.anonymous else _end(order.sender)


def _end(value: str) -> Address:
    return call_party(value) or Address(Channel.VOICE, value)


def _classic(kind: str, order: Order) -> SimulatedWebhook:
    """Return a classic webhook; `classic-state-updated` tells that the conversation has closed."""
    scene = ClassicScene(
        account_sid=order.account_sid,
        service_sid=order.service_sid,
        now=order.now,
        customer=spell(_customer(order)),
        recipient=spell(Address(order.channel, order.recipient)),
        body=order.body,
        state="closed" if kind == "classic-state-updated" else "active",
        conversation_sid=order.arguments.conversation,
        participant_sid=order.arguments.participant,
        message_sid=order.sid,
    )
    return classic_webhook(kind, scene)


KINDS: Final[dict[str, WebhookKind]] = {
    **{kind: WebhookKind(partial(_message, kind), partial(_writer, kind)) for kind in MESSAGE_KINDS},
    **{kind: WebhookKind(partial(_callback, kind)) for kind in CALLBACK_KINDS},
    "event-stream": WebhookKind(partial(_streamed, "sms"), partial(_writer, "sms")),
    **{f"event-stream-{kind}": WebhookKind(partial(_streamed, kind), partial(_writer, kind)) for kind in MESSAGE_KINDS},
    **{f"event-stream-{kind}": WebhookKind(partial(_streamed_callback, kind)) for kind in CALLBACK_KINDS},
    "event-stream-test": WebhookKind(_sink_test),
    "message-status": WebhookKind(_status),
    "voice": WebhookKind(lambda order: voice_webhook(order.arguments, order.account_sid), _caller, follow=connect_call),
    "email": WebhookKind(
        lambda order: make_mail(order.arguments),
        lambda order: Address(Channel.EMAIL, mailboxes_of(order.arguments)[0]),
        make_sender,
        mail_keys,
    ),
    **{kind: WebhookKind(partial(_classic, kind)) for kind in CLASSIC_KINDS},
}
