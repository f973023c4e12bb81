"""Structured header values: comments are no text, whatever they hold; anything can be read."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from router.inbound.email.headers import drop_comments, find_mark, read_ids, without_comments
from router.inbound.email.raw_mail import read_headers


@pytest.mark.parametrize(
    ("value", "words"),
    [
        pytest.param("base64", ["base64"], id="none"),
        pytest.param("base64 (as usual)", ["base64"], id="after"),
        pytest.param("(as usual) base64", ["base64"], id="before"),
        pytest.param("base64(as usual)", ["base64"], id="without-a-blank"),
        pytest.param("(a)(b)base64(c) (d)", ["base64"], id="several"),
        pytest.param("a (b) c", ["a", "c"], id="between"),
        pytest.param("a(b)c", ["a", "c"], id="between-without-blanks"),
        pytest.param("base64 (as (really (deeply)) usual)", ["base64"], id="nested"),
        pytest.param(r"base64 (a \) b \( c \\)", ["base64"], id="escaped"),
        pytest.param('base64 (a "b) c', ["base64", "c"], id="quotes-mean-nothing-in-a-comment"),
        pytest.param('"a (b)" c', ['"a', '(b)"', "c"], id="quoted"),
        pytest.param(r'"a \" (b)" (c)', ['"a', r"\"", '(b)"'], id="quoted-quote"),
        pytest.param(r"a \(b\)", ["a", r"\(b\)"], id="escaped-outside"),
        pytest.param("base64\r\n (as\r\n usual)", ["base64"], id="folded"),
        pytest.param("base64 ()", ["base64"], id="empty"),
        pytest.param("base64 (as usual", ["base64"], id="unclosed"),
        pytest.param("base64 (as (usual)", ["base64"], id="unclosed-nested"),
        pytest.param("base64 (as usual\\", ["base64"], id="unclosed-escape"),
        pytest.param("base64)", ["base64)"], id="unopened"),
        pytest.param('"base64 (x)', ['"base64', "(x)"], id="unclosed-quotes"),
        pytest.param("(only)", [], id="nothing-else"),
        pytest.param("<a(b)@c> (d)", ["<a", "@c>"], id="in-brackets"),
    ],
)
def test_comments(value, words):
    """A comment separates words like a blank; in a quoted string there is none."""
    assert without_comments(value).split() == words


@pytest.mark.parametrize(
    ("value", "ids"),
    [
        pytest.param("<m1@example.com> (added by gateway@example.com)", "<m1@example.com>", id="after"),
        pytest.param("(x) <m1@example.com>", "<m1@example.com>", id="before"),
        pytest.param("<(1)@example.com> (x)", "<(1)@example.com>", id="in-brackets"),
        pytest.param("<a@b> (<c@d>) <e@f>", "<a@b> <e@f>", id="an-id-in-a-comment"),
        pytest.param("m1@example.com(x)", "m1@example.com", id="without-brackets"),
        pytest.param("(removed)", "", id="nothing-else"),
        pytest.param("<a(b", "<a", id="unclosed"),
    ],
)
def test_ids(value, ids):
    """Comments around ids are removed; an id holds none."""
    assert " ".join(read_ids(value).split()) == ids


@pytest.mark.parametrize(
    ("value", "kind", "parameters"),
    [
        pytest.param("text/plain (Plain text)", "text/plain", {}, id="type"),
        pytest.param("(x) text (y) / (z) html(a)", "text/html", {}, id="within-the-type"),
        pytest.param("text/html; charset=utf-8 (x)", "text/html", {"charset": "utf-8"}, id="value"),
        pytest.param('text/html; charset="utf-8" (x); a=b', "text/html", {"charset": "utf-8", "a": "b"}, id="quoted"),
        pytest.param("a/b; (x) name (y) = (z) c", "a/b", {"name": "c"}, id="within-a-parameter"),
        pytest.param("a/b (c; d=e); name=f", "a/b", {"name": "f"}, id="semicolon"),
        pytest.param('a/b; name="a (1).pdf"', "a/b", {"name": "a (1).pdf"}, id="quoted-parentheses"),
        pytest.param("a/b; name=a (1).pdf; c=d", "a/b", {"name": "a (1).pdf", "c": "d"}, id="unquoted-name"),
        pytest.param("a/b; name=a(1)(2).pdf", "a/b", {"name": "a(1)(2).pdf"}, id="unquoted-without-blanks"),
        pytest.param("a/b; name=a.pdf (a file)", "a/b", {"name": "a.pdf"}, id="after-a-name"),
    ],
)
@pytest.mark.parametrize("header", ["Content-Type", "Content-Disposition"])
def test_headers_with_parameters(header, value, kind, parameters):
    """A comment may stand anywhere in a header with parameters; parentheses within an unquoted name are no comment."""
    message = read_headers(f"{header}: {value}\r\n\r\n".encode())
    drop_comments(message)
    (shown, _), *rest = message.get_params(header=header)
    assert (shown, dict(rest)) == (kind, parameters)


@pytest.mark.parametrize("read", [without_comments, read_ids])
@given(st.text(st.sampled_from('a ()\\"<>;\n')) | st.text())
def test_any_value(read, value):
    """Any value can be read; what comes out holds no more than went in, and nothing is removed twice."""
    shown = read(value)
    assert len(shown) <= len(value)
    assert read(shown) == shown


@given(st.text(st.sampled_from('a ();=/\\"b')))
def test_any_parameters(value):
    """Any header with parameters can be read."""
    message = read_headers(b"")
    message["Content-Type"] = value
    drop_comments(message)
    assert message.get_content_type()


@pytest.mark.parametrize("unit", ["(", ")", "()", '"', '"\\', "\\", "<", "(\\", "( ", "a(", "a (b)", "<a", "<(", '("'])
@pytest.mark.parametrize("read", [without_comments, read_ids])
def test_each_character_is_looked_at_a_few_times(read, unit):
    """Values of 400,000 characters are read, which a quadratic reader would need hours for."""
    value = unit * (400_000 // len(unit))
    assert len(read(value)) <= len(value)


@pytest.mark.parametrize(
    "header",
    [
        *(
            "X-Autoreply: yes",
            "X-AutoReply: true",
            "X-AUTOREPLY:",
            "X-Auto-Reply: 1",
            "X-Autoreply-From: a@example.com",
        ),
        *("X-Auto-Reply-From: a@example.com", "X-Auto-Replied: yes", "X-Mail-Autoreply: a@example.com"),
        *("X-Autorespond: Order", "X-AUTO-RESPOND: x", "X-Autoresponder: yes", "X-Auto_Response: yes"),
        *("X-Precedence: auto_reply", "Preference: auto-reply (x)", "X-Autogenerated: Reply"),
        *("Delivered-To: Autoresponder", "X-POST-MessageClass: 9; Autoresponder"),
        *("Return-Path: <>", "Return-Path: (x) < > (y)", "Return-Path: <MAILER-DAEMON>"),
    ],
)
def test_marks_of_automatic_replies(header):
    """Programs that reply mark their mails with many headers, of which the first one is shown without comments."""
    shown = " ".join(without_comments(header).split())
    assert find_mark(read_headers(f"Subject: x\r\n{header}\r\n\r\n".encode())) == shown


@pytest.mark.parametrize(
    "header",
    [
        *("X-Auto-Response-Suppress: All", "X-AutoResponse-Suppress: OOF, AutoReply", "X-Autoreply-Suppress: yes"),
        *("X-Autoreply: no", "X-Auto-Reply: No (x)", "X-Autoreply: false", "X-Precedence: list", "Preference: none"),
        *("X-Autogenerated: Forward", "Delivered-To: autoresponder-fans@example.com", "Return-Path: <ana@example.com>"),
        *("Subject: X-Autoreply: yes", "X-No-Autoreply: yes", "Received: by autoresponder", "List-Id: <autoreply>"),
    ],
)
def test_what_is_no_mark(header):
    """Headers of persons, and those that only ask for no automatic reply, are no marks."""
    assert find_mark(read_headers(f"{header}\r\n\r\n".encode())) is None
