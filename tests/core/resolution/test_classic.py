"""Resolution of classic events with plain values: requests for given answers, waits, and the outcome."""

import pytest

from router.core.classic.resources import ClassicConversation, ClassicParticipant, ParticipantConversation
from router.core.errors import AuthenticationError, NotFoundError, RateLimitError, RequestError, UnavailableError
from router.core.resolution.classic import BRIDGE_WAIT, PATIENCE, Bridge, ClassicResolver
from router.core.resolution.requests import (
    FetchClassicConversation,
    FetchClassicParticipant,
    FindClassicConversations,
    FindConversations,
    Ignored,
    ListClassicParticipants,
    ListParticipants,
    Resolved,
    Unusable,
    Wait,
)
from router.core.resolution.setbacks import LONG_WAIT, SHORT_WAIT
from tests.core.builders import (
    CONVERSATION,
    CUSTOMER,
    DESK,
    make_classic,
    make_conversation,
    make_message,
    make_participant,
)
from tests.core.resolution.exchanges import drive

SID, OTHER = "CH00000000000000000000000000000001", "CH00000000000000000000000000000002"
SERVICE, ELSEWHERE = "IS00000000000000000000000000000001", "IS00000000000000000000000000000002"
BINDING = {"type": "sms", "address": CUSTOMER.value, "proxy_address": DESK.value}
MEMBER = ClassicParticipant(sid="MB1", messaging_binding=BINDING, date_updated="2026-01-07T12:00:00Z")
CHAT = ClassicParticipant(sid="MB2", identity="ana")
ANA = make_participant("p1", CUSTOMER)
V2 = make_conversation()
OPEN = ClassicConversation(sid=SID, state="active")
GONE = NotFoundError("gone", status=404, code=50350)
BUSY = RateLimitError("slow down", status=429, code=50063, retry_after=7.0)
CHANGED = UnavailableError("changed by another", status=409, code=50419)
LOCKED = AuthenticationError("who?", status=403, code=50430)
WRONG = RequestError("no", status=400, code=20001)

FIND, LIST = FindConversations, ListParticipants
FIND_CLASSIC, LIST_CLASSIC = FindClassicConversations, ListClassicParticipants
FETCH, FETCH_MEMBER = FetchClassicConversation, FetchClassicParticipant

ADDED = make_classic(customer=CUSTOMER, recipient=DESK)
SILENT = make_classic()
WROTE = make_classic(kind="message", author=CUSTOMER.value)
NAMED = make_classic(kind="message", author="ana", participant_sid=None)


def resolve(event, *answers, home=None, age=0.0, bridge=None, service=None):
    requests, outcome = drive(ClassicResolver(service, bridge).resolve(event, home=home, age=age), *answers)
    return [type(request) for request in requests], outcome


def who(outcome):
    """Return the participant, conversation and origin of a resolution."""
    assert isinstance(outcome, Resolved), outcome
    return outcome.participant.id, outcome.conversation_id, outcome.origin


# --- without a bridge ------------------------------------------------------------------------------


def test_a_complete_event_needs_no_request():
    """An event that describes the member resolves to it without a request."""
    requests, outcome = resolve(ADDED)
    assert requests == []
    assert who(outcome) == (ADDED.participant_sid, SID, "announced")
    assert (outcome.classic_sid, outcome.recipient, outcome.version) == (SID, DESK, ADDED.version)


@pytest.mark.parametrize(("event", "origin"), [(SILENT, "announced"), (WROTE, "found")])
def test_an_incomplete_member_is_fetched_by_sid(event, origin):
    """A member that the event does not describe is fetched in the configured service."""
    requests, outcome = drive(ClassicResolver(SERVICE).resolve(event), MEMBER)
    assert requests == [FetchClassicParticipant(SID, event.participant_sid, SERVICE)]
    assert who(outcome) == ("MB1", SID, origin)


@pytest.mark.parametrize(
    ("author", "found"), [("ana", "MB2"), (CUSTOMER.value, "MB1")], ids=["by-identity", "by-address"]
)
def test_an_author_without_sid_is_found_among_the_members(author, found):
    """The author of a message without a participant SID is found by identity or by address."""
    event = make_classic(kind="message", author=author, participant_sid=None)
    requests, outcome = resolve(event, [MEMBER, CHAT])
    assert (requests, who(outcome)) == ([LIST_CLASSIC], (found, SID, "found"))


