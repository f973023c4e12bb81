"""Text from outside on a terminal: nothing acts on it, hides, or forges a line; numbers and mailboxes are masked."""

import json
import re
import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from router.core.printable import fit, masked, masked_key, visible, visible_json, width

HARMFUL = [
    ("\x1b[31mred\x1b[0m", r"\x1b[31mred\x1b[0m"),
    ("\x1b]0;title\x07", r"\x1b]0;title\x07"),
    ("\x9b2J", r"\x9b2J"),  # C1: the same as ESC [
    ("\x00\x7f\x85", r"\x00\x7f\x85"),
    ("a\nb\rc\td", r"a\nb\rc\td"),
    ("a\u2028b\u2029c", r"a\u2028b\u2029c"),
    ("\u202egpj.exe", r"\u202egpj.exe"),  # reads backwards
    ("\u2066x\u2069", r"\u2066x\u2069"),
    ("zero\u200bwidth\ufeff", r"zero\u200bwidth\ufeff"),
    ("\U000e0041tag", r"\U000e0041tag"),
    ("\udc80", r"\udc80"),
    ("hard\xa0space", r"hard\xa0space"),
]
HARMLESS = ["", "hi", "Grüße", "здравствуйте", "你好", "😀", r"C:\new", '"quoted"']


@pytest.mark.parametrize(("text", "shown"), HARMFUL)
def test_what_cannot_be_printed_becomes_its_escape(text, shown):
    """Controls, line and paragraph separators, overrides, invisible characters and halves of characters."""
    assert visible(text) == shown


@pytest.mark.parametrize("text", HARMLESS)
def test_every_script_stays_as_it_is(text):
    """Only what acts, hides or breaks a line is replaced."""
    assert (visible(text), visible_json(text)) == (text, text)


@given(st.text())
def test_nothing_visible_controls_a_terminal(text):
    """Whatever the text: one printable line, the same when it is made visible again."""
    shown = visible(text)
    assert shown.isprintable()
    assert visible(shown) == shown
    assert not [one for one in shown if unicodedata.category(one) in {"Cc", "Cf", "Zl", "Zp"}]


@given(st.text(st.characters(exclude_categories=["Cs"])))
def test_json_stays_the_same_value(text):
    """JSON for programs has the same value, on one printable line."""
    shown = visible_json(json.dumps({"a": text}, ensure_ascii=False))
    assert shown.isprintable()
    assert json.loads(shown) == {"a": text}


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("from +15551230001 to +15557650000", "from +155***01 to +155***00"),
        ("whatsapp:+15551230001", "whatsapp:+155***01"),
        ("From=%2B15551230001&To=x", "From=%2B1***01&To=x"),
        ("+1 (555) 123-0001!", "+1 (***01!"),
        ("mail of ana@example.com, bob@example.org.", "mail of a***@example.com, b***@example.org."),
        ("sip:ana@pbx.example.com", "sip:a***@pbx.example.com"),
        ("EMAIL|ana@example.com|bob@example.org", "EMAIL|a***@example.com|b***@example.org"),
        ("Ana <ana@example.com>", "Ana <a***@example.com>"),
        ('{"address":"ana@example.com"}', '{"address":"a***@example.com"}'),
        ("redis://:***@10.123.45.67:6379/0", "redis://:***@10.123.45.67:6379/0"),
        ("redis+cluster://user:***@a:1,b:2", "redis+cluster://user:***@a:1,b:2"),
        ("1767787200000-0  SM0b2cf0e32281dbcf7453f5b1bc91fb4e", "1767787200000-0  SM0b2cf0e32281dbcf7453f5b1bc91fb4e"),
        ("at 2026-11-30T03:15:28.123+00:00, Mon, 30 Nov 2026 03:15:28 +0000 (UTC), in +5.25 s", None),
        ("CA00123456789012345678901234567890 00123456789abcdef0123456789abcde 0.00123456789", None),
        ("3c8f0049-1711-4234-8567-001234567890 00000000-0000-0000-0000-000000000001", None),
        ("HTTP 404 (code 20404) (404) 1767787200000-0 of 0:1767787200000-12, 10.123.45.67:6379", None),
        ("10737418240 bytes, @home, a@, 5 @ 6", "10737418240 bytes, @home, a@, 5 @ 6"),
    ],
)
def test_numbers_and_mailboxes_are_masked_and_nothing_else(text, shown):
    """As in the log; ids, sizes and logins of URLs stay."""
    assert masked(text) == (text if shown is None else shown)


