"""Log lines of the processes as lines of `dev`."""

from __future__ import annotations

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from router.core.log_events import EVENTS
from router.dev.happening import LineKind
from router.dev.layout import LineLayout
from router.dev.log_lines import tell_line

TIME = {"time": "2026-11-30T10:00:00.250Z", "process": "worker"}


def told(event, level="info", **fields):
    return tell_line(orjson.dumps(TIME | {"event": event, "level": level} | fields))


@pytest.mark.parametrize(
    ("event", "fields", "kind", "who", "text"),
    [
        (
            "webhook",
            {"source": "messaging", "status": 200, "result": "duplicate", "key": "k"},
            LineKind.REPEAT,
            "message",
            "again: nothing is published twice",
        ),
        (
            "webhook",
            {"source": "messaging", "status": 403, "result": "signature", "reason": "it does not match"},
            LineKind.REFUSED,
            "message",
            "answered 403, signature: it does not match",
        ),
        (
            "webhook",
            {"source": "voice", "status": 200, "result": "spooled"},
            LineKind.WAITS,
            "call",
            "is in the spool on disk until Redis takes it",
        ),
        (
            "event",
            {"source": "messaging", "type": "message.received", "result": "ignored", "reason": "rule quiet"},
            LineKind.NOTE,
            "message",
            "message.received: ignored, because rule quiet",
        ),
        ("event.waiting", {"source": "email", "reason": "503"}, LineKind.WAITS, "mail", "waits: 503"),
        (
            "event.failed",
            {"group": "ai-agent", "reason": "ValueError"},
            LineKind.WAITS,
            "ai-agent",
            "failed and is tried again: ValueError",
        ),
        (
            "consumed",
            {"handler": "archive", "type": "participant.joined", "result": "noted"},
            LineKind.NOTE,
            "archive",
            "participant.joined: noted",
        ),
        (
            "consumed",
            {"handler": "ai_agent", "type": "participant.joined", "result": "adopted", "reply": "channel cannot send"},
            LineKind.NOTE,
            "ai_agent",
            "participant.joined: adopted, reply: channel cannot send",
        ),
        (
            "process.restarted",
            {"name": "worker", "status": -9},
            LineKind.TROUBLE,
            "worker",
            "ended with status -9, and is started again",
        ),
        (
            "console.sign_in",
            {"level": "warning", "result": "wrong", "user": "dana"},
            LineKind.TROUBLE,
            "console",
            "dana could not sign in: the name or the password is wrong",
        ),
        (
            "console.sign_in",
            {"level": "warning", "result": "too many attempts", "user": "dana"},
            LineKind.TROUBLE,
            "console",
            "dana could not sign in: too many attempts",
        ),
        ("redis.failed", {"error": "away"}, LineKind.TROUBLE, "worker", "Redis: away"),
        (
            "spool.begun",
            {"reason": "away"},
            LineKind.TROUBLE,
            "worker",
            "Redis takes no events, they go to the spool on disk: away",
        ),
        ("reading.resumed", {}, LineKind.WELL, "worker", "reads again"),
    ],
)
def test_what_the_streams_do_not_tell_has_a_line(event, fields, kind, who, text):
    """Repeats, refusals, waits, outages and their ends, and what a handler of the user's does."""
    happening = told(event, **fields)
    assert (happening.kind, happening.who, happening.text, happening.is_detail) == (kind, who, text, False)
    assert happening.at == 1_796_032_800_250_000


@pytest.mark.parametrize(
    ("event", "fields"),
    [
        ("webhook", {"source": "messaging", "status": 200, "result": "accepted"}),
        ("event", {"source": "messaging", "result": "joined"}),
        ("event", {"source": "messaging", "result": "known", "communication": "published"}),
        ("event.dead", {"level": "error", "reason": "x"}),
        ("consumed", {"level": "error", "handler": "ai_agent", "type": "communication.received", "result": "given-up"}),
        ("console.sign_in", {"result": "signed in", "user": "dana"}),
        ("process.started", {}),
        ("floor", {}),
    ],
)
def test_what_a_stream_tells_has_no_line(event, fields):
    """An event that was published, and a dead letter, are shown from their streams."""
    assert told(event, **fields) is None


@pytest.mark.parametrize(
    ("event", "fields"),
    [
        ("event", {"source": "conversations", "type": "CONVERSATION_CREATED", "result": "noted", "reason": "x"}),
        ("consumed", {"handler": "ai_agent", "type": "participant.joined", "result": "adopted", "reply": "sent"}),
        ("consumed", {"handler": "ai_agent", "type": "holder.changed", "result": "ignored"}),
        ("command.sent", {"agent": "dana", "result": "sent"}),
    ],
)
def test_what_leads_to_nothing_or_is_shown_otherwise_is_a_detail(event, fields):
    """`-v` shows it."""
    assert told(event, **fields).is_detail


@pytest.mark.parametrize("event", EVENTS)
@pytest.mark.parametrize("level", ["warning", "error"])
def test_no_warning_passes_unseen(event, level):
    """Each event of the table is shown if it is a warning, except a dead letter, which its stream tells."""
    happening = told(event, level, reason="why", status=503, source="messaging", result="failed")
    if event == "event.dead":
        assert happening is None
    else:
        assert not happening.is_detail or event == "command.sent"


@pytest.mark.parametrize(
    "line",
    [b"", b"Traceback (most recent call last):", b"[]", b"{}", b'{"event": 7}', b"\xff", b"{" * 5000, b'{"event":"x"}'],
)
def test_other_output_has_no_line(line):
    """A traceback, an empty line, and JSON that is no log line."""
    assert tell_line(line) is None


@pytest.mark.parametrize(
    "event", ["webhook", "event", "event.waiting", "event.failed", "consumed", "process.restarted"]
)
def test_fields_that_are_missing_or_of_another_type_fail_nothing(event):
    """A log may be of another release."""
    assert told(event, "error") is not None
    for value in ({}, [], 7, None, ""):
        told(event, **dict.fromkeys(("source", "key", "reason", "result", "status", "conversation", "time"), value))


def test_equal_refusals_and_repeats_have_one_name():
    """Twenty copies at once become one line that counts them."""
    duplicate = {"source": "messaging", "status": 200, "result": "duplicate"}
    first, second, other = (told("webhook", **duplicate, key=key) for key in ("k", "k", "other"))
    assert first.same == second.same != other.same
    refused = {"source": "messaging", "status": 403, "result": "signature", "reason": "r"}
    assert told("webhook", **refused).same == told("webhook", **refused).same != ""


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**63) | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=5,
)
NAMES = st.sampled_from(["source", "status", "result", "reason", "key", "time", "level", "handler", "reply", "lane"])


@given(event=st.sampled_from(sorted(EVENTS)), fields=st.dictionaries(NAMES, VALUES))
def test_no_line_of_any_process_fails_or_breaks_the_layout(event, fields):
    """Whatever stands in a log, it is one printable line or none."""
    line = orjson.dumps({"event": event} | fields, option=orjson.OPT_NON_STR_KEYS, default=str)
    happening = tell_line(line)
    if happening is not None:
        for text, _ in LineLayout(columns=lambda: 80, is_verbose=True).lines_of(happening, happening.customer):
            assert text.isprintable()
