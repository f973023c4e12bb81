"""Reading a snapshot of a conversation: its requests, their order, and the result of their answers."""

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
from tests.core.resolution.exchanges import drive

CH = "CH00000000000000000000000000000001"
SERVICE = "IS00000000000000000000000000000001"
GONE, LIMITED = NotFoundError("n", status=404), RateLimitError("r", status=429)
P1, P2 = make_participant("p1"), make_participant("p2")


def test_a_snapshot_needs_two_requests():
    """A snapshot of the conversation and its participants needs two requests."""
    requests, snapshot = drive(read_snapshot(CONVERSATION, {"p1"}), make_conversation(), [P1, P2])
    assert requests == [FetchConversation(CONVERSATION), ListParticipants(CONVERSATION)]
    assert [member.participant for member in snapshot.members] == [P1, P2]
    assert (snapshot.gone, snapshot.is_closed) == (frozenset(), False)


def test_a_closed_conversation_is_not_listed():
    """The participants of a closed conversation are not listed."""
    requests, snapshot = drive(read_snapshot(CONVERSATION, {"p1"}), make_conversation(status="CLOSED"))
    assert requests == [FetchConversation(CONVERSATION)]
    assert (snapshot.is_closed, snapshot.members) == (True, ())


def test_an_expected_participant_that_is_not_listed_is_fetched():
    """Only a 404 for an expected participant shows that it is gone; the list does not."""
    requests, snapshot = drive(read_snapshot(CONVERSATION, {"p1", "p2", "p3"}), make_conversation(), [P1], P2, GONE)
    assert requests[2:] == [FetchParticipant(CONVERSATION, "p2"), FetchParticipant(CONVERSATION, "p3")]
    assert [member.participant for member in snapshot.members] == [P1, P2]
    assert snapshot.gone == {"p3"}


@pytest.mark.parametrize("answers", [[GONE], [make_conversation(), GONE]], ids=["fetched", "listed"])
def test_a_conversation_that_does_not_exist_has_no_snapshot(answers):
    """A 404 for the conversation, or for its list, gives None."""
    assert drive(read_snapshot(CONVERSATION, set()), *answers)[1] is None


@pytest.mark.parametrize(
    "answers",
    [[LIMITED], [make_conversation(), LIMITED], [make_conversation(), [], LIMITED]],
    ids=["fetched", "listed", "fetched by id"],
)
def test_a_failed_request_gives_no_snapshot(answers):
    """One failed request gives no snapshot, since an incomplete one would remove participants who are present."""
    assert drive(read_snapshot(CONVERSATION, {"p1"}), *answers)[1] is LIMITED


def test_a_classic_conversation_is_read_in_its_service():
    """A classic conversation is read in its service, and its members become v2 participants."""
    binding = {"type": "sms", "address": "+14155550101", "proxy_address": "+15557650001"}
    member = ClassicParticipant(sid="MB1", messaging_binding=binding, date_updated="2026-01-07T12:00:00Z")
    conversation = ClassicConversation(sid=CH, state="active")
    requests, snapshot = drive(read_snapshot(CH, {"MB2"}, SERVICE), conversation, [member], GONE)
    assert requests == [
        FetchClassicConversation(CH, SERVICE),
        ListClassicParticipants(CH, SERVICE),
        FetchClassicParticipant(CH, "MB2", SERVICE),
    ]
    (seen,) = snapshot.members
    assert (seen.participant.type, seen.recipient.value, seen.version.updated_at) == (
        "CUSTOMER",
        "+15557650001",
        1_767_787_200_000_000,
    )
    assert snapshot.gone == {"MB2"}


def test_a_closed_classic_conversation_is_closed():
    """The classic state "closed" is the v2 status CLOSED."""
    assert drive(read_snapshot(CH, set()), ClassicConversation(sid=CH, state="closed"))[1].is_closed
