"""Looking at a conversation: which requests, in which order, and what their answers come to."""

import pytest

from router.core.classic.resources import ClassicConversation, ClassicParticipant
from router.core.errors import NotFoundError, RateLimitError
from router.core.resolution.reconciliation import read_snapshot
from router.core.resolution.requests import (
    FetchClassicConversation,
    FetchClassicParticipant,
    FetchConversation,
    FetchParticipant,
    ListClassicParticipants,
    ListParticipants,
)
from tests.core.builders import CONVERSATION, make_conversation, make_participant

CH = "CH00000000000000000000000000000001"
SERVICE = "IS00000000000000000000000000000001"
GONE, LIMITED = NotFoundError("n", status=404), RateLimitError("r", status=429)
P1, P2 = make_participant("p1"), make_participant("p2")


def drive(look, *answers):
    """Answer in turn; return the requests and the result."""
    asked = [next(look)]
    for answer in answers:
        try:
            asked.append(look.send(answer))
        except StopIteration as stop:
            return asked, stop.value
    raise AssertionError(f"it asks for more: {asked[-1]}")


def test_everybody_is_there():
    """The conversation and its list: two requests."""
    asked, sight = drive(read_snapshot(CONVERSATION, {"p1"}), make_conversation(), [P1, P2])
    assert asked == [FetchConversation(CONVERSATION), ListParticipants(CONVERSATION)]
    assert [member.participant for member in sight.members] == [P1, P2]
    assert (sight.gone, sight.is_closed) == (frozenset(), False)


def test_closed_needs_no_list():
    """A closing ends all stays: who was there does not matter."""
    asked, sight = drive(read_snapshot(CONVERSATION, {"p1"}), make_conversation(status="CLOSED"))
    assert asked == [FetchConversation(CONVERSATION)]
    assert (sight.is_closed, sight.members) == (True, ())


def test_who_is_missed_is_asked_for():
    """A list tells who is there; only the participant's own answer tells who is gone."""
    asked, sight = drive(read_snapshot(CONVERSATION, {"p1", "p2", "p3"}), make_conversation(), [P1], P2, GONE)
    assert asked[2:] == [FetchParticipant(CONVERSATION, "p2"), FetchParticipant(CONVERSATION, "p3")]
    assert [member.participant for member in sight.members] == [P1, P2]
    assert sight.gone == {"p3"}


@pytest.mark.parametrize("answers", [[GONE], [make_conversation(), GONE]], ids=["fetched", "listed"])
def test_conversation_that_does_not_exist(answers):
    """404 of the conversation, or of its list, is no sight."""
    assert drive(read_snapshot(CONVERSATION, set()), *answers)[1] is None


@pytest.mark.parametrize(
    "answers",
    [[LIMITED], [make_conversation(), LIMITED], [make_conversation(), [], LIMITED]],
    ids=["fetched", "listed", "asked for"],
)
def test_failure_tells_nothing(answers):
    """Where one request fails nothing is known: half a sight would let people leave who are there."""
    assert drive(read_snapshot(CONVERSATION, {"p1"}), *answers)[1] is LIMITED


def test_classic_conversation():
    """A classic one is asked for in its service, and its members come in the words of v2."""
    binding = {"type": "sms", "address": "+14155550101", "proxy_address": "+15557650001"}
    member = ClassicParticipant(sid="MB1", messaging_binding=binding, date_updated="2026-01-07T12:00:00Z")
    conversation = ClassicConversation(sid=CH, state="active")
    asked, sight = drive(read_snapshot(CH, {"MB2"}, SERVICE), conversation, [member], GONE)
    assert asked == [
        FetchClassicConversation(CH, SERVICE),
        ListClassicParticipants(CH, SERVICE),
        FetchClassicParticipant(CH, "MB2", SERVICE),
    ]
    (seen,) = sight.members
    assert (seen.participant.type, seen.recipient.value, seen.version.updated_at) == (
        "CUSTOMER",
        "+15557650001",
        1_767_787_200_000_000,
    )
    assert sight.gone == {"MB2"}


def test_classic_conversation_that_has_closed():
    """Its state is read as the status of v2."""
    assert drive(read_snapshot(CH, set()), ClassicConversation(sid=CH, state="closed"))[1].is_closed
