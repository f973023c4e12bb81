"""Source `event-streams`: batches of independent events, each the same event as the one of its other source."""

import json
from hashlib import sha256

import pytest
from hypothesis import given
from hypothesis import strategies as st

from router.core.addresses import Address
from router.core.errors import RouterError, UnreadableError, UnusableError
from router.core.events import (
    Change,
    ClassicReported,
    CommunicationReported,
    ConversationReported,
    Disregarded,
    Identity,
    Location,
    Medium,
    MessageReceived,
    ParticipantReported,
    Referral,
    Version,
)
from router.core.signing.form import NO_FORM, parse_form
from router.inbound import messaging
from router.inbound.classic import parser as classic
from router.inbound.classic.fields import EVENTS as EVENTS_BY_NAME
from router.inbound.event_streams import normalize, split
from router.inbound.webhook import Webhook
from tests.inbound.samples import RECEIVED_AT, encode_form, encode_json, load, load_callback, load_form, make_entry
from tests.support.accounts import ACCOUNT, OTHER_ACCOUNT

MESSAGE = "com.twilio.messaging.inbound-message.received"
CONVERSATIONS = "com.twilio.conversations."
#: The event types that are not disregarded.
EVENT_TYPES = (MESSAGE, *(f"{CONVERSATIONS}{name}" for name in EVENTS_BY_NAME))
NOON = 1_767_787_200_000_000  # 2026-01-07T12:00:00Z
SECOND = 1_000_000
CLASSIC = "CH00000000000000000000000000000001"
KEY = f"{ACCOUNT}:event-streams:EZ00000000000000000000000000000001"


def make_event(sample="es_inbound_message", /, *, top=None, without=(), **data):
    """Return a sample event with changed data and attributes, without the names in `without`."""
    event = load(sample) | (top or {})
    event["data"] = {key: value for key, value in (event["data"] | data).items() if key not in without}
    return {key: value for key, value in event.items() if key not in without}


def split_body(body, account_id=OTHER_ACCOUNT):
    """Return the pieces of a body, as the receiver does."""
    return split(Webhook(body, NO_FORM, None), account_id)


def is_good(piece):
    """Tell whether a piece is an element that the receiver could read."""
    return ":event-streams:bad:" not in piece.identity.key


def identity_of(event):
    """Return the identity of one good event, as the receiver does."""
    (piece,) = split_body(encode_json(event))
    assert is_good(piece)
    return piece.identity


def key_of(event):
    return identity_of(event).key


def event_of(event):
    """Return one event, as the worker does."""
    return normalize(make_entry(encode_json(event), "event-streams"))


# --- batches ---------------------------------------------------------------------------------------


def test_single_event():
    """A sink without batching posts one object, which is one piece."""
    event = make_event()
    (piece,) = split_body(encode_json(event))
    assert piece.identity.account_id == ACCOUNT
    assert piece.identity.key == KEY
    assert json.loads(piece.body) == event


def test_batch_with_a_bad_element():
    """Every element of a batch is a piece of its own; a bad one has a key by its place and a reason in the worker."""
    batch = [make_event(), 5, make_event("es_sink_test"), {"id": "x"}]
    pieces = split_body(encode_json(batch))
    assert [is_good(piece) for piece in pieces] == [True, False, True, False]
    assert [json.loads(piece.body) for piece in pieces] == batch
    for place, reason in ((1, "the element is not an object"), (3, "id or type is missing")):
        name = sha256(pieces[place].body).hexdigest()[:32]
        key = f"{OTHER_ACCOUNT}:event-streams:bad:{name}:{place}"
        assert pieces[place].identity == Identity(OTHER_ACCOUNT, key, f"bad:{name}")
        with pytest.raises(UnreadableError, match=reason):
            normalize(make_entry(pieces[place].body, "event-streams"))


BROKEN = {
    "nan": b"NaN",
    "nan-inside": b'{"data": {"x": NaN}}',
    "nested": b"[" * 3000 + b"]" * 3000,
    "nested-objects": b'{"a":' * 3000 + b"1" + b"}" * 3000,
    "digits-and-nan": b'{"x": ' + b"9" * 5000 + b', "y": NaN}',
    "word": b"undefined",
    "single-quotes": b"{'id': 'a'}",
    "cut-escape": b'{"id": "\\ud8"}',
    "control-character": b'{"id": "a\x00"}',
    "brackets-in-a-text": b'{"id": "]},[{", x}',
}


