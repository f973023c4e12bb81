"""Source `messaging`: webhooks of every channel become messages, status callbacks do not."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from router.core.addresses import Address
from router.core.errors import UnreadableError
from router.core.events import Cause, Disregarded, Identity, MessageReceived
from router.core.signing.form import parse_form
from router.core.values import replace
from router.inbound.messaging import identify, normalize
from tests.inbound.samples import RECEIVED_AT, encode_form, load_form, make_entry
from tests.support.accounts import ACCOUNT, OTHER_ACCOUNT

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


def identity_of(params, default_account=OTHER_ACCOUNT):
    """Return the identity of a form, as the receiver does."""
    return identify(parse_form(encode_form(params)), default_account=default_account)


def key_of(params, default_account=OTHER_ACCOUNT):
    return identity_of(params, default_account).key


def event_of(params):
    """Return the event of a form, as the worker does."""
    return normalize(make_entry(encode_form(params)))


@pytest.mark.parametrize(("sample", "customer", "recipient", "prefix", "number"), CHANNELS)
def test_identify(sample, customer, recipient, prefix, number):
    """The key of a message has account and SID; its subject is the pair of canonical addresses."""
    sid = f"{prefix}{number:032x}"
    expected = Identity(ACCOUNT, f"{ACCOUNT}:messaging:{sid}", f"{customer.key}|{recipient.canonical}")
    assert identity_of(load_form(sample)) == expected


@pytest.mark.parametrize(("sample", "customer", "recipient", "prefix", "number"), CHANNELS)
def test_normalize(sample, customer, recipient, prefix, number):
    """A message is a MessageReceived with the addresses as Twilio wrote them."""
    sid = f"{prefix}{number:032x}"
    cause = Cause("messaging", "message.received", sid, "k1", RECEIVED_AT)
    params = load_form(sample)
    content, person = event_of(params).content, event_of(params).person
    expected = MessageReceived(cause, ACCOUNT, customer, recipient, sid, content=content, person=person)
    assert event_of(params) == expected
    assert expected.content.text == dict(params)["Body"]


@pytest.mark.parametrize("number", ["", "x", "-1", "1e3", "٣", "9" * 400, None])
def test_invalid_number_of_media(number):
    """An invalid NumMedia, of any length, counts as zero."""
    assert event_of(load_form("sms", NumMedia=number)).content.media == ()


def test_number_of_media_is_bounded():
    """The number of attachments has a bound."""
    assert len(event_of(load_form("sms", NumMedia="1000")).content.media) == 20


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
    """The customer's prefix decides the channel of both ends, or else ours does."""
    event = event_of(load_form("sms", From=sender, To=receiver))
    assert (event.customer, event.recipient) == (customer, recipient)


def test_default_account():
    """A message without an AccountSid belongs to the configured account."""
    assert identity_of(load_form("sms", AccountSid=None)).account_id == OTHER_ACCOUNT
    assert identity_of(load_form("sms", AccountSid=" ")).account_id == OTHER_ACCOUNT


@pytest.mark.parametrize("status", ["received", "receiving", "Received", "", " ", None])
def test_statuses_of_incoming_messages(status):
    """An incoming message has a status of its own, or none."""
    assert isinstance(event_of(load_form("sms", SmsStatus=status)), MessageReceived)


def test_status_callback():
    """The status callback of an outgoing message is disregarded by name, with a key of its own."""
    params = load_form("message_status")
    sid = f"SM{6:032x}"
    assert key_of(params) == f"{ACCOUNT}:messaging:{sid}:undelivered"
    cause = Cause("messaging", "message.undelivered", sid, "k1", RECEIVED_AT)
    assert event_of(params) == Disregarded(cause, ACCOUNT, "status callback of an outgoing message: undelivered")


@pytest.mark.parametrize(
    "status",
    ["accepted", "queued", "sending", "sent", "delivered", "undelivered", "failed", "read", "SENT", "scheduled"],
)
@pytest.mark.parametrize("name", ["MessageStatus", "SmsStatus"])
def test_every_status_has_its_own_key(status, name):
    """Each status of an outgoing message is an event of its own, in either parameter, and not a message."""
    params = load_form("sms", **({"SmsStatus": None} | {name: status}))
    assert key_of(params).endswith(f":{status.lower()}")
    assert isinstance(event_of(params), Disregarded)


@pytest.mark.parametrize("name", ["From", "To", "MessageSid"])
@pytest.mark.parametrize("value", [None, "", " \t"], ids=["missing", "empty", "blank"])
@pytest.mark.parametrize("parse", [identity_of, event_of], ids=["identify", "normalize"])
def test_required_parameters(parse, name, value):
    """A form without From, To or MessageSid is unreadable, and the error names the missing parameter."""
    with pytest.raises(UnreadableError, match=f"^missing or blank: {name}$"):
        parse(load_form("sms", **{name: value}))