@pytest.mark.parametrize(
    "number",
    [
        "+15551230001x23",
        "+15551230001ext2",
        "tel:+15551230001_a",
        "sms+15551230001",
        "\\n+15551230001",
        "+15551230001+15551230001",
        "+1/555/123/0001",
        "+1\xa0555\xa0123\xa00001",
        "+1\u202f(555)\u2011123\u20130001",
        r"+1\xa0555\u202f123\xa00001",
        "%2B1%20555%20123%200001",
        "\uff0b15551230001",
        "+1 555 123 0001 x 2",
        "+155512300015551230001555123000155",
        "001 555 123 0001",
        "0049 171 1230001",
        "00491711230001x2",
        "(555) 123-0001",
        "(555)1230001",
        "(0171) 1230001",
        "555-123-0001",
        "1-555-123-0001 ext. 2",
        "555.123.0001",
    ],
)
def test_every_usual_spelling_of_a_number_is_masked(number):
    """No four digits of its end are left, wherever it stands."""
    for text in (number, f"call {number}, or <{number}>;", f"account={number} is not configured"):
        shown = masked(text)
        assert "***" in shown
        assert "0001" not in re.sub(r"\W|xa0", "", shown)
        assert masked(shown) == shown


def test_a_number_does_not_take_the_ids_behind_it_along():
    """Each is a word of its own."""
    shown = masked("+15551230001 1767787200000-0 SM0b2cf0e32281dbcf7453f5b1bc91fb4e")
    assert shown == "+155***01 1767787200000-0 SM0b2cf0e32281dbcf7453f5b1bc91fb4e"


@given(st.text(st.sampled_from("+0123456789 -()./x\xa0%2B\\"), max_size=60))
def test_masking_twice_is_masking_once(text):
    """What has been masked shows no number."""
    assert masked(masked(text)) == masked(text)


def test_a_text_without_ids_shows_no_number_at_all():
    """In the text of an error any long number may be somebody's."""
    assert masked("no such user 15551230001", has_ids=False) == "no such user 1555***01"
    assert masked("+15551230001", has_ids=False) == "+155***01"
    assert masked("HTTP 404, code 20404", has_ids=False) == "HTTP 404, code 20404"


@pytest.mark.parametrize(
    ("key", "shown"),
    [
        ("AC1:messaging:SM1", "AC1:messaging:SM1"),
        ("AC1:voice:CA\x1b[31m=+15557650001:ringing", "AC1:voice:CA\x1b[31m=+155***01:ringing"),
        ("AC1:voice:eva@example.com:ringing", None),
    ],
)
def test_keys_of_ids_that_a_webhook_made_up(key, shown):
    """A usual key is shown as it is; one with a number or a mailbox in it, without that."""
    found = masked_key(key)
    assert found == (shown or found)
    assert "15557650001" not in found
    assert "eva@example.com" not in found


@pytest.mark.parametrize(
    ("text", "columns"),
    [("plain", 5), ("日本語", 6), ("Zoe\u0301", 3), ("😀!", 3), ("ﾊﾝ", 2), ("❤\ufe0f", 2), ("שלום", 4), ("", 0)],
)
def test_the_columns_of_a_text_are_those_of_a_terminal(text, columns):
    """Wide characters take two, marks none."""
    assert width(text) == columns


@pytest.mark.parametrize(
    ("text", "columns", "shown"),
    [
        ("plain", 5, "plain"),
        ("plainly", 5, "plai…"),
        ("日本語", 5, "日本…"),
        ("日本語", 4, "日…"),
        ("Zoe\u0301 is here", 5, "Zoe\u0301 …"),
        ("Zoe\u0301 is here", 4, "Zoe\u0301…"),
        ("ab", 1, "…"),
        ("ab", 0, ""),
        ("a" + "\u0301" * 50 + "b", 5, "a" + "\u0301" * 3 + "b"),
    ],
)
def test_a_text_is_cut_to_columns(text, columns, shown):
    """A cut is marked, no wide character is halved, and no pile of marks covers the lines around it."""
    assert fit(text, columns) == shown


@given(text=st.text(), columns=st.integers(0, 120))
def test_no_text_is_wider_than_asked(text, columns):
    """Whatever a text holds, made visible and cut it keeps within its columns and on its line."""
    shown = fit(visible(text), columns)
    assert width(shown) <= columns
    assert shown.isprintable()