def test_a_remembered_home_that_is_gone_is_looked_up_again():
    """The v2 conversation was deleted: the bridge may have opened another, and if not its id says what is gone."""
    bridge = Bridge(SERVICE)
    requests, outcome = resolve(WROTE, GONE, [V2], [ANA], home="conv_old", bridge=bridge)
    assert (requests, who(outcome)) == ([LIST, FIND, LIST], ("p1", V2.id, "found"))
    _, outcome = resolve(WROTE, GONE, [V2], GONE, home="conv_old", bridge=bridge)
    assert outcome == Ignored("gone: the bridged conversation no longer exists", gone=V2.id)


def test_a_classic_conversation_that_is_gone_is_named():
    """So that the routes to it can be forgotten."""
    assert resolve(NAMED, GONE)[1] == Ignored("gone: the conversation no longer exists", gone=SID)


def test_an_author_who_is_no_member_is_ignored():
    """A message whose author is not a member is ignored."""
    assert resolve(NAMED, [MEMBER]) == ([LIST_CLASSIC], Ignored("its author is no participant"))


@pytest.mark.parametrize("event", [SILENT, NAMED], ids=["fetch", "list"])
@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        pytest.param(GONE, Ignored, id="404"),
        pytest.param(BUSY, Wait, id="429"),
        pytest.param(CHANGED, Wait, id="concurrent"),
        pytest.param(LOCKED, Wait, id="403"),
        pytest.param(WRONG, Unusable, id="400"),
    ],
)
def test_errors_are_judged_by_their_class(event, answer, expected):
    """404 means gone, an outage waits as long as the API asks, and only a refusal is final."""
    _, outcome = resolve(event, answer)
    assert type(outcome) is expected
    if isinstance(outcome, Wait):
        assert outcome.delay == {429: 7.0, 409: SHORT_WAIT, 403: LONG_WAIT}[answer.status]
    if isinstance(outcome, Ignored):
        assert outcome.reason.startswith("gone: ")


# --- with a bridge ---------------------------------------------------------------------------------


def test_a_bridged_member_is_found_in_v2():
    """The v2 conversation is found by the classic SID as channelId, and the participant by its address."""
    requests, outcome = drive(ClassicResolver(None, Bridge(SERVICE)).resolve(ADDED), [V2], [ANA])
    assert requests == [FindConversations(SID), ListParticipants(CONVERSATION)]
    assert who(outcome) == ("p1", CONVERSATION, "announced")
    assert (outcome.classic_sid, outcome.recipient, outcome.version) == (SID, DESK, None)


def test_a_known_home_is_not_looked_up():
    """With a known v2 home only the participants are listed; with a classic home nothing is requested."""
    bridge = Bridge(SERVICE)
    assert resolve(WROTE, [ANA], home=CONVERSATION, bridge=bridge)[0] == [LIST]
    assert resolve(ADDED, home=SID, bridge=bridge)[0] == []


def test_the_newest_bridged_conversation_is_taken():
    """Of several open conversations with the classic SID, the newest is taken."""
    old, new = make_conversation("a", created_at="2026-01-01"), make_conversation("b", created_at="2026-01-02")
    assert who(resolve(ADDED, [new, old], [ANA], bridge=Bridge())[1])[1] == "b"


@pytest.mark.parametrize(
    ("bridge", "answers"),
    [
        pytest.param(Bridge(SERVICE), ([], OPEN), id="in-the-bridged-service"),
        pytest.param(Bridge(), ([],), id="unknown-service"),
    ],
)
def test_the_bridged_conversation_is_awaited_until_patience_ends(bridge, answers):
    """An event waits for the v2 conversation, as expected; after PATIENCE it resolves to the classic member."""
    _, outcome = resolve(ADDED, *answers, bridge=bridge, age=PATIENCE - 1)
    assert outcome == Wait("the bridge has not opened its conversation", BRIDGE_WAIT, is_usual=True)
    _, outcome = resolve(ADDED, [], bridge=bridge, age=PATIENCE)
    assert who(outcome) == (ADDED.participant_sid, SID, "announced")


@pytest.mark.parametrize("answer", [GONE, ClassicConversation(sid=SID, state="closed")], ids=["elsewhere", "closed"])
def test_a_conversation_that_will_not_be_bridged_is_not_awaited(answer):
    """A conversation that is closed or not in the bridged service resolves to the classic member at once."""
    requests, outcome = resolve(ADDED, [], answer, bridge=Bridge(SERVICE))
    assert requests == [FIND, FETCH]
    assert who(outcome)[1] == SID


def test_an_event_with_a_service_sid_needs_no_classic_request():
    """An event of another service needs no request; one of the bridged service needs only v2."""
    other = make_classic(customer=CUSTOMER, service_sid=ELSEWHERE)
    assert resolve(other, bridge=Bridge(SERVICE))[0] == []
    same = make_classic(customer=CUSTOMER, service_sid=SERVICE)
    requests, outcome = resolve(same, [], bridge=Bridge(SERVICE))
    assert requests == [FIND]
    assert isinstance(outcome, Wait)


