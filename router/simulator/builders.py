"""The builder of each family of webhooks: it makes the webhook of a command line, and names its customer and sender.

The kinds themselves are in router/simulator/kinds.py. A scenario has one `WebhookSpec`, so that all its webhooks are
about the same customer.
"""

from __future__ import annotations

import argparse
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Final

from router.core.addresses import Address, Channel, parse_address
from router.core.calls import call_party
from router.core.classic.resources import spell
from router.core.errors import WebhookError
from router.core.signing.form import NO_FORM, parse_form
from router.inbound.email.inbound_parse import MailReader
from router.inbound.sources import FORM, SOURCES
from router.inbound.webhook import Webhook
from router.sandbox.options import DEFAULT_CLASSIC_SERVICE_SID
from router.simulator.capture import read_message
from router.simulator.classic import ClassicScene, classic_webhook
from router.simulator.event_streams import sink_test, streamed_callback, streamed_message
from router.simulator.http import Sender
from router.simulator.kinds import Family
from router.simulator.mail import PATH as MAIL_PATH
from router.simulator.mail_command import mailboxes_of, make_mail, make_sender
from router.simulator.messages import Scene, SimulatedWebhook, form, message, message_sid, scene_callback, user_id
from router.simulator.voice_command import follow_call, make_call

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping

    from router.core.events import Identity
    from router.inbound.email.mail import ReceivedMail


_WHATSAPP: Final = "whatsapp"


@dataclass(frozen=True, slots=True)
class WebhookSpec:
    """The options of one scenario, the same for all its webhooks.

    `now` (µs since 1970) is when the events happened. `sid` names the message; without one, equal text makes the same
    message unless `salt` differs. The ids are those of the resources that status callbacks report. `arguments` is the
    parsed command line, for options that only one family reads.
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
    recipient_id: str | None = None
    sid: str | None = None
    salt: str = ""
    service_sid: str = DEFAULT_CLASSIC_SERVICE_SID
    arguments: argparse.Namespace = field(default_factory=argparse.Namespace)


def _make_sender(environment: Mapping[str, str], auth_token: str) -> Sender:
    return Sender(
        receiver_url=environment["ROUTER_URL"], public_base_url=environment["PUBLIC_BASE_URL"], auth_token=auth_token
    )


def _participant(_: str, spec: WebhookSpec) -> Address:
    return Address(spec.channel, _on_channel(spec))


@dataclass(frozen=True, slots=True)
class FamilyBuilder:
    """The functions of one family; `build` and `customer` get the subject of the kind and the scenario's options.

    `sender` gets the environment and the auth token. `follow` plays Twilio's part where the response asks for an
    action: it gets the environment, the webhook and the body of the response, and returns a report of what it did.
    `message` returns the message that Twilio captures, if it does.
    """

    build: Callable[[str, WebhookSpec], SimulatedWebhook]
    customer: Callable[[str, WebhookSpec], Address] = _participant
    sender: Callable[[Mapping[str, str], str], Sender] = _make_sender
    follow: Callable[[Mapping[str, str], SimulatedWebhook, bytes], Awaitable[str | None]] | None = None
    message: Callable[[str, WebhookSpec], dict[str, Any] | None] = lambda _, __: None


def keys_of(webhook: SimulatedWebhook, account_sid: str) -> list[str]:
    """Return the idempotency keys, aliases included, under which the receiver takes a webhook in; none if it does not.

    Where a callback carries the time, the same command again makes another key.
    """
    return [key for one in _identities(webhook, account_sid) for key in (one.key, *one.aliases)]


def event_keys_of(webhook: SimulatedWebhook, account_sid: str) -> list[str]:
    """Return the idempotency key of each event in a webhook; none if the receiver does not take it in."""
    return [one.key for one in _identities(webhook, account_sid)]


def _identities(webhook: SimulatedWebhook, account_sid: str) -> list[Identity]:
    source = next((source for source in SOURCES.values() if source.path == webhook.path), None)
    if source is None:
        return []
    fields = parse_form(webhook.body) if source.content_type == FORM else NO_FORM
    try:
        mails = _read_mails(webhook) if webhook.path == MAIL_PATH else ()
        pieces = source.split(Webhook(webhook.body, fields, webhook.token, mails), account_sid)
    except WebhookError:
        return []
    return [piece.identity for piece in pieces]


def _read_mails(webhook: SimulatedWebhook) -> tuple[ReceivedMail, ...]:
    reader = MailReader(webhook.content_type)
    reader.feed(webhook.body)
    return reader.finish()


def _message(kind: str, spec: WebhookSpec) -> SimulatedWebhook:
    sid, salt, told = spec.sid, spec.salt, {}
    is_both = getattr(spec.arguments, "both", False)
    if kind == _WHATSAPP and (is_both or _hides_phone(spec)):
        told = {"ExternalUserId": user_id(spec.sender), "ProfileUsername": "ana.example"}
        salt = salt or (f"{spec.sender} {told['ExternalUserId']}" if is_both else "")
    if salt and sid is None:
        sid = message_sid(kind, salt, spec.recipient, spec.body)
    return message(
        kind,
        account_sid=spec.account_sid,
        sender=_sender(spec) if kind == _WHATSAPP else spec.sender,
        recipient=spec.recipient,
        body=spec.body,
        sid=sid,
        **told,
    )


def _captured(kind: str, spec: WebhookSpec) -> dict[str, Any] | None:
    return read_message(dict(_message(kind, spec).pairs))


def _hides_phone(spec: WebhookSpec) -> bool:
    return getattr(spec.arguments, "bsuid_only", False)


def _sender(spec: WebhookSpec) -> str:
    """Return the address of a WhatsApp user, which is the id if the phone is hidden."""
    return f"whatsapp:{user_id(spec.sender)}" if _hides_phone(spec) else spec.sender


def _on_channel(spec: WebhookSpec) -> str:
    """Return the customer's address on the channel of `--channel`."""
    return _sender(spec) if spec.channel == Channel.WHATSAPP else spec.sender


