"""Source `conversations`: seven event types, versions of facts, and keys that no header can forge."""

import json
from datetime import UTC, datetime
from hashlib import sha256

import pytest
from hypothesis import given
from hypothesis import strategies as st

from router.core.errors import RouterError, UnreadableError, UnusableError
from router.core.events import (
    Cause,
    Change,
    CommunicationReported,
    ConversationReported,
    Disregarded,
    ParticipantReported,
    Version,
)
from router.inbound.conversations import EVENT_TYPES, identify, normalize
from tests.inbound.samples import RECEIVED_AT, encode_json, load_callback, make_entry
from tests.support.accounts import ACCOUNT, OTHER_ACCOUNT

CONVERSATION = "conv_conversation_01k1etx3jbfx88476ccja00001"
PARTICIPANT = "conv_participant_01k1etx3jbfx88476ccja00001"
COMMUNICATION = "conv_communication_01k1etx3jbfx88476ccja00001"
NOON = 1_767_787_200_000_000  # 2026-01-07T12:00:00Z
SECOND = 1_000_000


def identity_of(document, token=None):
    """Return the identity of a callback, as the receiver does."""
    return identify(encode_json(document), token=token, default_account=OTHER_ACCOUNT)


def key_of(document, token=None):
    return identity_of(document, token).key


def event_of(document):
    """Return the event of a callback, as the worker does."""
    return normalize(make_entry(encode_json(document), "conversations"))


def cause_of(event_type, resource_id):
    """Return the cause of a sample callback."""
    return Cause("conversations", event_type, resource_id, "k1", RECEIVED_AT)


def test_clock_of_the_samples():
    """The constant NOON is the time that the samples count from."""
    assert int(datetime(2026, 1, 7, 12, tzinfo=UTC).timestamp()) * SECOND == NOON


@pytest.mark.parametrize(
    ("event_type", "change", "version"),
    [
        pytest.param("PARTICIPANT_ADDED", Change.ADDED, Version(NOON + SECOND, NOON + 1_250_000), id="added"),
        pytest.param("PARTICIPANT_UPDATED", Change.UPDATED, Version(NOON + 3_123_456, NOON + 3_250_000), id="updated"),
        pytest.param("PARTICIPANT_REMOVED", Change.REMOVED, Version(NOON + 9_250_000, NOON + 9_250_000), id="removed"),
    ],
)
def test_participants(event_type, change, version):
    """A participant's callback has the version of its resource, a removal the time of its event."""
    event = event_of(load_callback(event_type))
    assert isinstance(event, ParticipantReported)
    assert (event.cause, event.account_id) == (cause_of(event_type, PARTICIPANT), ACCOUNT)
    assert (event.change, event.version) == (change, version)
    assert (event.participant.id, event.participant.conversation_id) == (PARTICIPANT, CONVERSATION)
    assert event.participant.addresses[0].key == "SMS|+14155550101"


@pytest.mark.parametrize(
    ("event_type", "status", "at"),
    [
        pytest.param("CONVERSATION_CREATED", "ACTIVE", NOON, id="created"),
        pytest.param("CONVERSATION_UPDATED", "CLOSED", NOON + 3600 * SECOND, id="closed"),
    ],
)
def test_conversations(event_type, status, at):
    """A conversation's callback is the conversation, with its configuration id."""
    event = event_of(load_callback(event_type))
    assert isinstance(event, ConversationReported)
    assert event.cause == cause_of(event_type, CONVERSATION)
    assert (event.conversation.id, event.conversation.status) == (CONVERSATION, status)
    assert event.conversation.configuration_id.startswith("conv_configuration_")
    assert event.version == Version(at, at + 100_000)


def test_communication_created():
    """A communication's callback is the communication, with its author."""
    event = event_of(load_callback("COMMUNICATION_CREATED"))
    assert isinstance(event, CommunicationReported)
    assert event.cause == cause_of("COMMUNICATION_CREATED", COMMUNICATION)
    assert (event.communication.conversation_id, event.communication.author.participant_id) == (
        CONVERSATION,
        PARTICIPANT,
    )


