"""Raw mails as a stream: headers, first texts, and a list of parts, compared with the email package."""

import tracemalloc
from email.message import EmailMessage
from email.policy import SMTP
from time import process_time
from zlib import crc32

import pytest
from hypothesis import given
from hypothesis import strategies as st

from router.inbound.email.raw_mail import MAX_DELIMITERS, MAX_DEPTH, MAX_HEADERS, MAX_PARTS, RawMailReader, read_headers
from tests.support.waiting import scaled

KEEP = 1000


def read(*chunks, keep=KEEP):
    """Return the reader of a whole mail."""
    reader = RawMailReader(keep)
    for chunk in chunks:
        reader.write(chunk)
    reader.finish()
    return reader


def make_mail():
    """Return a mail with two texts, two attachments and an attached mail."""
    mail = EmailMessage(policy=SMTP)
    mail["Message-ID"], mail["Subject"], mail["From"] = "<m1@example.com>", "Olá", "Ana <ana@example.com>"
    mail.set_content("Olá 👋\n" * 3, cte="quoted-printable")
    mail.add_alternative("<p>Olá</p>", subtype="html", cte="base64")
    mail.add_attachment(b"\0\xff" * 1001, maintype="image", subtype="png", filename="ü.png")
    mail.add_attachment("a,b\n1,2\n", subtype="csv", filename="list.csv", cte="quoted-printable")
    inner = EmailMessage(policy=SMTP)
    inner["Subject"] = "inner"
    inner.set_content("inner text")
    inner.add_attachment(b"x" * 50, maintype="image", subtype="gif", filename="inner.gif")
    mail.add_attachment(inner)
    return mail


MAIL = make_mail()
RAW = MAIL.as_bytes()


def test_whole_mail():
    """Texts are decoded, attachments have name, type and exact size, and an attached mail is one attachment."""
    reader = read(RAW)
    assert reader.headers["Message-ID"] == "<m1@example.com>"
    assert (reader.text.content().decode(), reader.text.charset) == ("Olá 👋\r\n" * 3, "utf-8")
    assert reader.html.content() == "<p>Olá</p>\r\n".encode()
    assert [(one.filename, one.content_type, one.size) for one in reader.parts[:2]] == [
        ("ü.png", "image/png", 2002),
        ("list.csv", "text/csv", 10),
    ]
    assert [one.content_type for one in reader.parts[2:]] == ["message/rfc822"]
    assert reader.part_count == 3


@pytest.mark.parametrize("size", [1, 2, 3, 64])
def test_small_chunks(size):
    """Chunks of any size give the same mail."""
    whole, pieces = read(RAW), read(*(RAW[at : at + size] for at in range(0, len(RAW), size)))
    assert pieces.parts == whole.parts
    assert (pieces.text, pieces.html) == (whole.text, whole.html)


@given(st.integers(0, len(RAW)))
def test_split_anywhere(at):
    """A mail that is split at any position is the same mail."""
    pieces = read(RAW[:at], RAW[at:])
    assert (pieces.text, pieces.html, pieces.parts) == (read(RAW).text, read(RAW).html, read(RAW).parts)


@given(st.binary(max_size=400), st.sampled_from(["base64", "quoted-printable", "8bit"]))
def test_sizes_agree_with_the_email_package(content, encoding):
    """The size of an attachment is the length that the email package decodes, for every encoding."""
    mail = EmailMessage(policy=SMTP)
    mail.set_content("x")
    if encoding == "base64":
        mail.add_attachment(content, maintype="a", subtype="b", filename="f")
    else:
        text = content.decode("latin-1").replace("\r", "").replace("\0", "").replace("\x85", "").strip()
        mail.add_attachment(text, filename="f", cte=encoding)
    (attachment,) = mail.iter_attachments()
    encoded = mail.as_bytes()
    size = len(attachment.get_payload(decode=True))
    assert abs(read(encoded).parts[0].size - size) <= encoded.count(b"\n")  # line ends are CRLF on the wire
    if encoding == "base64":
        assert read(encoded).parts[0].size == size
        assert read(encoded).parts[0].checksum == crc32(content)


