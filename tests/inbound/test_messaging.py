"""The messaging webhook: every channel's full set of parameters becomes a message, a status callback does not."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from router.core.addresses import Address
from router.core.errors import UnreadableError
from router.core.events import Cause, Content, Disregarded, Identity, Medium, MessageReceived
from router.core.signing.form import parse_form
from router.inbound.messaging import identify, normalize
from tests.inbound.samples import ACCOUNT, OTHER_ACCOUNT, RECEIVED_AT, encode_form, load_form, make_entry

CHANNELS = [
    pytest.param("sms", Address("SMS", "+14155550101"), Address("SMS", "+15557650001"), "SM", 1, id="sms"),
    pytest.param("mms", Address("SMS", "+14155550102"), Address("SMS", "+15557650001"), "MM", 2, id="mms"),
    pytest.param(
        "whatsapp",
        Address("WHATSAPP", "whatsapp:+14155550103"),
        Address("WHATSAPP", "whatsapp:+15557650001"),
        "SM",
        3,
        id="whatsapp",
    ),
    pytest.param("rcs", Address("RCS", "rcs:+14155550104"), Address("RCS", "rcs:harbor_desk_agent"), "SM", 4, id="rcs"),
    pytest.param(
        "messenger",
        Address("CHAT", "messenger:7012345678901234"),
        Address("CHAT", "messenger:100200300400500"),
        "SM",
        5,
        id="messenger",
    ),
]
SAMPLES = ["sms", "mms", "whatsapp", "rcs", "messenger"]


def see(params, default_account=OTHER_ACCOUNT):
    """Identify a form as the receiver does."""
    return identify(parse_form(encode_form(params)), default_account=default_account)


def read(params):
    """Normalize a form as the worker does."""
    return normalize(make_entry(encode_form(params)))


@pytest.mark.parametrize(("sample", "customer", "recipient", "prefix", "number"), CHANNELS)
def test_identify(sample, customer, recipient, prefix, number):
    """A message is identified by account and SID, and is about its pair of addresses in their canonical form."""
    sid = f"{prefix}{number:032x}"
    expected = Identity(ACCOUNT, f"{ACCOUNT}:messaging:{sid}", f"{customer.key}|{recipient.canonical}")
    assert see(load_form(sample)) == expected


@pytest.mark.parametrize(("sample", "customer", "recipient", "prefix", "number"), CHANNELS)
def test_normalize(sample, customer, recipient, prefix, number):
    """A message becomes the fact that a customer wrote to us, with the addresses as Twilio wrote them."""
    sid = f"{prefix}{number:032x}"
    cause = Cause("messaging", "message.received", sid, "k1", RECEIVED_AT)
    params = load_form(sample)
    expected = MessageReceived(cause, ACCOUNT, customer, recipient, sid, content=read(params).content)
    assert read(params) == expected
    assert expected.content.text == dict(params)["Body"]


@pytest.mark.parametrize(
    ("params", "content"),
    [
        pytest.param({"Body": "hi"}, Content("hi"), id="text"),
        pytest.param({"Body": ""}, Content(), id="no text"),
        pytest.param({"Body": None}, Content(), id="no parameter"),
        pytest.param({"Body": "", "ButtonText": "Yes"}, Content("Yes"), id="button"),
        pytest.param({"Body": "Sure", "ButtonText": "Yes"}, Content("Sure"), id="text with a button"),
        pytest.param(
            {"Body": "", "NumMedia": "2", "MediaUrl0": "https://x/ME0", "MediaContentType0": "image/png"},
            Content(media=(Medium("image/png", "https://x/ME0"), Medium())),
            id="media that are told in part",
        ),
        pytest.param({"Body": "x", "NumMedia": "0", "MediaUrl0": "https://x/ME0"}, Content("x"), id="no media"),
    ],
)
def test_content(params, content):
    """What a message says is its text, or its button's, and what is attached to it."""
    assert read(load_form("sms", **params)).content == content


@pytest.mark.parametrize("number", ["", "x", "-1", "1e3", "٣", "9" * 400, None])
def test_number_of_media_that_is_none(number):
    """A number that cannot be one counts as none, whatever its length."""
    assert read(load_form("sms", NumMedia=number)).content.media == ()


