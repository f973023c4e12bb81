"""Resolution of a call with plain values: found by its CallSid, or awaited; our side is never the caller."""

import pytest

from router.core.addresses import Address
from router.core.errors import AuthenticationError, NotFoundError, RateLimitError, RequestError, ServerError
from router.core.events import CallReported
from router.core.resolution.calls import FIRST_WAIT, resolve_call
from router.core.resolution.requests import FindConversations, ListParticipants, Resolved, Unusable, Wait
from tests.core.builders import CONVERSATION, OTHER, make_cause, make_conversation, make_participant
from tests.core.resolution.exchanges import drive
from tests.support.accounts import ACCOUNT

SID = "CA00000000000000000000000000000001"
CUSTOMER, OURS = Address("VOICE", "+14155550101"), Address("VOICE", "+15557650001")


def call(customer=CUSTOMER):
    return CallReported(make_cause("call.ringing", source="voice"), ACCOUNT, SID, "ringing", OURS, customer)


def voice(participant_id, address=CUSTOMER, channel_id=None, **changes):
    entry = {"channel": "VOICE", "address": address.value, "channelId": channel_id}
    return make_participant(participant_id, **({"addresses": [entry]} | changes))


def run(event, *answers):
    """Drive the resolution of a call; return its requests and its outcome."""
    return drive(resolve_call(event), *answers)


def test_the_caller_is_found_in_the_conversation_of_the_call():
    """The call's conversation is found by its CallSid, and in it the caller and our side."""
    ours = voice("p9", OURS, SID, type="AGENT")
    requests, outcome = run(call(), [make_conversation()], [ours, voice("p1", CUSTOMER, SID)])
    assert requests == [FindConversations(SID), ListParticipants(CONVERSATION)]
    assert isinstance(outcome, Resolved)
    assert (outcome.conversation_id, outcome.participant.id, outcome.origin) == (CONVERSATION, "p1", "found")
    assert [one.id for one in outcome.ours] == ["p9"]


@pytest.mark.parametrize(
    ("participants", "who"),
    [
        ([voice("p1", channel_id="CA9"), voice("p2", channel_id=SID)], "p2"),
        ([voice("p1")], "p1"),
        ([voice("p1", Address("VOICE", "anonymous"), SID)], "p1"),
        ([voice("p1", Address("VOICE", "ana"), SID), voice("p2", channel_id=SID)], "p2"),
        ([voice("p1", type="UNKNOWN"), voice("p2")], "p2"),
        ([voice("p1", created_at="2026-01-02T00:00:00Z"), voice("p2", created_at="2026-01-01T00:00:00Z")], "p2"),
        ([voice("p1", OURS, SID, type="UNKNOWN"), voice("p2")], "p2"),
    ],
    ids=["this call", "by address", "by call", "both", "a customer", "the first", "not us"],
)
def test_the_caller_is_chosen_by_call_address_type_and_age(participants, who):
    """The caller is the participant with this call, then at its address, then a CUSTOMER, then the oldest."""
    _, outcome = run(call(), [make_conversation()], participants)
    assert outcome.participant.id == who


def test_a_caller_without_a_number_is_found_by_the_call():
    """Without an address only the participant with this call is the caller."""
    _, outcome = run(call(None), [make_conversation()], [voice("p1"), voice("p2", channel_id=SID)])
    assert outcome.participant.id == "p2"
    _, outcome = run(call(None), [make_conversation()], [voice("p1")])
    assert isinstance(outcome, Wait)


@pytest.mark.parametrize(
    "answers",
    [
        ([],),
        ([make_conversation()], []),
        ([make_conversation()], [voice("p9", OURS, SID, type="UNKNOWN"), voice("p8", channel_id=SID, type="AI_AGENT")]),
        ([make_conversation()], NotFoundError("gone", status=404)),
    ],
    ids=["no conversation", "nobody in it", "only our side", "gone"],
)
def test_a_call_without_conversation_or_caller_waits(answers):
    """A call waits, as expected, until its conversation and its caller exist."""
    _, outcome = run(call(), *answers)
    assert isinstance(outcome, Wait)
    assert (outcome.delay, outcome.is_usual) == (FIRST_WAIT, True)


def test_the_newest_conversation_is_searched_first():
    """If several conversations have the call, the newest is searched first, then the others."""
    old = make_conversation(OTHER, created_at="2026-01-01T00:00:00Z")
    new = make_conversation(created_at="2026-01-02T00:00:00Z")
    requests, outcome = run(call(), [old, new], [], [voice("p1")])
    assert requests[1:] == [ListParticipants(CONVERSATION), ListParticipants(OTHER)]
    assert outcome.conversation_id == OTHER


@pytest.mark.parametrize("is_listing", [False, True], ids=["finding", "listing"])
@pytest.mark.parametrize(
    ("error", "kind"),
    [
        (RateLimitError("slow down", status=429, retry_after=3), Wait),
        (ServerError("broken", status=500), Wait),
        (AuthenticationError("who?", status=401), Wait),
        (RequestError("no", status=400), Unusable),
    ],
    ids=["429", "500", "401", "400"],
)
def test_an_outage_waits_and_a_refusal_is_final(error, kind, is_listing):
    """An outage makes a call wait, not as expected; a refused request is final."""
    answers = ([make_conversation()], error) if is_listing else (error,)
    _, outcome = run(call(), *answers)
    assert isinstance(outcome, kind)
    assert not getattr(outcome, "is_usual", False)