def test_mail_without_mime():
    """A mail without MIME is one text, with either kind of line ends."""
    for raw in (b"Subject: x\n\nHello\nAna", b"Subject: x\r\n\r\nHello\r\nAna"):
        reader = read(raw)
        assert reader.headers["subject"] == "x"
        assert reader.text.content().split() == [b"Hello", b"Ana"]
        assert reader.parts == []


@pytest.mark.parametrize(
    ("raw", "text"),
    [
        pytest.param(b"", b"", id="empty"),
        pytest.param(b"Subject: x", b"", id="headers-only"),
        pytest.param(b"\r\nbody", b"body", id="no-headers"),
        pytest.param(b"Content-Transfer-Encoding: base64\r\n\r\nSGVsbG8", b"Hel", id="base64-cut-off"),
        pytest.param(b"Content-Transfer-Encoding: base64\r\n\r\n=a=b", b"=a=b", id="base64-broken"),
        pytest.param(b"Content-Type: multipart/mixed\r\n\r\nbody", None, id="multipart-without-boundary"),
    ],
)
def test_odd_mails(raw, text):
    """A malformed mail is read as far as possible."""
    reader = read(raw)
    assert (reader.text and reader.text.content()) == text


def wrap(boundary, *parts, kind="mixed"):
    """Return a multipart with its header."""
    head = f"Content-Type: multipart/{kind}; boundary={boundary}\r\n\r\npreamble\r\n".encode()
    return (
        head
        + b"".join(f"--{boundary}\r\n".encode() + each + b"\r\n" for each in parts)
        + f"--{boundary}--\r\n".encode()
    )


PNG = b'Content-Type: image/png; name="a.png"\r\n\r\n12345'


def test_outer_boundary_ends_what_is_inside():
    """An unclosed multipart ends at the outer boundary; preamble and epilogue are ignored."""
    inner = wrap("in", PNG).removesuffix(b"\r\n--in--\r\n")
    reader = read(wrap("out", inner, PNG) + b"epilogue")
    assert [one.size for one in reader.parts] == [5, 5]
    assert reader.text is None


def test_headers_that_end_at_a_boundary():
    """A part whose headers end at a boundary has no content."""
    reader = read(wrap("b", b"Content-Type: image/png", PNG))
    assert [(one.content_type, one.size) for one in reader.parts] == [("image/png", 0), ("image/png", 5)]


FOREIGN = b"From: b@example.com\r\n\r\nwritten by somebody else"


@pytest.mark.parametrize("kind", ["digest", "Digest", "digest (of today)"])
def test_parts_of_a_digest_are_messages(kind):
    """A part of a digest without a type is a mail of somebody else, not the text of this one."""
    alone = read(wrap("d", b"\r\n" + FOREIGN, b"Content-Disposition: inline\r\n\r\n" + FOREIGN, kind=kind))
    assert (alone.text, [one.content_type for one in alone.parts]) == (None, ["message/rfc822"] * 2)
    digest = wrap("d", b"\r\n" + FOREIGN, kind=kind)
    for parts in ((digest, b"\r\nmine"), (b"\r\nmine", digest)):
        reader = read(wrap("b", *parts))
        assert (reader.text.content(), [one.content_type for one in reader.parts]) == (b"mine", ["message/rfc822"])


def test_only_parts_of_the_digest_itself_are_messages():
    """A part with a type has that type, and in a multipart within a digest a part without one is a text again."""
    stated = read(wrap("d", b"Content-Type: text/plain\r\n\r\ncontents", b"\r\n" + FOREIGN, kind="digest"))
    assert (stated.text.content(), [one.content_type for one in stated.parts]) == (b"contents", ["message/rfc822"])
    within = read(wrap("d", wrap("b", b"\r\nmine"), b"\r\n" + FOREIGN, kind="digest"))
    assert (within.text.content(), within.part_count) == (b"mine", 1)
    after = read(wrap("b", wrap("d", b"\r\n" + FOREIGN, kind="digest"), b"\r\nmine"))
    assert (after.text.content(), after.part_count) == (b"mine", 1)