@pytest.mark.parametrize(
    ("document", "event_type", "reason"),
    [
        pytest.param(
            load_callback("COMMUNICATION_UPDATED"),
            "COMMUNICATION_UPDATED",
            "a delivery state changes no participant",
            id="delivery",
        ),
        pytest.param(
            load_callback("COMMUNICATION_CREATED", top={"eventType": "ACTION_COMPLETED"}),
            "ACTION_COMPLETED",
            "unknown event type ACTION_COMPLETED",
            id="unknown",
        ),
    ],
)
def test_disregarded(document, event_type, reason):
    """A disregarded and an unknown event type are both accepted, with different reasons."""
    assert identity_of(document).subject == CONVERSATION
    assert event_of(document) == Disregarded(cause_of(event_type, COMMUNICATION), ACCOUNT, reason)


def test_long_unknown_type():
    """An unknown event type is shortened in the reason."""
    event = event_of(load_callback("COMMUNICATION_CREATED", top={"eventType": "X" * 1000}))
    assert event.reason == "unknown event type " + "X" * 64


def test_all_types_have_a_sample():
    """Each of the seven event types has a sample and is known."""
    assert len(set(EVENT_TYPES)) == 7
    for event_type in EVENT_TYPES:
        event = event_of(load_callback(event_type))
        assert event.cause.event_type == event_type
        assert "unknown" not in getattr(event, "reason", "")


@pytest.mark.parametrize(
    ("changes", "version"),
    [
        pytest.param(
            {"updatedAt": "2026-01-07T12:00:05Z"}, Version(NOON + 5 * SECOND, NOON + 1_250_000), id="0-digits"
        ),
        pytest.param(
            {"updatedAt": "2026-01-07T12:00:05.123Z"}, Version(NOON + 5_123_000, NOON + 1_250_000), id="3-digits"
        ),
        pytest.param(
            {"updatedAt": "2026-01-07T12:00:05.123456789Z"}, Version(NOON + 5_123_456, NOON + 1_250_000), id="9-digits"
        ),
        pytest.param({"without": ["updatedAt"]}, Version(NOON + SECOND, NOON + 1_250_000), id="created-only"),
        pytest.param({"updatedAt": None}, Version(NOON + SECOND, NOON + 1_250_000), id="null"),
        pytest.param(
            {"without": ["updatedAt", "createdAt"]}, Version(NOON + 1_250_000, NOON + 1_250_000), id="event-time-only"
        ),
        pytest.param({"updatedAt": "soon"}, Version(NOON + 1_250_000, NOON + 1_250_000), id="unreadable"),
        pytest.param({"without": ["timestamp"]}, Version(NOON + SECOND, RECEIVED_AT), id="no-event-time"),
        pytest.param({"top": {"timestamp": 5}}, Version(NOON + SECOND, RECEIVED_AT), id="event-time-of-another-kind"),
        pytest.param(
            {"without": ["updatedAt", "createdAt", "timestamp"]}, Version(RECEIVED_AT, RECEIVED_AT), id="no-time-at-all"
        ),
    ],
)
def test_versions(changes, version):
    """A version has the times of resource and event; a missing one is replaced by the next best time."""
    assert event_of(load_callback("PARTICIPANT_ADDED", **changes)).version == version


@pytest.mark.parametrize(
    ("updated", "reported_at", "version"),
    [
        pytest.param(
            "2026-01-07T12:00:01Z", "2026-01-07T12:00:09Z", Version(NOON + 9 * SECOND, NOON + 9 * SECOND), id="touched"
        ),
        pytest.param(
            "2026-01-07T12:00:09Z", "2026-01-07T12:00:01Z", Version(NOON + 9 * SECOND, NOON + SECOND), id="ahead"
        ),
    ],
)
def test_version_of_a_removal(updated, reported_at, version):
    """The version of a removal has the later of the two times."""
    document = load_callback("PARTICIPANT_REMOVED", updatedAt=updated, top={"timestamp": reported_at})
    assert event_of(document).version == version


