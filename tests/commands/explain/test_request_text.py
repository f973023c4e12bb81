"""Requests as people paste them: read when they can be meant, refused with the line that is wrong when not."""

import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from router.commands.explain.request_text import parse_headers, parse_request, split_target

HEAD = "POST /hook?x=%2B1 HTTP/1.1\nHost: h.example.com\nX-Twilio-Signature: abc=\nContent-Type: application/json\n"


@pytest.mark.parametrize("end", ["\n", "\r\n"])
def test_request_line_headers_and_body(end):
    """All parts, whichever line ends it has; names of headers in lower case."""
    text = f"{HEAD}\n".replace("\n", end).encode() + b'{"a": "\xff"}\n'
    request = parse_request(text)
    assert (request.method, request.raw_path, request.body) == ("POST", b"/hook?x=%2B1", b'{"a": "\xff"}\n')
    assert request.headers == {
        "host": "h.example.com",
        "x-twilio-signature": "abc=",
        "content-type": "application/json",
    }


def test_whole_url_in_the_request_line():
    """As proxies write it: the host is the URL's, where no header says another."""
    request = parse_request(b"GET https://u:p@t.example.com:8443/hook?a=1#rc=3\nAccept: */*\n")
    assert (request.raw_path, request.headers["host"], request.body) == (b"/hook?a=1", "t.example.com:8443", b"")
    assert parse_request(b"GET https://t.example.com\nHost: other").headers["host"] == "other"


def test_body_ends_where_its_length_says():
    """What pasting added after the body is no part of it."""
    assert parse_request(b"POST / HTTP/1.1\nContent-Length: 3\n\na=1\n\n").body == b"a=1"
    form = b"POST / HTTP/1.1\nContent-Type: application/x-www-form-urlencoded\n\na=1\r\n"
    assert parse_request(form).body == b"a=1"


def test_body_may_have_blank_lines():
    """The first blank line is the end of the head, and the only one that is."""
    assert parse_request(b"POST / HTTP/1.1\r\nA: b\r\n\r\nx\n\ny").body == b"x\n\ny"
    assert parse_request(b"POST / HTTP/1.1\nA: b\n\nx\r\n\r\ny").body == b"x\r\n\r\ny"


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (b"", "no request line"),
        (b"hello", "no request line"),
        (b"curl -X POST https://x", "no request line"),
        (b"POST hook HTTP/1.1", "neither a path nor a URL"),
        (b"POST /hook HTTP/1.1\nHost h\n", "header 1"),
        (b"POST /hook HTTP/1.1\nA: b\n: c\n", "header 2"),
    ],
)
def test_what_is_no_request(text, words):
    """The error says which part is wrong."""
    with pytest.raises(ValueError, match=words):
        parse_request(text)


@given(st.binary(max_size=200))
def test_any_bytes_are_a_request_or_a_value_error(text):
    """Nothing else is raised, whatever is pasted."""
    with contextlib.suppress(ValueError):
        assert parse_request(text).raw_path.startswith(b"/")


def test_parts_given_one_by_one():
    """As with curl: a URL or a path, and headers of which the first counts."""
    assert split_target(b"/a?b=c") == (b"/a?b=c", "")
    assert split_target(b"https://h") == (b"/", "h")
    assert parse_headers(["A: 1", "a: 2", "B:3"]) == {"a": "1", "b": "3"}


def test_content_length_beyond_all_numbers():
    """A length that Python refuses to read cuts nothing."""
    text = b"POST / HTTP/1.1\nContent-Length: " + b"9" * 5000 + b"\n\nbody"
    assert parse_request(text).body == b"body"
