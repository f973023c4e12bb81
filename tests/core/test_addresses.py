"""Addresses: every spelling of an address is the same address, and logs identify nobody."""

import re

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from router.core.addresses import Address, Channel, canonicalize, is_same, mask, parse_address

CHANNELS = st.one_of(st.sampled_from(list(Channel)), st.just("FAX"), st.text(max_size=8))
#: Arbitrary text, biased towards what addresses are made of.
TEXTS = st.one_of(st.text(st.characters()), st.text(alphabet="+0123456789 ().-@<>:aWwhatspcrAİ\t\u2003"))
PHONES = st.from_regex(r"\+[1-9][0-9]{7,14}", fullmatch=True)


@pytest.mark.parametrize(
    ("value", "channel"),
    [
        pytest.param("+14155550101", "SMS", id="sms"),
        pytest.param("55501", "SMS", id="short-code"),
        pytest.param("whatsapp:+14155550101", "WHATSAPP", id="whatsapp"),
        pytest.param("WhatsApp:+14155550101", "WHATSAPP", id="whatsapp-any-case"),
        pytest.param("whatsapp:US.13491208655302741918", "WHATSAPP", id="whatsapp-user-id"),
        pytest.param("rcs:+14155550101", "RCS", id="rcs"),
        pytest.param("rcs:harbor_desk_agent", "RCS", id="rcs-agent"),
        pytest.param("messenger:7012345678901234", "CHAT", id="messenger"),
        pytest.param("telegram:42", "SMS", id="unknown-prefix"),
        pytest.param(":+14155550101", "SMS", id="empty-prefix"),
        pytest.param("whatsapp", "SMS", id="prefix-without-colon"),
        pytest.param("", "SMS", id="empty"),
    ],
)
def test_the_prefix_gives_the_channel(value, channel):
    """The prefix of a `From` or `To` gives the channel, and the value stays as Twilio wrote it."""
    assert parse_address(value) == Address(channel, value)


def test_default_channel_without_prefix():
    """Without a prefix an address is on the caller's default channel."""
    assert parse_address(" +14155550101 ", default="WHATSAPP") == Address("WHATSAPP", "+14155550101")


@pytest.mark.parametrize(
    ("channel", "value", "canonical"),
    [
        pytest.param("SMS", "+1 (415) 555-0101", "+14155550101", id="formatted"),
        pytest.param("SMS", "+1.415.555.0101", "+14155550101", id="dotted"),
        pytest.param("VOICE", " +14155550101 ", "+14155550101", id="outer-blanks"),
        pytest.param("SMS", "55 501", "55501", id="short-code-gets-no-plus"),
        pytest.param("SMS", "4155550101", "4155550101", id="national-gets-no-plus"),
        pytest.param("SMS", "+1", "+1", id="too-short-for-a-phone"),
        pytest.param("SMS", "+" + "1" * 40, "+" + "1" * 40, id="too-long-for-a-phone"),
        pytest.param("SMS", "HARBOR", "HARBOR", id="alphanumeric-sender"),
        pytest.param("SMS", "whatsapp:+14155550101", "whatsapp:+14155550101", id="prefix-of-another-channel"),
        pytest.param("WHATSAPP", "whatsapp:+14155550101", "+14155550101", id="whatsapp-prefix"),
        pytest.param("WHATSAPP", "WHATSAPP: whatsapp:14155550101", "+14155550101", id="whatsapp-prefix-twice"),
        pytest.param("WHATSAPP", "14155550101", "+14155550101", id="whatsapp-id-without-plus"),
        pytest.param("WHATSAPP", "1415555", "1415555", id="whatsapp-too-short-for-a-plus"),
        pytest.param("WHATSAPP", "US.13491208655302741918", "US.13491208655302741918", id="whatsapp-user-id"),
        pytest.param("RCS", "rcs:+14155550101", "+14155550101", id="rcs-prefix"),
        pytest.param("RCS", "rcs:Harbor_Desk", "Harbor_Desk", id="rcs-agent-keeps-case"),
        pytest.param("VOICE", "whatsapp:+14155550101", "+14155550101", id="whatsapp-call"),
        pytest.param("VOICE", "WhatsApp: 1 (415) 555-0101", "+14155550101", id="whatsapp-call-without-plus"),
        pytest.param("VOICE", "whatsapp:US.13491208655302741918", "US.13491208655302741918", id="whatsapp-call-by-id"),
        pytest.param("VOICE", "tel:+1-415-555-0101", "+14155550101", id="tel-uri"),
        pytest.param("VOICE", "client:Dana", "client:Dana", id="voice-client"),
        pytest.param("VOICE", "sip:Dana@desk.example", "sip:Dana@desk.example", id="sip-uri"),
        pytest.param("EMAIL", "Ana.Sousa@Example.COM", "ana.sousa@example.com", id="mailbox"),
        pytest.param("EMAIL", '"Sousa, Ana" <Ana@Example.com>', "ana@example.com", id="mailbox-with-name"),
        pytest.param("EMAIL", "<<ana@example.com>>", "ana@example.com>", id="mailbox-in-broken-brackets"),
        pytest.param("EMAIL", "ana @example.com", "ana@example.com", id="mailbox-with-a-blank"),
        pytest.param("EMAIL", "a > b <", "a>b<", id="brackets-the-wrong-way"),
        pytest.param("CHAT", " Dana S. ", "Dana S.", id="identity-is-exact"),
        pytest.param("CHAT", "+1 415 555 0101", "+1 415 555 0101", id="identity-that-looks-like-a-phone"),
        pytest.param("FAX", "+1 415 555 0101", "+1 415 555 0101", id="channel-that-is-not-known"),
    ],
)
def test_canonical_form(channel, value, canonical):
    """Formatting, prefixes and the case of mailboxes are removed; everything else stays."""
    assert canonicalize(channel, value) == canonical
    assert Address(channel, value).canonical == canonical
    assert Address(channel, value).key == f"{channel}|{canonical}"


