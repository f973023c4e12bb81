"""Crafted mails that would be expensive to read: bounds apply before the work is done. No test uses a clock."""

import encodings
import gc
import itertools
import weakref
from contextlib import suppress
from email.parser import HeaderParser

import pytest

from router.core.errors import UnreadableError
from router.inbound.email.inbound_parse import MailReader
from router.inbound.email.multipart import MAX_PARAMETERS as MAX_FORM_PARAMETERS
from router.inbound.email.multipart import MultipartReader, parse_options_header
from router.inbound.email.raw_mail import (
    MAX_DEPTH,
    MAX_LINES,
    MAX_PARAMETERS,
    MAX_PART_LINES,
    MAX_PATTERNS,
    RawMailReader,
    read_headers,
)
from router.inbound.email.text import decode, decode_header, html_to_text

HEADERS = ("Content-Type: multipart/mixed", "Content-Disposition: attachment")


@pytest.mark.parametrize("begin", ["", '; x="'], ids=["bare", "quoted"])
@pytest.mark.parametrize("header", HEADERS)
def test_flood_of_parameters_is_cut_before_it_is_read(header, begin):
    """The number of a header's parameters is bounded before they are read; usual headers are unaffected."""
    name = header.partition(":")[0]
    message = read_headers(f"{header}{begin}{';' * 200_000}\n\n".encode())
    assert message[name].count(";") < MAX_PARAMETERS
    usual = read_headers(f'{header}; boundary="b;b"; filename*0="a"; filename*1="b"\n\n'.encode())
    assert usual.get_param("filename", header=name) is not None


def test_long_header_with_few_parameters_is_cut():
    """A header with one very long parameter is cut."""
    message = read_headers(b"Content-Type: text/plain; charset=utf-8; x=" + b"y" * 200_000 + b"\n\n")
    assert len(message["content-type"]) < 10_000
    assert message.get_content_charset() == "utf-8"


def test_flood_of_parameters_in_a_part_of_the_form_is_cut(monkeypatch):
    """The number of parameters in a part header of the form is bounded before they are read."""
    seen = []

    def spy(value):
        seen.append(value)
        return parse_options_header(value)

    reader = MultipartReader("multipart/form-data; boundary=b", lambda header: names.append(header.name) or bytes)
    names = []
    monkeypatch.setattr("router.inbound.email.multipart.parse_options_header", spy)
    reader.feed(b'--b\r\nContent-Disposition: form-data; name="a"; x="' + b";" * 7000 + b"\r\n\r\nx\r\n--b--\r\n")
    reader.finish()
    assert names == ["a"]
    assert max(value.count(b";") for value in seen) < MAX_FORM_PARAMETERS


def nested(inner):
    """Return a mail of multiparts nested as deep as is read but one, with `inner` more in the innermost one."""
    names = [f"{depth}_".ljust(120, "x") for depth in range(MAX_DEPTH - 1)]
    lines = [f"Content-Type: multipart/mixed; boundary={names[0]}\n\n"]
    for outer, name in itertools.pairwise(names):
        lines.append(f"\n--{outer}\nContent-Type: multipart/mixed; boundary={name}\n\n")
    for number in range(inner):
        name = f"i{number}_".ljust(120, "y")
        lines.append(f"\n--{names[-1]}\nContent-Type: multipart/mixed; boundary={name}\n\n")
    return "".join(lines).encode()


def test_boundaries_that_cost_too_much_are_given_up():
    """Reading ends when the boundaries of a mail, which are compiled into patterns, reach their bound."""
    reader = RawMailReader(1000)
    reader.write(nested(900))
    reader.finish()
    assert reader.is_given_up
    assert reader._patterns < MAX_PATTERNS + 20 * 300