@pytest.mark.parametrize("broken", BROKEN.values(), ids=BROKEN)
@pytest.mark.parametrize("place", [0, 1, 2])
@pytest.mark.parametrize(
    "text", [b"hi", b"hi \\ud83d", b'a \\" ], [ {', b"\xff"], ids=["plain", "half", "quotes", "byte"]
)
def test_an_element_that_is_no_json_refuses_only_itself(broken, place, text):
    """The events beside it are taken as they would be alone, and it is a bad piece with its reason."""
    good = [json.dumps(make_event(top={"id": f"EZ{n}"}, body="TEXT")).encode().replace(b"TEXT", text) for n in (1, 2)]
    elements = [*good[:place], broken, *good[place:]]
    pieces = split_body(b" [ " + b" ,\n".join(elements) + b" ] ")
    bad = pieces.pop(place)
    assert pieces == [piece for each in good for piece in split_body(each)]
    assert all(map(is_good, pieces))
    assert (is_good(bad), bad.body) == (False, broken)
    with pytest.raises(UnreadableError, match="not JSON"):
        normalize(make_entry(bad.body, "event-streams"))


@pytest.mark.parametrize(
    "end", [b"", b"]]", b"},]", b',"a]', b",,1]", b',"\\"]', b"]x", b",1" * 100_000 + b"]"], ids=range(8)
)
def test_a_batch_that_cannot_be_split_is_refused_whole(end):
    """If it is not certain where elements end, or none is JSON, nothing is taken."""
    for element in (json.dumps(make_event()).encode(), b"NaN"):
        with pytest.raises(UnreadableError, match="not JSON"):
            split_body(b"[NaN," + element + end)
    with pytest.raises(UnreadableError, match="not JSON"):
        split_body(b"[NaN, undefined]")


def test_empty_batch():
    """An empty batch has no pieces."""
    assert split_body(b"[]") == []


@pytest.mark.parametrize("body", [b"", b"[", b"From=%2B1", b"\xff", b"[1,]"], ids=range(5))
def test_body_that_is_not_json(body):
    """Only a body that is not JSON is refused as a whole, by receiver and worker."""
    with pytest.raises(UnreadableError, match="not JSON"):
        split_body(body)
    with pytest.raises(UnreadableError, match="not JSON"):
        normalize(make_entry(body, "event-streams"))


@pytest.mark.parametrize(
    ("event", "reason"),
    [
        pytest.param(None, "not an object", id="null"),
        pytest.param("x", "not an object", id="text"),
        pytest.param(make_event(without=["id"]), "id or type is missing", id="no-id"),
        pytest.param(make_event(top={"id": 5}), "id or type is missing", id="id-of-another-kind"),
        pytest.param(make_event(top={"type": ""}), "id or type is missing", id="no-type"),
        pytest.param(make_event() | {"data": [1]}, "data is not an object", id="data-list"),
        pytest.param(make_event(without=["data"]), "missing or blank: From, To, MessageSid", id="no-data"),
        pytest.param(make_event(to=None), "missing or blank: To", id="no-recipient"),
        pytest.param(
            make_event("es_participant_added", without=["ConversationSid"]),
            "ConversationSid is missing",
            id="no-conversation",
        ),
    ],
)
def test_bad_elements(event, reason):
    """An element without the fields of its type is a bad one, and the worker names the reason."""
    (piece,) = split_body(encode_json(event))
    assert not is_good(piece)
    with pytest.raises(UnreadableError, match=reason):
        event_of(event)


def test_nested_too_deeply():
    """An element that cannot be written again is a bad one without its JSON; the rest of the batch is unaffected."""
    deep = '{"id":"x","type":"y","data":{"z":' + "[" * 400 + "]" * 400 + "}}"
    body = f"[{deep},{json.dumps(make_event())}]".encode()
    bad, good = split_body(body)
    assert (bad.body, is_good(bad), is_good(good)) == (b"", False, True)
    assert bad.identity.subject == f"bad:{sha256(body).hexdigest()[:32]}"  # it differs for other bodies


# --- keys ------------------------------------------------------------------------------------------


def test_message_has_the_key_of_its_form_as_alias():
    """A message has the subject of its form webhook, and the key of the form as an alias."""
    form = messaging.identify(parse_form(encode_form(load_form("sms"))), default_account=OTHER_ACCOUNT)
    assert identity_of(make_event()) == Identity(ACCOUNT, KEY, form.subject, (form.key,))


