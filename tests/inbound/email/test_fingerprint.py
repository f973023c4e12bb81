"""The fingerprint of a mail: other mails with one Message-ID have another, a repeat has the same."""

import json
from email.message import EmailMessage
from email.policy import SMTP

import pytest

from router.inbound.email.inbound_parse import MAX_TEXT, MailReader
from tests.inbound.email.mails import (
    BOUNDARY,
    ENVELOPE,
    join,
    make_body,
    part,
    read,
)


def test_fingerprint():
    """The fingerprint depends on everything that is equal over redeliveries, and on nothing else."""
    attached = part("attachment1", "x", filename="a")
    one = read(make_body(attached, headers="Received: by a\r\nDate: today\r\n"))
    again = read(make_body(attached, headers="Received: by b\r\nDate: today\r\n", spam_score="2"))
    assert one.fingerprint == again.fingerprint
    others = [
        make_body(attached, headers="Date: tomorrow\r\n"),
        make_body(attached, headers="Date: today\r\n", text="other"),
        make_body(attached, headers="Date: today\r\n", subject="other"),
        make_body(part("attachment1", "xy", filename="a"), headers="Date: today\r\n"),
        make_body(attached, headers="Date: today\r\n", envelope=json.dumps(ENVELOPE | {"from": "b@x.io"})),
    ]
    assert len({one.fingerprint, *(read(body).fingerprint for body in others)}) == 6


def make_mail(*, files=(b"one", b"two"), text="Hello", html="<p>Hello</p>", sender="", raw=None, **headers):
    """Return the body of a mail with two attachments, parsed or in the field `raw`."""
    shown = {"Message-ID": "<1@localhost>", "Date": "Wed, 07 Jan 2026 12:00:00 +0000", "Subject": "Alarm"} | headers
    fields = {"envelope": json.dumps(ENVELOPE | {"from": sender or ENVELOPE["from"]}), "SPF": "pass"}
    block = "".join(f"{name}: {value}\r\n" for name, value in shown.items())
    if raw is None:
        info = {f"attachment{number}": {"filename": f"{number}.bin"} for number in (1, 2)}
        fields |= {"headers": block, "text": text, "html": html, "attachment-info": json.dumps(info)}
        attached = [part(f"attachment{number}", content) for number, content in enumerate(files, 1)]
        return join(*(part(*item) for item in fields.items()), *attached)
    mail = EmailMessage(policy=SMTP)
    mail.set_content(text)
    mail.add_alternative(html, subtype="html")
    for number, content in enumerate(files, 1):
        mail.add_attachment(content, maintype="a", subtype="b", filename=f"{number}.bin")
    mail.set_boundary("inner")
    return join(*(part(*item) for item in fields.items()), part(raw, block.encode() + mail.as_bytes()))


MODES = pytest.mark.parametrize("raw", [None, "email"], ids=["parsed", "raw"])


@MODES
@pytest.mark.parametrize(
    "change",
    [
        pytest.param({"files": (b"one", b"twx")}, id="contents-of-a-file"),
        pytest.param({"files": (b"one",)}, id="fewer-files"),
        pytest.param({"files": (b"one", b"two", b"")}, id="more-files"),
        pytest.param({"files": (b"one", b"two" * 100_000)}, id="size-of-a-file"),
        pytest.param({"text": "Hellx"}, id="text"),
        pytest.param({"html": "<p>Hellx</p>"}, id="html"),
        pytest.param({"text": "Hello" + " " * 4 * MAX_TEXT + "x"}, id="end-of-a-long-text"),
        pytest.param({"sender": "bob@example.com"}, id="sender"),
        pytest.param({"Date": "Wed, 07 Jan 2026 12:00:01 +0000"}, id="date"),
        pytest.param({"Subject": "All clear"}, id="subject"),
        pytest.param({"From": "Door 2 <device@example.com>"}, id="from"),
        pytest.param({"Message-ID": "<2@localhost>"}, id="message-id"),
    ],
)
@pytest.mark.parametrize("message_id", ["<1@localhost>", "<>"])
def test_another_mail_with_the_same_message_id(message_id, change, raw):
    """Mails of one Message-ID that differ in sender, date, subject or content are different mails."""
    one = read(make_mail(raw=raw, **{"Message-ID": message_id}))
    other = read(make_mail(raw=raw, **({"Message-ID": message_id} | change)))
    assert one.delivery_id != other.delivery_id
    assert one.delivery_id == read(make_mail(raw=raw, **{"Message-ID": message_id})).delivery_id


def test_the_mode_is_no_difference():
    """A mail that was posted parsed is the same mail if it is posted again raw, with its files."""
    changes = [{}, {"files": (b"\0\xff" * 9000, b"")}, {"text": "Olá\r\n  👋", "html": "<p>Olá</p>\n"}]
    for change in changes:
        assert len({read(make_mail(raw=raw, **change)).delivery_id for raw in (None, "email", "rawEmail")}) == 1


def test_other_long_texts():
    """Two texts that differ only behind the bound of what is kept are different, in either mode."""
    texts = [("x" * 4 * MAX_TEXT) + end for end in "ab"]
    assert len({read(make_mail(raw=raw, text=text)).delivery_id for text in texts for raw in (None, "email")}) == 4


@MODES
def test_a_repeated_mail(raw):
    """A repeat is the same mail: verdicts, boundary, order of the form and headers of relays do not count."""
    body = make_mail(raw=raw)
    pieces = [f"--{BOUNDARY}".encode() + each for each in body.split(f"--{BOUNDARY}".encode())[1:-1]]
    more = {"SPF": "fail", "dkim": "none", "spam_score": "7", "sender_ip": "192.0.2.9", "spam_report": "x", "new": "y"}
    again = [part(*item) for item in more.items()] + [each for each in pieces[::-1] if b'"SPF"' not in each]
    other = join(*again).replace(BOUNDARY.encode(), b"another").replace(b"Date:", b"Received: by x\r\nDate:")
    reader = MailReader("multipart/form-data; boundary=another")
    reader.feed(other)
    (mail,) = reader.finish()
    assert (mail.verdicts, mail.delivery_id) != (read(body).verdicts, "")
    assert (mail.fingerprint, mail.delivery_id) == (read(body).fingerprint, read(body).delivery_id)


def test_a_repeat_with_the_files_in_another_order():
    """Attachments may be numbered in another order."""
    changed = {"attachment1": "attachment0", "attachment2": "attachment1", "attachment0": "attachment2"}
    body = make_mail().decode()
    for old, new in changed.items():
        body = body.replace(f'"{old}"', f'"{new}"')
    assert read(body.encode()).delivery_id == read(make_mail()).delivery_id
