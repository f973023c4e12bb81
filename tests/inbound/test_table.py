"""The table of sources is what the parsers do: every row has a sample, whose fate is the one that the row says."""

from __future__ import annotations

import pytest

from router.core import calls
from router.core.events import (
    CallReported,
    Change,
    ClassicReported,
    CommunicationReported,
    ConversationReported,
    Disregarded,
    MessageReceived,
    ParticipantReported,
    SourceName,
)
from router.inbound import conversations, event_streams
from router.inbound.classic import fields as classic_fields
from router.inbound.classic import parser as classic
from router.inbound.email.mail import MailHeaders, ReceivedMail
from router.inbound.email.parser import MAIL
from router.inbound.rows import CLOSED, IGNORED, JOINED, LEFT, NOTED, SAID, UPDATED
from router.inbound.sources import SOURCES, normalize
from router.inbound.table import ROWS, to_markdown
from tests.inbound.samples import encode_form, encode_json, load, load_callback, load_form, make_entry

CONVERSATIONS = "com.twilio.conversations."
TABLE = [(source, row) for source, rows in ROWS.items() for row in rows]
NAMES = [f"{source}-{row.event_type}-{row.kind}" for source, row in TABLE]


def form(name):
    return encode_form(load_form(name))


def told(event_type, **data):
    return encode_json(load_callback(event_type, **data))


def any_callback():
    return encode_json(load("participant_added") | {"eventType": "MEMORY_ADDED"})


def event(event_type, data):
    """An Event Streams event of another type than the sample's, with other data."""
    return encode_json(load("es_participant_added") | {"type": event_type, "data": data})


def v2(subject, callback):
    """An Event Streams event about the resource of a status callback."""
    return event(f"{CONVERSATIONS}{subject}", load_callback(callback)["data"])


#: What a classic event may say, in one: each type reads its part.
CLASSIC_DATA = {
    "ConversationSid": "CH1",
    "ParticipantSid": "MB1",
    "MessageSid": "IM1",
    "DateUpdated": "2026-01-01T00:00:00Z",
    "Identity": "dana",
    "Author": "dana",
    "Body": "hi",
}


def classic_form(event_type):
    return encode_form([*CLASSIC_DATA.items(), ("AccountSid", "AC1"), ("EventType", event_type)])


def call_form(status="ringing", **changes):
    return encode_form(load_form("call", CallStatus=status, **changes))


def mail_body(sender="ana@example.com", **headers):
    headers = MailHeaders(message_id="<m1@example.com>", **headers)
    return ReceivedMail(envelope_from=sender, recipient="us@example.com", headers=headers, text="hi").to_body()


#: Of each row, by source, event type and kind: a webhook's body as the inbound entry holds it.
SAMPLES = {
    SourceName.MESSAGING: {
        ("message.received", "SMS, MMS"): form("mms"),
        ("message.received", "WhatsApp"): form("whatsapp"),
        ("message.received", "RCS"): form("rcs"),
        ("message.received", "Messenger"): form("messenger"),
        ("message.<status>", ""): form("message_status"),
    },
    SourceName.CONVERSATIONS: {
        **{(event_type, ""): told(event_type) for event_type in conversations.EVENT_TYPES},
        ("<any other>", ""): any_callback(),
    },
    SourceName.VOICE: {
        **{(f"call.{status}", ""): call_form(status) for status in calls.GOING_ON | calls.OVER},
        ("call.<status>", "outgoing"): call_form(Direction="outbound-api"),
        ("call.<status>", "child leg"): call_form(ParentCallSid="CA2"),
        ("call.<any other>", ""): call_form("daydreaming"),
    },
    SourceName.CLASSIC: {
        **{(event_type, ""): classic_form(event_type) for event_type in classic.EVENT_TYPES},
        **{(event_type, "pre-action, answered {}"): classic_form(event_type) for event_type in classic.PRE_ACTIONS},
        ("<any other>", ""): classic_form("onTypingStarted"),
    },
    SourceName.EMAIL: {
        (MAIL, ""): mail_body(),
        (MAIL, "bounce"): mail_body(""),
        (MAIL, "automatic reply"): mail_body(auto_submitted="auto-replied"),
    },
    SourceName.EVENT_STREAMS: {
        (event_streams.MESSAGE, ""): encode_json(load("es_inbound_message")),
        **{
            (f"{CONVERSATIONS}{subject}", "v2"): v2(subject, callback)
            for subject, callback in (
                ("participant.added", "PARTICIPANT_ADDED"),
                ("participant.updated", "PARTICIPANT_UPDATED"),
                ("participant.removed", "PARTICIPANT_REMOVED"),
                ("conversation.added", "CONVERSATION_CREATED"),
                ("conversation.updated", "CONVERSATION_UPDATED"),
                ("conversation-state.updated", "CONVERSATION_UPDATED"),
                ("message.added", "COMMUNICATION_CREATED"),
                ("message.updated", "COMMUNICATION_UPDATED"),
            )
        },
        (f"{CONVERSATIONS}<subject>.removed", "v2 conversations and messages"): v2(
            "message.removed", "COMMUNICATION_UPDATED"
        ),
        **{
            (f"{CONVERSATIONS}{name}", "classic"): event(f"{CONVERSATIONS}{name}", CLASSIC_DATA)
            for name in (*classic_fields.EVENTS, "message.updated", "message.removed")
        },
        (f"{CONVERSATIONS}user.<verb>", ""): event(f"{CONVERSATIONS}user.added", {"UserSid": "US1"}),
        ("com.twilio.messaging.message.<verb>", ""): event("com.twilio.messaging.message.sent", {}),
        ("com.twilio.eventstreams.test-event", ""): encode_json(load("es_sink_test")),
        ("<any other>", ""): event("com.twilio.studio.flow.step.ended", {}),
    },
}


