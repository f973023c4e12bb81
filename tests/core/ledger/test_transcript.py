"""The transcript of a conversation: nothing twice, nothing lost, and everybody named."""

import pytest

from router.core.classic.resources import ClassicMessage, ClassicParticipant
from router.core.events import Version
from router.core.ledger.marker import Marker
from router.core.ledger.transcript import (
    PersonTurn,
    PublishedMessage,
    TranscriptLine,
    classic_lines_of,
    classic_members_of,
    events_of,
    lines_of,
    members_of,
    merge,
    message_of,
    name_people,
    notes_of,
    published_lines,
    said_by_people,
    text_of,
    turns_of,
    with_those_who_left,
)
from router.core.resources import Communication, Participant
from router.core.routing.holding import HandoffRequest
from router.core.routing.journal import JournalLine
from tests.support.accounts import CUSTOMER, OURS

SECOND = 1_000_000
PEOPLE = {"dana": "Dana"}


def participant(number, kind, address, **more):
    addresses = [{"channel": "SMS", "address": address}] if address else []
    return Participant.model_validate({"id": f"p{number}", "type": kind, "addresses": addresses} | more)


def said(number, text, participant_id, **more):
    fields = {
        "id": f"c{number}",
        "author": {"participantId": participant_id},
        "content": {"type": "TEXT", "text": text},
    }
    return Communication.model_validate(fields | {"createdAt": f"2026-11-20T11:00:0{number}.000Z"} | more)


MEMBERS = members_of([participant(1, "CUSTOMER", CUSTOMER, name="Ana"), participant(2, "AI_AGENT", OURS)])


def test_members_have_roles_names_and_masked_addresses():
    """Whoever may not see addresses gets masked ones, in names too where there is no other."""
    shown = [one.to_json(is_unmasked=False) for one in MEMBERS]
    assert [(one["role"], one["label"], one["address"]) for one in shown] == [
        ("customer", "Ana", "+155***01"),
        ("AI agent", "+155***00", "+155***00"),
    ]
    assert MEMBERS[0].to_json(is_unmasked=True)["address"] == CUSTOMER
    (later,) = members_of([participant(3, "ROBOT", "")])
    assert (later.role, later.to_json(is_unmasked=True)["label"]) == ("ROBOT", "ROBOT")


def test_authors_are_named_by_their_participant_or_address():
    """An author who is no participant any more has only an address, which is masked for those who may not see it."""
    stranger = {"author": {"address": OURS, "channel": "SMS"}}
    lines = lines_of([said(1, "hi", "p1"), said(2, "hello", "p2"), said(3, "?", "", **stranger)], MEMBERS)
    shown = [(line["who"], line["role"]) for line in (one.to_json(is_unmasked=False) for one in lines)]
    assert shown == [("Ana", "customer"), ("+155***00", "AI agent"), ("+155***00", "participant")]


@pytest.mark.parametrize(
    ("content", "text"),
    [
        ({"type": "TEXT", "text": "hi"}, "hi"),
        ({"type": "LOCATION"}, "(location)"),
        ({"type": "TEXT", "text": ""}, "(text)"),
        ({"type": 7}, "(no text)"),
        (None, "(no text)"),
    ],
)
def test_what_has_no_text_says_what_it_is(content, text):
    """A location or an empty message is a line as well."""
    assert text_of(content) == text


def test_a_text_of_ours_is_said_by_whoever_had_the_conversation():
    """A person without an address of their own writes from our side's, so the API shows the AI agent as the author."""
    journal = [
        JournalLine(
            at=2000, what="offer.accept", happened=("offer.ended (accepted)", "holder.changed (accepted)"), agent="dana"
        ),
        JournalLine(at=3000, what="handoff.request", happened=("handoff.requested",), agent="dana"),
        JournalLine(at=5000, what="conversation.release", happened=("holder.changed (released)",)),
    ]
    turns = turns_of(journal)
    assert turns == [PersonTurn(2 * SECOND, "dana"), PersonTurn(5 * SECOND, None)]
    times = [1, 2, 4, 6]
    ours = [TranscriptLine(at * SECOND, "said", "x", "AI agent", "") for at in times]
    theirs = TranscriptLine(4 * SECOND, "said", "x", "customer", "Ana")
    found = said_by_people([*ours, theirs], turns, PEOPLE)
    assert [(line.role, line.name, line.agent) for line in found] == [
        ("AI agent", "", None),
        ("person", "Dana", "dana"),
        ("person", "Dana", "dana"),
        ("AI agent", "", None),
        ("customer", "Ana", None),
    ]


def test_a_foreign_agent_is_named_by_what_is_known():
    """Somebody of another system has no name in the roster."""
    (line,) = said_by_people([TranscriptLine(1, "said", "x", "our side")], [PersonTurn(0, "participant:p9")], PEOPLE)
    assert (line.name, line.role) == ("participant:p9", "person")