def test_group_message_has_no_alias():
    """A group message has no alias, because its form webhook does not name the group."""
    assert identity_of(make_event(recipients=["+14155550102"])).aliases == ()
    assert identity_of(make_event(recipients=["+15557650001", "+14155550101"])).aliases  # not a group: both ends only


@pytest.mark.parametrize(
    ("changes", "account_id"),
    [
        pytest.param({}, ACCOUNT, id="data"),
        pytest.param({"without": ["accountSid"]}, ACCOUNT, id="source"),
        pytest.param({"without": ["accountSid", "source"]}, OTHER_ACCOUNT, id="default"),
        pytest.param({"accountSid": 5, "top": {"source": "Sink"}}, OTHER_ACCOUNT, id="neither"),
        pytest.param({"accountSid": None, "AccountSid": "AC9"}, "AC9", id="pascal-case"),
        pytest.param({"accountSid": None, "accountId": "AC8"}, "AC8", id="v2"),
    ],
)
def test_account(changes, account_id):
    """The account is that of the data, else of the source, else the configured one, in key and alias."""
    identity = identity_of(make_event(**changes))
    assert identity.account_id == account_id
    assert identity.aliases == (f"{account_id}:messaging:SM00000000000000000000000000000001",)


@pytest.mark.parametrize("event_id", ["ø", "x" * 129, "a b", "a\nb"], ids=["not-ascii", "long", "blank", "line"])
def test_odd_ids(event_id):
    """An id with unusual characters or length is replaced by its digest in the key."""
    key = key_of(make_event(top={"id": event_id}))
    assert len(key.removeprefix(f"{ACCOUNT}:event-streams:")) == 32
    assert key.isascii()


IDS = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=5)


@given(IDS, IDS, st.sampled_from(["active", "closed"]))
def test_key_is_equal_for_duplicates_only(one, other, state):
    """Two events have the same key only if their ids are equal, whatever else differs."""
    keys = [
        key_of(make_event("es_conversation_state_updated", top={"id": each}, StateTo=state)) for each in (one, other)
    ]
    again = key_of(make_event("es_conversation_state_updated", top={"id": one, "time": None}, StateFrom="inactive"))
    assert keys[0] == again
    assert (keys[0] == keys[1]) == (one == other)


@pytest.mark.parametrize(
    ("event", "subject"),
    [
        pytest.param(make_event("es_participant_added"), CLASSIC, id="classic"),
        pytest.param(make_event("es_sink_test"), "EZ00000000000000000000000000000005", id="test"),
        pytest.param(make_event(top={"type": "a.b"}), "EZ00000000000000000000000000000001", id="unknown"),
    ],
)
def test_subjects(event, subject):
    """The subject is the conversation, or for other events the id."""
    assert identity_of(event).subject == subject


# --- messages --------------------------------------------------------------------------------------


def test_message():
    """A received message is the event of its form webhook, with this source as cause."""
    event = event_of(make_event())
    assert isinstance(event, MessageReceived)
    assert (event.customer, event.recipient) == (Address("SMS", "+14155550101"), Address("SMS", "+15557650001"))
    assert (event.account_id, event.message_sid, event.others) == (ACCOUNT, "SM00000000000000000000000000000001", ())
    assert (event.cause.source, event.cause.event_type) == ("event-streams", MESSAGE)
    assert event.cause.resource_id == event.message_sid


def test_content_of_a_message():
    """The content has the text, the source's own time, and the number of media."""
    event = event_of(make_event(body="hi 👋", numMedia=2, timestamp="2026-01-07T12:00:00Z"))
    assert (event.content.text, event.content.media) == ("hi 👋", (Medium(), Medium()))
    assert event.sent_at == "2026-01-07T12:00:00Z"
    bare = event_of(make_event(without=("body", "numMedia", "timestamp")))
    assert (bare.content.text, bare.content.media, bare.sent_at) == ("", (), None)
    assert event_of(make_event(body="x", numMedia=[1])).content.media == ()