def test_number_of_media_is_bounded():
    """No number makes a thousand attachments."""
    assert len(read(load_form("sms", NumMedia="1000")).content.media) == 20


@pytest.mark.parametrize(
    ("sender", "receiver", "customer", "recipient"),
    [
        pytest.param(
            "US.13491208655302741918",
            "whatsapp:+15557650001",
            Address("WHATSAPP", "US.13491208655302741918"),
            Address("WHATSAPP", "whatsapp:+15557650001"),
            id="user-id-without-a-prefix",
        ),
        pytest.param(
            "whatsapp:+14155550103",
            "+15557650001",
            Address("WHATSAPP", "whatsapp:+14155550103"),
            Address("WHATSAPP", "+15557650001"),
            id="prefix-of-the-customer-only",
        ),
        pytest.param(
            "whatsapp:+14155550103",
            "rcs:harbor_desk_agent",
            Address("WHATSAPP", "whatsapp:+14155550103"),
            Address("WHATSAPP", "rcs:harbor_desk_agent"),
            id="two-prefixes",
        ),
        pytest.param("55501", "+15557650001", Address("SMS", "55501"), Address("SMS", "+15557650001"), id="short-code"),
        pytest.param(
            " +14155550101 ",
            "+15557650001\n",
            Address("SMS", "+14155550101"),
            Address("SMS", "+15557650001"),
            id="blanks",
        ),
    ],
)
def test_both_ends_are_on_one_channel(sender, receiver, customer, recipient):
    """The customer's prefix says the channel of both ends, or else ours does."""
    event = read(load_form("sms", From=sender, To=receiver))
    assert (event.customer, event.recipient) == (customer, recipient)


def test_default_account():
    """Without an AccountSid the message is of the account that is configured."""
    assert see(load_form("sms", AccountSid=None)).account_id == OTHER_ACCOUNT
    assert see(load_form("sms", AccountSid=" ")).account_id == OTHER_ACCOUNT


@pytest.mark.parametrize("status", ["received", "receiving", "Received", "", " ", None])
def test_statuses_of_messages_that_came_in(status):
    """A message that came in says so, or says nothing of its status."""
    assert isinstance(read(load_form("sms", SmsStatus=status)), MessageReceived)


def test_status_callback():
    """The status callback of an outgoing message on the same URL is disregarded by name, under its own key."""
    params = load_form("message_status")
    sid = f"SM{6:032x}"
    assert see(params).key == f"{ACCOUNT}:messaging:{sid}:undelivered"
    cause = Cause("messaging", "message.undelivered", sid, "k1", RECEIVED_AT)
    assert read(params) == Disregarded(cause, ACCOUNT, "status callback of an outgoing message: undelivered")


@pytest.mark.parametrize(
    "status",
    ["accepted", "queued", "sending", "sent", "delivered", "undelivered", "failed", "read", "SENT", "scheduled"],
)
@pytest.mark.parametrize("name", ["MessageStatus", "SmsStatus"])
def test_every_status_is_a_key_of_its_own(status, name):
    """Each status of an outgoing message is another event, under either name, and none is a message."""
    params = load_form("sms", **({"SmsStatus": None} | {name: status}))
    assert see(params).key.endswith(f":{status.lower()}")
    assert isinstance(read(params), Disregarded)


@pytest.mark.parametrize("name", ["From", "To", "MessageSid"])
@pytest.mark.parametrize("value", [None, "", " \t"], ids=["missing", "empty", "blank"])
@pytest.mark.parametrize("parse", [see, read], ids=["identify", "normalize"])
def test_what_a_message_needs(parse, name, value):
    """Without From, To or MessageSid a form is no message, and the error names what is missing."""
    with pytest.raises(UnreadableError, match=f"^missing or blank: {name}$"):
        parse(load_form("sms", **{name: value}))


@pytest.mark.parametrize("parse", [see, read], ids=["identify", "normalize"])
def test_nothing_at_all(parse):
    """An empty form lacks all that a message needs."""
    with pytest.raises(UnreadableError, match="From, To, MessageSid"):
        parse([])