NESTED = wrap("i", b"\r\nwritten by somebody else", b"Content-Type: text/html\r\n\r\n<p>written</p>", PNG)


@pytest.mark.parametrize(
    "head",
    [
        pytest.param(b"Content-Type: message/rfc822\r\n\r\n", id="type"),
        pytest.param(b"Content-Type: Message (a mail) / RFC822 (x)\r\n\r\n", id="comments"),
        pytest.param(b"Content-Type: message/rfc822\r\nContent-Disposition: inline\r\n\r\n", id="inline"),
        pytest.param(b"Content-Type: message/global\r\n\r\n", id="global"),
        pytest.param(b"Content-Type: message/rfc822; boundary=i\r\n\r\n", id="boundary"),
    ],
)
def test_texts_of_an_attached_mail_are_not_the_customers(head):
    """Neither text of an attached mail is one of this mail, before its own text, after it or without one."""
    attached = head + NESTED
    for parts, text in (((attached, b"\r\nmine"), b"mine"), ((b"\r\nmine", attached), b"mine"), ((attached,), None)):
        reader = read(wrap("b", *parts))
        assert (reader.text and reader.text.content(), reader.html, reader.part_count) == (text, None, 1)
    alone = read(attached)
    assert (alone.text, alone.html, alone.part_count) == (None, None, 1)


def test_second_texts_are_parts():
    """The first plain and the first HTML text are the mail's texts; all others are parts."""
    attached = b"Content-Type: text/plain\r\nContent-Disposition: attachment\r\n\r\nx"
    reader = read(wrap("b", attached, b"\r\none", b"Content-Type: text/html\r\n\r\ntwo", b"\r\nthree"))
    assert (reader.text.content(), reader.html.content()) == (b"one", b"two")
    assert [one.size for one in reader.parts] == [1, 5]


@pytest.mark.parametrize(
    ("header", "filename"),
    [
        pytest.param(b'Content-Disposition: attachment; filename="a b.pdf"', "a b.pdf", id="plain"),
        pytest.param(b"Content-Disposition: attachment; filename*=iso-8859-1'en'a%E1.pdf", "aá.pdf", id="rfc-2231"),
        pytest.param(b"Content-Disposition: attachment; filename*=x-none''a%E1.pdf", "a\ufffd.pdf", id="no-charset"),
        pytest.param(b'Content-Disposition: attachment; filename="=?utf-8?q?=C3=A1?="', "á", id="encoded-word"),
        pytest.param('Content-Disposition: attachment; filename="á"'.encode(), "á", id="raw-utf-8"),
        pytest.param(b"Content-Disposition: attachment; filename*9%s*=x" % (b"9" * 5000), None, id="hostile"),
        pytest.param(b"Content-Disposition: attachment", None, id="none"),
        pytest.param(b"Content-Disposition: attachment; filename=a (1).pdf", "a (1).pdf", id="without-quotes"),
        pytest.param(b'Content-Disposition: attachment; filename="a (1)" (x)', "a (1)", id="comment"),
        pytest.param(b"Content-Disposition: attachment (x); filename*=utf-8''a%E1 (y)", "a\ufffd", id="commented"),
    ],
)
def test_file_names(header, filename):
    """File names are read in every encoding that programs use; a crafted one is None."""
    (one,) = read(wrap("b", b"Content-Type: a/b\r\n" + header + b"\r\n\r\nx")).parts
    assert (one.filename, one.is_attachment) == (filename, True)


