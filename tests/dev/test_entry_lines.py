"""Entries and dead letters as lines of `dev`."""

from __future__ import annotations

import pytest

from router.core.entries import DATA_TYPES
from router.core.keys import Target
from router.dev.entry_lines import tell_dead_letter, tell_entry
from router.dev.happening import LineKind
from router.dev.known import Known
from router.streams.store.watch import StreamRow
from tests.support.entries import NONSENSE, fields_of, make_entry
from tests.test_docs import an_entry

CUSTOMER = {
    "id": "p",
    "conversation_id": "c",
    "account_id": "AC",
    "addresses": [{"channel": "SMS", "address": "+15551230001"}],
}
REQUEST = {"id": "r", "reason": "a refund", "queue": "default", "requested_at": "2026-11-30T10:00:00.000Z"}
OFFER = {"id": "r.1", "queue": "default", "reason": "a refund", "expires_at": "never"}
DANA = {"identity": "dana", "name": "Dana"}
AI = {"target": "ai-agent", "agent": None}
SHE = {"target": "human-agent", "agent": "dana"}


def row_of(fields, entry_id="1796032800500-0", stream="router:{0}:participants:ai-agent"):
    raw = {
        str(name).encode(): value if isinstance(value, bytes) else str(value).encode() for name, value in fields.items()
    }
    return StreamRow(stream, entry_id, raw)


def told(kind, target=Target.HUMAN_AGENT, **more):
    common = an_entry().data.model_dump() | {"target": target, "participant": CUSTOMER}
    entry = make_entry(DATA_TYPES[kind].model_validate(common | more), subject="p")
    return tell_entry(row_of(fields_of(entry)), Known())


def said(**content):
    return told("communication.received", communication={"id": "m", **content})


@pytest.mark.parametrize(
    ("kind", "more", "who", "text"),
    [
        ("participant.left", {}, "SMS", "has left"),
        ("participant.updated", {}, "SMS", "is now None, without a name"),
        ("conversation.closed", {}, "human-agent", "the conversation is closed"),
        ("handoff.requested", {"request": REQUEST}, "handoff", "a person is asked for: a refund"),
        (
            "handoff.requested",
            {"request": REQUEST | {"asked_by": "eli", "summary": "paid twice"}},
            "eli",
            "a person is asked for: a refund (paid twice)",
        ),
        ("offer.made", {"offer": OFFER, "agent": DANA}, "dana", "is asked, until never"),
        ("offer.ended", {"offer": OFFER, "agent": DANA, "how": "expired"}, "dana", "did not answer in time"),
        (
            "holder.changed",
            {"from": AI, "to": SHE, "because": "accepted", "note": "careful"},
            "dana",
            "has the conversation now, from ai-agent, accepted: careful",
        ),
        ("handoff.failed", {"request": REQUEST, "fallback": "wait"}, "handoff", "nobody has accepted; fallback: wait"),
        ("handoff.failed", {"request": REQUEST, "fallback": None}, "handoff", "the customer has left the queue"),
        (
            "command.refused",
            {"command": {"type": "offer.accept", "data": {"agent": "dana"}}, "command_id": "1", "why": "offer-ended"},
            "dana",
            "offer.accept was refused, because offer-ended",
        ),
    ],
)
def test_what_happened_is_told_with_who_did_it(kind, more, who, text):
    """Every type of entry has a line of its own words, with the masked customer where there is one."""
    happening = told(kind, **more)
    assert (happening.who, happening.text) == (who, text)
    assert happening.customer in {"+155***01", ""}


def test_every_type_of_entry_has_a_line():
    """The table has a row for each."""
    from router.dev.entry_lines import _TELLERS

    assert set(_TELLERS) == set(DATA_TYPES.values())


def test_a_joined_customer_and_the_first_message_have_one_name():
    """They become one line: the text of one, the decision of the other, at the time of the webhook."""
    joined, heard = told("participant.joined", origin="created"), said(text="Where is my order?")
    assert (joined.same, joined.at) == (heard.same, heard.at)
    assert joined.with_other(heard).text == "Where is my order?"
    assert joined.remark == "human-agent: default"


def test_an_event_that_waited_is_shown_when_it_was_published():
    """Its line stands where its effect belongs, not among the lines of an hour ago."""
    assert said(text="hi").at == 1796032800500000


@pytest.mark.parametrize(
    ("content", "text"),
    [
        ({"text": "hi"}, "hi"),
        ({"media": [{}, {}]}, "(2 attachments)"),
        ({"text": "look", "media": [{}]}, "look (1 attachment)"),
        ({"location": {"latitude": 1.0, "longitude": 2.0, "label": "home"}}, "(home)"),
        ({"reply": {"id": "yes", "title": "Yes"}}, "(Yes)"),
        ({"text": "STOP", "opt_out": "STOP"}, "STOP (STOP: Twilio has answered)"),
        ({"type": "LOCATION"}, "(location)"),
    ],
)
def test_what_was_said_is_shown_whatever_it_is(content, text):
    """A text, and in brackets what has none."""
    assert said(**content).text == text


def test_what_both_targets_are_told_is_shown_once():
    """The entry for people stands for both."""
    changed = {"from": AI, "to": SHE, "because": "accepted"}
    assert told("holder.changed", Target.AI_AGENT, **changed) is None


@pytest.mark.parametrize("fields", NONSENSE)
def test_nonsense_is_a_trouble_or_the_name_of_its_type(fields):
    """It is shown with its entry id, and so found with the tools of Redis."""
    happening = tell_entry(row_of(fields), Known())
    assert happening.kind is LineKind.TROUBLE
    assert happening.text == "no entry: 1796032800500-0 on participants:ai-agent"


def test_a_type_of_a_later_release_is_named():
    """Its data has what all types have."""
    entry = an_entry()
    later = entry.model_copy(update={"type": "participant.praised"})
    assert tell_entry(row_of(fields_of(later)), Known()).text == "participant.praised"


def test_a_dead_letter_says_why_and_of_whom():
    """With its id for `dead-letters replay`, the customer by the idempotency key or by the entry itself."""
    known, entry = Known(), an_entry()
    tell_entry(row_of(fields_of(entry)), known)
    dead = {"dead-reason": "ValueError: no", "dead-stream": "router:{0}:inbound", "dead-group": "resolver"}
    event = tell_dead_letter(row_of({"source": "messaging", "key": entry.data.cause.idempotency_key} | dead), known)
    assert (event.who, event.text) == ("messaging", "dead letter: ValueError: no")
    assert known.customer_in(event) == "+155***01"
    assert event.ids["dead letter"] == "1796032800500-0"
    assert tell_dead_letter(row_of(fields_of(entry) | dead), Known()).customer == "+155***01"


@pytest.mark.parametrize("fields", NONSENSE)
def test_a_dead_letter_of_nonsense_is_told(fields):
    """What others write there has no reason, and is shown all the same."""
    assert tell_dead_letter(row_of(fields), Known()).text == "dead letter: no reason is given"
