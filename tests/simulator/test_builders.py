"""The builder of every kind of simulated webhook: what it makes is what the receiver and the worker understand."""

from __future__ import annotations

import pytest

from router.core.events import Disregarded, InboundEntry, SourceName
from router.core.signing.form import NO_FORM, parse_form
from router.inbound.email.inbound_parse import MailReader
from router.inbound.sources import FORM, SOURCES, normalize
from router.inbound.webhook import Webhook
from router.simulator.builders import FAMILIES, WebhookSpec, keys_of
from router.simulator.kinds import KINDS, Family
from router.simulator.messages import SimulatedWebhook
from router.simulator.options import parse_simulate
from tests.support.accounts import ACCOUNT

OTHER_ACCOUNT = "AC" + "f" * 32
SPEC = WebhookSpec(
    account_sid=ACCOUNT,
    configuration_id="conv_configuration_00000000000000000000000001",
    sender="+15551230001",
    recipient="+15557650000",
    conversation_id="conv_conversation_00000000000000000000000001",
    participant_id="conv_participant_00000000000000000000000001",
    now=1_767_787_200_000_000,
    arguments=parse_simulate(["sms"]),
)
#: Kinds that lead to no participant, and a word of the reason.
DISREGARDED = {
    "communication-updated": "delivery",
    "event-stream-communication-updated": "delivery",
    "event-stream-test": "test",
    "message-status": "outgoing",
    "classic-message-updated": "message",
    "classic-message-removed": "message",
    "classic-delivery-updated": "delivery",
    "classic-user-added": "user",
    "classic-user-updated": "user",
}
#: Kinds whose webhooks name no account.
NAMELESS = {"event-stream-test", "email"}


def build(name):
    family, _, subject = KINDS[name]
    return FAMILIES[family].build(subject, SPEC)


def customer_of(name):
    family, _, subject = KINDS[name]
    return FAMILIES[family].customer(subject, SPEC)


def pieces_of(webhook):
    """The source of a webhook, and the events in it."""
    source = next(source for source in SOURCES.values() if source.path == webhook.path)
    form = parse_form(webhook.body) if source.content_type == FORM else NO_FORM
    mails = ()
    if source.name == SourceName.EMAIL:
        reader = MailReader(webhook.content_type)
        reader.feed(webhook.body)
        mails = reader.finish()
    return source, source.split(Webhook(webhook.body, form, webhook.token, mails), OTHER_ACCOUNT)


def event_of(webhook):
    """The event that the worker makes of a webhook, and its identity."""
    source, (piece,) = pieces_of(webhook)
    identity = piece.identity
    entry = InboundEntry("1-0", source.name, identity.account_id, identity.key, identity.subject, 1, piece.body)
    return normalize(entry), identity


def is_pre_action(name):
    return name.startswith("classic-") and name.endswith(("-add", "-update", "-remove"))


def test_every_family_has_a_builder_and_a_kind():
    """No family of the table of kinds lacks a builder, and none is unused."""
    assert set(FAMILIES) == set(Family) == {kind.family for kind in KINDS.values()}


@pytest.mark.parametrize("name", [name for name in KINDS if is_pre_action(name)])
def test_a_pre_action_webhook_holds_no_event(name):
    """A webhook that asks whether something may happen reports nothing."""
    assert pieces_of(build(name))[1] == []


@pytest.mark.parametrize("name", [name for name in KINDS if not is_pre_action(name)])
def test_every_kind_is_understood(name):
    """The receiver finds account and key, and the worker an event of the kind; none is of an unknown type."""
    event, identity = event_of(build(name))
    assert identity.account_id == (OTHER_ACCOUNT if name in NAMELESS else ACCOUNT)
    reason = event.reason if isinstance(event, Disregarded) else ""
    assert DISREGARDED.get(name, "") in reason
    assert bool(reason) == (name in DISREGARDED)


@pytest.mark.parametrize("name", ["sms", "whatsapp", "event-stream-whatsapp"])
def test_the_customer_of_a_message_is_its_author(name):
    """`simulate` waits for entries about the address that the worker finds in the webhook."""
    event, _ = event_of(build(name))
    assert customer_of(name) == event.customer


@pytest.mark.parametrize(
    "name", [name for name, kind in KINDS.items() if kind.family in {Family.MESSAGE, Family.MAIL, Family.CALL}]
)
def test_the_keys_are_those_of_the_receiver(name):
    """`simulate` recognizes a duplicate by the keys under which the receiver takes the webhook in."""
    _, (piece,) = pieces_of(build(name))
    assert keys_of(build(name), OTHER_ACCOUNT) == [piece.identity.key, *piece.identity.aliases]


@pytest.mark.parametrize("name", [name for name, kind in KINDS.items() if kind.family is Family.MESSAGE])
def test_a_message_and_its_event_share_a_key(name):
    """Event Streams sends the same message, so that whichever comes second is a duplicate."""
    assert set(keys_of(build(name), ACCOUNT)) < set(keys_of(build(f"event-stream-{name}"), ACCOUNT))


def test_a_webhook_that_the_receiver_refuses_has_no_key():
    """A webhook for an unknown path, or an unreadable one, was never taken in."""
    webhook = SimulatedWebhook("/webhooks/fax", "FX1", "text/plain", b"hi")
    assert keys_of(webhook, ACCOUNT) == []
    assert keys_of(SimulatedWebhook("/webhooks/messaging", "SM1", FORM, b"Body=hi"), ACCOUNT) == []
