"""A customer to be erased: the forms of an address, and where it is recognized."""

from urllib.parse import quote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from router.core.addresses import Channel
from router.core.erasing import ErasedCustomer, read_customer
from router.core.errors import QueryError

PHONES = ["+15551230001", "whatsapp:+15551230001", "15551230001", " +1 (555) 123-0001 ", "rcs:+15551230001"]


@pytest.mark.parametrize("text", PHONES)
def test_a_number_is_the_customer_on_every_channel(text):
    """However it is written; channels without numbers are left out."""
    keys = read_customer(text).keys
    assert keys == {f"{channel}|+15551230001" for channel in ("SMS", "VOICE", "RCS", "WHATSAPP")}


@pytest.mark.parametrize(
    "data",
    [
        b'{"address":"+15551230001"}',
        b"From=%2B15551230001&To=1",
        b"From=whatsapp%3A%2B15551230001",
        b'{"WaId": "15551230001"}',
        b"call me at +15551230001.",
        b"Body=call%2015551230001%20now",
        b"SMS|+15551230001|+15557650000",
    ],
)
def test_a_number_is_found_wherever_its_digits_stand_alone(data):
    """In forms, in JSON, in a text, with and without its plus."""
    assert read_customer("+15551230001").is_in(data)


@pytest.mark.parametrize("data", [b"+155512300010", b"9915551230001", b"+15551230002", b"", b"x" * 100])
def test_another_number_is_not_the_customer(data):
    """A longer one neither."""
    assert not read_customer("+15551230001").is_in(data)


@pytest.mark.parametrize(
    ("data", "is_own"),
    [
        (b"from=Ana%20%3Cana%40example.com%3E", True),
        (b'{"from": "Ana <ANA@Example.COM>"}', True),
        (b"write to ana@example.com.", True),
        (b"hana@example.com", False),
        (b"ana@example.com.au", False),
        (b"ana@example.company", False),
        (b"x.ana@example.com", False),
    ],
)
def test_a_mailbox_is_found_in_any_case_and_encoding(data, is_own):
    """And no other mailbox that contains it."""
    customer = read_customer("Ana@example.com")
    assert customer.keys == {"EMAIL|ana@example.com"}
    assert customer.is_in(data) is is_own


@pytest.mark.parametrize(
    ("data", "is_own"),
    [
        (b'{"address": "dana"}', True),
        (b"Author=dana&Body=hi", True),
        (b"From=messenger%3Adana&To=1", True),
        (b"CHAT|dana|support", True),
        (b'{"text": "dana told me"}', False),
        (b'{"agent": "dana"}', False),
        (b"CHAT|danae|support", False),
    ],
)
def test_a_word_is_an_address_only_where_addresses_stand(data, is_own):
    """An identity may be an ordinary word, or the name of a person of the roster."""
    assert read_customer("dana").is_in(data) is is_own


@pytest.mark.parametrize("text", ["", "  ", "*", "%", "12345", "+1", "?*"])
def test_what_names_nobody_is_refused(text):
    """Neither wildcards, nor short codes and parts of numbers, which would be found everywhere."""
    with pytest.raises(QueryError):
        read_customer(text)


@given(st.text(min_size=1, max_size=40))
def test_any_address_is_read_or_refused(text):
    """And what is read is recognized as the address of an entry, in a form and in a subject."""
    try:
        customer = read_customer(text)
    except QueryError:
        return
    assert customer.words
    assert all(customer.has_subject(f"{key}|ours") for key in customer.keys if "|" not in key.partition("|")[2])
    for word in customer.words:
        if word == word.strip() and "\0" not in word:
            assert customer.is_in(b"From=" + quote(word, safe="").encode("utf-8", "surrogatepass") + b"&")


def test_ids_are_recognized_as_a_whole():
    """An id that begins alike is another one."""
    own = ErasedCustomer(frozenset({f"{Channel.SMS}|+15551230001"}), frozenset({"conv_participant_1"}), frozenset())
    assert own.is_in(b'{"subject":"conv_participant_1"}')
    assert not own.is_in(b'{"subject":"conv_participant_12"}')
    assert not own.is_named_in(b'{"subject":"conv_participant_1"}')
    more = own.also(["WHATSAPP|US.1"])
    assert more.has_address(["WHATSAPP|US.1"])
    assert more.ids == own.ids
