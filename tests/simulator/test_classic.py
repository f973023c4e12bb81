"""Simulated classic webhooks: every event type, its parameters, and how the parser reads it."""

import pytest

from router.core.signing.form import parse_form
from router.inbound.classic.parser import EVENT_TYPES, PRE_ACTIONS, identify, normalize
from router.simulator.classic import PARAMETERS, ClassicScene, classic_webhook
from router.simulator.kinds import KINDS, Family
from tests.inbound.samples import make_entry

ACCOUNT, SERVICE, NOW = "AC" + "0" * 31 + "1", "IS" + "0" * 31 + "1", 1_767_787_200_000_000


def make_scene(**changes):
    ends = {"customer": "whatsapp:+15551230001", "recipient": "whatsapp:+15557650000"}
    return ClassicScene(account_sid=ACCOUNT, service_sid=SERVICE, now=NOW, **(ends | changes))


def test_every_event_can_be_simulated():
    """There is a kind of `simulate` for each event type, before and after the change."""
    assert set(PARAMETERS) == set(EVENT_TYPES) | PRE_ACTIONS
    assert {kind.subject for kind in KINDS.values() if kind.family is Family.CLASSIC} == set(PARAMETERS)


@pytest.mark.parametrize("event_type", PARAMETERS)
def test_every_simulated_event_is_read(event_type):
    """A simulated webhook has the common parameters and is identified and normalized as its event type."""
    webhook = classic_webhook(event_type, make_scene())
    params = dict(webhook.pairs)
    assert {"AccountSid", "EventType", "Source"} <= set(params)
    identity = identify(parse_form(webhook.body), default_account="")
    assert (identity is None) == (params["EventType"] in PRE_ACTIONS)
    event = normalize(make_entry(webhook.body, "classic"))
    assert event.cause.event_type == params["EventType"] == event_type
    assert webhook.resource_id
    assert identity is None or identity.account_id == ACCOUNT


def test_a_pre_action_webhook_of_an_addition_has_no_sid():
    """Before it is added, neither a conversation nor a member has a SID."""
    asked = dict(classic_webhook("onConversationAdd", make_scene()).pairs)
    assert "ConversationSid" not in asked
    assert asked["MessagingBinding.Address"] == "whatsapp:+15551230001"
    assert "ParticipantSid" not in dict(classic_webhook("onParticipantAdd", make_scene()).pairs)


def test_several_webhooks_are_about_one_member():
    """SIDs are digests of the member; another text is another message of the same member."""
    first, second = (dict(classic_webhook("onMessageAdded", make_scene(body=body)).pairs) for body in "ab")
    assert first["ParticipantSid"] == second["ParticipantSid"]
    assert first["ConversationSid"] == second["ConversationSid"]
    assert first["MessageSid"] != second["MessageSid"]


@pytest.mark.parametrize(
    ("changes", "kind"),
    [
        ({}, "WHATSAPP"),
        ({"customer": "+15551230001"}, "SMS"),
        ({"customer": "ana@example.com"}, "EMAIL"),
        ({"customer": None, "identity": "ana"}, "CHAT"),
        ({"customer": None, "identity": "ana", "projected": "+15557650000"}, "SMS"),
    ],
)
def test_types_of_bindings(changes, kind):
    """The binding's type follows from the member, and parameters that do not apply are absent."""
    params = dict(classic_webhook("onParticipantAdded", make_scene(**changes), Extra="1").pairs)
    assert (params["MessagingBinding.Type"], params["Extra"]) == (kind, "1")
    assert ("MessagingBinding.ProxyAddress" in params) == ("MessagingBinding.Address" in params)
