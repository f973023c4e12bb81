"""Classic members as v2 resources: identity, address and version."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from router.core.addresses import Address
from router.core.classic.members import (
    addresses_of,
    authors,
    from_event,
    from_lookup,
    from_resource,
    is_classic,
    to_conversation,
    to_status,
)
from router.core.classic.resources import ClassicConversation, ClassicParticipant, ParticipantConversation
from router.core.events import Version
from tests.core.builders import CUSTOMER, DESK, make_classic

SID = "CH00000000000000000000000000000001"
NOON = 1_767_787_200_000_000


@pytest.mark.parametrize(
    ("fields", "kind", "addresses"),
    [
        pytest.param({"customer": CUSTOMER, "recipient": DESK}, "CUSTOMER", ["SMS|+14155550101"], id="bound"),
        pytest.param({"identity": "ana"}, "UNKNOWN", ["CHAT|ana"], id="chat-user"),
        pytest.param({"identity": "bob", "projected": DESK}, "AGENT", ["CHAT|bob", f"SMS|{DESK.value}"], id="group"),
        pytest.param({"projected": DESK}, "AGENT", [f"SMS|{DESK.value}"], id="projected-only"),
        pytest.param({"identity": "ana", "customer": CUSTOMER}, "CUSTOMER", ["SMS|+14155550101"], id="both"),
    ],
)
def test_member_of_an_event(fields, kind, addresses):
    """A bound member is a customer, a chat user unknown, and one with a projected number an agent."""
    event = make_classic(**fields)
    member = from_event(event)
    assert (member.participant.type, [one.key for one in member.participant.addresses]) == (kind, addresses)
    assert (member.participant.id, member.participant.conversation_id) == (event.participant_sid, SID)
    assert {one.channel_id for one in member.participant.addresses} == {SID}
    assert (member.recipient, member.version) == (event.recipient, event.version)
    assert [one.key for one in addresses_of(event)] == addresses


@pytest.mark.parametrize("fields", [{}, {"customer": CUSTOMER, "participant_sid": None}], ids=["nobody", "no-sid"])
def test_an_event_without_a_member(fields):
    """An event without address, identity or SID identifies no member."""
    assert from_event(make_classic(**fields)) is None


@pytest.mark.parametrize("binding", [None, {"type": "whatsapp", "address": "whatsapp:+1", "proxy_address": "+2"}])
def test_member_of_the_api(binding):
    """A resource of the API makes the same member, with the version of its own times."""
    member = from_resource(
        ClassicParticipant(
            sid="MB1",
            identity=None if binding else "ana",
            messaging_binding=binding,
            date_created="2026-01-07T12:00:00Z",
        ),
        SID,
    )
    assert member.participant.addresses[0].key == ("WHATSAPP|+1" if binding else "CHAT|ana")
    assert member.recipient == (Address("WHATSAPP", "+2") if binding else None)
    assert member.version == Version(NOON, NOON)
    assert from_resource(ClassicParticipant(sid="MB1"), SID).version is None


def test_member_of_a_lookup():
    """A row of the lookup has the version of its conversation."""
    row = {"conversation_sid": SID, "participant_sid": "MB1", "participant_identity": "ana"}
    assert from_lookup(ParticipantConversation(**row)).version is None
    binding = {"address": CUSTOMER.value, "proxy_address": DESK.value, "type": "sms"}
    found = ParticipantConversation(
        **row, participant_messaging_binding=binding, conversation_date_updated="2026-01-07T12:00:00Z"
    )
    assert (from_lookup(found).version, from_lookup(found).recipient) == (Version(NOON, NOON), DESK)


@pytest.mark.parametrize(
    ("state", "status"),
    [
        ("initializing", "ACTIVE"),
        ("active", "ACTIVE"),
        ("Inactive", "INACTIVE"),
        ("closed", "CLOSED"),
        ("paused", "PAUSED"),
        ("", None),
        (None, None),
    ],
)
def test_states(state, status):
    """A classic state becomes its v2 status; an unknown one is kept."""
    assert to_status(state) == status
    assert to_conversation(ClassicConversation(sid=SID, state=state)).status == status


@pytest.mark.parametrize(
    ("author", "keys"),
    [
        ("whatsapp:+14155550101", ["WHATSAPP|+14155550101"]),
        ("messenger:77", ["CHAT|messenger:77"]),
        ("+14155550101", ["SMS|+14155550101", "CHAT|+14155550101"]),
        ("77345", ["SMS|77345", "CHAT|77345"]),
        ("ana@example.com", ["EMAIL|ana@example.com", "CHAT|ana@example.com"]),
        ("ana", ["CHAT|ana"]),
        ("team:ana", ["CHAT|team:ana"]),
    ],
)
def test_authors(author, keys):
    """A prefix gives the channel; a number or mailbox may be an identity as well."""
    assert [one.key for one in authors(author)] == keys
    assert [one.key for one in addresses_of(make_classic(kind="message", author=author))] == keys


@given(st.text(min_size=1))
def test_any_author(author):
    """Any author has an address to look up."""
    assert authors(author)


def test_events_without_addresses():
    """Conversations, and messages without an author, have no address."""
    assert addresses_of(make_classic(kind="conversation", customer=CUSTOMER)) == ()
    assert addresses_of(make_classic(kind="message")) == ()


@pytest.mark.parametrize(
    ("conversation_id", "expected"), [(SID, True), (f"{SID}0", False), ("conv_conversation_1", False), ("CHx", False)]
)
def test_is_classic(conversation_id, expected):
    """The form of its SID identifies a classic conversation."""
    assert is_classic(conversation_id) is expected