@pytest.mark.parametrize(
    ("event_type", "changes", "reason"),
    [
        pytest.param(
            "PARTICIPANT_ADDED", {"without": ["conversationId"]}, "conversationId is missing", id="no-conversation"
        ),
        pytest.param("PARTICIPANT_ADDED", {"addresses": "+14155550101"}, "does not fit in addresses", id="addresses"),
        pytest.param(
            "PARTICIPANT_ADDED", {"addresses": [{"channel": "SMS"}]}, "in addresses.0.address", id="half-address"
        ),
        pytest.param("CONVERSATION_CREATED", {"participants": 5}, "in participants", id="participants"),
        pytest.param("COMMUNICATION_CREATED", {"author": "Ana"}, "in author", id="author"),
        pytest.param(
            "PARTICIPANT_UPDATED", {"without": ["id"]}, "PARTICIPANT_UPDATED: data does not fit in id", id="no-id"
        ),
        pytest.param("PARTICIPANT_UPDATED", {"name": {"x": 1}, "type": []}, "fit in type, name", id="several"),
    ],
)
def test_unusable_data(event_type, changes, reason):
    """The error for an unreadable resource names its fields, never their values."""
    with pytest.raises(UnusableError, match=reason) as caught:
        event_of(load_callback(event_type, **changes))
    assert "+1415" not in str(caught.value)


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        pytest.param(b"", "not JSON", id="empty"),
        pytest.param(b'{"eventType":', "not JSON", id="cut-off"),
        pytest.param(b'{"eventType":"PARTICIPANT_ADDED","data":{"id":"\xff"}}', "data.id is not UTF-8", id="not-utf-8"),
        pytest.param(b'{"eventType":"PARTICIPANT_ADDED","data":{"id":"\\ud800"}}', "not JSON", id="lone-surrogate"),
        pytest.param(b"[" * 100_000, "not JSON", id="deeply-nested"),
        pytest.param(b"From=%2B14155550101&Body=hi", "not JSON", id="form"),
        pytest.param(b"[]", "not a JSON object", id="list"),
        pytest.param(b'"PARTICIPANT_ADDED"', "not a JSON object", id="text"),
        pytest.param(b"null", "not a JSON object", id="null"),
        pytest.param(b'{"data":{"id":"x"}}', "eventType is missing", id="no-type"),
        pytest.param(b'{"eventType":"","data":{"id":"x"}}', "eventType is missing", id="empty-type"),
        pytest.param(b'{"eventType":7,"data":{"id":"x"}}', "eventType is missing", id="type-of-another-kind"),
        pytest.param(b'{"eventType":"PARTICIPANT_ADDED"}', "data is not an object", id="no-data"),
        pytest.param(b'{"eventType":"PARTICIPANT_ADDED","data":null}', "data is not an object", id="data-null"),
        pytest.param(b'{"eventType":"PARTICIPANT_ADDED","data":[]}', "data is not an object", id="data-list"),
        pytest.param(b'{"eventType":"PARTICIPANT_ADDED","data":"x"}', "data is not an object", id="data-text"),
    ],
)
def test_unreadable(body, reason):
    """A body that is not a callback is refused by receiver and worker, with the reason."""
    with pytest.raises(UnreadableError, match=reason):
        identify(body, token=None, default_account=ACCOUNT)
    with pytest.raises(UnreadableError, match=reason):
        normalize(make_entry(body, "conversations"))


@pytest.mark.parametrize("value", [None, "", 7, []], ids=["null", "empty", "number", "list"])
def test_missing_id(value):
    """A callback whose resource has no id is unreadable."""
    with pytest.raises(UnreadableError, match=r"data\.id is missing"):
        identity_of(load_callback("PARTICIPANT_ADDED", id=value))


@pytest.mark.parametrize(
    ("event_type", "subject"),
    [(event_type, CONVERSATION) for event_type in EVENT_TYPES],
    ids=EVENT_TYPES,
)
def test_subject(event_type, subject):
    """The subject of a callback is its conversation, so that callbacks are processed in order."""
    identity = identity_of(load_callback(event_type))
    assert identity.subject == subject
    assert identity.account_id == ACCOUNT
    assert identity.key.startswith(f"{ACCOUNT}:conversations:")


@pytest.mark.parametrize("value", [None, "", 7], ids=["null", "empty", "number"])
def test_default_account(value):
    """A callback without an account belongs to the configured account."""
    assert identity_of(load_callback("PARTICIPANT_ADDED", accountId=value)).account_id == OTHER_ACCOUNT


# --- the idempotency key ---------------------------------------------------------------------------


def test_key_with_a_token():
    """With the token of the header, the key is equal for all attempts of one callback, whatever else differs."""
    first = load_callback("PARTICIPANT_ADDED")
    again = load_callback("PARTICIPANT_ADDED", top={"timestamp": "2026-01-07T12:00:02.000Z"}, updatedAt=None)
    assert key_of(first, "token-1") == key_of(again, "token-1")
    assert key_of(first, "token-1") != key_of(first, "token-2")
    assert key_of(first, "token-1") != key_of(first)


