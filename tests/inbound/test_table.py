"""The table of event types agrees with the parsers: every row has a sample with the outcome of the row."""

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
from router.inbound.rows import CLOSED, IGNORED, JOINED, LEFT, NOTED, REQUESTED, SAID, UPDATED
from router.inbound.sources import SOURCES, normalize
from router.inbound.table import ROWS, to_markdown
from tests.inbound.samples import encode_form, encode_json, load, load_callback, load_form, make_entry

CONVERSATIONS = "com.twilio.conversations."
TABLE = [(source, row) for source, rows in ROWS.items() for row in rows]
RECORDING = b"AccountSid=AC1&CallSid=CA1&RecordingSid=RE1&RecordingStatus=completed"
NAMES = [f"{source}-{row.event_type}-{row.kind}" for source, row in TABLE]


def form(name):
    return encode_form(load_form(name))


def callback(event_type, **data):
    return encode_json(load_callback(event_type, **data))


def any_callback():
    return encode_json(load("participant_added") | {"eventType": "MEMORY_ADDED"})


def event(event_type, data):
    """Return an Event Streams event of a type, with data."""
    return encode_json(load("es_participant_added") | {"type": event_type, "data": data})


def v2(subject, callback):
    """Return an Event Streams event with the resource of a status callback."""
    return event(f"{CONVERSATIONS}{subject}", load_callback(callback)["data"])


#: The fields of all classic events; each type reads its own.
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


#: The body of an inbound entry for each row, by source, event type and kind.
SAMPLES = {
    SourceName.MESSAGING: {
        ("message.received", "SMS, MMS"): form("mms"),
        ("message.received", "WhatsApp"): form("whatsapp"),
        ("message.received", "RCS"): form("rcs"),
        ("message.received", "Messenger"): form("messenger"),
        ("message.<status>", ""): form("message_status"),
        ("callback.<kind>", ""): RECORDING,
    },
    SourceName.CONVERSATIONS: {
        **{(event_type, ""): callback(event_type) for event_type in conversations.EVENT_TYPES},
        ("<any other>", ""): any_callback(),
    },
    SourceName.VOICE: {
        **{(f"call.{status}", ""): call_form(status) for status in calls.GOING_ON | calls.OVER},
        ("call.in-progress", "the AI agent hands over, or has failed"): call_form(
            "in-progress", SessionStatus="failed"
        ),
        ("call.<status>", "outgoing"): call_form(Direction="outbound-api"),
        ("call.<status>", "child leg"): call_form(ParentCallSid="CA2"),
        ("call.<any other>", ""): call_form("daydreaming"),
        ("callback.<kind>", ""): RECORDING,
    },
    SourceName.CLASSIC: {
        ("callback.<kind>", ""): RECORDING,
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


CLASSIC_OUTCOMES = {
    ("participant", Change.ADDED): {(JOINED,)},
    ("participant", Change.UPDATED): {(UPDATED, JOINED)},
    ("participant", Change.REMOVED): {(LEFT,)},
    ("conversation", Change.ADDED): {NOTED},
    ("conversation", Change.UPDATED): {(CLOSED,)},
    ("conversation", Change.REMOVED): {(CLOSED,)},
    ("message", Change.ADDED): {(JOINED, SAID)},
}


def outcomes_of(event):  # noqa: PLR0911 - one return per kind of event
    """Return the rows' possible outcomes of an event."""
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
            return {(LEFT,)} if event.is_over else {(JOINED,) if event.handoff is None else (REQUESTED,)}
        case ClassicReported():
            return CLASSIC_OUTCOMES[event.kind, event.change]


def is_pattern(row):
    """Tell whether a row stands for several event types, whose reasons continue with the word that differs."""
    return "<" in row.event_type


def test_every_source_has_rows_and_every_row_a_sample():
    """Every source is in the table, and every row has a sample."""
    assert set(ROWS) == set(SOURCES) == set(SAMPLES)
    for source, rows in ROWS.items():
        assert sorted((row.event_type, row.kind) for row in rows) == sorted(SAMPLES[source]), source


@pytest.mark.parametrize(("source", "row"), TABLE, ids=NAMES)
def test_row_agrees_with_its_parser(source, row):
    """The sample of a row becomes an event of its type, with the outcome or the reason of the row."""
    event = normalize(make_entry(SAMPLES[source][row.event_type, row.kind], source))
    assert row.becomes in outcomes_of(event)
    if not is_pattern(row):
        assert event.cause.event_type == row.event_type
    if row.becomes == IGNORED:
        assert event.reason.startswith(row.because) if is_pattern(row) else event.reason == row.because


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
    """Every event type that a parser knows is in the table, by name or by a pattern."""
    named = {row.event_type for row in ROWS[source]}
    families = [row.event_type.rpartition("<subject>") for row in ROWS[source] if "<subject>" in row.event_type]
    for event_type in set(event_types) - named:
        assert any(event_type.startswith(start) and event_type.endswith(end) for start, _, end in families), event_type


def test_rows_without_entries_have_a_reason():
    """Every row without entries has a reason."""
    assert all(row.because for _, row in TABLE if row.becomes in {IGNORED, NOTED})


def test_the_table_has_a_line_for_each_row():
    """The Markdown table has a head and one line for each row."""
    lines = to_markdown().splitlines()
    assert len(lines) == 2 + len(TABLE)
    assert {line.count("|") for line in lines} == {4}
