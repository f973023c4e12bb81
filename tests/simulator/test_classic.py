"""Simulated classic webhooks: every event of the table, and what a receiver makes of it."""

import pytest

from router.commands.simulate_options import KINDS
from router.core.signing.form import parse_form
from router.inbound.classic.parser import EVENT_TYPES, PRE_ACTIONS, identify, normalize
from router.simulator.classic import CLASSIC_KINDS, EVENTS, ClassicScene, classic_webhook
from tests.inbound.samples import make_entry

ACCOUNT, SERVICE, NOW = "AC" + "0" * 31 + "1", "IS" + "0" * 31 + "1", 1_767_787_200_000_000


def make_scene(**changes):
    ends = {"customer": "whatsapp:+15551230001", "recipient": "whatsapp:+15557650000"}
    return ClassicScene(account_sid=ACCOUNT, service_sid=SERVICE, now=NOW, **(ends | changes))


def test_every_event_can_be_simulated():
    """The kinds of `simulate` are all event types, before and after."""
    assert {event_type for event_type, _ in EVENTS.values()} == set(EVENT_TYPES) | PRE_ACTIONS
    assert set(CLASSIC_KINDS) == {kind for kind in KINDS if kind.startswith("classic-")}


@pytest.mark.parametrize("kind", CLASSIC_KINDS)
def test_every_simulated_event_is_read(kind):
    """What is simulated carries the common parameters and is identified and normalized as the event that it says."""
    webhook = classic_webhook(kind, make_scene())
    params = dict(webhook.pairs)
    assert {"AccountSid", "EventType", "Source"} <= set(params)
    identity = identify(parse_form(webhook.body), default_account="")
    assert (identity is None) == (params["EventType"] in PRE_ACTIONS)
    event = normalize(make_entry(webhook.body, "classic"))
    assert event.cause.event_type == params["EventType"]
    assert webhook.resource_id
    assert identity is None or identity.account_id == ACCOUNT


def test_a_conversation_that_is_asked_about_has_no_sid():
    """Before it is added a conversation has no SID yet, and neither has a member."""
    asked = dict(classic_webhook("classic-conversation-add", make_scene()).pairs)
    assert "ConversationSid" not in asked
    assert asked["MessagingBinding.Address"] == "whatsapp:+15551230001"
    assert "ParticipantSid" not in dict(classic_webhook("classic-participant-add", make_scene()).pairs)


def test_several_webhooks_are_about_one_member():
    """SIDs follow from who is in the scene; another text is another message of the same member."""
    first, second = (dict(classic_webhook("classic-message-added", make_scene(body=body)).pairs) for body in "ab")
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
    """A member says how it is bound, and what does not apply is absent."""
    params = dict(classic_webhook("classic-participant-added", make_scene(**changes), Extra="1").pairs)
    assert (params["MessagingBinding.Type"], params["Extra"]) == (kind, "1")
    assert ("MessagingBinding.ProxyAddress" in params) == ("MessagingBinding.Address" in params)