def _author(kind: str, spec: WebhookSpec) -> Address:
    return parse_address(dict(_message(kind, spec).pairs)["From"])


def _streamed_message(kind: str, spec: WebhookSpec) -> SimulatedWebhook:
    webhook = _message(kind, spec)
    return streamed_message(webhook, event_id=f"EZ{webhook.resource_id[2:]}", now=spec.now)


def _message_status(_: str, spec: WebhookSpec) -> SimulatedWebhook:
    """Return the status callback of an outgoing message that was delivered."""
    webhook = _message("sms", replace(spec, sender=spec.recipient, recipient=spec.sender))
    params = dict(webhook.pairs) | {"SmsStatus": "delivered", "MessageStatus": "delivered"}
    return form(webhook.path, webhook.resource_id, params)


def _callback(kind: str, spec: WebhookSpec) -> SimulatedWebhook:
    scene = Scene(
        account_sid=spec.account_sid,
        configuration_id=spec.configuration_id,
        channel=spec.channel,
        customer=_on_channel(spec),
        recipient=spec.recipient,
        conversation_id=spec.conversation_id,
        participant_id=spec.participant_id,
        participant_type=spec.participant_type,
        recipient_id=spec.recipient_id,
        body=spec.body,
        now=spec.now,
    )
    return scene_callback(kind, scene)


def _streamed_callback(kind: str, spec: WebhookSpec) -> SimulatedWebhook:
    return streamed_callback(_callback(kind, spec), account_sid=spec.account_sid)


def _caller(_: str, spec: WebhookSpec) -> Address:
    withheld = Address(Channel.VOICE, spec.sender)
    return withheld if spec.arguments.anonymous else call_party(spec.sender) or withheld


def _classic(event_type: str, spec: WebhookSpec) -> SimulatedWebhook:
    """Return a classic webhook; onConversationStateUpdated reports a closing."""
    scene = ClassicScene(
        account_sid=spec.account_sid,
        service_sid=spec.service_sid,
        now=spec.now,
        customer=spell(Address(spec.channel, _on_channel(spec))),
        recipient=spell(Address(spec.channel, spec.recipient)),
        body=spec.body,
        state="closed" if event_type == "onConversationStateUpdated" else "active",
        conversation_sid=spec.arguments.conversation,
        participant_sid=spec.arguments.participant,
        message_sid=spec.sid,
    )
    return classic_webhook(event_type, scene)


FAMILIES: Final[dict[Family, FamilyBuilder]] = {
    Family.MESSAGE: FamilyBuilder(_message, _author, message=_captured),
    Family.MESSAGE_STATUS: FamilyBuilder(_message_status),
    Family.CALLBACK: FamilyBuilder(_callback),
    Family.STREAMED_MESSAGE: FamilyBuilder(_streamed_message, _author, message=_captured),
    Family.STREAMED_CALLBACK: FamilyBuilder(_streamed_callback),
    Family.SINK_TEST: FamilyBuilder(lambda _, spec: sink_test(now=spec.now)),
    Family.CALL: FamilyBuilder(
        lambda _, spec: make_call(spec.arguments, spec.account_sid), _caller, follow=follow_call
    ),
    Family.MAIL: FamilyBuilder(
        lambda _, spec: make_mail(spec.arguments),
        lambda _, spec: Address(Channel.EMAIL, mailboxes_of(spec.arguments)[0]),
        make_sender,
    ),
    Family.CLASSIC: FamilyBuilder(_classic),
}