@pytest.mark.parametrize("parse", [identity_of, event_of], ids=["identify", "normalize"])
def test_empty_form(parse):
    """The error for an empty form names all required parameters."""
    with pytest.raises(UnreadableError, match="From, To, MessageSid"):
        parse([])


def test_a_parameter_in_another_charset():
    """A city's name, or one character of the text, that is not UTF-8 costs no message; the character is replaced."""
    body = encode_form(load_form("sms", Body=None, FromCity=None)) + b"&FromCity=S%E3O+PAULO&Body=Ol%E1"
    assert identify(parse_form(body), default_account=ACCOUNT) == identity_of(load_form("sms"))
    assert normalize(make_entry(body)).content.text == "Ol\ufffd"


@pytest.mark.parametrize("name", ["From", "To", "MessageSid", "AccountSid"])
def test_an_id_or_address_in_another_charset(name):
    """An id or address that is not UTF-8 is refused by its name: with another character it would be another one."""
    body = encode_form(load_form("sms", **{name: None})) + f"&{name}=%E9".encode()
    with pytest.raises(UnreadableError, match=f"parameter {name} is not UTF-8"):
        identify(parse_form(body), default_account=ACCOUNT)
    with pytest.raises(UnreadableError, match=f"parameter {name} is not UTF-8"):
        normalize(make_entry(body))


def test_repeated_parameters():
    """Of a repeated parameter the first value counts, in receiver and worker."""
    params = [*load_form("sms"), ("From", "+19995550199"), ("MessageSid", "SMx"), ("AccountSid", "ACx")]
    assert identity_of(params) == identity_of(load_form("sms"))
    assert event_of(params) == event_of(load_form("sms"))


def test_unknown_and_long_parameters():
    """Unknown parameters, in any script and of any length, change nothing but `provider`."""
    extra = [("Überraschung 陳", "x" * 100_000), ("Body", "y" * 100_000), ("", ""), ("From.Sub", "z")]
    event, plain = event_of([*load_form("sms"), *extra]), event_of(load_form("sms"))
    assert event.content.provider != plain.content.provider
    assert replace(event, content=replace(event.content, provider=plain.content.provider)) == plain


@pytest.mark.parametrize("sample", SAMPLES)
def test_key_is_equal_over_duplicates(sample):
    """A repeated webhook has the same key, with its parameters in any order and with further ones."""
    params = load_form(sample)
    assert identity_of(params[::-1]) == identity_of(params)
    assert key_of([*params, ("ErrorCode", "11200"), ("ErrorUrl", "https://hooks.example.com")]) == key_of(params)


SIDS = st.from_regex(r"(SM|MM)[0-9a-f]{32}", fullmatch=True)
STATUSES = st.sampled_from(["", "received", "sent", "delivered"])
EVENTS = st.tuples(st.sampled_from([ACCOUNT, OTHER_ACCOUNT]), SIDS, STATUSES)


@given(EVENTS, EVENTS)
def test_other_events_have_other_keys(one, other):
    """Two webhooks have the same key only if account, SID and status of an outgoing message are equal."""
    keys, events = [], []
    for account_id, sid, status in (one, other):
        keys.append(key_of(load_form("sms", AccountSid=account_id, MessageSid=sid, SmsStatus=status)))
        events.append((account_id, sid, status.replace("received", "")))
    assert (keys[0] == keys[1]) == (events[0] == events[1])


TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=30)


@given(
    st.fixed_dictionaries({"From": TEXT, "To": TEXT, "MessageSid": TEXT}, optional={"SmsStatus": TEXT, "Body": TEXT})
)
def test_receiver_and_worker_agree(params):
    """Any form is refused by both, or identified by one and normalized by the other."""
    results = []
    for parse in (identity_of, event_of):
        try:
            results.append(parse(list(params.items())))
        except UnreadableError:
            results.append(None)
    assert (results[0] is None) == (results[1] is None)
    if isinstance(results[1], MessageReceived):
        assert results[0].subject == f"{results[1].customer.key}|{results[1].recipient.canonical}"


@given(st.binary())
def test_any_bytes(body):
    """Any body is read or refused."""
    for parse in (lambda: identify(parse_form(body), default_account=ACCOUNT), lambda: normalize(make_entry(body))):
        with pytest.raises(UnreadableError):
            parse()


def test_unknown_sms_status_is_a_message():
    """An unknown SmsStatus is an incoming message; only the known ones of outgoing messages are disregarded."""
    assert isinstance(event_of(load_form("sms", SmsStatus="received-too")), MessageReceived)
    assert isinstance(event_of(load_form("sms", SmsStatus="delivered")), Disregarded)


def test_message_status_of_outgoing_messages():
    """Any MessageStatus other than that of an incoming message is a status callback."""
    assert isinstance(event_of(load_form("sms", MessageStatus="some-new-state")), Disregarded)
    assert isinstance(event_of(load_form("sms", MessageStatus="received")), MessageReceived)
