"""Multipart bodies as a stream: the same parts for any split, bounds on everything, and a checked end."""

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from router.core.errors import RouterError, UnreadableError, WrongTypeError
from router.inbound.email.multipart import MAX_HEADER_BYTES, MAX_PARTS, MultipartReader, PartHeader
from tests.inbound.email.mails import BOUNDARY, CONTENT_TYPE, join, part


def feed_all(reader, chunks):
    """Feed every chunk."""
    for chunk in chunks:
        reader.feed(chunk)


def read(*chunks, content_type=CONTENT_TYPE):
    """Return the parts of a body as (header, content)."""
    parts = []

    def open_part(header):
        parts.append((header, bytearray()))
        return parts[-1][1].extend

    reader = MultipartReader(content_type, open_part)
    feed_all(reader, chunks)
    reader.finish()
    return [(header, bytes(content)) for header, content in parts]


BODY = join(
    part("text", "Olá\r\n--xYzZ\r\n--\r\n"),
    part("empty", ""),
    part("attachment1", b"\r\n--xYzZ\xff\0" * 3, filename="ü.bin", content_type="application/octet-stream"),
)
PARTS = [
    (PartHeader("text", None, ""), "Olá\r\n--xYzZ\r\n--\r\n".encode()),
    (PartHeader("empty", None, ""), b""),
    (PartHeader("attachment1", "ü.bin", "application/octet-stream"), b"\r\n--xYzZ\xff\0" * 3),
]


def test_parts():
    """The parts of a body are read in order, with their exact bytes."""
    assert read(BODY) == PARTS


@pytest.mark.parametrize("size", [1, 2, 3, 7])
def test_small_chunks(size):
    """Chunks of any size give the same parts."""
    assert read(*(BODY[at : at + size] for at in range(0, len(BODY), size))) == PARTS


def test_split_at_every_position():
    """A body that is split at any position, also within boundaries and headers, gives the same parts."""
    for at in range(len(BODY)):
        assert read(BODY[:at], BODY[at:]) == PARTS


CONTENT = st.lists(
    st.sampled_from([b"\r", b"\n", b"-", b"--", b"\r\n--", BOUNDARY.encode(), b"\r\n--" + BOUNDARY[:-1].encode(), b"a"])
).map(b"".join)


@given(st.lists(CONTENT.filter(lambda content: b"\r\n--" + BOUNDARY.encode() not in b"\r\n" + content)), st.data())
def test_round_trip(contents, data):
    """Any content without the boundary is read unchanged, for any split."""
    body = join(*(part("x", content) for content in contents)) if contents else join(part("x", b""))
    cuts = sorted(data.draw(st.lists(st.integers(0, len(body)), max_size=6)))
    edges = [0, *cuts, len(body)]
    chunks = [body[start:end] for start, end in pairwise(edges)]
    assert [content for _, content in read(*chunks)] == (contents or [b""])


def test_epilogue_and_quoted_boundary():
    """Bytes after the end are ignored, and a boundary may be quoted."""
    body = BODY + b"more\r\n"
    assert read(body, content_type=f'Multipart/Form-Data; charset=utf-8; boundary="{BOUNDARY}"') == PARTS


def test_body_without_parts():
    """A body may have no parts."""
    assert read(f"--{BOUNDARY}--\r\n".encode()) == []


def test_bytes_that_are_not_utf_8_in_headers():
    """Names that are not UTF-8 are decoded with replacement characters."""
    body = b'--xYzZY\r\nContent-Disposition: form-data; name="\xff"; filename="\xfe"\r\n\r\n\r\n--xYzZY--'
    assert read(body)[0][0] == PartHeader("\ufffd", "\ufffd", "")


@pytest.mark.parametrize(
    ("parameters", "filename"),
    [
        pytest.param(b"filename*=UTF-8''%e2%82%ac.pdf", "\u20ac.pdf", id="extended"),
        pytest.param(b"filename*=iso-8859-1'en'a%E1.pdf", "a\xe1.pdf", id="charset"),
        pytest.param(b"filename*=''%e2%82%ac.pdf", "\u20ac.pdf", id="no-charset"),
        pytest.param(b"filename*=x-none''a%E1.pdf", "a\ufffd.pdf", id="unknown-charset"),
        pytest.param(b"filename*=\"UTF-8''%e2%82%ac.pdf\"", "\u20ac.pdf", id="quoted"),
        pytest.param(b"filename*=euro.pdf", "euro.pdf", id="not-encoded"),
        pytest.param(b"filename=\"EUR.pdf\"; filename*=UTF-8''%e2%82%ac.pdf", "\u20ac.pdf", id="both"),
        pytest.param(b"filename*=UTF-8''%e2%82%ac.pdf; filename=\"EUR.pdf\"", "\u20ac.pdf", id="both-the-other-way"),
        pytest.param(b'filename="a.pdf"; filename*=', "a.pdf", id="empty-beside-plain"),
        pytest.param(b"FileName*=UTF-8''a", "a", id="case"),
        pytest.param(b"filename*0*=UTF-8''%e2%82; filename*1*=%ac; filename*2=.pdf", "\u20ac.pdf", id="pieces"),
        pytest.param(b"filename*1=c.pdf; filename*0*=UTF-8''a%20b", "a bc.pdf", id="pieces-in-another-order"),
        pytest.param(b'filename*0="a; b"; filename*1=".pdf"', "a; b.pdf", id="plain-pieces"),
        pytest.param(b"filename*", "", id="nothing"),
        pytest.param(b"filename*=a; filename*0*=b", "", id="whole-and-in-pieces"),
        pytest.param(b"filename*%s*=x" % (b"9" * 5000), "", id="hostile"),
        pytest.param(b"x=\"filename*=y\"; z*=UTF-8''a", None, id="another-parameter"),
    ],
)
def test_names_in_the_extended_syntax(parameters, filename):
    """A file name in the extended syntax is read, and wins over a plain one."""
    head = b'--xYzZY\r\nContent-Disposition: form-data; name="attachment1"; ' + parameters
    assert read(head + b"\r\n\r\nx\r\n--xYzZY--") == [(PartHeader("attachment1", filename, ""), b"x")]