@pytest.mark.parametrize(
    ("headers", "seen"),
    [
        pytest.param("Content-Transfer-Encoding: base64 (as usual)", ("text", "Olá", None), id="encoding"),
        pytest.param("Content-Transfer-Encoding: (as\r\n usual) BASE64", ("text", "Olá", None), id="folded"),
        pytest.param("Content-Transfer-Encoding: base64 (as (usual", ("text", "Olá", None), id="unclosed"),
        pytest.param("Content-Type: text/plain (Plain text)", ("text", "T2zDoQ==", None), id="type"),
        pytest.param("Content-Type: text/(x)html (a; b=c)", ("html", "T2zDoQ==", None), id="html"),
        pytest.param("Content-Type: text/plain; charset=koi8-r (x)", ("text", "T2zDoQ==", "koi8-r"), id="charset"),
        pytest.param("Content-Disposition: (x) attachment", ("part", "T2zDoQ==", None), id="attachment"),
        pytest.param("Content-Disposition: attachment(a \\) file)", ("part", "T2zDoQ==", None), id="glued"),
    ],
)
def test_comments_are_no_text(headers, seen):
    """Comments in the headers of a part change nothing, also where the part is the whole mail."""
    name, content, charset = seen
    for raw in (f"{headers}\r\n\r\nT2zDoQ==", wrap("b", f"{headers}\r\n\r\nT2zDoQ==".encode())):
        reader = read(raw if isinstance(raw, bytes) else raw.encode())
        leaf = {"text": reader.text, "html": reader.html, "part": reader.parts[0] if reader.parts else None}[name]
        assert leaf is not None
        assert leaf.charset == charset
        assert name == "part" or leaf.content().decode() == content


@pytest.mark.parametrize("boundary", ["b (the boundary)", "(x) b", '"b" (the \\( boundary)', "b(x)", "b (unclosed"])
@pytest.mark.parametrize("kind", ["mixed", "mixed (several)", "(x)mixed"])
def test_comments_around_a_boundary(boundary, kind):
    """A comment is no part of a boundary."""
    head = f"multipart/{kind}; boundary={boundary}".encode()
    raw = wrap("b", b"\r\none", PNG).replace(b"multipart/mixed; boundary=b", head)
    assert (read(raw).text.content(), read(raw).part_count) == (b"one", 1)


@pytest.mark.parametrize("boundary", ["Boundary_(ID_1)", "a(b)c", "(a b)"])
@pytest.mark.parametrize("quote", ["", '"'])
def test_parentheses_in_a_boundary(boundary, quote):
    """Parentheses may be part of a boundary, also where a program forgets the quotes."""
    inner = wrap(boundary, PNG, b"\r\none").replace(f"={boundary}".encode(), f"={quote}{boundary}{quote}".encode())
    reader = read(wrap("b", inner, PNG))
    assert (reader.text.content(), reader.part_count) == (b"one", 2)


def test_many_parts():
    """The list of parts has a bound; all parts are counted."""
    reader = read(wrap("b", *[PNG] * (MAX_PARTS + 5)))
    assert (len(reader.parts), reader.part_count) == (MAX_PARTS, MAX_PARTS + 5)


def test_deep_nesting():
    """Parts below the maximum depth count as content of their parent."""
    raw = PNG
    for depth in range(MAX_DEPTH + 3):
        raw = wrap(f"b{depth}.", raw)
    assert read(raw).part_count == 1


def test_long_text_is_cut():
    """The beginning of a long text is kept, and the text is marked as cut."""
    reader = read(b"\r\n" + b"Hello\r\n" * 10_000, keep=10)
    assert reader.text.content() == b"Hello\r\nHello\r\nHello\r\nHello\r\nHe"
    assert reader.text.is_cut
    assert not read(b"\r\nHello", keep=10).text.is_cut


