"""Markers: the stored fields of a participant, and which differences count."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from router.core.addresses import Address
from router.core.events import Version
from router.core.ledger.marker import (
    COMMON_FIELDS,
    Marker,
    address_field,
    digest_of,
    fields_for,
    make_marker,
    participant_field,
    recipient_field,
    rest_field,
)
from router.core.ledger.packing import pack_marker, read_marker
from tests.core.builders import CUSTOMER, DESK, make_fact, make_participant


def test_field_names():
    """The fields of a conversation's hash are stored data: their names do not change."""
    assert participant_field("p1") == "p:p1"
    assert rest_field("p1") == "q:p1"
    assert address_field(CUSTOMER.key) == "a:SMS|+14155550101"
    assert recipient_field("SMS") == "r:SMS"


def test_fields_for():
    """A ledger reads the common fields, the participants' markers, and each address with our side's on its channel."""
    fields = fields_for(["p1", "p2", "p1"], [CUSTOMER, DESK])
    assert fields == [
        *COMMON_FIELDS,
        "p:p1",
        "p:p2",
        "q:p1",
        "q:p2",
        "a:SMS|+14155550101",
        "r:SMS",
        "a:SMS|+15557650001",
    ]


BASE = make_participant("p1", CUSTOMER, DESK, name="Ana", profile_id="mem_1", updated_at="2026-01-01T10:00:00Z")


@pytest.mark.parametrize(
    "other",
    [
        pytest.param(BASE.model_copy(update={"name": "Eve"}), id="name"),
        pytest.param(BASE.model_copy(update={"name": None}), id="no-name"),
        pytest.param(BASE.model_copy(update={"type": "UNKNOWN"}), id="type"),
        pytest.param(BASE.model_copy(update={"profile_id": None}), id="profile"),
        pytest.param(BASE.model_copy(update={"addresses": BASE.addresses[:1]}), id="addresses"),
        pytest.param(BASE.model_copy(update={"name": "mem_1", "profile_id": "Ana"}), id="swapped"),
    ],
)
def test_the_digest_covers_what_updates_report(other):
    """Name, type, profile and addresses change the digest."""
    assert digest_of(other) != digest_of(BASE)


@pytest.mark.parametrize(
    "other",
    [
        pytest.param(BASE.model_copy(update={"updated_at": "2026-01-02T10:00:00Z"}), id="time"),
        pytest.param(BASE.model_copy(update={"addresses": BASE.addresses[::-1]}), id="order-of-addresses"),
        pytest.param(BASE.model_copy(update={"conversation_id": ""}), id="where-it-was-read"),
    ],
)
def test_the_digest_covers_nothing_else(other):
    """Times, the order of addresses and the source do not change the digest."""
    assert digest_of(other) == digest_of(BASE)


@given(st.text(st.characters()), st.text(st.characters()))
def test_digest_is_total(name, value):
    """Any text has a digest."""
    assert len(digest_of(make_participant("p1", Address("CHAT", value), name=name))) == 16


@pytest.mark.parametrize(("is_ours", "was_ours"), [(False, False), (True, False), (False, True)])
def test_marker_of_a_present_participant(is_ours, was_ours):
    """A marker has the fact's version and distinct address keys, and stays ours once it was."""
    participant = make_participant("p1", CUSTOMER, Address("SMS", "+1 415 555 0101"), DESK, type=None)
    fact = make_fact(participant, Version(5, 6), is_ours=is_ours)
    marker = make_marker(participant, fact, stay=2, target="ai-agent", was_ours=was_ours)
    assert marker == Marker(
        version=Version(5, 6),
        digest=digest_of(participant),
        type="",
        is_present=True,
        is_ours=is_ours or was_ours,
        stay=2,
        target="ai-agent",
        addresses=(CUSTOMER.key, DESK.key),
    )


def test_marker_round_trip():
    """A marker reads back as written, and fields of a later release are ignored."""
    marker = Marker(version=Version(5, 6), digest="d", type="CUSTOMER", stay=2, target="ai-agent", addresses=("a", "b"))
    text, _ = pack_marker(marker)
    assert read_marker(text) == marker
    assert read_marker(text[:-1] + ',"mood":"good"}') == marker