def test_not_utf_8():
    """A parameter that is not UTF-8 is refused at the door whichever it is, and by the worker if it reads it."""
    body = encode_form(load_form("sms"))
    with pytest.raises(UnreadableError, match="Body2"):
        identify(parse_form(body + b"&Body2=%ff"), default_account=ACCOUNT)
    with pytest.raises(UnreadableError, match="MediaUrl7"):
        normalize(make_entry(body + b"&MediaUrl7=%ff"))


def test_first_of_repeated():
    """Of a repeated parameter the first value counts, in the receiver and in the worker alike."""
    params = [*load_form("sms"), ("From", "+19995550199"), ("MessageSid", "SMx"), ("AccountSid", "ACx")]
    assert see(params) == see(load_form("sms"))
    assert read(params) == read(load_form("sms"))


def test_unknown_and_long_parameters():
    """What Twilio adds tomorrow, in any script and length, disturbs nothing."""
    extra = [("Überraschung 陳", "x" * 100_000), ("Body", "y" * 100_000), ("", ""), ("From.Sub", "z")]
    assert read([*load_form("sms"), *extra]) == read(load_form("sms"))


@pytest.mark.parametrize("sample", SAMPLES)
def test_key_is_equal_over_duplicates(sample):
    """A repeated webhook has the same key, in whatever order and with whatever else its parameters come."""
    params = load_form(sample)
    assert see(params[::-1]) == see(params)
    assert see([*params, ("ErrorCode", "11200"), ("ErrorUrl", "https://hooks.example.com")]).key == see(params).key


SIDS = st.from_regex(r"(SM|MM)[0-9a-f]{32}", fullmatch=True)
STATUSES = st.sampled_from(["", "received", "sent", "delivered"])
EVENTS = st.tuples(st.sampled_from([ACCOUNT, OTHER_ACCOUNT]), SIDS, STATUSES)


@given(EVENTS, EVENTS)
def test_key_is_different_otherwise(one, other):
    """Two webhooks have one key if account, SID and status of an outgoing message are the same."""
    keys, events = [], []
    for account_id, sid, status in (one, other):
        keys.append(see(load_form("sms", AccountSid=account_id, MessageSid=sid, SmsStatus=status)).key)
        events.append((account_id, sid, status.replace("received", "")))
    assert (keys[0] == keys[1]) == (events[0] == events[1])


TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=30)


@given(
    st.fixed_dictionaries({"From": TEXT, "To": TEXT, "MessageSid": TEXT}, optional={"SmsStatus": TEXT, "Body": TEXT})
)
def test_receiver_and_worker_agree(params):
    """Any form is either refused by both, or identified by one and normalized by the other."""
    results = []
    for parse in (see, read):
        try:
            results.append(parse(list(params.items())))
        except UnreadableError:
            results.append(None)
    assert (results[0] is None) == (results[1] is None)
    if isinstance(results[1], MessageReceived):
        assert results[0].subject == f"{results[1].customer.key}|{results[1].recipient.canonical}"


@given(st.binary())
def test_any_bytes(body):
    """Whatever is posted, it is read or refused, never anything else."""
    for parse in (lambda: identify(parse_form(body), default_account=ACCOUNT), lambda: normalize(make_entry(body))):
        with pytest.raises(UnreadableError):
            parse()


def read_changed(params):
    """Normalize a form that is given as a dict."""
    return read(list(params.items()))


def test_a_status_that_nobody_knows_is_a_message():
    """A new word in SmsStatus must not lose a message; only the known words of outgoing messages are disregarded."""
    assert isinstance(read_changed(dict(load_form("sms")) | {"SmsStatus": "received-too"}), MessageReceived)
    assert isinstance(read_changed(dict(load_form("sms")) | {"SmsStatus": "delivered"}), Disregarded)


def test_message_status_is_only_said_of_outgoing_messages():
    """Any MessageStatus other than that of an incoming message makes it a status callback."""
    assert isinstance(read_changed(dict(load_form("sms")) | {"MessageStatus": "some-new-state"}), Disregarded)
    assert isinstance(read_changed(dict(load_form("sms")) | {"MessageStatus": "received"}), MessageReceived)