def test_no_pattern_is_long():
    """However deep a mail nests and however long its boundaries are, a pattern has about a kilobyte."""
    reader, lengths = RawMailReader(1000), []
    for byte in nested(20).replace(b"x" * 110, b"x" * 500):
        reader.write(bytes([byte]))
        lengths.append(len(reader._pattern.pattern))
    assert max(lengths) < 2000


def test_header_lines_are_cut_before_they_are_parsed(monkeypatch):
    """Of a header block of very many lines the first ones are parsed, of a part's fewer."""
    parsed, parse = [], HeaderParser.parsestr
    monkeypatch.setattr(
        HeaderParser, "parsestr", lambda self, text: parsed.append(text.count("\n") + 1) or parse(self, text)
    )
    reader = RawMailReader(1000)
    reader.write(b"Subject: s\nContent-Type: multipart/mixed; boundary=b\n" + b"a:\n" * 50_000 + b"\n")
    reader.write(b"\n--b\nContent-Type: image/png\n" + b"a:\n" * 5000 + b"\nx\n--b--\n")
    reader.finish()
    assert parsed == [MAX_LINES, MAX_PART_LINES]
    assert (reader.headers["subject"], [part.content_type for part in reader.parts]) == ("s", ["image/png"])


def test_mail_with_many_parts_is_read_to_its_end():
    """A mail with hundreds of attachments is read completely."""
    head = b"Content-Type: multipart/mixed; boundary=outer-boundary-of-a-usual-length\n\n"
    part = b"\n--outer-boundary-of-a-usual-length\nContent-Type: image/png\n\nx"
    reader = RawMailReader(1000)
    reader.write(head + part * 900 + b"\n--outer-boundary-of-a-usual-length--\n")
    reader.finish()
    assert not reader.is_given_up
    assert reader.part_count == 900


def test_made_up_charsets_leave_nothing_behind():
    """Unknown charsets do not fill Python's cache of codecs."""
    decode_header("=?utf-8?q?a?=")
    before = len(encodings._cache)
    for number in range(500):
        assert decode(b"abc", f"made-up-{number}").text == "abc"
        assert decode(b"abc", f"utf{'-' * (1 + number % 30)}8").text == "abc"
    decode_header(" ".join(f"=?made-up-{number}?q?a?=" for number in range(500)))
    assert len(encodings._cache) <= before + 1


@pytest.mark.parametrize(
    ("charset", "data", "text"),
    [
        ("ISO-8859-1", b"\xe4", "ä"),
        ("windows-1252", b"\x80", "€"),
        ("KOI8-U", b"\xa4", "є"),
        ("Shift_JIS", "日本".encode("shift_jis"), "日本"),
        ("utf-8-sig", b"\xef\xbb\xbfa", "a"),
        ("GB18030", "中".encode("gb18030"), "中"),
        ("cp874", b"\xa1", "ก"),
    ],
)
def test_real_charsets_are_still_read(charset, data, text):
    """The charsets of real mails are decoded."""
    assert decode(data, charset) == (text, True)


@pytest.mark.parametrize("digits", [4301, 300_000])
def test_huge_character_reference(digits):
    """A character reference that Python refuses to parse stays in the text."""
    shown = html_to_text(f"<p>a &amp; b</p>&#{'9' * digits};")
    assert shown.startswith("a & b")
    assert shown.endswith("9;")


@pytest.mark.parametrize("parts", [1, 600], ids=["complete", "refused"])
def test_a_closed_reader_is_forgotten_at_once(parts):
    """Nothing of a mail waits for the garbage collector: a flood of forged ones would fill the memory until then."""
    part = b'--b\r\nContent-Disposition: form-data; name="text"\r\n\r\n' + b"x" * 1000 + b"\r\n"
    reader = MailReader("multipart/form-data; boundary=b")
    with suppress(UnreadableError):
        reader.feed(part * parts + b"--b--\r\n")
    reader.close()
    forgotten = weakref.ref(reader._reader)
    gc.disable()
    try:
        del reader
        assert forgotten() is None
    finally:
        gc.enable()
