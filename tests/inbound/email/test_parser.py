"""Source `email`: keys of mails, both ends by the envelope, and automatic mails that are disregarded."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from router.core.addresses import Address
from router.core.errors import RouterError, UnreadableError, UnusableError
from router.core.events import Cause, Content, Disregarded, Medium, MessageReceived
from router.inbound.email.mail import MailHeaders, MailPart, ReceivedMail, digest
from router.inbound.email.parser import identify, normalize
from tests.inbound.samples import RECEIVED_AT, make_entry
from tests.support.accounts import ACCOUNT, OTHER_ACCOUNT


def make_mail(*, sender="ana@example.com", recipient="support@inbound.example.com", fingerprint="f1", **headers):
    """Return a mail as the receiver has read it."""
    shown = MailHeaders(**({"message_id": "<m1@example.com>", "sender": "Ana <ana@example.com>"} | headers))
    return ReceivedMail(envelope_from=sender, recipient=recipient, headers=shown, fingerprint=fingerprint)


def identity_of(mail, account_id=ACCOUNT):
    """Return the identity of a mail, as the receiver does."""
    return identify(mail, account_id=account_id)


def key_of(mail, account_id=ACCOUNT):
    return identity_of(mail, account_id).key


def event_of(mail):
    """Return the event of a mail, as the worker does."""
    return normalize(make_entry(mail.to_body(), "email"))


def test_event():
    """A mail is a message on the channel EMAIL, from the envelope's sender to the envelope's recipient."""
    assert event_of(make_mail()) == MessageReceived(
        Cause("email", "mail.received", "<m1@example.com>", "k1", RECEIVED_AT),
        ACCOUNT,
        Address("EMAIL", "ana@example.com"),
        Address("EMAIL", "support@inbound.example.com"),
        make_mail().delivery_id,
    )


def test_content():
    """The content of a mail is its text and the types of its other parts."""
    parts = (MailPart(name="a.pdf", content_type="application/pdf", size=9), MailPart())
    mail = make_mail().model_copy(update={"text": "hi", "is_text_cut": True, "parts": parts})
    assert event_of(mail).content == Content("hi", is_cut=True, media=(Medium("application/pdf"), Medium()))


def test_mail_without_message_id():
    """The resource id of a mail without a Message-ID is its fingerprint."""
    assert event_of(make_mail(message_id=None)).cause.resource_id == "f1"


def test_id_of_a_delivery():
    """The channelId of a mail is short, equal for duplicates and different for another recipient."""
    ids = [
        event_of(make_mail(message_id=message_id, recipient=recipient)).message_sid
        for message_id in ("<m1@example.com>", f"<{'x' * 2000}@example.com>", None)
        for recipient in ("support@inbound.example.com", "sales@inbound.example.com")
    ]
    assert {len(each) for each in ids} == {32}
    assert len(set(ids)) == 6
    assert event_of(make_mail(recipient=" Support@INBOUND.example.com ")).message_sid == ids[0]


def test_identity():
    """A mail belongs to the given account, and its subject is the pair of its ends."""
    identity = identity_of(make_mail())
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
    """In an entry of an earlier version, mails with the same Message-ID and recipient have the same key."""
    assert key_of(again) == key_of(make_mail())


@pytest.mark.parametrize(
    "other",
    [
        pytest.param(identity_of(make_mail(message_id="<m2@example.com>")), id="message-id"),
        pytest.param(identity_of(make_mail(recipient="sales@inbound.example.com")), id="recipient"),
        pytest.param(identity_of(make_mail(), OTHER_ACCOUNT), id="account"),
        pytest.param(identity_of(make_mail(message_id=None)), id="no-message-id"),
        pytest.param(identity_of(make_mail(message_id=None, fingerprint="f2")), id="fingerprint"),
    ],
)
def test_other_key(other):
    """A mail with another id, recipient or account has another key."""
    assert other.key != key_of(make_mail())


def make_new(**changes):
    """Return a mail as a receiver of this version has read it."""
    return make_mail(**changes).model_copy(update={"id_format": 2})


@pytest.mark.parametrize(
    "other",
    [
        pytest.param(make_new(fingerprint="f2"), id="fingerprint"),
        pytest.param(make_new(message_id="<m2@example.com>"), id="message-id"),
        pytest.param(make_new(message_id=None), id="no-message-id"),
        pytest.param(make_new(recipient="sales@inbound.example.com"), id="recipient"),
        pytest.param(make_mail(), id="earlier-version"),
    ],
)
def test_other_mail(other):
    """A mail with another Message-ID, fingerprint or recipient has another key and another id."""
    assert key_of(other) != key_of(make_new())
    assert event_of(other).message_sid != event_of(make_new()).message_sid


@pytest.mark.parametrize("message_id", ["<m1@example.com>", None])
def test_same_mail(message_id):
    """The same mail has the same key and id, however its recipient is spelled."""
    again = make_new(recipient=" Support@INBOUND.example.com ", message_id=message_id)
    assert key_of(again) == key_of(make_new(message_id=message_id))
    assert event_of(again).message_sid == event_of(make_new(message_id=message_id)).message_sid


PARTS = st.lists(st.text(max_size=3), max_size=3)


@given(PARTS, PARTS)
def test_digest(one, other):
    """Digests are equal only for equal lists of parts."""
    assert (digest(one) == digest(other)) == (one == other)


@pytest.mark.parametrize(
    ("mail", "reason"),
    [
        pytest.param(make_mail(sender=""), "a bounce: its envelope has no sender", id="bounce"),
        pytest.param(make_mail(sender="MAILER-DAEMON@example.com"), "an automatic reply", id="daemon"),
        pytest.param(make_mail(auto_submitted="Auto-Replied (vacation)"), "an automatic reply", id="comment"),
        pytest.param(make_mail(auto_submitted="Auto-Replied; owner=x"), "an automatic reply", id="reply"),
        pytest.param(make_mail(auto_submitted="no (auto-replied)"), None, id="comment-is-not-the-word"),
        pytest.param(make_mail(auto_submitted="auto-generated"), None, id="generated"),
        pytest.param(make_mail(auto_submitted="no"), None, id="no"),
    ],
)
def test_automatic_mails(mail, reason):
    """A bounce and an automatic reply are disregarded by name."""
    event = event_of(mail)
    assert (event.reason if isinstance(event, Disregarded) else None) == reason


def test_customer_of_a_bounce():
    """The subject of a bounce has the mailbox of its From, if there is one."""
    assert identity_of(make_mail(sender="")).subject == "EMAIL|ana@example.com|support@inbound.example.com"
    for sender in ("ana@example.com (Ana)", "(x) Ana <ana(y)@example.com> (z)", "ana@example.com (unclosed"):
        headers = MailHeaders(sender=sender)
        assert make_mail(sender="").model_copy(update={"headers": headers}).customer.canonical == "ana@example.com"
    nobody = make_mail(sender="").model_copy(update={"headers": MailHeaders()})
    assert identity_of(nobody).subject == "EMAIL||support@inbound.example.com"


@pytest.mark.parametrize("ends", [{"sender": " "}, {"recipient": ""}], ids=["sender", "recipient"])
def test_mail_without_an_end(ends):
    """A mail without sender or recipient is unusable."""
    with pytest.raises(UnusableError, match="names no sender or no recipient"):
        event_of(make_mail(**ends))


@pytest.mark.parametrize("body", [b"", b"{", b"[]", b"{}", b'{"recipient":5}', b"\xff"], ids=range(6))
def test_entry_without_a_mail(body):
    """An entry that holds no mail is unreadable."""
    with pytest.raises(UnreadableError, match="does not hold a mail"):
        normalize(make_entry(body, "email"))


@given(st.binary())
def test_any_bytes(body):
    """Any bytes as an entry raise only the project's own errors."""
    with pytest.raises(RouterError):
        normalize(make_entry(body, "email"))


def test_unknown_fields_are_ignored():
    """An entry of a later version can be read."""
    body = make_mail().to_body()
    assert event_of(make_mail()) == normalize(make_entry(b'{"new":1,' + body[1:], "email"))
