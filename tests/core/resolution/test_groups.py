"""Resolution of group messages with plain values: every further member is found, added or left out."""

import pytest

from router.core.addresses import Address
from router.core.resolution.groups import ELSEWHERE, resolve_group
from router.core.resolution.messages import MessageResolver
from router.core.resolution.requests import GroupMember, Resolved, Wait
from router.core.resolution.setbacks import LONG_WAIT, SHORT_WAIT
from tests.core.builders import CONVERSATION, CUSTOMER, MESSAGE_SID, OTHER, make_message, make_participant
from tests.core.resolution.exchanges import (
    ADD,
    ANA,
    BARE,
    BOT,
    BROKEN,
    CREATE,
    EXISTS,
    FETCH,
    FULL_PAGE,
    GONE,
    HELD_ELSEWHERE,
    LIST,
    LOCKED,
    LOST,
    NEW,
    PUT,
    REFUSED,
    UNSENT,
    drive,
)
from tests.support.accounts import CONFIGURATION

BEN, EVA = Address("SMS", "+14155550102"), Address("SMS", "+1 (415) 555-0103")
BEN_THERE, EVA_THERE = make_participant("p3", BEN), make_participant("p4", Address("SMS", "+14155550103"))
CLOSED = BARE.model_copy(update={"status": "CLOSED"})


def resolve(*answers, members=(BEN,), **options):
    """Drive the resolution of a group message; return the types of its requests and the outcome."""
    generator = resolve_group(MessageResolver(CONFIGURATION), make_message(), members, **options)
    requests, outcome = drive(generator, *answers)
    return [type(request) for request in requests], outcome


def test_message_without_further_members():
    """A message without further members needs no additional request."""
    assert resolve(NEW, members=()) == ([CREATE], Resolved(CONVERSATION, ANA, "created", NEW, (BOT,)))


def test_missing_members_are_added():
    """Members are listed once; each missing one is added as a CUSTOMER with the message's SID as channelId."""
    generator = resolve_group(MessageResolver(CONFIGURATION), make_message(), (BEN, EVA))
    requests, outcome = drive(generator, NEW, [ANA, BOT], BEN_THERE, EVA_THERE)
    assert [type(request) for request in requests] == [CREATE, LIST, ADD, ADD]
    added = requests[2].participant
    assert (requests[2].conversation_id, added.type) == (CONVERSATION, "CUSTOMER")
    assert (added.addresses[0].address, added.addresses[0].channel_id) == (BEN.value, MESSAGE_SID)
    assert outcome.members == (GroupMember(BEN, BEN_THERE, "created"), GroupMember(EVA, EVA_THERE, "created"))
    assert outcome.participant == ANA


def test_a_long_list_that_lacks_members_is_read_again():
    """A member is added only if it is in neither of two readings of a long list."""
    requests, outcome = resolve(NEW, [*FULL_PAGE, BEN_THERE], [*FULL_PAGE, EVA_THERE], members=(BEN, EVA))
    assert requests == [CREATE, LIST, LIST]
    assert outcome.members == (GroupMember(BEN, BEN_THERE), GroupMember(EVA, EVA_THERE))


def test_present_members_are_not_added():
    """Present members are found in whatever notation their address is, and nothing is added."""
    requests, outcome = resolve(EXISTS, [ANA, BOT], [ANA, BOT, BEN_THERE, EVA_THERE], members=(BEN, EVA))
    assert requests == [CREATE, LIST, LIST]
    assert outcome.members == (GroupMember(BEN, BEN_THERE), GroupMember(EVA, EVA_THERE))


def test_a_customer_is_preferred_at_a_shared_address():
    """Of two participants at a member's address, the CUSTOMER is taken."""
    unknown = make_participant("p9", BEN, type="UNKNOWN")
    for there in ([BEN_THERE, unknown], [unknown, BEN_THERE]):
        _, outcome = resolve(NEW, there)
        assert outcome.members == (GroupMember(BEN, BEN_THERE),)


