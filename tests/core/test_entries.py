"""Entries: CloudEvents that the official library reads, with ids that say what happened and not when it was written."""

import json

import pytest
from cloudevents.core.formats.json import JSONFormat
from cloudevents.core.v1.event import CloudEvent
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from router.core.entries import (
    DATA_TYPES,
    ClosedData,
    CommunicationData,
    Entry,
    EntryAddress,
    EntryCause,
    EntryCommunication,
    EntryConversation,
    EntryData,
    JoinedData,
    LeftData,
    UpdatedData,
    json_schema,
    make_entry,
    read_entry,
    show_participant,
)
from tests.core.builders import ACCOUNT, CONVERSATION, CUSTOMER, DESK, OTHER, make_participant

COMMON = {
    "target": "ai-agent",
    "reason": "default",
    "account_id": ACCOUNT,
    "conversation": EntryConversation(id=CONVERSATION),
    "cause": EntryCause(
        source="messaging", event_type="e", idempotency_key="k", received_at="2026-01-01T10:00:00.000Z"
    ),
}
OF_PARTICIPANT = COMMON | {
    "channel": "SMS",
    "address": CUSTOMER.value,
    "recipient": EntryAddress(channel="SMS", address=DESK.value),
    "participant": show_participant(make_participant(), account_id=ACCOUNT, conversation_id=CONVERSATION),
}
SAMPLES = [
    pytest.param(JoinedData(**OF_PARTICIPANT, origin="created"), "p1", id="joined"),
    pytest.param(UpdatedData(**OF_PARTICIPANT), "p1", id="updated"),
    pytest.param(LeftData(**OF_PARTICIPANT), "p1", id="left"),
    pytest.param(
        CommunicationData(**OF_PARTICIPANT, communication=EntryCommunication(text="hi", media=({"url": "https://x"},))),
        "p1",
        id="communication",
    ),
    pytest.param(ClosedData(**COMMON), CONVERSATION, id="closed"),
]


def make(data, **changes):
    """Return an entry for `data`."""
    fields = {"namespace": "router", "subject": "p1", "distinction": "1", "occurred_at": 1_767_261_600_000_000}
    return make_entry(data, **(fields | changes))


@pytest.mark.parametrize(("data", "subject"), SAMPLES)
def test_the_official_library_reads_it(data, subject):
    """Every entry is a CloudEvents 1.0 document in structured JSON, judged by the official library."""
    fields = make(data, subject=subject).to_fields()
    event = JSONFormat().read(CloudEvent, fields["event"])
    assert event.get_specversion() == "1.0"
    assert (event.get_type(), event.get_id()) == (fields["type"], fields["id"])
    assert event.get_source() == "/participant-router/router"
    assert event.get_subject() == subject
    assert event.get_datacontenttype() == "application/json"
    assert event.get_time().isoformat() == "2026-01-01T10:00:00+00:00"
    assert event.get_data() == json.loads(data.model_dump_json())


@pytest.mark.parametrize(("data", "subject"), SAMPLES)
def test_round_trip(data, subject):
    """What was written reads back as the same entry, its data as the model of its type, from text and from bytes."""
    entry = make(data, subject=subject)
    event = entry.to_fields()["event"]
    assert read_entry(event) == entry
    assert read_entry(event.encode()) == entry
    assert type(read_entry(event).data) is type(data)


def test_contract_of_joined():
    """The data of `participant.joined` has the fields that the contract lists, in the contract's names."""
    document = json.loads(make(JoinedData(**OF_PARTICIPANT, origin="found")).to_fields()["event"])
    assert document["type"] == "participant.joined"
    assert document["data"] == {
        "target": "ai-agent",
        "reason": "default",
        "origin": "found",
        "account_id": ACCOUNT,
        "channel": "SMS",
        "address": CUSTOMER.value,
        "recipient": {"channel": "SMS", "address": DESK.value},
        "conversation": {"id": CONVERSATION, "configuration_id": None, "status": None, "classic_sid": None},
        "participant": {
            "id": "p1",
            "conversation_id": CONVERSATION,
            "account_id": ACCOUNT,
            "name": None,
            "type": "CUSTOMER",
            "profile_id": None,
            "addresses": [{"channel": "SMS", "address": CUSTOMER.value, "channel_id": None}],
            "created_at": None,
            "updated_at": None,
        },
        "cause": {
            "source": "messaging",
            "event_type": "e",
            "resource_id": None,
            "idempotency_key": "k",
            "received_at": "2026-01-01T10:00:00.000Z",
        },
    }


def test_unknown_types_and_fields_are_tolerated():
    """A reader of today gets the common data of a type of tomorrow, and ignores fields that it does not know."""
    document = json.loads(make(JoinedData(**OF_PARTICIPANT, origin="found")).to_fields()["event"])
    document |= {"type": "participant.danced", "traceparent": "00-1"}
    document["data"] |= {"dance": "tango"}
    entry = read_entry(json.dumps(document))
    assert entry.type == "participant.danced"
    assert type(entry.data) is EntryData
    assert entry.data.target == "ai-agent"