def test_token_is_bound_to_type_and_resource():
    """A token, which is not signed, cannot hide an event of another type, resource or account."""
    documents = [
        load_callback("PARTICIPANT_ADDED"),
        load_callback("PARTICIPANT_UPDATED"),
        load_callback("PARTICIPANT_ADDED", id="conv_participant_other"),
        load_callback("PARTICIPANT_ADDED", accountId=OTHER_ACCOUNT),
    ]
    assert len({key_of(document, "token-1") for document in documents}) == len(documents)


def test_key_without_a_token():
    """Without a token the key has event type, resource and both times."""
    documents = [
        load_callback("PARTICIPANT_UPDATED"),
        load_callback("PARTICIPANT_ADDED"),
        load_callback("PARTICIPANT_UPDATED", id="conv_participant_other"),
        load_callback("PARTICIPANT_UPDATED", updatedAt="2026-01-07T12:00:04Z"),
        load_callback("PARTICIPANT_UPDATED", top={"timestamp": "2026-01-07T12:00:04Z"}),
        load_callback("PARTICIPANT_UPDATED", without=["updatedAt"]),
        load_callback("PARTICIPANT_UPDATED", without=["timestamp"]),
    ]
    assert len({key_of(document) for document in documents}) == len(documents)
    assert key_of(documents[0]) == key_of(load_callback("PARTICIPANT_UPDATED", name="something else"))


def test_form_of_the_key():
    """Keys are stored in Redis: a release that changed them would let duplicates through."""
    digest = sha256(f"token-1\0PARTICIPANT_ADDED\0{PARTICIPANT}".encode()).hexdigest()[:32]
    assert key_of(load_callback("PARTICIPANT_ADDED"), "token-1") == f"{ACCOUNT}:conversations:{digest}"


PARTS = st.tuples(
    st.sampled_from(EVENT_TYPES),
    st.sampled_from(["a", "b", "ab"]),
    st.sampled_from(["", "a", "b", "2026-01-07T12:00:00Z"]),
    st.sampled_from(["", "a", "b", "2026-01-07T12:00:00Z"]),
    st.sampled_from([None, "a", "b"]),
)


@given(PARTS, PARTS)
def test_keys_are_equal_for_duplicates_only(one, other):
    """Two callbacks have the same key only if type, resource, and token (or else both times) are equal."""
    keys, events = [], []
    for event_type, resource_id, updated, reported_at, token in (one, other):
        data = {"id": resource_id, "updatedAt": updated}
        keys.append(key_of({"eventType": event_type, "timestamp": reported_at, "data": data}, token))
        events.append((event_type, resource_id, token or (updated, reported_at)))
    assert (keys[0] == keys[1]) == (events[0] == events[1])


JSON = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(-(2**63), 2**63 - 1), st.text(max_size=8)),
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(st.text(max_size=5), inner, max_size=3)),
    max_leaves=6,
)
NAMES = ["id", "conversationId", "accountId", "addresses", "author", "updatedAt", "status", "participants", "type"]
DOCUMENTS = st.fixed_dictionaries(
    {},
    optional={
        "eventType": st.one_of(st.sampled_from(EVENT_TYPES), JSON),
        "timestamp": JSON,
        "data": st.one_of(st.dictionaries(st.sampled_from(NAMES), st.one_of(st.just("x"), JSON)), JSON),
    },
)


@given(
    st.one_of(DOCUMENTS.map(lambda document: json.dumps(document).encode()), st.binary()), st.sampled_from([None, "t"])
)
def test_any_body(body, token):
    """Any body is identified and normalized, or refused as unreadable or unusable."""
    errors = []
    try:
        identify(body, token=token, default_account=ACCOUNT)
    except RouterError as error:
        errors.append(error)
    try:
        normalize(make_entry(body, "conversations"))
    except RouterError as error:
        errors.append(error)
    assert all(isinstance(error, UnreadableError | UnusableError) for error in errors)


def test_an_unknown_type_needs_no_resource():
    """An unknown event type needs no id, and equal bodies are one event."""
    body = {"eventType": "SOMETHING_NEW", "timestamp": "2026-01-01T00:00:00Z", "data": {"accountId": ACCOUNT}}
    assert identity_of(body) == identity_of(body)
    assert identity_of(body) != identity_of(body | {"data": {"accountId": ACCOUNT, "x": 1}})