def test_name_of_a_field_in_the_extended_syntax():
    """The name of a field may have the extended syntax too."""
    body = b"--xYzZY\r\nContent-Disposition: form-data; name*=UTF-8''te%78t\r\n\r\n\r\n--xYzZY--"
    assert read(body)[0][0] == PartHeader("text", None, "")


def test_repeated_header():
    """Of a repeated header the first one counts; header names are case-insensitive."""
    body = b'--xYzZY\r\ncontent-disposition: x; name="a"\r\nContent-Disposition: x; name="b"\r\n\r\n\r\n--xYzZY--'
    assert read(body)[0][0].name == "a"


@pytest.mark.parametrize(
    ("content_type", "error", "reason"),
    [
        pytest.param(None, WrongTypeError, "no content type instead", id="none"),
        pytest.param("", WrongTypeError, "no content type instead", id="empty"),
        pytest.param("application/json", WrongTypeError, "application/json instead", id="json"),
        pytest.param("multipart/mixed; boundary=x", WrongTypeError, "multipart/mixed instead", id="mixed"),
        pytest.param("multipart/form-data", UnreadableError, "names no boundary", id="no-boundary"),
        pytest.param("multipart/form-data; boundary=", UnreadableError, "names no boundary", id="empty-boundary"),
        pytest.param("multipart/form-data; boundary=ø陳", UnreadableError, "not ASCII", id="not-ascii"),
        pytest.param(f"multipart/form-data; boundary={'x' * 300}", UnreadableError, "too long", id="long"),
    ],
)
def test_content_types(content_type, error, reason):
    """A content type other than multipart/form-data with a boundary is refused before the body is read."""
    with pytest.raises(error, match=reason):
        read(content_type=content_type)


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        pytest.param(b"", "has no end", id="empty"),
        pytest.param(BODY[:-8], "has no end", id="cut-off"),
        pytest.param(b"--xYzZY\r\n", "has no end", id="one-boundary"),
        pytest.param(b"From=%2B1", "not multipart", id="form"),
        pytest.param(b'{"a": 1}', "not multipart", id="json"),
        pytest.param(b"--xYzZY\r\nContent-Type: x\r\n\r\n\r\n--xYzZY--", "has no name", id="no-name"),
        pytest.param(b"--xYzZY\r\n\r\n\r\n--xYzZY--", "has no name", id="no-headers"),
        pytest.param(part("x" * MAX_HEADER_BYTES, ""), "header size", id="huge-header"),
        pytest.param(b"--xYzZY\r\n" + b"a: b\r\n" * 100, "not multipart", id="many-headers"),
        pytest.param(part("x", "") * (MAX_PARTS + 1), "more than 500 parts", id="many-parts"),
    ],
)
def test_unreadable(body, reason):
    """A body that is incomplete, not multipart or beyond a bound is refused, with the reason."""
    with pytest.raises(UnreadableError, match=reason):
        read(body)


def test_header_without_end():
    """An endless header is refused when it reaches the bound."""
    reader = MultipartReader(CONTENT_TYPE, lambda _: bytearray().extend)
    reader.feed(b"--xYzZY\r\nContent-Disposition: ")
    with pytest.raises(UnreadableError, match="header size"):
        feed_all(reader, [b"x" * 1024] * 100)


@given(st.binary(), st.binary(), st.text(max_size=40))
def test_any_bytes(one, other, content_type):
    """Any bytes are read or refused, and only the project's own errors are raised."""
    for kind in (CONTENT_TYPE, content_type):
        for chunks in ([one, other], [b"--xYzZY\r\n", one, b"\r\n\r\n", other]):
            try:
                read(*chunks, content_type=kind)
            except RouterError:
                continue
