"""Webhooks of Inbound Parse: small mails are the result, for any size, charset and shape."""

import json
import tracemalloc
from email.message import EmailMessage
from email.policy import SMTP

import pytest
from hypothesis import given
from hypothesis import strategies as st

from router.core.errors import RouterError, UnreadableError, WrongTypeError
from router.core.events import Disregarded
from router.inbound.email.inbound_parse import MAX_RECIPIENTS, MAX_TEXT, MAX_VALUE, MailReader
from router.inbound.email.mail import MailHeaders, MailPart, ReceivedMail, Verdicts
from router.inbound.email.parser import normalize
from tests.inbound.email.mails import (
    BOUNDARY,
    ENVELOPE,
    HEADERS,
    join,
    make_body,
    make_fields,
    part,
    read,
    read_all,
)
from tests.inbound.samples import make_entry


def test_parsed_mode():
    """A parsed mail has all its fields, and so has its JSON."""
    mail = read(make_body())
    assert (mail.envelope_from, mail.recipient) == ("ana@example.com", "support@inbound.example.com")
    assert mail.headers == MailHeaders(
        message_id="<m1@example.com>",
        in_reply_to="<m0@example.com>",
        references="<a@example.com> <m0@example.com>",
        sender="Ana López <ana@example.com>",
        to="Support <support@inbound.example.com>",
        cc="boss@example.com",
        date="Wed, 07 Jan 2026 12:00:00 +0000",
        subject="Order",
        auto_submitted="no",
        list_id="<list.example.com>",
    )
    assert (mail.text, mail.is_text_from_html, mail.is_text_cut) == ("Where is my order?\r\nOlá 👋", False, False)
    assert mail.verdicts == Verdicts(spf="pass", dkim="{@example.com : pass}", spam_score=0.5, sender_ip="192.0.2.1")
    assert (mail.parts, mail.part_count, mail.doubts) == ((), 0, ())
    assert ReceivedMail.model_validate_json(mail.to_body()) == mail


def test_one_mail_per_recipient():
    """Each recipient of the envelope gets the mail once, also if it is repeated in another spelling."""
    to = ["a@x.io", "A@X.io ", "<b@x.io>", 5, ""]
    mails = read_all(make_body(envelope=json.dumps(ENVELOPE | {"to": to})))
    assert [mail.recipient for mail in mails] == ["a@x.io", "<b@x.io>"]
    assert mails[0].model_copy(update={"recipient": "<b@x.io>"}) == mails[1]
    assert read(make_body(envelope='{"to":"a@x.io"}')).recipient == "a@x.io"


@pytest.mark.parametrize("sender", [None, "", "<>", 5, []], ids=["null", "empty", "angles", "number", "list"])
def test_bounce(sender):
    """An invalid or empty sender is an empty one."""
    assert read(make_body(envelope=json.dumps(ENVELOPE | {"from": sender}))).envelope_from == ""


@pytest.mark.parametrize(
    "envelope",
    [None, "", "{", "[]", "{}", '{"to":[]}', '{"to":[""]}', '{"to":{}}', '{"to":["a"],"x":"' + "y" * 600_000 + '"}'],
    ids=["missing", "empty", "no-json", "list", "object", "nobody", "blank", "kind", "huge"],
)
def test_missing_envelope(envelope):
    """A mail without a recipient in its envelope is unreadable; `To` is not used instead."""
    with pytest.raises(UnreadableError, match="envelope is missing or names no recipient"):
        read(make_body(envelope=envelope))


def test_an_envelope_in_another_charset():
    """A mailbox that is not UTF-8 is left out; a mail without another one, or with such a sender, is refused."""
    mail = read(make_body(envelope=b'{"to":["caf\xe9@x.io","a@x.io"],"from":"ana@x.io","note":"\xe9"}'))
    assert (mail.recipient, mail.envelope_from, mail.doubts) == ("a@x.io", "ana@x.io", ("envelope: not UTF-8",))
    with pytest.raises(UnreadableError, match="names no recipient"):
        read(make_body(envelope=b'{"to":["caf\xe9@x.io"],"from":"ana@x.io"}'))
    with pytest.raises(UnreadableError, match="sender is not UTF-8"):
        read(make_body(envelope=b'{"to":["a@x.io"],"from":"caf\xe9@x.io"}'))