def test_huge_header_and_line():
    """The beginning of a huge header block is read; a huge line is ordinary content."""
    reader = read(
        b"Message-ID: <m>\r\n" + b"X: y\r\n" * MAX_HEADERS + b"Subject: late\r\n\r\n" + b"z" * 100_000, b"z\r\n--"
    )
    assert (reader.headers["message-id"], reader.headers["subject"]) == ("<m>", None)
    assert reader.text.size == 100_005
    assert read_headers(b"\r\nA: b\r\n" + b"x" * MAX_HEADERS)["a"] == "b"


def test_too_many_delimiters():
    """Reading ends at the bound on delimiters, and what was read before it is kept."""
    reader = read(wrap("b", b"\r\none") + b"Content-Type: a/b\r\n", *[b"--b\r\n" * 100] * 20)
    assert reader.is_given_up is False  # the multipart was closed before: the rest is ignored
    reader = read(wrap("b", b"\r\none").removesuffix(b"--b--\r\n"), *[b"--b\r\n" * 100] * 20, b"more")
    assert reader.is_given_up
    assert reader.text.content() == b"one"
    assert reader.part_count < MAX_DELIMITERS


@pytest.mark.parametrize("unit", [b"\n", b"\r\n", b"\n--", b"--b\r\n", b"--bx\r\n", b"--b", b"=\r\n", b"x: y\n", b" "])
@pytest.mark.parametrize("encoding", [b"base64", b"quoted-printable", b"8bit"])
def test_no_mail_is_slow(unit, encoding):
    """8 MB of crafted content or headers are read in linear time."""
    head = b"Content-Type: multipart/mixed; boundary=b\r\n\r\n--b\r\nContent-Transfer-Encoding: " + encoding
    chunk = unit * (65536 // len(unit))
    for start in (head + b"\r\n\r\n", head + b"\r\n"):
        begun = process_time()
        read(start, *[chunk] * 128)
        assert process_time() - begun < scaled(5)


def test_30_megabytes_take_little_memory():
    """A mail of 30 MB needs the memory of a small one, with and without line breaks."""
    head = b"Content-Type: multipart/mixed; boundary=b\r\n\r\n--b\r\n\r\ntext\r\n--b\r\nContent-Type: a/b\r\n\r\n"
    for block in (b"QUJDREVGR0hJSktMTU5P" * 3 + b"\r\n", b"x" * 62):
        chunk = block * 1000
        tracemalloc.start()
        reader = read(head, *(chunk for _ in range(31_000_000 // len(chunk))), b"\r\n--b--")
        _, peak = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        assert reader.parts[0].size > 30_000_000
        assert peak < 2_000_000


LINES = st.sampled_from(
    [
        *(b"--b", b"--b--", b"--c", b"", b" x", b"\xff: \xfe", b"=C3", b"a="),
        *(b"Content-Type: multipart/mixed; boundary=" + name for name in (b"b", b"c")),
        *(b"Content-Transfer-Encoding: " + name for name in (b"base64", b"quoted-printable")),
        *(b"Content-Type: text/html", b"Content-Disposition: x; filename*0*=y'z"),
    ]
)


@given(st.lists(LINES | st.binary(max_size=20)), st.sampled_from([b"\n", b"\r\n", b"\r"]))
def test_any_bytes(lines, line_end):
    """Any bytes can be read as a mail."""
    reader = read(line_end.join(lines))
    for leaf in filter(None, (reader.text, reader.html, *reader.parts)):
        assert leaf.size >= 0
        assert isinstance(leaf.content(), bytes)


@given(st.lists(LINES | st.binary(max_size=20)), st.sampled_from([b"\n", b"\r\n"]), st.integers(1, 40))
def test_any_bytes_in_any_chunks(lines, line_end, size):
    """Any mail is the same mail in chunks of any size."""
    raw = line_end.join(lines)
    whole, pieces = read(raw), read(*(raw[at : at + size] for at in range(0, len(raw), size)))
    assert (pieces.text, pieces.html, pieces.parts) == (whole.text, whole.html, whole.parts)
    assert pieces.headers.items() == whole.headers.items()
