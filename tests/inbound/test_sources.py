"""The table of sources: each has its route, its answer and its parser."""

import pytest

from router.core.errors import UnreadableError
from router.core.events import ClassicReported, MessageReceived, ParticipantReported, SourceName
from router.core.signing.form import NO_FORM, parse_form
from router.inbound.email.mail import MailHeaders, ReceivedMail
from router.inbound.sources import EMPTY_TWIML, SOURCES, normalize
from router.inbound.webhook import Webhook
from router.settings.model import Settings
from tests.inbound.samples import encode_form, encode_json, load, load_callback, load_form, make_entry
from tests.support.accounts import ACCOUNT, OTHER_ACCOUNT

FORM_BODY = encode_form(load_form("sms"))
CALL_BODY = encode_form(load_form("call"))
JSON_BODY = encode_json(load_callback("PARTICIPANT_ADDED"))
MAIL = ReceivedMail(
    envelope_from="ana@example.com",
    recipient="support@inbound.example.com",
    headers=MailHeaders(message_id="<m1@example.com>"),
)
CLASSIC_BODY = encode_form(load_form("classic_participant_added"))
PRE_ACTION_BODY = encode_form(load_form("classic_participant_added", EventType="onParticipantAdd"))
WEBHOOKS = {
    SourceName.MESSAGING: Webhook(FORM_BODY, parse_form(FORM_BODY), None),
    SourceName.VOICE: Webhook(CALL_BODY, parse_form(CALL_BODY), None),
    SourceName.CONVERSATIONS: Webhook(JSON_BODY, NO_FORM, "token-1"),
    SourceName.EVENT_STREAMS: Webhook(encode_json(load("es_inbound_message")), NO_FORM, None),
    SourceName.EMAIL: Webhook(b"", NO_FORM, None, mails=(MAIL,)),
    SourceName.CLASSIC: Webhook(CLASSIC_BODY, parse_form(CLASSIC_BODY), None),
}


def test_every_source_is_found_by_its_name():
    """Every source is in the table under its name, with a route of its own."""
    assert all(name == source.name for name, source in SOURCES.items())
    assert len({source.path for source in SOURCES.values()}) == len(SOURCES)
    paths = {SourceName.CLASSIC: "conversations-classic"}
    assert all(source.path == f"/webhooks/{paths.get(name, name)}" for name, source in SOURCES.items())


def test_keys_outlive_redeliveries():
    """The claim of a key lives for at least a day, for every source."""
    assert all(source.key_ttl >= 86_400 for source in SOURCES.values())


@pytest.mark.parametrize(
    ("name", "content_type", "answer", "answer_type"),
    [
        pytest.param("messaging", "application/x-www-form-urlencoded", EMPTY_TWIML, "text/xml", id="messaging"),
        pytest.param("voice", "application/x-www-form-urlencoded", EMPTY_TWIML, "text/xml", id="voice"),
        pytest.param("conversations", "application/json", b"", None, id="conversations"),
        pytest.param("event-streams", "application/json", b"", None, id="event-streams"),
        pytest.param("email", "multipart/form-data", b"", None, id="email"),
        pytest.param("classic", "application/x-www-form-urlencoded", b"{}", "application/json", id="classic"),
    ],
)
def test_answers(name, content_type, answer, answer_type):
    """A message gets empty TwiML, a callback an empty body, a pre-action `{}`; none reaches a customer."""
    source = SOURCES[SourceName(name)]
    assert (source.content_type, source.answer, source.answer_type) == (content_type, answer, answer_type)
    assert EMPTY_TWIML.endswith(b"<Response/>")


@pytest.mark.parametrize("name", WEBHOOKS)
def test_identify(name):
    """The key of every source has its name, and the account that the webhook names or else the configured one."""
    (piece,) = SOURCES[name].split(WEBHOOKS[name], OTHER_ACCOUNT)
    identity = piece.identity
    assert identity.account_id == (OTHER_ACCOUNT if name == SourceName.EMAIL else ACCOUNT)
    assert identity.key.startswith(f"{identity.account_id}:{name}:")