def test_a_file_name_in_another_charset():
    """Attachments are described with a replaced character."""
    file = part("attachment1", b"x", filename="other.png")
    mail = read(make_body(file, **{"attachment-info": b'{"attachment1":{"filename":"caf\xe9.png"}}'}))
    assert (mail.parts[0].name, mail.doubts) == ("caf\ufffd.png", ("attachment-info: not UTF-8",))


@pytest.mark.parametrize("number", [100, 101, 250, 12_000])
def test_too_many_recipients_are_cut(number):
    """The first hundred are served, and the mail says that there were more."""
    to = [f"recipient-{position}@inbound.example.com" for position in range(number)]
    mails = read_all(make_body(envelope=json.dumps({"to": [to[0].upper(), *to], "from": "ana@x.io"})))
    assert [mail.recipient.lower() for mail in mails] == to[:MAX_RECIPIENTS]
    assert {mail.envelope_from for mail in mails} == {"ana@x.io"}
    is_cut = number > MAX_RECIPIENTS
    assert mails[0].doubts == ((f"envelope: {number + 1} recipients, the first 100 are served",) if is_cut else ())


def test_attachments():
    """Attachments have name, type, size and content id, never their content."""
    info = {
        "attachment1": {"filename": "a.png", "name": "a.png", "type": "image/png", "content-id": "cid1"},
        "attachment2": {"name": "b.bin"},
        "attachment3": "x",
    }
    files = [
        part("attachment1", b"\xff" * 1000, filename="other.png", content_type="application/octet-stream"),
        part("attachment2", b"SECRET", filename="b2", content_type="text/x"),
        part("attachment3", b"", filename=""),
    ]
    fields = {"attachment-info": json.dumps(info), "content-ids": '{"cid9":"attachment2","cid8":5}'}
    mail = read(make_body(*files, **fields))
    assert mail.parts == (
        MailPart(name="a.png", content_type="image/png", size=1000, content_id="cid1"),
        MailPart(name="b.bin", content_type="text/x", size=6, content_id="cid9"),
        MailPart(name=None, content_type="", size=0, content_id=None),
    )
    assert mail.part_count == 3
    assert b"SECRET" not in mail.to_body()


def unnamed(head, content="12345"):
    """Return a part with these lines as its headers."""
    return f"--{BOUNDARY}\r\n{head}\r\n\r\n{content}\r\n".encode()


FORM = "Content-Disposition: form-data; name="


@pytest.mark.parametrize(
    ("head", "name", "content_type"),
    [
        pytest.param(f"{FORM}attachment1; filename*=UTF-8''%e2%82%ac.pdf", "\u20ac.pdf", "", id="extended"),
        pytest.param(f"{FORM}attachment1; filename*0*=UTF-8''a%20; filename*1=b.pdf", "a b.pdf", "", id="pieces"),
        pytest.param(f"{FORM}x1; filename*=UTF-8''a.pdf", "a.pdf", "", id="another-field"),
        pytest.param(f"{FORM}x1; filename*=a; filename*0=b", None, "", id="malformed"),
        pytest.param(f"{FORM}attachment1", None, "", id="number-only"),
        pytest.param(f"{FORM}attachment12\r\nContent-Type: text/plain", None, "text/plain", id="text"),
        pytest.param(f"{FORM}x1\r\nContent-Type: message/rfc822", None, "message/rfc822", id="type-only"),
        pytest.param(f"{FORM}x1\r\nContent-Type: a/b; name=c.d", "c.d", "a/b; name=c.d", id="name-in-type"),
        pytest.param(f"{FORM}x1\r\nContent-Type: a/b; name*=utf-8''c.d", "c.d", "a/b; name*=utf-8''c.d", id="both"),
    ],
)
@pytest.mark.parametrize("is_first", [False, True], ids=["after", "before"])
def test_attachments_without_a_plain_name(head, name, content_type, is_first):
    """An attachment is one of the parts however it is named, or not at all, before or after the fields."""
    files = [unnamed(head)]
    fields = [part(*item) for item in make_fields().items()]
    mail = read(join(*files, *fields) if is_first else join(*fields, *files))
    assert mail.parts == (MailPart(name=name, content_type=content_type, size=5),)
    assert (mail.part_count, mail.text, mail.doubts) == (1, "Where is my order?\r\nOlá 👋", ())