@pytest.mark.parametrize(
    "change",
    [
        pytest.param({"data": None}, id="no-data"),
        pytest.param({"data": []}, id="data-of-another-kind"),
        pytest.param({"data": {}}, id="empty-data"),
        pytest.param({"id": None}, id="no-id"),
        pytest.param({"type": 5}, id="type-of-another-kind"),
        pytest.param({"specversion": "0.3"}, id="other-version-of-the-standard"),
        pytest.param({"specversion": None}, id="no-version-of-the-standard"),
    ],
)
def test_no_such_document(change):
    """What is not one of our documents is refused."""
    document = json.loads(make(JoinedData(**OF_PARTICIPANT, origin="found")).to_fields()["event"])
    with pytest.raises(ValidationError):
        read_entry(json.dumps(document | change))


@given(st.one_of(st.text(), st.binary()))
def test_reading_raises_nothing_else(event):
    """Whatever stands in a stream entry, reading it ends in one kind of error."""
    with pytest.raises(ValidationError):
        read_entry(event)


ID = make(JoinedData(**OF_PARTICIPANT, origin="found")).id


@pytest.mark.parametrize(
    "same",
    [
        pytest.param(make(JoinedData(**OF_PARTICIPANT, origin="created")), id="origin"),
        pytest.param(make(JoinedData(**(OF_PARTICIPANT | {"target": "human-agent"}), origin="found")), id="target"),
        pytest.param(make(JoinedData(**OF_PARTICIPANT, origin="found"), occurred_at=0), id="time"),
    ],
)
def test_id_does_not_depend_on_how_it_became_known(same):
    """One thing that happened has one id, whoever reported it, whoever takes it and whenever it was written."""
    assert same.id == ID


@pytest.mark.parametrize(
    "other",
    [
        pytest.param(make(LeftData(**OF_PARTICIPANT)), id="type"),
        pytest.param(make(JoinedData(**OF_PARTICIPANT, origin="found"), namespace="acme"), id="namespace"),
        pytest.param(make(JoinedData(**OF_PARTICIPANT, origin="found"), subject="p2"), id="subject"),
        pytest.param(make(JoinedData(**OF_PARTICIPANT, origin="found"), distinction="2"), id="stay"),
        pytest.param(make(JoinedData(**(OF_PARTICIPANT | {"account_id": "AC2"}), origin="found")), id="account"),
        pytest.param(
            make(JoinedData(**(OF_PARTICIPANT | {"conversation": EntryConversation(id=OTHER)}), origin="found")),
            id="conversation",
        ),
    ],
)
def test_id_tells_things_apart(other):
    """Two things that happened have two ids."""
    assert other.id != ID


@given(st.tuples(st.text(max_size=3), st.text(max_size=3)), st.tuples(st.text(max_size=3), st.text(max_size=3)))
def test_ids_do_not_run_into_each_other(one, other):
    """Subject and distinction are told apart, wherever the border between them is."""
    if "\0" not in "".join(one + other):
        ids = {make(ClosedData(**COMMON), subject=subject, distinction=told).id for subject, told in (one, other)}
        assert len(ids) == len({one, other})


def test_participant_of_an_entry():
    """What a partial participant does not say of itself is taken from its conversation."""
    partial = make_participant(conversation_id="", account_id="")
    shown = show_participant(partial, account_id=ACCOUNT, conversation_id=CONVERSATION)
    assert (shown["account_id"], shown["conversation_id"]) == (ACCOUNT, CONVERSATION)
    whole = make_participant(conversation_id=OTHER, account_id="AC2", name="Ana", profile_id="mem_1")
    shown = show_participant(whole, account_id=ACCOUNT, conversation_id=CONVERSATION)
    assert (shown["account_id"], shown["conversation_id"], shown["name"]) == ("AC2", OTHER, "Ana")
    assert shown["profile_id"] == "mem_1"


def test_origins_are_three():
    """Created, found and announced are all the ways in which a participant becomes known."""
    with pytest.raises(ValidationError, match="origin"):
        JoinedData(**OF_PARTICIPANT, origin="guessed")


@pytest.mark.parametrize("kind", DATA_TYPES)
def test_json_schema(kind):
    """Every type has a schema of the whole document, with its own name as the only type."""
    schema = json_schema(DATA_TYPES[kind])
    assert schema["$schema"] == "https://json-schema.org/draft/2020-12/schema"
    assert schema["properties"]["type"]["const"] == kind
    assert set(schema["required"]) >= {"id", "type", "source", "subject", "time", "data"}
    assert schema["properties"]["data"]["$ref"].rpartition("/")[2] == DATA_TYPES[kind].__name__


def test_types_have_their_own_names():
    """Every model of an entry's data is found under the name of its type."""
    names = {"participant.joined", "participant.updated", "participant.left", "conversation.closed"}
    assert names | {"communication.received"} <= set(DATA_TYPES)
    assert all(issubclass(data, EntryData) and kind == data.type for kind, data in DATA_TYPES.items())


def test_entries_are_frozen():
    """A published entry does not change."""
    with pytest.raises(ValidationError, match="frozen"):
        make(ClosedData(**COMMON)).id = "x"
    assert isinstance(make(ClosedData(**COMMON)), Entry)
