"""Resources of the API: lenient where the API grows, strict about ids."""

import pytest
from pydantic import ValidationError

from router.core.addresses import Address
from router.core.resources import (
    AGENT_TYPES,
    Action,
    ActionParty,
    Communication,
    Configuration,
    Conversation,
    NewParticipant,
    Participant,
    ParticipantAddress,
)
from tests.core.builders import CUSTOMER, DESK, make_participant
from tests.support.accounts import ACCOUNT

WIRE = {
    "id": "conv_participant_01k1etx3jbfx88476ccja00001",
    "conversationId": "conv_conversation_01k1etx3jbfx88476ccja00001",
    "accountId": ACCOUNT,
    "name": "Ana",
    "type": "CUSTOMER",
    "profileId": "mem_profile_01k1etx3jbfx88476ccja00001",
    "addresses": [{"channel": "SMS", "address": "+14155550101", "channelId": "SM1"}],
    "createdAt": "2026-01-01T10:00:00Z",
    "updatedAt": "2026-01-01T10:00:00Z",
}


def test_participant_from_and_to_the_wire():
    """A participant is parsed from camelCase and serialized as it came."""
    participant = Participant.model_validate(WIRE)
    assert participant.profile_id == WIRE["profileId"]
    assert participant.addresses == (ParticipantAddress(channel="SMS", address="+14155550101", channel_id="SM1"),)
    assert participant.to_wire() == WIRE


@pytest.mark.parametrize(
    "model", [Participant, Conversation, Communication, Action, Configuration], ids=lambda model: model.__name__
)
def test_only_the_id_is_required(model):
    """Everything but the id may be missing; without an id there is no resource."""
    assert model.model_validate({"id": "x"}).to_wire()["id"] == "x"
    with pytest.raises(ValidationError, match="id"):
        model.model_validate({})


def test_null_is_missing():
    """A null field counts as missing, even if the model has a list."""
    nulls = dict.fromkeys(("addresses", "name", "type", "conversationId", "createdAt"))
    assert Participant.model_validate({"id": "x"} | nulls) == Participant(id="x")
    with pytest.raises(ValidationError, match="id"):
        Participant.model_validate({"id": None})


def test_a_resource_must_be_an_object():
    """A list or a text in place of a resource is refused."""
    with pytest.raises(ValidationError, match="valid dictionary"):
        Participant.model_validate(["x"])


def test_unknown_fields_and_values_are_kept():
    """Unknown fields and enum values are kept, and numbers become text where text is expected."""
    participant = Participant.model_validate({"id": 7, "type": "BOT", "mood": "good"})
    assert participant.to_wire() == {
        "id": "7",
        "type": "BOT",
        "mood": "good",
        "addresses": [],
        "conversationId": "",
        "accountId": "",
    }


@pytest.mark.parametrize("missing", ["channel", "address"])
def test_an_address_needs_channel_and_value(missing):
    """An address without channel or value is refused."""
    whole = {"channel": "SMS", "address": "+14155550101"}
    with pytest.raises(ValidationError, match=missing):
        ParticipantAddress.model_validate({name: value for name, value in whole.items() if name != missing})


@pytest.mark.parametrize(
    ("address", "has"),
    [
        pytest.param(Address("WHATSAPP", "+14155550101"), True, id="other-spelling"),
        pytest.param(Address("SMS", "+14155550101"), False, id="other-channel"),
        pytest.param(DESK, True, id="second-address"),
        pytest.param(Address("WHATSAPP", "+14155550102"), False, id="other-number"),
    ],
)
def test_has_address(address, has):
    """A participant has an address if one of its own is equal by channel and canonical form."""
    participant = make_participant("p1", Address("WHATSAPP", "whatsapp:+1 415 555 0101"), DESK)
    assert participant.has_address(address) is has


def test_keys_are_those_of_addresses():
    """A participant's address has the same key and value as core.addresses.Address."""
    own = ParticipantAddress(channel="WHATSAPP", address="whatsapp:+14155550101")
    assert own.as_address() == Address("WHATSAPP", "whatsapp:+14155550101")
    assert own.key == own.as_address().key == "WHATSAPP|+14155550101"


def test_replacement_has_all_four_fields():
    """The body of a PUT carries all four fields, because PUT clears missing ones."""
    replacement = Participant.model_validate(WIRE).as_replacement(type="AI_AGENT")
    assert isinstance(replacement, NewParticipant)
    assert replacement.to_wire() == {
        "type": "AI_AGENT",
        "name": WIRE["name"],
        "profileId": WIRE["profileId"],
        "addresses": WIRE["addresses"],
    }


def test_missing_and_empty_participants_differ():
    """A conversation without `participants` does not say that it has none."""
    assert Conversation(id="c").participants is None
    assert Conversation.model_validate({"id": "c", "participants": []}).participants == ()


def test_bridge_has_its_own_spelling():
    """`conversationsV1Bridge` is not plain camelCase and is read and written as the API spells it."""
    configuration = Configuration.model_validate({"id": "x", "conversationsV1Bridge": {"serviceId": "IS1"}})
    assert configuration.conversations_v1_bridge == {"serviceId": "IS1"}
    assert configuration.to_wire()["conversationsV1Bridge"] == {"serviceId": "IS1"}


def test_author_as_address():
    """A communication's author is comparable with participants' addresses."""
    communication = Communication.model_validate(
        {"id": "c", "author": {"address": CUSTOMER.value, "channel": "SMS", "participantId": "p1"}}
    )
    assert communication.author.as_address() == CUSTOMER


def test_action_party_is_any_of_three():
    """Sender and receiver of an action are a participant, or an address on a channel."""
    assert ActionParty(participant_id="p1").to_wire() == {"participantId": "p1"}
    assert ActionParty(address="+1", channel="SMS").to_wire() == {"address": "+1", "channel": "SMS"}


def test_agent_types_are_our_side():
    """Customers and unknown participants are not our side."""
    assert {"AI_AGENT", "HUMAN_AGENT", "AGENT"} == AGENT_TYPES


def test_resources_are_frozen():
    """A resource cannot be changed."""
    with pytest.raises(ValidationError, match="frozen"):
        make_participant().name = "Eve"


def test_capture_rules_name_our_addresses():
    """Opposite a `*` in a capture rule is our address; other rules name none."""
    rules = [{"from": "*", "to": "+15557650000"}, {"from": "+15557650000", "to": "*"}, {"from": "a", "to": "b"}, None]
    settings = {"SMS": {"captureRules": rules}, "VOICE": {"captureRules": [{"from": "*", "to": "*"}]}, "RCS": None}
    configuration = Configuration(id="c", channel_settings=settings | {"CHAT": {"captureRules": "x"}})
    assert configuration.own_addresses() == {Address("SMS", "+15557650000")}
    assert Configuration(id="c").own_addresses() == frozenset()
