"""Pasted requests: parsed leniently, or refused with the part that is wrong."""

import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from router.operations.request_text import parse_headers, parse_request, split_target

HEAD = "POST /hook?x=%2B1 HTTP/1.1\nHost: h.example.com\nX-Twilio-Signature: abc=\nContent-Type: application/json\n"


@pytest.mark.parametrize("end", ["\n", "\r\n"])
def test_request_line_headers_and_body_are_parsed(end):
    """Both line ends work, and the names of headers come in lower case."""
    text = f"{HEAD}\n".replace("\n", end).encode() + b'{"a": "\xff"}\n'
    request = parse_request(text)
    assert (request.method, request.raw_path, request.body) == ("POST", b"/hook?x=%2B1", b'{"a": "\xff"}\n')
    assert request.headers == {
        "host": "h.example.com",
        "x-twilio-signature": "abc=",
        "content-type": "application/json",
    }


def test_the_request_line_may_hold_a_whole_url():
    """The host is that of the Host header, else that of the URL, without its credentials."""
    request = parse_request(b"GET https://u:p@t.example.com:8443/hook?a=1#rc=3\nAccept: */*\n")
    assert (request.raw_path, request.headers["host"], request.body) == (b"/hook?a=1", "t.example.com:8443", b"")
    assert parse_request(b"GET https://t.example.com\nHost: other").headers["host"] == "other"


def test_the_body_is_cut_at_its_content_length():
    """Line ends that pasting added after the body are removed."""
    assert parse_request(b"POST / HTTP/1.1\nContent-Length: 3\n\na=1\n\n").body == b"a=1"
    form = b"POST / HTTP/1.1\nContent-Type: application/x-www-form-urlencoded\n\na=1\r\n"
    assert parse_request(form).body == b"a=1"


def test_the_body_may_contain_blank_lines():
    """Only the first blank line ends the headers."""
    assert parse_request(b"POST / HTTP/1.1\r\nA: b\r\n\r\nx\n\ny").body == b"x\n\ny"
    assert parse_request(b"POST / HTTP/1.1\nA: b\n\nx\r\n\r\ny").body == b"x\r\n\r\ny"


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (b"", "not a request line"),
        (b"hello", "not a request line"),
        (b"curl -X POST https://x", "not a request line"),
        (b"POST hook HTTP/1.1", "neither a path nor a URL"),
        (b"POST /hook HTTP/1.1\nHost h\n", "header 1"),
        (b"POST /hook HTTP/1.1\nA: b\n: c\n", "header 2"),
    ],
)
def test_text_that_is_not_a_request_is_refused(text, words):
    """The error names the part that is wrong."""
    with pytest.raises(ValueError, match=words):
        parse_request(text)


@given(st.binary(max_size=200))
def test_any_bytes_are_a_request_or_a_value_error(text):
    """No input raises anything but ValueError."""
    with contextlib.suppress(ValueError):
        assert parse_request(text).raw_path.startswith(b"/")


def test_url_and_headers_are_parsed_by_themselves():
    """A target is a URL or a path; of repeated headers the first is kept."""
    assert split_target(b"/a?b=c") == (b"/a?b=c", "")
    assert split_target(b"https://h") == (b"/", "h")
    assert parse_headers(["A: 1", "a: 2", "B:3"]) == {"a": "1", "b": "3"}


def test_an_enormous_content_length_cuts_nothing():
    """More digits than Python converts to a number are ignored."""
    text = b"POST / HTTP/1.1\nContent-Length: " + b"9" * 5000 + b"\n\nbody"
    assert parse_request(text).body == b"body"


def test_repeated_lines_of_headers_that_are_lists_are_joined():
    """The settings of a signature are one list over all lines, as the receiver reads them; so are a proxy's headers."""
    lines = [
        "X-Twilio-Webhooks-Signature-Settings: key=k",
        "x-twilio-webhooks-signature-settings: algorithm=HMAC_SHA256",
        "X-Forwarded-Host: a",
        "X-Forwarded-Host: b",
        "X-Twilio-Signature: one",
        "X-Twilio-Signature: two",
    ]
    assert parse_headers(lines) == {
        "x-twilio-webhooks-signature-settings": "key=k,algorithm=HMAC_SHA256",
        "x-forwarded-host": "a, b",
        "x-twilio-signature": "one\ntwo",
    }
