"""JSON with wrong bytes: a name or a text costs no event, an id or an address is refused."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from router.core.errors import UnreadableError
from router.core.events import CommunicationReported, ParticipantReported
from router.core.signing.form import NO_FORM
from router.inbound import conversations, event_streams
from router.inbound.json_body import read_json, require_exact
from router.inbound.webhook import Webhook
from tests.inbound.samples import encode_json, load, load_callback, make_entry
from tests.support.accounts import ACCOUNT, OTHER_ACCOUNT

#: Half of an emoji, as a text that was cut in the middle has it, and a letter in Latin-1.
WRONG = {"byte": b"\xe3", "cut character": b"\xf0\x9f", "half an emoji": rb"\ud83d", "its other half": rb"\uDC4B"}
MARK = "(here)"


def spoiled(document, wrong):
    """Return the document with wrong bytes in place of MARK."""
    body = encode_json(document)
    assert MARK.encode() in body
    return body.replace(MARK.encode(), WRONG[wrong])


@pytest.mark.parametrize("wrong", WRONG)
def test_wrong_bytes_are_replaced(wrong):
    """They become U+FFFD, and everything else stays: emojis, escapes, and what only looks like half an emoji."""
    body = b'{"a":"x' + WRONG[wrong] + rb'y","b":"\ud83d\udc4b\\ud83d\n"}'
    document, is_exact = read_json(body)
    assert set(document["a"]) == set("xy\ufffd")
    assert (document["b"], is_exact) == ("\U0001f44b\\ud83d\n", False)


@given(st.recursive(st.text() | st.integers(-9, 9), lambda more: st.lists(more) | st.dictionaries(st.text(), more)))
def test_json_is_read_as_it_is(document):
    """A JSON document is read unchanged."""
    assert read_json(json.dumps(document, ensure_ascii=False).encode())[0] == document


@given(st.binary())
def test_any_bytes(body):
    """Any bytes are a document or refused."""
    try:
        document, _ = read_json(body)
    except UnreadableError:
        return
    json.dumps(document, ensure_ascii=False).encode()


@pytest.mark.parametrize("wrong", WRONG)
def test_a_name_costs_no_callback(wrong):
    """A participant's name and a text are read with a replaced character, by receiver and worker."""
    participant = spoiled(load_callback("PARTICIPANT_ADDED", name=f"Jo{MARK}o"), wrong)
    good = encode_json(load_callback("PARTICIPANT_ADDED"))
    assert conversations.identify(participant, token=None, default_account=ACCOUNT) == conversations.identify(
        good, token=None, default_account=ACCOUNT
    )
    event = conversations.normalize(make_entry(participant, "conversations"))
    assert isinstance(event, ParticipantReported)
    assert set(event.participant.name) == set("Jo\ufffd")
    said = spoiled(load_callback("COMMUNICATION_CREATED", content={"type": "TEXT", "text": f"Ol{MARK}"}), wrong)
    event = conversations.normalize(make_entry(said, "conversations"))
    assert isinstance(event, CommunicationReported)


@pytest.mark.parametrize("name", ["id", "conversationId", "accountId"])
def test_an_id_is_refused_by_its_name(name):
    """A callback with a wrong byte in an id is refused by receiver and worker."""
    body = spoiled(load_callback("PARTICIPANT_ADDED", **{name: f"x{MARK}"}), "byte")
    with pytest.raises(UnreadableError, match=f"data.{name} is not UTF-8"):
        conversations.identify(body, token=None, default_account=ACCOUNT)
    with pytest.raises(UnreadableError, match=f"data.{name} is not UTF-8"):
        conversations.normalize(make_entry(body, "conversations"))


def test_an_address_is_refused_by_its_name():
    """So is an address, wherever it is."""
    document = {"addresses": [{"channel": "EMAIL", "address": "jo\ufffdo@x.io"}], "name": "\ufffd"}
    with pytest.raises(UnreadableError, match=r"addresses\.address is not UTF-8"):
        require_exact(document)
    require_exact({"name": "\ufffd", "recipients": ["a"], "to": ["+1"]})
    with pytest.raises(UnreadableError, match="to is not UTF-8"):
        require_exact({"to": ["+1", "\ufffd"]})


@pytest.mark.parametrize("wrong", [*WRONG, "itself"])
def test_what_nobody_reads_costs_no_callback(wrong):
    """Whatever its name is: neither in what the customer's systems attach, nor in a member of no meaning here."""
    good = load_callback("COMMUNICATION_CREATED", content={"type": "TEXT", "text": "Hi"})
    said = load_callback(
        "COMMUNICATION_CREATED",
        content={"type": "TEXT", "text": "Hi", "contentType": f"text/plain; name={MARK}"},
        attributes={"crmId": MARK, "id": MARK, "address": MARK},
    )
    body = encode_json(said).replace(MARK.encode(), WRONG.get(wrong, "\ufffd".encode()))
    assert conversations.identify(body, token=None, default_account=ACCOUNT) == conversations.identify(
        encode_json(good), token=None, default_account=ACCOUNT
    )
    assert isinstance(conversations.normalize(make_entry(body, "conversations")), CommunicationReported)


def test_of_a_batch_only_the_element_with_a_wrong_id_is_bad():
    """A wrong byte in a text costs nothing; one in an address makes a dead letter of its element, with the reason."""
    good, named, bad = (load("es_inbound_message") for _ in range(3))
    named["id"], bad["id"] = "EZ2", "EZ3"
    named["data"]["fromCity"], bad["data"]["from"] = MARK, MARK
    batch = b"[" + b",".join([encode_json(good), spoiled(named, "byte"), spoiled(bad, "byte")]) + b"]"
    pieces = event_streams.split(Webhook(batch, NO_FORM, None), OTHER_ACCOUNT)
    assert [":bad:" in piece.identity.key for piece in pieces] == [False, False, True]
    event_streams.normalize(make_entry(pieces[1].body, "event-streams"))
    with pytest.raises(UnreadableError, match=r"data\.from is not UTF-8"):
        event_streams.normalize(make_entry(pieces[2].body, "event-streams"))