def test_unknown_member_is_repaired():
    """An UNKNOWN member becomes a CUSTOMER, or stays UNKNOWN if the API refuses that."""
    unknown = make_participant("p3", BEN, type="UNKNOWN", name="Ben")
    requests, outcome = resolve(NEW, [unknown], BEN_THERE)
    assert (requests, outcome.members) == ([CREATE, LIST, PUT], (GroupMember(BEN, BEN_THERE),))
    _, outcome = resolve(NEW, [unknown], REFUSED)
    assert outcome.members == (GroupMember(BEN, unknown),)


@pytest.mark.parametrize(
    "answer", [EXISTS, HELD_ELSEWHERE, REFUSED, LOST], ids=["409", "409 elsewhere", "400", "no answer"]
)
def test_a_member_added_meanwhile_is_taken(answer):
    """Whatever the POST was answered with, a member that is then listed is taken."""
    requests, outcome = resolve(NEW, [ANA], answer, [ANA, BEN_THERE])
    assert (requests, outcome.members) == ([CREATE, LIST, ADD, LIST], (GroupMember(BEN, BEN_THERE),))


@pytest.mark.parametrize(("answer", "reason"), [(HELD_ELSEWHERE, ELSEWHERE), (REFUSED, "the API refuses it: 400")])
def test_a_refused_member_is_left_out(answer, reason):
    """A member that another conversation holds, or that the API refuses, is left out with the reason."""
    answers = (NEW, [ANA], answer, [ANA], BARE, EVA_THERE)
    requests, outcome = resolve(*answers, members=(BEN, EVA))
    assert requests == [CREATE, LIST, ADD, LIST, FETCH, ADD]
    assert outcome.members == (GroupMember(BEN, reason=reason), GroupMember(EVA, EVA_THERE, "created"))
    assert outcome.participant == ANA


@pytest.mark.parametrize(
    ("answers", "outcome"),
    [
        pytest.param([BROKEN], Wait("looking for group members: ServerError 503", SHORT_WAIT, True), id="list"),
        pytest.param([GONE], Wait("its conversation is gone", SHORT_WAIT), id="list of what is gone"),
        pytest.param([LOCKED], Wait("looking for group members: AuthenticationError 401", LONG_WAIT), id="credentials"),
        pytest.param([REFUSED], Wait("looking for group members: RequestError 400 no", SHORT_WAIT), id="refused list"),
        pytest.param([[], UNSENT], Wait("adding a group member: TransportError", SHORT_WAIT), id="POST not sent"),
        pytest.param([[], LOST, []], Wait("adding a group member: TransportError", SHORT_WAIT, True), id="POST lost"),
        pytest.param(
            [[], LOST, BROKEN], Wait("looking for group members: ServerError 503", SHORT_WAIT, True), id="second list"
        ),
        pytest.param(
            [[], REFUSED, [], BROKEN], Wait("looking for group members: ServerError 503", SHORT_WAIT, True), id="fetch"
        ),
        pytest.param([[], REFUSED, [], CLOSED], Wait("its conversation has just closed", SHORT_WAIT), id="closed"),
        pytest.param(
            [[make_participant("p3", BEN, type="UNKNOWN")], LOCKED],
            Wait("repairing an UNKNOWN participant: AuthenticationError 401", LONG_WAIT),
            id="repair",
        ),
    ],
)
def test_an_outage_or_closing_makes_a_group_message_wait(answers, outcome):
    """An outage, a closing in between and a lost answer without effect make the message wait."""
    assert resolve(NEW, *answers)[1] == outcome


def test_members_need_a_resolved_customer_as_sender():
    """If the sender is not resolved, or is an agent, no members are looked up."""
    assert isinstance(resolve(UNSENT)[1], Wait)
    agent = make_participant("p1", CUSTOMER, type="HUMAN_AGENT")
    requests, outcome = resolve(EXISTS, [agent])
    assert (requests, outcome.participant, outcome.members) == ([CREATE, LIST], agent, ())


def test_a_redelivered_group_message_is_looked_up_first():
    """A redelivered group message is looked up before anything is posted."""
    found = BARE.model_copy(update={"id": OTHER})
    requests, outcome = resolve([found], [ANA], [ANA, BEN_THERE], is_unsure=True)
    assert (len(requests), outcome.conversation_id) == (3, OTHER)
    assert outcome.members == (GroupMember(BEN, BEN_THERE),)
