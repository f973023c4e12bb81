"""Private values of documents: taken out, sealed, and put back."""

from copy import deepcopy

import pytest
from hypothesis import given
from hypothesis import strategies as st

from router.core.sealed_texts import COMMAND, ENTRY, PLACEHOLDER, open_texts, put_texts, seal_document, take_texts
from router.core.sealing import SealedError, SealedKind, TamperedError
from tests.core.test_sealing import NEW, OLD

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)
TEXT = st.none() | st.text()
COMMUNICATIONS = st.fixed_dictionaries(
    {"id": TEXT, "text": st.text(), "media": st.lists(JSON, max_size=2), "provider": st.dictionaries(st.text(), JSON)},
    optional={"location": st.none() | st.fixed_dictionaries({"latitude": st.integers(), "label": TEXT})},
)
REQUESTS = st.fixed_dictionaries(
    {"id": st.text(), "reason": st.text(), "summary": TEXT, "note": TEXT},
    optional={"context": st.none() | st.dictionaries(st.text(), JSON, max_size=3)},
)
DATA = st.fixed_dictionaries(
    {"account_id": st.text()},
    optional={
        "profile_name": TEXT,
        "participant": st.none() | st.fixed_dictionaries({"id": st.text(), "name": TEXT}),
        "communication": COMMUNICATIONS,
        "communications": st.lists(COMMUNICATIONS, max_size=3),
        "request": st.none() | REQUESTS,
        "offer": REQUESTS,
        "command": st.fixed_dictionaries(
            {"type": st.text(), "data": st.dictionaries(st.sampled_from([*COMMAND]), JSON)}
        ),
    },
)


@given(DATA)
def test_data_comes_back(data):
    """Whatever its values are; and the data that was given is not changed."""
    before = deepcopy(data)
    document = seal_document({"id": "1", "data": data}, ENTRY, OLD, SealedKind.ENTRY)
    if "sealed" in document:
        assert open_texts(document["sealed"], document["data"], OLD, SealedKind.ENTRY) == before
    else:
        assert document["data"] == before
    assert data == before


def test_what_stays_is_what_routing_needs():
    """Ids, types and addresses stay; of private values there are placeholders, which conform to the schema."""
    data = {
        "address": "+15551230001",
        "profile_name": "Dana",
        "participant": {"id": "p", "name": "Dana", "addresses": [{"address": "+15551230001"}]},
        "communication": {
            "id": "c",
            "text": "my secret",
            "media": [{"url": "u"}],
            "provider": {"A": "b"},
            "reply": None,
        },
        "request": {"queue": "default", "reason": "angry", "summary": None, "context": {"order": "1"}},
        "command": {"type": "conversation.say", "data": {"agent": "dana", "text": "hello", "note": ""}},
    }
    shown, texts = take_texts(data, ENTRY)
    assert shown == {
        "address": "+15551230001",
        "profile_name": PLACEHOLDER,
        "participant": {"id": "p", "name": PLACEHOLDER, "addresses": [{"address": "+15551230001"}]},
        "communication": {"id": "c", "text": PLACEHOLDER, "media": (), "provider": {}, "reply": None},
        "request": {"queue": "default", "reason": PLACEHOLDER, "summary": None, "context": None},
        "command": {"type": "conversation.say", "data": {"agent": "dana", "text": PLACEHOLDER, "note": ""}},
    }
    assert put_texts(shown, texts) == data


def test_a_document_without_texts_is_not_sealed():
    """There is nothing to hide."""
    document = {"id": "1", "data": {"account_id": "AC", "participant": {"id": "p", "name": None}}}
    assert seal_document(document, ENTRY, OLD, SealedKind.ENTRY) is document


def test_only_a_sealed_value_is_opened():
    """A writer without the key can neither put texts in a document nor swap those of others in by another kind."""
    sealed = seal_document({"data": {"text": "hello"}}, COMMAND, OLD, SealedKind.COMMAND)["sealed"]
    for wrong in ('{"text": "forged"}', 7, "sealed:", OLD.seal_text("no JSON", SealedKind.COMMAND)):
        with pytest.raises(TamperedError):
            open_texts(wrong, {}, OLD, SealedKind.COMMAND)
    with pytest.raises(TamperedError):
        open_texts(sealed, {}, OLD, SealedKind.ENTRY)
    with pytest.raises(SealedError, match="ROUTER_SEAL_KEYS"):
        open_texts(sealed, {}, NEW, SealedKind.COMMAND)
