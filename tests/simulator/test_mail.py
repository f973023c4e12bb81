"""Simulated mails: readable by our parser and the standard library's, with signatures that the verifier accepts."""

import stat
from email import message_from_bytes
from email.policy import default

import pytest
from cryptography.hazmat.primitives.asymmetric import ed25519
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from router.core.errors import SignatureError
from router.core.signing.mail import SIGNATURE_HEADER, TIMESTAMP_HEADER, MailVerifier
from router.inbound.email.inbound_parse import MailReader
from router.simulator.http import SignatureFault
from router.simulator.mail import RAW_FIELDS, Attachment, MailSender, mail
from router.simulator.mail_keys import make_key, public_text, read_key, sign_mail, write_key
from router.simulator.messages import message
from tests.support.accounts import ACCOUNT, TOKEN

KEY = make_key()
BILL = Attachment('Rechnung "März".pdf', b"%PDF-1.7\r\n--xYzZY\r\n\xff", "application/pdf")


def write(**changes):
    given = {
        "sender": "ana@example.com",
        "recipients": ["support@inbound.example.com"],
        "subject": "Größe",
        "body": "Olá, größer?",
    }
    return mail(**(given | changes))


def read(webhook):
    reader = MailReader(webhook.content_type)
    reader.feed(webhook.body)
    return reader.finish()


def parts_of(webhook):
    """The fields, as the standard library reads them."""
    whole = message_from_bytes(f"Content-Type: {webhook.content_type}\r\n\r\n".encode() + webhook.body, policy=default)
    return {one.get_param("name", header="content-disposition"): one for one in whole.iter_parts()}


@pytest.mark.parametrize("charset", ["utf-8", "iso-8859-1", "iso-8859-15", "windows-1252"])
@pytest.mark.parametrize("raw_field", [None, *RAW_FIELDS])
def test_every_mode_and_charset(raw_field, charset):
    """A mail is read alike in every mode and charset, and its parser has no doubts."""
    webhook = write(charset=charset, raw_field=raw_field, html="<p>Olá</p>", attachments=[BILL])
    (seen,) = read(webhook)
    assert (seen.envelope_from, seen.recipient) == ("ana@example.com", "support@inbound.example.com")
    assert (seen.headers.message_id, seen.headers.subject) == (webhook.resource_id, "Größe")
    assert (seen.text.strip(), seen.doubts) == ("Olá, größer?", ())
    ((name, content_type, size),) = [(one.name, one.content_type, one.size) for one in seen.parts]
    assert (name, content_type, size) == (BILL.name, "application/pdf", len(BILL.content))


def test_fields_are_those_of_the_provider():
    """The standard library finds the provider's fields, and the file after them."""
    parts = parts_of(write(html="<p>x</p>", attachments=[BILL]))
    assert list(parts)[:2] == ["headers", "dkim"]
    assert {"to", "from", "envelope", "subject", "text", "html", "charsets", "SPF", "attachment-info"} <= set(parts)
    assert parts["attachments"].get_content() == "1"
    assert parts["attachment1"].get_payload(decode=True) == BILL.content
    raw = parts_of(write(raw_field="email"))
    assert {"text", "html", "headers", "charsets"}.isdisjoint(raw)
    assert message_from_bytes(raw["email"].get_payload(decode=True), policy=default)["Subject"] == "Größe"


def test_equal_text_is_the_same_mail():
    """The same arguments make a duplicate; another text, or a Message-ID of its own, makes another mail."""
    assert write() == write()
    assert (
        len({write(**changes).resource_id for changes in ({}, {"body": "x"}, {"message_id": "<m@example.com>"})}) == 3
    )


def test_bounce_and_further_headers():
    """A bounce has no sender in its envelope, but one in its From header."""
    (seen,) = read(write(sender="", headers={"Auto-Submitted": "auto-replied"}))
    assert (seen.envelope_from, seen.headers.auto_submitted) == ("", "auto-replied")
    assert "mailer-daemon@" in seen.headers.sender


def test_several_recipients():
    """The mail is delivered once for each mailbox of the envelope."""
    seen = read(write(recipients=["a@example.com", "b@example.com"]))
    assert [one.recipient for one in seen] == ["a@example.com", "b@example.com"]


# --- signing ---------------------------------------------------------------------------------------------------------


def is_taken(headers, body, key=KEY):
    """Whether the verifier accepts a signature."""
    try:
        running = MailVerifier([public_text(key)], max_age=600).begin(
            headers.get(TIMESTAMP_HEADER), headers.get(SIGNATURE_HEADER), now=1000
        )
        running.update(body)
        running.finish()
    except SignatureError:
        return False
    return True


def sender():
    return MailSender(
        receiver_url="http://127.0.0.1:1",
        public_base_url="https://hooks.example.com",
        auth_token=TOKEN,
        private_key=KEY,
        clock=lambda: 1000.5,
    )


def test_signature():
    """A signature is valid for its body, time and key, and for no other key."""
    path, headers, body = sender().sign(write())
    assert (path, headers["Content-Type"]) == ("/webhooks/email", write().content_type)
    assert is_taken(headers, body)
    assert not is_taken(headers, body, make_key())
    assert is_taken(sign_mail(KEY, b"x", now=1000), b"x")


@pytest.mark.parametrize(
    "fault", [SignatureFault(is_tampered=True), SignatureFault(has_wrong_token=True), SignatureFault(is_unsigned=True)]
)
def test_faults(fault):
    """A mail with a signature fault is refused."""
    _, headers, body = sender().sign(write(), fault)
    assert not is_taken(headers, body)


def test_other_webhooks_are_signed_as_twilio_does():
    """The sender of mails signs other webhooks as Twilio does."""
    webhook = message("sms", account_sid=ACCOUNT, sender="+15551230001", recipient="+15557650000", body="hi")
    _, headers, _ = sender().sign(webhook)
    assert "X-Twilio-Signature" in headers
    assert SIGNATURE_HEADER not in headers


def test_key_in_a_file(tmp_path):
    """A key is read back as it was written, and only its owner can read the file."""
    path = tmp_path / "mail.pem"
    for _ in range(2):  # the second time over the first
        write_key(path, KEY)
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
        assert public_text(read_key(path)) == public_text(KEY)
    assert list(tmp_path.iterdir()) == [path]


def test_file_that_holds_no_key(tmp_path):
    """A missing file is an OSError, any other content a ValueError."""
    path = tmp_path / "mail.pem"
    with pytest.raises(OSError, match=r"mail\.pem"):
        read_key(path)
    other = ed25519.Ed25519PrivateKey.generate()
    for content in (b"hello", other.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())):
        path.write_bytes(content)
        with pytest.raises(ValueError):  # noqa: PT011 - one message is the library's, one is ours
            read_key(path)
