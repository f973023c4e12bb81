"""Events of classic conversations: keys that are equal for duplicates only, and the content of the fields."""

import json

import pytest

from router.core.addresses import Address
from router.core.events import Medium, Version
from router.inbound.classic.fields import MAX_TEXT
from tests.inbound.classic.forms import CONVERSATION, MEMBER, MESSAGE, event_of, key_of, make
from tests.inbound.samples import RECEIVED_AT

AT = 1_767_787_201_000_000  # 2026-01-07T12:00:01Z


@pytest.mark.parametrize("changes", [{"DateCreated": "2026-01-07T12:00:09Z"}, {"RetryCount": "1"}, {"Attributes": "x"}])
def test_key_of_an_event_that_happens_once(changes):
    """The key of an added member depends only on its SID."""
    assert key_of(make(**changes)) == key_of(make())


@pytest.mark.parametrize(
    "changes",
    [
        {"DateUpdated": "2026-01-07T12:00:09Z"},
        {"Identity": "ana"},
        {"MessagingBinding__ProxyAddress": "whatsapp:+15557650009"},
        {"ParticipantSid": "MB00000000000000000000000000000002"},
        {"EventType": "onParticipantRemoved"},
    ],
)
def test_keys_of_different_updates(changes):
    """Two updates of one member have different keys if times or changed fields differ."""
    update = {"EventType": "onParticipantUpdated", "DateUpdated": "2026-01-07T12:00:02Z"}
    assert key_of(make(**update | changes)) != key_of(make(**update))


def test_key_of_one_update_in_different_spellings():
    """The key of an update does not depend on the precision of its time or the spelling of its fields."""
    update = {"EventType": "onParticipantUpdated", "DateUpdated": "2026-01-07T12:00:02Z"}
    other = update | {"DateUpdated": "2026-01-07T12:00:02.000Z", "MessagingBinding__Type": "WhatsApp", "Identity": None}
    assert key_of(make(**other)) == key_of(make(**update))


def test_state_and_update_in_one_second():
    """A state change and an update of one conversation in the same second have different keys."""
    state = make("state_updated")
    update = make("state_updated", EventType="onConversationUpdated", DateUpdated="2026-01-07T12:00:01Z")
    assert key_of(state) != key_of(update)
    assert key_of(state) != key_of(make("state_updated", StateTo="inactive"))


def test_key_of_an_update_without_a_time():
    """The key of an update without a time is a digest of its form."""
    update = {"EventType": "onParticipantUpdated", "DateCreated": None}
    assert key_of(make(**update)) == key_of(make(**update))
    assert key_of(make(**update)) != key_of(make(**update, Attributes='{"a":1}'))


def test_participant():
    """A member has its SIDs and both ends of its binding; null and empty fields are None."""
    event = event_of(make())
    assert (event.conversation_sid, event.participant_sid) == (CONVERSATION, MEMBER)
    assert event.customer == Address("WHATSAPP", "whatsapp:+14155550101")
    assert event.recipient == Address("WHATSAPP", "whatsapp:+15557650001")
    assert (event.identity, event.projected, event.is_by_api) == (None, None, False)
    assert event.version == Version(AT, AT)
    assert (event.cause.source, event.cause.resource_id) == ("classic", MEMBER)


@pytest.mark.parametrize(
    ("binding", "ends"),
    [
        pytest.param({"Address": "+1", "ProxyAddress": "+2", "Type": "SMS"}, ("SMS|+1", "SMS|+2", None), id="sms"),
        pytest.param({"Address": "a@x.io", "Type": "Email"}, ("EMAIL|a@x.io", None, None), id="mail"),
        pytest.param({"ProjectedAddress": "+3", "Type": "sms"}, (None, None, "SMS|+3"), id="group-agent"),
        pytest.param({"Address": '["+1"]', "Type": "sms"}, ("SMS|+1", None, None), id="list-of-one"),
        pytest.param({"Address": '["+1", "+2"]'}, (None, None, None), id="list-of-several"),
        pytest.param({"Address": "[+1"}, ("SMS|[+1", None, None), id="no-list"),
        pytest.param({"Type": "chat"}, (None, None, None), id="chat"),
    ],
)
def test_bindings(binding, ends):
    """The channel of a binding follows from a prefix or its type; a list of several addresses counts as none."""
    none = dict.fromkeys(f"MessagingBinding__{name}" for name in ("Address", "ProxyAddress", "Type"))
    event = event_of(make(**none | {f"MessagingBinding__{name}": value for name, value in binding.items()}))
    assert tuple(end and end.key for end in (event.customer, event.recipient, event.projected)) == ends


def test_message():
    """A message has author, member, index and a text with a bound."""
    event = event_of(make("message_added", Source="api"))
    assert (event.message_sid, event.participant_sid, event.author) == (MESSAGE, MEMBER, "whatsapp:+14155550101")
    assert (event.text, event.index, event.is_by_api) == ("Hello", 0, True)
    assert len(event_of(make("message_added", Body="x" * 99_999, Index="one")).text) == MAX_TEXT
    assert event_of(make("message_added", Index="9" * 5000)).index is None


@pytest.mark.parametrize("text", ["null", "  two  blanks ", "\n", "NULL"])
def test_text_of_a_message_is_kept_as_it_is(text):
    """What looks like nothing elsewhere is what the customer has written here."""
    assert event_of(make("message_added", Body=text)).text == text
    assert event_of(make("message_added", Body=None, MessageBody=text)).text == text


MEDIA = [{"Sid": "ME1", "Filename": "a.png", "ContentType": "image/png", "Size": 12}, {"Sid": "ME2"}]


def test_media_of_a_message():
    """Its types are those of the entry; SIDs and file names, by which they are fetched, stand under `provider`."""
    event = event_of(make("message_added", Body="", Media=json.dumps(MEDIA), MessageSubject="Hi", Attributes="{}"))
    assert event.media == (Medium("image/png"), Medium())
    assert dict(event.provider.fields) == {"Media": MEDIA, "MessageSubject": "Hi"}
    for camel in ({"contentType": "a/b"}, {"content_type": "a/b"}):
        assert event_of(make("message_added", Media=json.dumps([camel, 1, None]))).media == (Medium("a/b"),)
    assert len(event_of(make("message_added", Media=json.dumps(MEDIA * 50))).media) == 20
    for wrong in ("[", "{}", "null", "[]", "x"):
        assert event_of(make("message_added", Media=wrong)).media == ()


def test_state():
    """A state change has its time and the service of the conversation."""
    event = event_of(make("state_updated"))
    assert (event.state, event.version, event.service_sid) == ("closed", Version(AT, AT), "IS" + "0" * 31 + "1")


def test_version_without_times():
    """The version of an event without a time is the time of receipt."""
    assert event_of(make(DateCreated="soon")).version == Version(RECEIVED_AT, RECEIVED_AT)