def test_a_mail_has_a_piece_for_each_recipient():
    """A mail has one piece for each recipient, with its own key; they share all of it but the recipient."""
    mails = tuple(MAIL.model_copy(update={"recipient": one}) for one in ("a@example.com", "b@example.com"))
    pieces = SOURCES[SourceName.EMAIL].split(Webhook(b"", NO_FORM, None, mails=mails), ACCOUNT)
    (shared,) = {piece.shared for piece in pieces}
    events = [normalize(make_entry(piece.body, "email", shared=shared.data)) for piece in pieces]
    assert [event.recipient.value for event in events] == ["a@example.com", "b@example.com"]
    assert len({piece.identity.key for piece in pieces}) == 2
    assert all(len(piece.body) < 50 for piece in pieces)
    with pytest.raises(UnreadableError, match="that it shares with other entries is gone"):
        normalize(make_entry(pieces[0].body, "email", shared=b""))


def test_keys_of_mails_outlive_the_age_that_a_mail_may_have():
    """Keys of mails live longer than their signature is accepted, which is longer than the provider retries."""
    longest_redelivery = 3 * 86_400
    age = Settings.model_fields["email_max_age"]
    assert longest_redelivery < age.default < SOURCES[SourceName.EMAIL].key_ttl
    (limit,) = [one.le for one in age.metadata if hasattr(one, "le")]
    assert limit <= SOURCES[SourceName.EMAIL].key_ttl


def test_token_reaches_the_parser():
    """The idempotency token of the header is part of the key of a callback."""
    source = SOURCES[SourceName.CONVERSATIONS]
    webhooks = [Webhook(JSON_BODY, NO_FORM, token) for token in (None, "token-1", "token-2")]
    assert len({source.split(webhook, ACCOUNT)[0].identity.key for webhook in webhooks}) == 3


def test_a_batch_has_a_piece_for_each_element():
    """Every element of a batch is a piece, also a bad one, which the worker cannot read."""
    good = load("es_inbound_message")
    body = encode_json([good, good | {"id": None}, good | {"id": "EZ" + "9" * 32}])
    pieces = SOURCES[SourceName.EVENT_STREAMS].split(Webhook(body, NO_FORM, None), ACCOUNT)
    assert [":bad:" in piece.identity.key for piece in pieces] == [False, True, False]
    assert len({piece.identity.key for piece in pieces}) == 3
    with pytest.raises(UnreadableError):
        normalize(make_entry(pieces[1].body, "event-streams"))


def test_classic_events_of_event_streams():
    """Event Streams reports classic events as their webhooks do."""
    event = normalize(make_entry(encode_json(load("es_participant_added")), "event-streams"))
    assert isinstance(event, ClassicReported)


def test_pre_action_holds_no_event():
    """A pre-action webhook has no pieces."""
    source = SOURCES[SourceName.CLASSIC]
    assert source.split(Webhook(PRE_ACTION_BODY, parse_form(PRE_ACTION_BODY), None), ACCOUNT) == []
    assert source.empty == "pre-action"


@pytest.mark.parametrize(
    ("source", "body", "kind"),
    [
        pytest.param("messaging", FORM_BODY, MessageReceived, id="messaging"),
        pytest.param("conversations", JSON_BODY, ParticipantReported, id="conversations"),
        pytest.param("email", MAIL.to_body(), MessageReceived, id="email"),
        pytest.param("classic", CLASSIC_BODY, ClassicReported, id="classic"),
    ],
)
def test_normalize(source, body, kind):
    """An inbound entry is read by the parser of its source."""
    event = normalize(make_entry(body, source))
    assert isinstance(event, kind)
    assert event.cause.source == source


@pytest.mark.parametrize("source", ["", "fax", "x" * 1000])
def test_unknown_source(source):
    """An entry of an unknown source is unreadable; the error has its name, shortened."""
    with pytest.raises(UnreadableError, match=f"^no such event source: {source[:32]}$"):
        normalize(make_entry(b"", source))


def test_source_without_a_parser():
    """An entry of a source without a parser is unreadable."""
    for name in set(SourceName) - set(SOURCES):
        with pytest.raises(UnreadableError, match="no such event source"):
            normalize(make_entry(b"", name))