def test_other_content_of_a_message():
    """All fields are read as the parameters of the form webhook, whose names they have in camelCase."""
    data = {
        "body": "",
        "latitude": 52.5,
        "longitude": "13.3",
        "label": "Gate",
        "optOutType": "HELP",
        "originalRepliedMessageSid": "SM9",
        "referralCtwaClid": "c1",
        "messageStatus": "RECEIVED",
        "forwarded": True,
        "mcc": 310,
        "nested": {"a": 1},
    }
    content = event_of(make_event(**data)).content
    assert (content.kind, content.location) == ("LOCATION", Location(52.5, 13.3, None, "Gate"))
    assert (content.opt_out, content.in_reply_to, content.referral) == ("HELP", "SM9", Referral(click_id="c1"))
    rest = dict(content.provider.fields)
    assert (rest["Forwarded"], rest["Mcc"]) == ("true", "310")
    assert not {"Nested", "MessageStatus", "MessageSid", "Timestamp", "From"} & rest.keys()


def test_group_message():
    """A group message has its further members, each once, without sender, recipient and invalid entries."""
    listed = ["+14155550101", "+1 (415) 555-0102", "+14155550102", {"address": "+14155550103"}, {"to": 1}, None, " "]
    event = event_of(make_event(recipients=[*listed, "+15557650001"]))
    assert event.others == (Address("SMS", "+1 (415) 555-0102"), Address("SMS", "+14155550103"))
    assert event_of(make_event(recipients="+14155550102")).others == ()


def test_whatsapp_group_members():
    """Members of a group are on the channel of the message."""
    event = event_of(make_event(**{"from": "whatsapp:+1", "to": "whatsapp:+2"}, recipients=["+3"]))
    assert [other.channel for other in event.others] == ["WHATSAPP"]


@pytest.mark.parametrize("sender", ["", "whatsapp:", None], ids=["empty", "only a prefix", "absent"])
@pytest.mark.parametrize("user", ["US.1A2B", "whatsapp:US.1A2B", "whatsapp: US.1A2B"])
def test_hidden_number(user, sender):
    """A WhatsApp user without a number is known by the user id, which has one prefix."""
    event = event_of(make_event(**{"from": sender}, to="whatsapp:+15557650001", externalUserId=user))
    assert event.customer == Address("WHATSAPP", "whatsapp:US.1A2B")


# --- conversations v2 ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("event_type", "callback", "kind"),
    [
        ("participant.added", "PARTICIPANT_ADDED", ParticipantReported),
        ("participant.updated", "PARTICIPANT_UPDATED", ParticipantReported),
        ("participant.removed", "PARTICIPANT_REMOVED", ParticipantReported),
        ("conversation.created", "CONVERSATION_CREATED", ConversationReported),
        ("conversation.updated", "CONVERSATION_UPDATED", ConversationReported),
        ("message.added", "COMMUNICATION_CREATED", CommunicationReported),
        ("communication.created", "COMMUNICATION_CREATED", CommunicationReported),
        ("message.updated", "COMMUNICATION_UPDATED", Disregarded),
        ("conversation.removed", "CONVERSATION_UPDATED", Disregarded),
    ],
)
def test_v2_resources(event_type, callback, kind):
    """An event with a v2 resource is the event of its status callback."""
    data = load_callback(callback)["data"]
    event = make_event("es_sink_test", top={"type": f"{CONVERSATIONS}{event_type}"}, without=["test_id"], **data)
    reported = event_of(event)
    assert isinstance(reported, kind)
    assert reported.cause.event_type == f"{CONVERSATIONS}{event_type}"
    assert reported.cause.resource_id == data["id"]
    assert identity_of(event).subject == data.get("conversationId", data["id"])


def test_v2_change_and_version():
    """Change and version are those of the callback; the CloudEvent's time is the time of the report."""
    data = load_callback("PARTICIPANT_ADDED")["data"]
    event = event_of(make_event("es_sink_test", top={"type": f"{CONVERSATIONS}participant.added"}, **data))
    assert (event.change, event.version) == (Change.ADDED, Version(NOON + SECOND, NOON + 2_500_000))


def test_unusable_v2_data():
    """An unreadable v2 resource is unusable, and the error names its fields."""
    event = make_event("es_sink_test", top={"type": f"{CONVERSATIONS}participant.added"}, id="p", addresses=5)
    with pytest.raises(UnusableError, match="addresses"):
        event_of(event | {"data": event["data"] | {"conversationId": "c"}})


# --- conversations classic -------------------------------------------------------------------------