def test_attachments_that_the_provider_lists():
    """A part that the provider lists as an attachment is one, whatever its own headers say."""
    info = {"file_a": {"filename": "a.png", "type": "image/png"}}
    files = [unnamed(f"{FORM}file_a"), unnamed(f"{FORM}file_b"), unnamed(f"{FORM}file_c")]
    mail = read(make_body(*files, **{"attachment-info": json.dumps(info), "content-ids": '{"cid1":"file_b"}'}))
    assert mail.parts == (
        MailPart(name="a.png", content_type="image/png", size=5),
        MailPart(size=5, content_id="cid1"),
    )
    assert mail.part_count == 2


@pytest.mark.parametrize("kind", ["", "\r\nContent-Type: text/plain", "\r\nContent-Type: application/json"])
@pytest.mark.parametrize("name", ["spam_report", "attachments2", "attachmentx", "new_field"])
def test_fields_that_are_no_attachments(name, kind):
    """A field that is not read is no attachment."""
    mail = read(make_body(unnamed(f"{FORM}{name}{kind}")))
    assert (mail.parts, mail.part_count) == ((), 0)


@pytest.mark.parametrize(
    ("head", "name", "content_type"),
    [
        pytest.param("Content-Type: image/png", None, "image/png", id="type-only"),
        pytest.param("Content-Type: a/b; name*=utf-8''%e2%82%ac", "\u20ac", "a/b", id="name-in-type"),
        pytest.param("Content-Disposition: attachment", None, "text/plain", id="disposition-only"),
        pytest.param("Content-Disposition: inline; filename*=utf-8''a.txt", "a.txt", "text/plain", id="extended"),
        pytest.param(
            "Content-Disposition: inline; filename*0*=utf-8''a; filename*1=b", "ab", "text/plain", id="pieces"
        ),
        pytest.param("Content-Type: message/rfc822", None, "message/rfc822", id="mail"),
    ],
)
@pytest.mark.parametrize("is_first", [False, True], ids=["after", "before"])
def test_attachments_without_a_plain_name_in_raw_mode(head, name, content_type, is_first):
    """In a raw mail too, an attachment is one of the parts however it is named."""
    pieces = [f"{head}\r\n\r\n12345\r\n", "Content-Type: text/plain; charset=utf-8\r\n\r\nHello\r\n"]
    inner = "".join(f"--q\r\n{piece}" for piece in (pieces if is_first else pieces[::-1]))
    raw = f"Content-Type: multipart/mixed; boundary=q\r\n\r\n{inner}--q--\r\n"
    mail = read(make_body(part("email", raw)))
    assert (mail.text, mail.parts) == ("Hello", (MailPart(name=name, content_type=content_type, size=5),))


def test_text_from_html():
    """The text of a mail with HTML only is made from the HTML."""
    mail = read(make_body(text=" \r\n", html="<p>Ol&aacute;</p>"))
    assert (mail.text, mail.is_text_from_html) == ("Olá", True)
    assert read(make_body(text=None, html=None)).text == ""