@given(CHANNELS, TEXTS)
@example("EMAIL", "<a<b@c>d>")
@example("EMAIL", "><")
@example("VOICE", "tel:whatsapp:rcs:14155550101")
@example("RCS", "rcs: RCS:\u2003rcs:")
@example("EMAIL", "İ@ΑΣ")
def test_canonicalize_is_total_and_idempotent(channel, value):
    """Any text on any channel has a canonical form, which is its own canonical form."""
    once = canonicalize(channel, value)
    assert canonicalize(channel, once) == once


@given(CHANNELS, TEXTS)
def test_parse_is_total(default, value):
    """Any text is an address, whose value differs at most by outer white space."""
    assert parse_address(value, default).value == value.strip()


@given(PHONES, st.lists(st.sampled_from([" ", "-", "(", ")", "."]), min_size=14, max_size=14))
def test_formatting_is_no_difference(phone, marks):
    """A phone number is the same address with any punctuation, on every phone channel."""
    written = phone[:2] + "".join(digit + mark for digit, mark in zip(phone[2:], marks, strict=False))
    for channel in (Channel.SMS, Channel.VOICE, Channel.RCS, Channel.WHATSAPP):
        assert is_same(Address(channel, written), Address(channel, phone))


@given(PHONES)
def test_whatsapp_and_rcs_with_and_without_prefix(phone):
    """WhatsApp and RCS senders are the same address with and without their prefix."""
    assert is_same(Address("WHATSAPP", f"whatsapp:{phone}"), Address("WHATSAPP", phone))
    assert is_same(Address("WHATSAPP", phone[1:]), Address("WHATSAPP", phone))
    assert is_same(Address("RCS", f"rcs:{phone}"), Address("RCS", phone))


@pytest.mark.parametrize(
    ("one", "other"),
    [
        pytest.param(Address("SMS", "+14155550101"), Address("VOICE", "+14155550101"), id="channel"),
        pytest.param(Address("SMS", "+14155550101"), Address("SMS", "+14155550102"), id="number"),
        pytest.param(Address("CHAT", "Dana"), Address("CHAT", "dana"), id="case-of-an-identity"),
        pytest.param(Address("SMS", "+4155550101"), Address("SMS", "4155550101"), id="country-code-or-national"),
    ],
)
def test_different_addresses(one, other):
    """Addresses on different channels, or with different canonical forms, are different."""
    assert not is_same(one, other)


@pytest.mark.parametrize(
    ("value", "masked"),
    [
        pytest.param("+15551230001", "+155***01", id="phone"),
        pytest.param("whatsapp:+15551230001", "whatsapp:+155***01", id="whatsapp"),
        pytest.param("RCS:+15551230001", "RCS:+155***01", id="prefix-in-any-case"),
        pytest.param("whatsapp:rcs:+15551230001", "whatsapp:rcs:+155***01", id="prefix-twice"),
        pytest.param("US.13491208655302741918", "US.1***18", id="whatsapp-user-id"),
        pytest.param("55501", "5***", id="short-code"),
        pytest.param("ana@example.com", "a***@example.com", id="mailbox"),
        pytest.param("Ana Sousa <ana@example.com>", "A***@example.com>", id="mailbox-with-name"),
        pytest.param("sip:15551230001@desk.example", "s***@desk.example", id="sip-uri"),
        pytest.param("@example.com", "***@example.com", id="no-local-part"),
        pytest.param("ana@15551230001", "a***@1555***01", id="host-that-is-a-number"),
        pytest.param("client:dana", "c***", id="voice-client"),
        pytest.param("Dana", "D***", id="identity"),
        pytest.param("", "", id="empty"),
    ],
)
def test_mask(value, masked):
    """Masked addresses can be told apart but identify nobody."""
    assert mask(value) == masked


@given(TEXTS)
@example("whatsapp:" * 5000)
@example("whatsapp:ana@15551230001")
def test_no_number_survives_masking(value):
    """No five consecutive digits of a number with eight or more survive masking."""
    host = value.rpartition("@")[2]  # all of it where there is no @; what is before one is hidden anyway
    if sum(character.isdigit() for character in host) >= 8:
        assert not re.search(r"\d{5}", mask(value))


@given(st.from_regex(r"[a-z]{2,12}[.+]?[a-z]{2,12}", fullmatch=True), st.sampled_from(["", "whatsapp:", "messenger:"]))
def test_local_part_is_hidden(local, prefix):
    """A masked mailbox shows its first letter and its host only."""
    assert mask(f"{prefix}{local}@example.com") == f"{prefix}{local[0]}***@example.com"


@given(TEXTS)
def test_mask_hides_all_but_edges(value):
    """Besides prefix and host, masking shows at most six characters."""
    bare = re.sub(r"(?i)^((whatsapp|rcs|messenger):)+", "", value)
    if "@" not in bare:
        shown = re.sub(r"(?i)^((whatsapp|rcs|messenger):)+", "", mask(value))
        assert len(shown.replace("***", "")) <= 6


@pytest.mark.parametrize("prefix", ["whatsapp:", "WhatsApp: ", "rcs:"])
def test_prefix_repeated_a_hundred_thousand_times(prefix):
    """Removing and masking a repeated prefix takes no longer for any number of repetitions."""
    channel = Channel.RCS if prefix == "rcs:" else Channel.WHATSAPP
    value = prefix * 100_000 + "+15551230001"
    assert canonicalize(channel, value) == "+15551230001"
    assert len(mask(value)) < 100
    assert "1230" not in mask(value)
