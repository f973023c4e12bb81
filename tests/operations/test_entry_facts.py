"""The facts of entries of all streams: read one by one, so that nonsense in one hides no other."""

from __future__ import annotations

import json

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from router.core.entries import CommunicationData
from router.core.resources import Participant, ParticipantAddress
from router.core.stories import event_id
from router.operations.entry_facts import EntryFacts, read_facts
from tests.handlers.harness import make
from tests.support.accounts import ACCOUNT, CUSTOMER, OURS
from tests.support.entries import fields_of


def encoded(fields):
    return {name.encode(): value.encode() for name, value in fields.items()}


def test_a_webhook():
    """Source, key, account, and the customer of its subject."""
    fields = {"source": "messaging", "account": ACCOUNT, "key": "k", "subject": f"SMS|{CUSTOMER}|{OURS}"}
    assert read_facts(encoded(fields)) == EntryFacts(
        kind="messaging", key="k", event_id=event_id("k"), account=ACCOUNT, channel="SMS", address=CUSTOMER
    )


def test_a_callback():
    """Its subject is the conversation."""
    facts = read_facts({b"source": b"conversations", b"subject": b"conv_conversation_1"})
    assert (facts.conversation, facts.channel, facts.event_id) == ("conv_conversation_1", "", "")


def test_an_entry():
    """Conversation, participant, customer and event."""
    address = ParticipantAddress(channel="SMS", address=CUSTOMER)
    customer = Participant(id="conv_participant_1", type="CUSTOMER", addresses=(address,))
    entry = make(CommunicationData, "conv_conversation_1", customer)
    facts = read_facts(encoded(fields_of(entry)))
    assert (facts.kind, facts.account, facts.document_id) == ("communication.received", ACCOUNT, entry.id)
    assert (facts.conversation, facts.participant) == ("conv_conversation_1", "conv_participant_1")
    assert (facts.channel, facts.address, facts.event_id) == ("SMS", CUSTOMER, event_id("k"))


def test_the_event_id_of_an_entry_is_the_one_that_it_says():
    """Its cause has it."""
    document = {"data": {"cause": {"event_id": "ev_1", "idempotency_key": "k"}}}
    assert read_facts({b"event": orjson.dumps(document)}).event_id == "ev_1"


def test_a_command():
    """Its type, id and conversation; the fields of the entry where the document has none."""
    document = {"type": "command.offer.accept", "id": "c1", "data": {"conversation": "conv_conversation_1"}}
    facts = read_facts({b"type": b"x", b"id": b"y", b"command": orjson.dumps(document)})
    assert (facts.kind, facts.key, facts.conversation) == ("offer.accept", "c1", "conv_conversation_1")
    facts = read_facts({b"type": b"offer.accept", b"id": b"c1", b"command": b"{"})
    assert (facts.kind, facts.key) == ("offer.accept", "c1")


def test_json_masks_the_address_and_a_key_that_holds_one():
    """Unless an operator asks for them."""
    facts = EntryFacts(key=f"email:{CUSTOMER}", address=CUSTOMER)
    assert CUSTOMER not in str(facts.to_json())
    assert facts.to_json(unmasked=True)["key"] == facts.key


NAMES = ["data", "cause", "conversation", "id", "account_id", "type", "participant", "communication", "address"]
JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(1 << 63), (1 << 63) - 1) | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(NAMES), inner, max_size=4),
    max_leaves=20,
)


@given(
    st.dictionaries(
        st.sampled_from([b"event", b"command", b"source", b"subject", b"key", b"account", b"type", b"\xff"]),
        st.binary(max_size=30) | JSON.map(lambda value: json.dumps(value).encode()),
        max_size=5,
    )
)
def test_anything_has_facts(fields):
    """No field of any content raises, and all facts are texts that can be written as JSON."""
    shown = read_facts(fields).to_json()
    assert all(isinstance(value, str) for value in shown.values())


@pytest.mark.parametrize("event", [b"[" * 5000, b'{"data": "x"}', b'{"data": {"cause": [1]}}', b"1e999"])
def test_documents_of_other_shapes_have_no_facts(event):
    """The kind is that of the entry's own field."""
    assert read_facts({b"event": event, b"type": b"t"}) == EntryFacts(kind="t")