def test_classic_participant():
    """A classic participant has its SIDs and both ends of its binding."""
    event = event_of(make_event("es_participant_added"))
    assert isinstance(event, ClassicReported)
    assert (event.kind, event.change, event.conversation_sid) == ("participant", Change.ADDED, CLASSIC)
    assert event.participant_sid == event.cause.resource_id == "MB00000000000000000000000000000001"
    assert (event.customer.key, event.recipient.key) == ("WHATSAPP|+14155550101", "WHATSAPP|+15557650001")
    assert event.version == Version(NOON + SECOND, NOON + SECOND)
    assert event.account_id == ACCOUNT


@pytest.mark.parametrize(
    ("binding", "customer", "recipient"),
    [
        pytest.param({"Address": "+1", "ProxyAddress": "+2", "Type": "SMS"}, "SMS|+1", "SMS|+2", id="sms"),
        pytest.param({"Address": "+1", "Type": None}, "SMS|+1", None, id="customer-only"),
        pytest.param({"ProxyAddress": "d@x.io", "Type": "email"}, None, "EMAIL|d@x.io", id="ours-only"),
        pytest.param({"address": "+1", "proxyAddress": "+2"}, "SMS|+1", "SMS|+2", id="camel-case"),
        pytest.param({"Address": "77", "Type": "messenger"}, "CHAT|77", None, id="messenger"),
        pytest.param({"Address": ["+1"]}, "SMS|+1", None, id="list-of-one"),
        pytest.param({"Address": ["+1", "+2"], "ProxyAddress": 5}, None, None, id="list-of-several"),
        pytest.param({"Address": "whatsapp:+1", "ProxyAddress": "+2"}, "WHATSAPP|+1", "WHATSAPP|+2", id="one-prefix"),
        pytest.param(None, None, None, id="none"),
        pytest.param("+1", None, None, id="text"),
    ],
)
def test_classic_bindings(binding, customer, recipient):
    """The channel of a binding follows from a prefix, else from its type, else it is SMS; a missing end is None."""
    event = event_of(make_event("es_participant_added", MessagingBinding=binding))
    assert [end and end.key for end in (event.customer, event.recipient)] == [customer, recipient]


def test_classic_identity():
    """A chat participant has an identity, in PascalCase or camelCase."""
    event = make_event("es_participant_added", without=["MessagingBinding", "ConversationSid"], identity="ana")
    event["data"]["conversationSid"] = CLASSIC
    assert event_of(event).identity == "ana"
    assert event_of(event).conversation_sid == CLASSIC


def test_classic_message_and_state():
    """A message has its author, and a state change its new state."""
    message, state = event_of(make_event("es_message_added")), event_of(make_event("es_conversation_state_updated"))
    assert (message.kind, message.message_sid) == ("message", "IM00000000000000000000000000000001")
    assert (message.author, message.cause.resource_id) == ("whatsapp:+14155550101", message.message_sid)
    assert (message.text, message.index) == ("Hello", 0)
    assert (state.kind, state.change, state.state) == ("conversation", Change.UPDATED, "closed")
    assert state.cause.resource_id == CLASSIC
    assert event_of(make_event("es_conversation_state_updated", StateTo=None, State="active")).state == "active"


def test_classic_media():
    """A message's media are a list here."""
    media = [{"MediaSid": "ME1", "Filename": "a.png", "ContentType": "image/png", "Size": 12}]
    message = event_of(make_event("es_message_added", Media=media))
    assert message.media == (Medium("image/png"),)
    assert dict(message.provider.fields)["Media"] == media


@pytest.mark.parametrize(
    ("changes", "version"),
    [
        pytest.param(
            {"DateUpdated": "2026-01-07T12:00:02Z"}, Version(NOON + 2 * SECOND, NOON + 2 * SECOND), id="updated"
        ),
        pytest.param({"DateCreated": None}, Version(NOON + 2_500_000, NOON + 2_500_000), id="reported-only"),
        pytest.param({"top": {"time": None}}, Version(NOON + SECOND, NOON + SECOND), id="not-reported"),
        pytest.param({"top": {"time": 5}, "DateCreated": "soon"}, Version(RECEIVED_AT, RECEIVED_AT), id="no-time"),
    ],
)
def test_classic_versions(changes, version):
    """A classic version has the latest time of the resource, else that of the event, else that of the receipt."""
    assert event_of(make_event("es_participant_added", **changes)).version == version


# --- disregarded -----------------------------------------------------------------------------------


def test_sink_test():
    """The test of a sink is disregarded by name, and its test id is the resource id of the cause."""
    event = event_of(make_event("es_sink_test"))
    assert (event.reason, event.cause.resource_id) == ("a test of the sink", "00000000-0000-0000-0000-000000000001")