CLASSIC_FATES = {
    ("participant", Change.ADDED): {(JOINED,)},
    ("participant", Change.UPDATED): {(UPDATED, JOINED)},
    ("participant", Change.REMOVED): {(LEFT,)},
    ("conversation", Change.ADDED): {NOTED},
    ("conversation", Change.UPDATED): {(CLOSED,)},
    ("conversation", Change.REMOVED): {(CLOSED,)},
    ("message", Change.ADDED): {(JOINED, SAID)},
}


def fate_of(event):  # noqa: PLR0911 - one return per kind of event
    """What the worker makes of an event, in the words of the table."""
    match event:
        case Disregarded():
            return {IGNORED}
        case ParticipantReported(change=Change.REMOVED):
            return {(LEFT,)}
        case ParticipantReported():
            return {(JOINED, UPDATED), (UPDATED, JOINED)}
        case ConversationReported():
            return {NOTED, (CLOSED,)}
        case MessageReceived() | CommunicationReported():
            return {(JOINED, SAID)}
        case CallReported():
            return {(LEFT,)} if event.is_over else {(JOINED,)}
        case ClassicReported():
            return CLASSIC_FATES[event.kind, event.change]


def test_every_source_has_rows_and_every_row_a_sample():
    """Nothing is in the table that is not tried, and nothing is taken in that is not in the table."""
    assert set(ROWS) == set(SOURCES) == set(SAMPLES)
    for source, rows in ROWS.items():
        assert sorted((row.event_type, row.kind) for row in rows) == sorted(SAMPLES[source]), source


@pytest.mark.parametrize(("source", "row"), TABLE, ids=NAMES)
def test_a_row_says_what_its_parser_does(source, row):
    """The sample becomes an event of the row's type that leads where the row says, or is ignored for that reason."""
    event = normalize(make_entry(SAMPLES[source][row.event_type, row.kind], source))
    assert row.becomes in fate_of(event)
    if not row.is_pattern:
        assert event.cause.event_type == row.event_type
    if row.becomes == IGNORED:
        assert event.reason.startswith(row.because) if row.is_pattern else event.reason == row.because


@pytest.mark.parametrize(
    ("source", "event_types"),
    [
        (SourceName.CONVERSATIONS, conversations.EVENT_TYPES),
        (
            SourceName.EVENT_STREAMS,
            [event_streams.MESSAGE, *(f"{CONVERSATIONS}{name}" for name in classic_fields.EVENTS)],
        ),
    ],
)
def test_every_type_that_a_parser_knows_has_a_row(source, event_types):
    """Types that a parser takes by name are in the table by name, or under the pattern of their family."""
    named = {row.event_type for row in ROWS[source]}
    families = [row.event_type.rpartition("<subject>") for row in ROWS[source] if "<subject>" in row.event_type]
    for event_type in set(event_types) - named:
        assert any(event_type.startswith(start) and event_type.endswith(end) for start, _, end in families), event_type


def test_only_what_is_ignored_needs_a_reason():
    """Every row that leads to no entry says why."""
    assert all(row.because for _, row in TABLE if row.becomes in {IGNORED, NOTED})


def test_the_table_has_a_line_for_each_row():
    """Markdown with a head, and one line a row."""
    lines = to_markdown().splitlines()
    assert len(lines) == 2 + len(TABLE)
    assert {line.count("|") for line in lines} == {4}
