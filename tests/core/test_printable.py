"""Text from outside on a terminal: nothing acts on it, hides, or forges a line; numbers and mailboxes are masked."""

import json
import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from router.core.printable import masked, visible, visible_json

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
        ("10737418240 bytes, @home, a@, 5 @ 6", "10737418240 bytes, @home, a@, 5 @ 6"),
    ],
)
def test_numbers_and_mailboxes_are_masked_and_nothing_else(text, shown):
    """As in the log; ids, sizes and logins of URLs stay."""
    assert masked(text) == shown


def test_a_text_without_ids_shows_no_number_at_all():
    """In the text of an error any long number may be somebody's."""
    assert masked("no such user 15551230001", has_ids=False) == "no such user 1555***01"
    assert masked("+15551230001", has_ids=False) == "+155***01"
    assert masked("HTTP 404, code 20404", has_ids=False) == "HTTP 404, code 20404"