def test_message_with_a_test_id():
    """A message with a test id is still a message."""
    assert isinstance(event_of(make_event(test_id="x")), MessageReceived)


@pytest.mark.parametrize(
    ("event_type", "reason"),
    [
        (f"{CONVERSATIONS}user.added", "a user is not a participant"),
        ("com.twilio.messaging.message.delivered", "a delivery state changes no participant"),
        ("com.twilio.voice.call.new", "unknown event type com.twilio.voice.call.new"),
        (f"{CONVERSATIONS}participant.waved", f"unknown event type {CONVERSATIONS}participant.waved"),
        ("participant.added", "unknown event type participant.added"),
        ("x" * 99, "unknown event type " + "x" * 64),
    ],
)
def test_disregarded(event_type, reason):
    """Disregarded and unknown event types are accepted, with different reasons."""
    assert identity_of(make_event(top={"type": event_type})).aliases == ()
    assert event_of(make_event(top={"type": event_type})) == Disregarded(
        event_of(make_event(top={"type": event_type})).cause, ACCOUNT, reason
    )


def test_every_type_that_becomes_an_event():
    """Nine event types become events."""
    assert len(set(EVENT_TYPES)) == len(EVENT_TYPES) == 9
    for event_type in EVENT_TYPES[1:]:
        event = make_event("es_participant_added", top={"type": event_type}, MessageSid="IM1")
        assert isinstance(event_of(event), ClassicReported)


@pytest.mark.parametrize(
    ("event_type", "reason"),
    [
        ("message.updated", "a change of a message changes no participant"),
        ("message.removed", "a change of a message changes no participant"),
        ("conversation-state.added", f"unknown event type {CONVERSATIONS}conversation-state.added"),
    ],
)
def test_disregarded_classic_events(event_type, reason):
    """A classic event that changes no participant is disregarded by name, like its webhook."""
    event = make_event("es_message_added", top={"type": f"{CONVERSATIONS}{event_type}"})
    assert event_of(event).reason == reason
    assert (identity_of(event).subject, identity_of(event).aliases) == (CLASSIC, ())


@pytest.mark.parametrize(
    ("sample", "form"),
    [("es_participant_added", "classic_participant_added"), ("es_message_added", "classic_message_added")],
)
def test_classic_event_has_the_key_of_its_form_as_alias(sample, form):
    """A classic event has the subject of its form webhook, and the key of the form as an alias."""
    of_form = classic.identify(parse_form(encode_form(load_form(form))), default_account=OTHER_ACCOUNT)
    identity = identity_of(make_event(sample))
    assert identity.subject == of_form.subject == CLASSIC
    assert identity.aliases == (of_form.key,)


# --- any input -------------------------------------------------------------------------------------

VALUES = st.one_of(st.none(), st.integers(), st.sampled_from(["", "+1", "x", "AC1"]), st.lists(st.text(max_size=3)))
NAMES = ["from", "to", "messageSid", "recipients", "id", "conversationId", "ConversationSid", "test_id", "addresses"]
DATA = st.dictionaries(
    st.sampled_from([*NAMES, "MessagingBinding", "accountSid", "externalUserId", "DateCreated"]),
    VALUES | st.dictionaries(st.sampled_from(["Address", "Type", "ProxyAddress"]), VALUES),
)
TYPES = st.sampled_from([*EVENT_TYPES, f"{CONVERSATIONS}conversation.created", "other"])
EVENTS = st.fixed_dictionaries({"id": VALUES | st.just("EZ1"), "type": TYPES}, optional={"data": DATA, "time": VALUES})


@given(st.lists(EVENTS | VALUES, max_size=4))
def test_receiver_and_worker_agree(batch):
    """Each element of any batch is bad for both, or good in the receiver and normalized by the worker."""
    for piece in split_body(encode_json(batch), ACCOUNT):
        try:
            event = normalize(make_entry(piece.body, "event-streams"))
        except UnusableError:
            assert is_good(piece)
        except UnreadableError:
            assert not is_good(piece)
        else:
            assert is_good(piece)
            assert event.account_id == ACCOUNT


@given(st.binary())
def test_any_bytes(body):
    """Any body is split or refused, and only the project's own errors are raised."""
    for take in (lambda: split_body(body), lambda: normalize(make_entry(body))):
        try:
            take()
        except RouterError:
            continue
