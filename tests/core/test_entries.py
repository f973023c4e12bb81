"""Entries: CloudEvents that the official library reads, with ids derived from what happened, not from when."""

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
    draft_entry,
    json_schema,
    read_entry,
    show_participant,
)
from tests.core.builders import CONVERSATION, CUSTOMER, DESK, OTHER, make_participant
from tests.support.accounts import ACCOUNT

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
    """Return a draft of the entry with this data."""
    fields = {"namespace": "router", "subject": "p1", "distinction": "1", "occurred_at": 1_767_261_600_000_000}
    return draft_entry(data.type, data.model_dump(mode="json"), **(fields | changes))


@pytest.mark.parametrize(("data", "subject"), SAMPLES)
def test_the_official_library_reads_every_entry(data, subject):
    """The official library accepts every entry as a CloudEvents 1.0 document in structured JSON."""
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
def test_a_written_entry_reads_back_as_its_models_would_write_it(data, subject):
    """A draft reads back as the same entry, from text and from bytes, and the models would write the same bytes."""
    draft = make(data, subject=subject)
    event = draft.to_fields()["event"]
    entry = read_entry(event)
    assert entry == read_entry(event.encode())
    assert (entry.type, entry.id, entry.subject, entry.data.target) == (
        draft.type,
        draft.id,
        draft.subject,
        draft.target,
    )
    assert entry.data == data
    assert type(entry.data) is type(data)
    assert entry.model_dump_json() == event


def test_data_of_joined_has_the_documented_fields():
    """The data of `participant.joined` has exactly the fields that the contract lists."""
    document = json.loads(make(JoinedData(**OF_PARTICIPANT, origin="found")).to_fields()["event"])
    assert document["type"] == "participant.joined"
    assert document["data"] == {
        "target": "ai-agent",
        "reason": "default",
        "epoch": 0,
        "origin": "found",
        "opt_out": None,
        "account_id": ACCOUNT,
        "channel": "SMS",
        "address": CUSTOMER.value,
        "is_withheld": False,
        "external_user_id": None,
        "parent_external_user_id": None,
        "username": None,
        "profile_name": None,
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
            "event_id": None,
        },
    }


def test_unknown_types_and_fields_are_tolerated():
    """A reader gets the common data of an unknown type and ignores unknown fields."""
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
def test_other_documents_are_refused(change):
    """A document that is not an entry of ours is refused."""
    document = json.loads(make(JoinedData(**OF_PARTICIPANT, origin="found")).to_fields()["event"])
    with pytest.raises(ValidationError):
        read_entry(json.dumps(document | change))


@given(st.one_of(st.text(), st.binary()))
def test_reading_raises_one_kind_of_error(event):
    """Whatever a stream entry contains, reading it raises ValidationError and nothing else."""
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
def test_id_does_not_depend_on_origin_target_or_time(same):
    """One event has one id, whoever reported it, whichever target takes it, and whenever it was written."""
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
def test_different_events_have_different_ids(other):
    """Type, namespace, subject, stay, account and conversation are part of the id."""
    assert other.id != ID


@given(st.tuples(st.text(max_size=3), st.text(max_size=3)), st.tuples(st.text(max_size=3), st.text(max_size=3)))
def test_ids_separate_their_parts(one, other):
    """Moving characters from the subject to the distinction makes another id."""
    if "\0" not in "".join(one + other):
        ids = {make(ClosedData(**COMMON), subject=subject, distinction=stay).id for subject, stay in (one, other)}
        assert len(ids) == len({one, other})


def test_a_partial_participant_is_completed_from_its_conversation():
    """Account and conversation that a participant does not carry come from its conversation; its own win."""
    partial = make_participant(conversation_id="", account_id="")
    shown = show_participant(partial, account_id=ACCOUNT, conversation_id=CONVERSATION)
    assert (shown["account_id"], shown["conversation_id"]) == (ACCOUNT, CONVERSATION)
    whole = make_participant(conversation_id=OTHER, account_id="AC2", name="Ana", profile_id="mem_1")
    shown = show_participant(whole, account_id=ACCOUNT, conversation_id=CONVERSATION)
    assert (shown["account_id"], shown["conversation_id"], shown["name"]) == ("AC2", OTHER, "Ana")
    assert shown["profile_id"] == "mem_1"


def test_origins_are_a_closed_set():
    """An origin that is not in the contract is refused."""
    with pytest.raises(ValidationError, match="origin"):
        JoinedData(**OF_PARTICIPANT, origin="guessed")


@pytest.mark.parametrize("kind", DATA_TYPES)
def test_every_type_has_a_schema_of_the_whole_document(kind):
    """The schema of a type covers the whole document and allows only that type."""
    schema = json_schema(DATA_TYPES[kind])
    assert schema["$schema"] == "https://json-schema.org/draft/2020-12/schema"
    assert schema["properties"]["type"]["const"] == kind
    assert set(schema["required"]) >= {"id", "type", "source", "subject", "time", "data"}
    assert schema["properties"]["data"]["$ref"].rpartition("/")[2] == DATA_TYPES[kind].__name__


def test_every_data_model_is_registered_under_its_type():
    """DATA_TYPES finds every model of an entry's data by the name of its type."""
    names = {"participant.joined", "participant.updated", "participant.left", "conversation.closed"}
    assert names | {"communication.received"} <= set(DATA_TYPES)
    assert all(issubclass(data, EntryData) and kind == data.type for kind, data in DATA_TYPES.items())


def test_entries_are_frozen():
    """A published entry cannot be changed."""
    entry = read_entry(make(ClosedData(**COMMON)).to_fields()["event"])
    assert isinstance(entry, Entry)
    with pytest.raises(ValidationError, match="frozen"):
        entry.id = "x"