def test_the_bridged_participant_is_awaited_until_patience_ends():
    """An event waits for the v2 participant; after PATIENCE the classic member is announced in the v2 conversation."""
    bot = make_participant("p2", DESK, type="AGENT")
    _, outcome = resolve(ADDED, [V2], [bot], bridge=Bridge())
    assert outcome == Wait("the bridge has not added the participant", BRIDGE_WAIT, is_usual=True)
    _, outcome = resolve(ADDED, [V2], [bot], bridge=Bridge(), age=PATIENCE)
    assert who(outcome) == (ADDED.participant_sid, CONVERSATION, "announced")
    assert outcome.participant.conversation_id == CONVERSATION


@pytest.mark.parametrize(
    ("answers", "expected"),
    [
        pytest.param((BUSY,), Wait, id="find"),
        pytest.param(([], LOCKED), Wait, id="fetch"),
        pytest.param(([V2], BUSY), Wait, id="list"),
        pytest.param(([V2], GONE), Ignored, id="list-gone"),
        pytest.param(([V2], WRONG), Unusable, id="list-refused"),
    ],
)
def test_errors_of_v2_are_judged_by_their_class(answers, expected):
    """An outage of v2 waits: without an answer the home of the event is unknown."""
    _, outcome = resolve(ADDED, *answers, bridge=Bridge(SERVICE))
    assert type(outcome) is expected


# --- lookup ----------------------------------------------------------------------------------------

ROW = ParticipantConversation(
    conversation_sid=SID,
    participant_sid="MB1",
    conversation_state="inactive",
    conversation_date_updated="2026-01-07T12:00:00Z",
    participant_messaging_binding=BINDING,
)


def otherwise():
    """A resolution in v2, for a message without a classic conversation."""
    yield "otherwise"
    return Ignored("opened")


def enter(*answers, age=0.0, bridge=None):
    requests, outcome = drive(ClassicResolver(SERVICE, bridge).enter(make_message(), otherwise(), age=age), *answers)
    return [each if isinstance(each, str) else type(each) for each in requests], outcome


def test_lookup_finds_the_newest_conversation():
    """Of several open classic conversations between the addresses, the one updated last is taken."""
    newer = ROW.model_copy(update={"conversation_sid": OTHER, "conversation_date_updated": "2026-01-08T12:00:00Z"})
    requests, outcome = drive(ClassicResolver(SERVICE).enter(make_message(), otherwise()), [newer, ROW])
    assert requests == [FindClassicConversations(CUSTOMER.value, DESK, SERVICE)]
    assert who(outcome) == ("MB1", OTHER, "found")
    assert (outcome.conversation.id, outcome.conversation.status) == (OTHER, "INACTIVE")
    assert (outcome.classic_sid, outcome.recipient) == (OTHER, DESK)


def test_a_lookup_without_result_continues_otherwise():
    """Without a classic conversation the message is resolved in v2."""
    assert enter([], None) == ([FIND_CLASSIC, "otherwise"], Ignored("opened"))


@pytest.mark.parametrize(("answer", "delay"), [(GONE, LONG_WAIT), (BUSY, 7.0), (LOCKED, LONG_WAIT)])
def test_a_failed_lookup_waits(answer, delay):
    """A failed lookup waits, even for an unknown service, since a second conversation would be worse."""
    assert enter(answer)[1].delay == delay


@pytest.mark.parametrize(
    ("answers", "age", "expected"),
    [
        pytest.param(([ROW], [V2], [ANA]), 0.0, ("p1", CONVERSATION, "found"), id="v2"),
        pytest.param(([ROW], [V2], []), PATIENCE, ("MB1", CONVERSATION, "found"), id="v2-without-participant"),
        pytest.param(([ROW], []), PATIENCE, ("MB1", SID, "found"), id="classic"),
    ],
)
def test_a_bridged_conversation_is_entered_in_v2(answers, age, expected):
    """A bridged classic conversation is entered on its v2 side, as far as that exists."""
    assert who(enter(*answers, age=age, bridge=Bridge())[1]) == expected


def test_a_message_waits_for_the_bridge():
    """A message waits for the v2 side of its conversation, and is not dropped if that closed."""
    assert isinstance(enter([ROW], [], bridge=Bridge())[1], Wait)
    assert isinstance(enter([ROW], [V2], [], bridge=Bridge())[1], Wait)
    assert isinstance(enter([ROW], [V2], GONE, bridge=Bridge())[1], Wait)  # it closed in between: never dropped
    assert isinstance(enter([ROW], BUSY, bridge=Bridge())[1], Wait)
