"""Mails as events: keys that are equal over duplicates, both ends by the envelope, and no answer to a machine."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from router.core.addresses import Address
from router.core.errors import RouterError, UnreadableError, UnusableError
from router.core.events import Cause, Content, Disregarded, Medium, MessageReceived
from router.inbound.email.mail import MailHeaders, MailPart, ReceivedMail, digest
from router.inbound.email.parser import identify, normalize
from tests.inbound.samples import ACCOUNT, OTHER_ACCOUNT, RECEIVED_AT, make_entry


def make_mail(*, sender="ana@example.com", recipient="support@inbound.example.com", fingerprint="f1", **headers):
    """Return a mail as the receiver reads one."""
    shown = MailHeaders(**({"message_id": "<m1@example.com>", "sender": "Ana <ana@example.com>"} | headers))
    return ReceivedMail(envelope_from=sender, recipient=recipient, headers=shown, fingerprint=fingerprint)


def see(mail, account_id=ACCOUNT):
    """Identify a mail as the receiver does."""
    return identify(mail, account_id=account_id)


def read(mail):
    """Normalize a mail as the worker does."""
    return normalize(make_entry(mail.to_body(), "email"))


def test_event():
    """A mail is a message on the channel EMAIL, from the envelope's sender to the envelope's recipient."""
    assert read(make_mail()) == MessageReceived(
        Cause("email", "mail.received", "<m1@example.com>", "k1", RECEIVED_AT),
        ACCOUNT,
        Address("EMAIL", "ana@example.com"),
        Address("EMAIL", "support@inbound.example.com"),
        make_mail().delivery_id,
    )


def test_content():
    """The text of a mail is passed on, and of its other parts the types."""
    parts = (MailPart(name="a.pdf", content_type="application/pdf", size=9), MailPart())
    mail = make_mail().model_copy(update={"text": "hi", "is_text_cut": True, "parts": parts})
    assert read(mail).content == Content("hi", is_cut=True, media=(Medium("application/pdf"), Medium()))


def test_mail_without_message_id():
    """A mail without a Message-ID is known by its fingerprint."""
    assert read(make_mail(message_id=None)).cause.resource_id == "f1"


def test_name_of_a_delivery():
    """What is left with the API as channelId is short, equal over duplicates, and another one for another recipient."""
    names = [
        read(make_mail(message_id=message_id, recipient=recipient)).message_sid
        for message_id in ("<m1@example.com>", f"<{'x' * 2000}@example.com>", None)
        for recipient in ("support@inbound.example.com", "sales@inbound.example.com")
    ]
    assert {len(name) for name in names} == {32}
    assert len(set(names)) == 6
    assert read(make_mail(recipient=" Support@INBOUND.example.com ")).message_sid == names[0]


def test_identity():
    """A mail is of its route's account, and about the pair of its ends."""
    identity = see(make_mail())
    assert identity.account_id == ACCOUNT
    assert identity.key.startswith(f"{ACCOUNT}:email:")
    assert identity.subject == "EMAIL|ana@example.com|support@inbound.example.com"
    assert identity.aliases == ()


@pytest.mark.parametrize(
    "again",
    [
        pytest.param(make_mail(recipient="Support@Inbound.example.com"), id="spelling"),
        pytest.param(make_mail(fingerprint="f2"), id="fingerprint"),
        pytest.param(make_mail(subject="x"), id="subject"),
    ],
)
def test_same_key(again):
    """The key is the Message-ID and the recipient, whatever else differs."""
    assert see(again).key == see(make_mail()).key


@pytest.mark.parametrize(
    "other",
    [
        pytest.param(see(make_mail(message_id="<m2@example.com>")), id="message-id"),
        pytest.param(see(make_mail(recipient="sales@inbound.example.com")), id="recipient"),
        pytest.param(see(make_mail(), OTHER_ACCOUNT), id="account"),
        pytest.param(see(make_mail(message_id=None)), id="no-message-id"),
        pytest.param(see(make_mail(message_id=None, fingerprint="f2")), id="fingerprint"),
    ],
)
def test_other_key(other):
    """Another mail, recipient or account has another key."""
    assert other.key != see(make_mail()).key


PARTS = st.lists(st.text(max_size=3), max_size=3)


@given(PARTS, PARTS)
def test_digest(one, other):
    """Digests are equal for equal parts only, wherever one part ends and the next begins."""
    assert (digest(one) == digest(other)) == (one == other)


@pytest.mark.parametrize(
    ("mail", "reason"),
    [
        pytest.param(make_mail(sender=""), "a bounce: its envelope has no sender", id="bounce"),
        pytest.param(make_mail(auto_submitted="Auto-Replied (vacation)"), None, id="comment-is-not-the-word"),
        pytest.param(make_mail(auto_submitted="Auto-Replied; owner=x"), "an automatic reply", id="reply"),
        pytest.param(make_mail(auto_submitted="auto-generated"), None, id="generated"),
        pytest.param(make_mail(auto_submitted="no"), None, id="no"),
    ],
)
def test_automatic_mails(mail, reason):
    """A bounce and an automatic reply are disregarded by name: an answer to them would make a loop."""
    event = read(mail)
    assert (event.reason if isinstance(event, Disregarded) else None) == reason


def test_customer_of_a_bounce():
    """A bounce is about the mailbox of its From, and may have none."""
    assert see(make_mail(sender="")).subject == "EMAIL|ana@example.com|support@inbound.example.com"
    nobody = make_mail(sender="").model_copy(update={"headers": MailHeaders()})
    assert see(nobody).subject == "EMAIL||support@inbound.example.com"


@pytest.mark.parametrize("ends", [{"sender": " "}, {"recipient": ""}], ids=["sender", "recipient"])
def test_mail_of_nobody(ends):
    """A mail that names one end only can never find a conversation."""
    with pytest.raises(UnusableError, match="names no sender or no recipient"):
        read(make_mail(**ends))


@pytest.mark.parametrize("body", [b"", b"{", b"[]", b"{}", b'{"recipient":5}', b"\xff"], ids=range(6))
def test_no_mail(body):
    """An entry that holds no mail is unreadable."""
    with pytest.raises(UnreadableError, match="does not hold a mail"):
        normalize(make_entry(body, "email"))


@given(st.binary())
def test_any_bytes(body):
    """Whatever an entry holds, nothing but the project's own errors comes out."""
    with pytest.raises(RouterError):
        normalize(make_entry(body, "email"))


def test_unknown_fields_are_passed_over():
    """An entry that a later version wrote can be read."""
    body = make_mail().to_body()
    assert read(make_mail()) == normalize(make_entry(b'{"new":1,' + body[1:], "email"))