def test_people_of_the_roster_are_named_in_classic_conversations():
    """They join under their identities; a customer in an app, and somebody else, stay chat users."""
    rows = [
        {"sid": "MB1", "messaging_binding": {"type": "sms", "address": CUSTOMER, "proxy_address": OURS}},
        {"sid": "MB2", "identity": "dana"},
        {"sid": "MB3", "identity": "app-user"},
    ]
    members = classic_members_of(map(ClassicParticipant.model_validate, rows))
    named = [(one.role, one.name, one.address) for one in name_people(members, PEOPLE)]
    assert named == [("customer", "", CUSTOMER), ("person", "Dana", ""), ("chat user", "app-user", "")]
    messages = [
        ClassicMessage(sid="IM1", participant_sid="MB1", body="hi", date_created="2026-11-20T11:00:01Z"),
        ClassicMessage(sid="IM2", participant_sid="MB2", author="dana", body="hello"),
        ClassicMessage(sid="IM3", participant_sid="MB9", author="somebody"),
    ]
    lines = said_by_people(classic_lines_of(messages, members), [], PEOPLE)
    assert [(one.role, one.name, one.agent, one.text) for one in lines] == [
        ("customer", "", None, "hi"),
        ("person", "Dana", "dana", "hello"),
        ("participant", "", None, "(no text)"),
    ]


def test_whoever_has_left_is_still_shown():
    """The API lists them no more, or still does; the ledger knows better."""
    version = Version(1, 0)
    markers = {
        "p1": Marker(version=version, type="CUSTOMER", is_present=False),
        "p3": Marker(version=version, type="CUSTOMER", is_present=False, addresses=(f"SMS|{CUSTOMER}",)),
    }
    found = with_those_who_left(MEMBERS, markers)
    assert [(one.id, one.role, one.is_here) for one in found] == [
        ("p1", "customer", False),
        ("p2", "AI agent", True),
        ("p3", "customer", False),
    ]
    assert found[2].address == CUSTOMER


def document(**communication):
    return {
        "id": "e1",
        "time": "2026-11-20T11:00:05.000Z",
        "data": {
            "participant": {"id": "p1"},
            "address": CUSTOMER,
            "communication": {"id": None, "channel_id": "SM1", "text": "hi", "type": "TEXT"} | communication,
        },
    }


def test_a_published_message_is_read_from_its_entry():
    """With the time at which it was said, or else that of the entry."""
    message = message_of(document(created_at="2026-11-20T11:00:01.000Z", id="c1"))
    assert (message.text, message.participant_id, message.names) == ("hi", "p1", frozenset({"c1", "SM1"}))
    assert message_of(document()).at - message.at == 4 * SECOND
    assert message_of(document(text="", type="LOCATION")).text == "(location)"


@pytest.mark.parametrize(
    "entry", [{}, {"data": []}, {"data": {"communication": None}}, document() | {"id": None, "data": 1}]
)
def test_what_is_no_message_is_refused(entry):
    """Anybody can write to a stream."""
    with pytest.raises((LookupError, TypeError, AttributeError)):
        message_of(entry)


def test_a_message_that_both_have_is_shown_once():
    """The API knows it by the id of the communication, the webhook by that of the message."""
    api = lines_of([said(1, "first", "p1", channelId="SM1"), said(2, "second", "p1")], MEMBERS)
    messages = [
        PublishedMessage("e1", 1, "p1", CUSTOMER, "first", frozenset({"SM1"})),
        PublishedMessage("e2", 1, "p1", CUSTOMER, "second", frozenset({"c2"})),
        PublishedMessage("e3", 10**16, "p1", CUSTOMER, "third", frozenset({"SM3"})),
        PublishedMessage("e4", 10**16 + 1, "p8", CUSTOMER, "fourth", frozenset()),
    ]
    lines = merge(api, published_lines(messages, MEMBERS), [TranscriptLine(0, "event", "begun")])
    assert [line.text for line in lines] == ["begun", "first", "second", "third", "fourth"]
    assert [line.to_json(is_unmasked=False)["who"] for line in lines[-2:]] == ["Ana", "+155***01"]
    assert lines[0].to_json(is_unmasked=True)["at"] is None


def test_decisions_are_told_in_words():
    """Only those that people should see; the name of whoever took it."""
    journal = [
        JournalLine(at=1, what="x", happened=("handoff.requested", "offer.made")),
        JournalLine(at=2, what="x", happened=("offer.ended (accepted)", "holder.changed (accepted)"), agent="dana"),
        JournalLine(at=3, what="x", refused="stale-epoch"),
    ]
    told = [(line.at, line.text) for line in events_of(journal, lambda one: PEOPLE[one])]
    assert told == [(1000, "a person was asked for"), (2000, "Dana took the conversation")]


def test_whoever_takes_over_reads_summary_and_note():
    """With the name of who passed it on; nothing if nobody said anything."""
    request = HandoffRequest(
        id="r", reason="x", queue="default", since=5, summary="broken", note="careful", asked_by="dana"
    )
    notes = notes_of(request, lambda one: PEOPLE[one])
    assert [(one.name, one.role, one.text, one.at) for one in notes] == [
        ("Dana", "summary", "broken", 5000),
        ("Dana", "note", "careful", 5000),
    ]
    plain = HandoffRequest(id="r", reason="x", queue="default", since=5)
    assert notes_of(plain, str) == notes_of(None, str) == []