def test_long_text_is_cut():
    """A long text is cut between characters and marked as cut."""
    mail = read(make_body(text="a" + "é" * MAX_TEXT))
    assert (len(mail.text.encode()), mail.is_text_cut, mail.doubts) == (MAX_TEXT - 1, True, ())
    assert read(make_body(text="é" * (MAX_TEXT // 2))).is_text_cut is False
    widened = make_body(text=("é" * MAX_TEXT).encode("latin-1"), charsets='{"text":"latin-1"}')
    assert (len(read(widened).text), read(widened).is_text_cut) == (MAX_TEXT // 2, True)


def test_charsets():
    """Each field is decoded with its stated charset."""
    charsets = {"text": "iso-8859-1", "subject": "shift_jis", "from": "koi8-r"}
    fields = {
        "text": "Olá".encode("latin-1"),
        "subject": "日本".encode("shift_jis"),
        "from": "Аня <a@x.io>".encode("koi8-r"),
    }
    mail = read(make_body(**fields, charsets=json.dumps(charsets)))
    assert (mail.text, mail.headers.subject, mail.headers.sender) == ("Olá", "日本", "Аня <a@x.io>")
    assert mail.doubts == ()


def test_wrong_charsets():
    """A wrong charset is replaced, and the doubts name the field."""
    charsets = {"text": "us-ascii", "subject": "klingon", "from": 5}
    mail = read(make_body(text="Olá", subject=b"\xff", charsets=json.dumps(charsets)))
    assert (mail.text, mail.headers.subject) == ("Olá", "\ufffd")
    assert mail.doubts == ("subject: not klingon as stated", "text: not us-ascii as stated")


@pytest.mark.parametrize("name", ["charsets", "attachment-info", "content-ids"])
@pytest.mark.parametrize("value", ["{", "[]", "5", '"\\ud800"'], ids=["no-json", "list", "number", "surrogate"])
def test_bad_json(name, value):
    """A field that is not a JSON object is a doubt, and the mail is still read."""
    assert read(make_body(**{name: value})).doubts == (f"{name}: not a JSON object",)


def test_repeated_fields():
    """Of a repeated field the first one counts, and the doubts name it once."""
    more = part("envelope", '{"to":["evil@x.io"]}')
    mail = read(make_body(more, more, part("text", "other"), part("spam_report", "x")))
    assert mail.recipient == "support@inbound.example.com"
    assert mail.text.startswith("Where")
    assert mail.doubts == ("envelope: more than one, the first counts", "text: more than one, the first counts")


@pytest.mark.parametrize(
    ("value", "score"), [("1.5", 1.5), ("", None), ("x", None), ("nan", None), ("1e999", None), (None, None)]
)
def test_spam_score(value, score):
    """A spam score that is not a number is None."""
    assert read(make_body(spam_score=value)).verdicts.spam_score == score


def test_headers_without_fields():
    """A header without a field of its own is read from the header block and decoded."""
    mail = read(make_body(**{"from": None, "to": None, "subject": " "}))
    assert (mail.headers.sender, mail.headers.subject) == ("Ana López <ana@example.com>", "Order")
    assert read(make_body(headers=None)).headers.message_id is None


COMMENTED = (
    "Message-ID: (x) <(m)1@example.com> (added by postmaster@gateway.example.com)\r\n"
    "In-Reply-To: <m0@example.com>\r\n (your message (of today))\r\n"
    "References: <a@example.com> (a) <m0@example.com>(b)\r\nFrom: ana@example.com (Ana)\r\nSubject: Order (2)\r\n"
    "Auto-Submitted: (x) no (really \\) no)\r\nList-Id: Customers (all) <list.example.com> (x)\r\n"
)


@pytest.mark.parametrize("is_raw", [False, True], ids=["parsed", "raw"])
def test_comments_in_headers(is_raw):
    """Comments are no part of ids and keywords; in names, subjects and ids parentheses are text."""
    raw = part("email", COMMENTED + "\r\nhi")
    mail = read(make_body(*[raw] * is_raw, headers=None if is_raw else COMMENTED, subject=None, **{"from": None}))
    assert (mail.headers.message_id, mail.headers.in_reply_to) == ("<(m)1@example.com>", "<m0@example.com>")
    assert mail.headers.references == "<a@example.com> <m0@example.com>"
    assert (mail.headers.auto_submitted, mail.headers.list_id) == ("no", "Customers <list.example.com>")
    assert (mail.headers.sender, mail.headers.subject) == ("ana@example.com (Ana)", "Order (2)")


def test_message_id_of_a_comment_only():
    """A Message-ID that is only a comment is none, and names no mail."""
    mail = read(make_body(headers="Message-ID: (removed by the gateway)\r\n"))
    assert (mail.headers.message_id, mail.mail_id) == (None, mail.fingerprint)


def test_comments_in_fields():
    """Comments in a stated charset and in the type of an attachment are no part of them."""
    file = part("attachment1", b"x", filename="a", content_type="image/png (a picture)")
    mail = read(make_body(file, text="Olá".encode("latin-1"), charsets='{"text":"iso-8859-1 (Latin-1)"}'))
    assert (mail.text, mail.doubts, mail.parts[0].content_type) == ("Olá", (), "image/png")


REPLY = "an automatic reply"
THREAD = "In-Reply-To: <m0@example.com>\r\n"


@pytest.mark.parametrize("is_raw", [False, True], ids=["parsed", "raw"])
@pytest.mark.parametrize(
    ("headers", "reason"),
    [
        pytest.param("Auto-Submitted: auto-replied (vacation)", REPLY, id="comment"),
        pytest.param("Auto-Submitted: (x)\r\n Auto-Replied(y); owner-email=a@example.com", REPLY, id="parameter"),
        pytest.param("X-Autoreply: yes", REPLY, id="x-autoreply"),
        pytest.param("X-Autorespond: Order", REPLY, id="x-autorespond"),
        pytest.param("X-Auto-Reply-From: a@example.com", REPLY, id="x-auto-reply-from"),
        pytest.param("Precedence: auto_reply", REPLY, id="precedence"),
        pytest.param("Precedence: Auto-Reply (x)", REPLY, id="precedence-in-another-spelling"),
        pytest.param("Content-Type: multipart/report; boundary=q", REPLY, id="report"),
        pytest.param(
            "Content-Type: (x)Multipart / (y) Report;\r\n report-type=disposition-notification", REPLY, id="receipt"
        ),
        pytest.param("Return-Path: <>", REPLY, id="forwarded-bounce"),
        pytest.param(
            f"{THREAD}Auto-Submitted: auto-generated\r\nX-Auto-Response-Suppress: All", REPLY, id="out-of-office"
        ),
        pytest.param("Auto-Submitted: no", None, id="no"),
        pytest.param("Auto-Submitted: auto-generated", None, id="generated"),
        pytest.param(f"{THREAD}Auto-Submitted: auto-generated", None, id="generated-in-a-thread"),
        pytest.param(f"{THREAD}X-Auto-Response-Suppress: All", None, id="suppress-in-a-thread"),
        pytest.param(
            "Auto-Submitted: auto-generated\r\nX-Auto-Response-Suppress: OOF", None, id="form-without-out-of-office"
        ),
        pytest.param("X-Auto-Response-Suppress: DR, OOF, AutoReply", None, id="suppress"),
        pytest.param("List-Id: <list.example.com>\r\nPrecedence: list", None, id="list"),
        pytest.param("List-Unsubscribe: <mailto:a@example.com>\r\nPrecedence: bulk", None, id="bulk"),
        pytest.param("Content-Type: multipart/mixed; report-type=x; name=multipart/report", None, id="mixed"),
        pytest.param("Subject: Auto-Submitted: auto-replied", None, id="subject"),
    ],
)
def test_automatic_replies(headers, reason, is_raw):
    """Automatic replies and reports are disregarded, whatever marks them; mails of persons and of lists are events."""
    raw = part("email", headers + "\r\n\r\nhi")
    mail = read(make_body(*[raw] * is_raw, headers=None if is_raw else headers))
    event = normalize(make_entry(mail.to_body(), "email"))
    assert (event.reason if isinstance(event, Disregarded) else None) == reason


def test_report_in_a_mail():
    """Who forwards a report of a mail server is a person."""
    report = "Content-Type: multipart/report; boundary=r\r\nX-Autoreply: yes\r\n\r\n--r\r\n\r\nfailed\r\n--r--\r\n"
    raw = f"Content-Type: multipart/mixed; boundary=q\r\n\r\n--q\r\n\r\nwhat is this?\r\n--q\r\n{report}\r\n--q--\r\n"
    event = normalize(make_entry(read(make_body(part("email", raw))).to_body(), "email"))
    assert event.content.text == "what is this?"


def test_huge_header():
    """A header value and the header block have a bound; the rest of the mail is read."""
    mail = read(make_body(headers=HEADERS + "References: " + "x" * 300_000, subject="s" * 10_000))
    assert len(mail.headers.subject) == MAX_VALUE
    assert mail.headers.message_id == "<m1@example.com>"
    assert mail.doubts == ()


def make_raw():
    """Return a raw mail with an attached mail."""
    inner = EmailMessage(policy=SMTP)
    inner["Message-ID"], inner["Subject"] = "<inner@example.com>", "inner"
    inner.set_content("inner text")
    mail = EmailMessage(policy=SMTP)
    mail["Message-ID"], mail["Subject"], mail["From"] = "<m1@example.com>", "Olá", "Ana <ana@example.com>"
    mail.set_content("Olá", charset="iso-8859-1", cte="quoted-printable")
    mail.add_attachment(b"\0" * 100, maintype="image", subtype="png", filename="a.png")
    mail.add_attachment(inner)
    return mail.as_bytes()


@pytest.mark.parametrize("name", ["email", "rawEmail"])
@pytest.mark.parametrize("filename", [None, "mail.eml"], ids=["field", "file"])
def test_raw_mode(name, filename):
    """A raw mail is read from either field; a mail within it is an attachment."""
    fields = make_fields(headers=None, text=None, html=None, subject=None, **{"from": None})
    mail = read(join(*(part(*item) for item in fields.items()), part(name, make_raw(), filename=filename)))
    assert (mail.headers.message_id, mail.headers.subject) == ("<m1@example.com>", "Olá")
    assert mail.headers.sender == "Ana <ana@example.com>"
    assert mail.text.strip() == "Olá"
    assert [(one.name, one.content_type) for one in mail.parts] == [("a.png", "image/png"), (None, "message/rfc822")]
    assert (mail.parts[0].size, mail.part_count, mail.recipient) == (100, 2, "support@inbound.example.com")
    assert b"inner text" not in mail.to_body()


@pytest.mark.parametrize("name", ["attachment1", "email"])
def test_entry_has_a_bound(name):
    """The entry of any mail is small: names and types of parts are cut, and so is their list."""
    head = f"Content-Type: a/{'y' * 9000}\r\nContent-Disposition: attachment; filename={'x' * 7000}\r\n\r\n"
    raw = "Content-Type: multipart/mixed; boundary=q\r\n\r\n" + f"--q\r\n{head}\r\n" * 300
    files = [part(name, raw)] if name == "email" else [part(name, "", filename="x" * 7000)] * 300
    mail = read(make_body(*files, text="\1" * 70_000))
    assert (len(mail.parts), mail.part_count) == (200, 300)
    assert len(mail.to_body()) < 600_000


def test_raw_mail_of_delimiters():
    """A raw mail with too many delimiters is read up to the bound, with a doubt."""
    raw = "Content-Type: multipart/mixed; boundary=q\r\n\r\n" + "--q\r\n" * 2000
    mail = read(make_body(part("email", raw)))
    assert mail.doubts == ("the mail has more parts than are read",)
    assert len(mail.parts) < mail.part_count


def test_raw_mode_twice_and_empty():
    """Of two raw mails the first one counts, also if it has no text."""
    mail = read(make_body(part("email", "Content-Type: image/png\r\n\r\nx"), part("rawEmail", make_raw())))
    assert (mail.text, mail.part_count) == ("", 1)
    assert mail.doubts == ("rawEmail: more than one, the first counts",)


@pytest.mark.parametrize("at", range(0, len(make_body()), 7))
def test_split_at_any_position(at):
    """A body that is split at any position gives the same mail."""
    body = make_body()
    assert read(body[:at], body[at:]) == read(body)


def test_30_megabytes_take_little_memory():
    """A mail of more than 30 MB needs the memory of a small one and gives a small entry."""
    chunk = b"\0\xff\r\n--x" * 8192
    body = make_body().removesuffix(f"--{BOUNDARY}--\r\n".encode())
    file = part("attachment1", "", filename="a.bin").removesuffix(b"\r\n")
    field = part("email2", "").removesuffix(b"\r\n")
    tracemalloc.start()
    mail = read(body, file, *([chunk] * 500), b"\r\n", field, *([chunk] * 100), b"\r\n", join())
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert mail.parts[0].size == 500 * len(chunk) > 28_000_000
    assert peak < 3_000_000
    assert len(mail.to_body()) < 4096


def test_without_end():
    """A body that is cut off is unreadable."""
    with pytest.raises(UnreadableError, match="no end"):
        read(make_body()[:-6])


def test_wrong_type():
    """Another content type is refused before the body is read."""
    with pytest.raises(WrongTypeError):
        MailReader("application/json")


@given(
    st.dictionaries(
        st.sampled_from([*make_fields(), "email", "attachment-info", "content-ids"]),
        st.binary(max_size=60)
        | st.sampled_from([b'{"to":["a@x.io"]}', b'{"text":"utf-16"}', b'{"a":{"b":1}}', HEADERS.encode()]),
    ),
    st.booleans(),
)
def test_any_fields(fields, has_envelope):
    """Any fields give a mail that can be read from its JSON, or one of the project's own errors."""
    if has_envelope:
        fields["envelope"] = json.dumps(ENVELOPE)
    try:
        mails = read_all(join(*(part(*item) for item in fields.items())))
    except RouterError:
        return
    for mail in mails:
        assert ReceivedMail.model_validate_json(mail.to_body()) == mail
