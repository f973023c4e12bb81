"""Classic resources: their fields, their addresses, and the meaning of conflicts."""

import pytest
from pydantic import ValidationError

from router.core.addresses import Address, parse_address
from router.core.classic.resources import (
    ClassicChange,
    ClassicParticipant,
    MessagingBinding,
    NewClassicParticipant,
    ParticipantConversation,
    find_conversation_sid,
    is_already_there,
    is_bound_elsewhere,
    spell,
)
from router.core.errors import ConflictError, NotFoundError

SID = "CH" + "a1" * 16


def test_names_are_those_of_the_wire():
    """Names stay snake_case, unknown fields are kept, null counts as missing."""
    wire = {"sid": "MB1", "conversation_sid": "CH1", "identity": None, "mood": "fine", "last_read_message_index": 3}
    participant = ClassicParticipant.model_validate(
        wire | {"messaging_binding": {"type": "sms", "level": None, "x": 1}}
    )
    assert participant.model_extra == {"mood": "fine"}
    assert participant.last_read_message_index == 3
    assert participant.identity is None
    assert participant.messaging_binding.model_extra == {"x": 1}
    assert participant.to_wire() == {k: v for k, v in wire.items() if v is not None} | {
        "messaging_binding": {"type": "sms", "x": 1},
        "account_sid": "",
    }


def test_models_are_frozen():
    """A resource cannot be changed."""
    with pytest.raises(ValidationError, match="frozen"):
        ClassicParticipant(sid="MB1").sid = "MB2"


@pytest.mark.parametrize("model", [NewClassicParticipant, ClassicChange])
def test_a_mistyped_field_is_refused(model):
    """An unknown field of a request form raises an error."""
    with pytest.raises(ValidationError, match="Extra inputs"):
        model(proxyAddress="+15550109999")


@pytest.mark.parametrize(
    ("binding", "address", "proxy"),
    [
        pytest.param(
            {"type": "sms", "address": "+15550100001", "proxy_address": "+15550109999"},
            Address("SMS", "+15550100001"),
            Address("SMS", "+15550109999"),
            id="sms",
        ),
        pytest.param(
            {"type": "whatsapp", "address": "whatsapp:+15550100001", "proxy_address": "whatsapp:+15550109999"},
            Address("WHATSAPP", "whatsapp:+15550100001"),
            Address("WHATSAPP", "whatsapp:+15550109999"),
            id="whatsapp",
        ),
        pytest.param(
            {"type": "messenger", "address": "messenger:1", "proxy_address": "messenger:2"},
            Address("CHAT", "messenger:1"),
            Address("CHAT", "messenger:2"),
            id="messenger",
        ),
        pytest.param(
            {"type": "email", "address": "ana@example.com", "proxy_address": "us@example.com"},
            Address("EMAIL", "ana@example.com"),
            Address("EMAIL", "us@example.com"),
            id="email",
        ),
        pytest.param({"type": "gbm", "address": "x"}, Address("GBM", "x"), None, id="unknown type"),
        pytest.param({"address": "+15550100001"}, Address("SMS", "+15550100001"), None, id="no type"),
        pytest.param({"type": "sms", "projected_address": "+15550109999"}, None, None, id="group chat user"),
    ],
)
def test_binding_addresses(binding, address, proxy):
    """The channel comes from the prefix, else from the type."""
    read = MessagingBinding.model_validate(binding)
    assert (read.as_address(), read.as_proxy()) == (address, proxy)


@pytest.mark.parametrize(
    ("proxy", "is_found"),
    [
        (Address("WHATSAPP", "+15550109999"), True),
        (parse_address("whatsapp:+1 (555) 010-9999"), True),
        (Address("SMS", "+15550109999"), False),
        (Address("WHATSAPP", "+15550109998"), False),
    ],
)
def test_proxy_by_canonical_address(proxy, is_found):
    """Our side is compared by channel and canonical address."""
    binding = {"type": "whatsapp", "address": "whatsapp:+1", "proxy_address": "whatsapp:+15550109999"}
    row = ParticipantConversation(
        conversation_sid="CH1", participant_sid="MB1", participant_messaging_binding=MessagingBinding(**binding)
    )
    assert row.has_proxy(proxy) is is_found


def test_a_chat_user_has_no_proxy():
    """A membership without a binding has no address of ours."""
    row = ParticipantConversation(conversation_sid="CH1", participant_sid="MB1")
    assert not row.has_proxy(Address("SMS", "+15550109999"))


@pytest.mark.parametrize(
    ("address", "spelled"),
    [
        (Address("WHATSAPP", "15550100001"), "whatsapp:+15550100001"),
        (Address("WHATSAPP", "whatsapp:+15550100001"), "whatsapp:+15550100001"),
        (Address("RCS", "rcs:brand_agent"), "rcs:brand_agent"),
        (Address("SMS", "+1 (555) 010-0001"), "+15550100001"),
        (Address("EMAIL", "Ana <Ana@Example.com>"), "ana@example.com"),
        (Address("CHAT", "messenger:1"), "messenger:1"),
        (Address("CARRIER_PIGEON", "coo"), "coo"),
    ],
)
def test_spelling(address, spelled):
    """An address is formatted as bindings are, whatever its spelling was."""
    assert spell(address) == spelled
    assert parse_address(spelled, address.channel).canonical == address.canonical


@pytest.mark.parametrize(
    ("text", "sid"),
    [
        (f"already exists in Conversation {SID}", SID),
        (f"already exists in Conversation {SID}.", SID),
        (f"{SID}0", None),
        ("Conversation CH1", None),
        ("", None),
    ],
)
def test_conversation_sid_in_a_text(text, sid):
    """A SID is found exactly, not something that only begins like one."""
    assert find_conversation_sid(text) == sid


@pytest.mark.parametrize(
    ("error", "is_there", "is_bound"),
    [
        (ConflictError("x", status=409, code=50433), True, False),
        (ConflictError("x", status=409, code=50437), True, False),
        (ConflictError("x", status=409, code=50416), False, True),
        (ConflictError("x", status=409), False, False),
        (NotFoundError("x", status=404, code=50433), False, False),
        (ValueError("x"), False, False),
    ],
)
def test_meaning_of_conflicts(error, is_there, is_bound):
    """Only a conflict with the right code identifies the existing member."""
    assert is_already_there(error) is is_there
    assert is_bound_elsewhere(error) is is_bound
