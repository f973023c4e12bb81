"""The table of simulated webhooks: each kind is one that the router takes, and the help names them all."""

from __future__ import annotations

import pytest

from router.commands import simulate_options
from router.core.events import Disregarded, InboundEntry, SourceName
from router.core.signing.form import NO_FORM, parse_form
from router.inbound.email.inbound_parse import MailReader
from router.inbound.sources import FORM, SOURCES, normalize
from router.inbound.webhook import Webhook
from router.simulator.kinds import KINDS, Order, keys_of
from router.simulator.messages import SimulatedWebhook
from tests.support.accounts import ACCOUNT

OTHER_ACCOUNT = "AC" + "f" * 32
ORDER = Order(
    account_sid=ACCOUNT,
    configuration_id="conv_configuration_00000000000000000000000001",
    sender="+15551230001",
    recipient="+15557650000",
    conversation_id="conv_conversation_00000000000000000000000001",
    participant_id="conv_participant_00000000000000000000000001",
    now=1_767_787_200_000_000,
    arguments=simulate_options.parse_simulate(["sms"]),
)
#: Kinds that no participant comes of, and a word of the reason.
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


def pieces_of(webhook):
    """The source that takes a webhook, and the events that it finds in it."""
    source = next(source for source in SOURCES.values() if source.path == webhook.path)
    form = parse_form(webhook.body) if source.content_type == FORM else NO_FORM
    mails = ()
    if source.name == SourceName.EMAIL:
        reader = MailReader(webhook.content_type)
        reader.feed(webhook.body)
        mails = reader.finish()
    return source, source.split(Webhook(webhook.body, form, webhook.token, mails), OTHER_ACCOUNT)


def event_of(webhook):
    """The event that the worker makes of a webhook, and the account that the receiver finds in it."""
    source, (piece,) = pieces_of(webhook)
    identity = piece.identity
    entry = InboundEntry("1-0", source.name, identity.account_id, identity.key, identity.subject, 1, piece.body)
    return normalize(entry), identity


def test_the_help_names_every_kind():
    """The names that `--help` shows are those of the table."""
    assert set(simulate_options.KINDS) == set(KINDS)


def is_asked(name):
    """Whether a kind asks before something happens, and so holds no event."""
    return name.startswith("classic-") and name.endswith(("-add", "-update", "-remove"))


@pytest.mark.parametrize("name", [name for name in KINDS if is_asked(name)])
def test_a_pre_action_holds_no_event(name):
    """Webhooks that ask whether something may happen tell of nothing."""
    assert pieces_of(KINDS[name].build(ORDER))[1] == []


@pytest.mark.parametrize("name", [name for name in KINDS if not is_asked(name)])
def test_every_kind_is_one_that_the_router_understands(name):
    """The receiver finds account and key, and the worker an event of the kind; none is of an unknown type."""
    event, identity = event_of(KINDS[name].build(ORDER))
    assert identity.account_id == (OTHER_ACCOUNT if name in NAMELESS else ACCOUNT)
    reason = event.reason if isinstance(event, Disregarded) else ""
    assert DISREGARDED.get(name, "") in reason
    assert bool(reason) == (name in DISREGARDED)


@pytest.mark.parametrize("name", ["sms", "whatsapp", "event-stream-whatsapp"])
def test_the_customer_of_a_message_is_who_wrote_it(name):
    """What is waited for is an entry about the address that the worker will find."""
    event, _ = event_of(KINDS[name].build(ORDER))
    assert KINDS[name].customer(ORDER) == event.customer


@pytest.mark.parametrize("kind", [kind for kind in KINDS if f"event-stream-{kind}" in KINDS and "-" not in kind])
def test_a_message_and_its_event_share_a_key(kind):
    """Event Streams tells of the same message, so that whichever comes second is a repeat."""
    told, again = (KINDS[name].build(ORDER) for name in (kind, f"event-stream-{kind}"))
    assert set(keys_of(told, ACCOUNT)) < set(keys_of(again, ACCOUNT))


def test_what_no_route_takes_has_no_key():
    """A webhook for a path that is not there, or that cannot be read, was never taken in."""
    webhook = SimulatedWebhook("/webhooks/fax", "FX1", "text/plain", b"hi")
    assert keys_of(webhook, ACCOUNT) == []
    assert keys_of(SimulatedWebhook("/webhooks/messaging", "SM1", FORM, b"Body=hi"), ACCOUNT) == []
