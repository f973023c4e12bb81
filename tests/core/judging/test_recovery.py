"""What a sight adds to a ledger, case by case; what holds for all of them is in test_recovery_properties."""

import pytest

from router.core.classic.members import Member
from router.core.events import Version
from router.core.judging.recovery import QUIET, expected_in, recover
from router.core.ledger.marker import Result
from router.core.resolution.reconciliation import ConversationSnapshot
from router.core.timestamps import to_text
from tests.core.builders import DESK, RECEIVED_AT, make_conversation, make_participant
from tests.core.committed import CommittedState
from tests.core.judging.events import make_context
from tests.support.policies import PLAIN

READ_AT = RECEIVED_AT + 3600 * 1_000_000
MEMBER = "MB00000000000000000000000000000001"
CALL, NEXT_CALL = "CA00000000000000000000000000000001", "CA00000000000000000000000000000002"
BY_DAY = """
[default]
target = "ai-agent"
[[rule]]
name = "by-day"
hours = { from = "11:00", to = "12:30", time_zone = "UTC" }
target = "human-agent"
"""


@pytest.fixture
def state():
    return CommittedState()


def look(state, *participants, policy=PLAIN, own=frozenset(), gone=(), read_at=READ_AT, creating=(), **conversation):
    ledger = state.open()
    people = tuple(Member(one, None, None) for one in participants)
    sight = ConversationSnapshot(make_conversation(**conversation), people, frozenset(gone))
    context = make_context(policy, own, read_at)
    recovery = recover(context, sight, ledger, read_at=read_at, creating=creating)
    state.commit(ledger)
    return recovery


def at(micros, **changes):
    return make_participant(updated_at=to_text(micros), **changes)


def call(sid):
    return make_participant(addresses=[{"channel": "VOICE", "address": "+14155550101", "channel_id": sid}])


def test_policy_decides_as_of_then(state):
    """A rule on hours asks when the participant came, not when the sweep did: the callback would have said so."""
    look(state, at(RECEIVED_AT), policy=BY_DAY)
    assert state.entries[0].data.reason == "by-day (hours)"


def test_policy_decides_as_of_now_where_no_time_is_told(state):
    """A participant without a time is judged, and dated, by the sweep's."""
    assert look(state, make_participant(), policy=BY_DAY).published == {Result.JOINED: 1}
    assert state.entries[0].data.reason == "default"
    assert state.marker().version == Version(READ_AT, READ_AT)


@pytest.mark.parametrize(("age", "published"), [(QUIET - 1, 0), (QUIET, 1)])
def test_age_that_counts(state, age, published):
    """Just under QUIET is left to the callback."""
    recovery = look(state, at(READ_AT - age * 1_000_000))
    assert (recovery.published[Result.JOINED], recovery.left_alone) == (published, 1 - published)


def test_who_came_a_moment_ago_is_not_gone(state):
    """A callback that was taken since reading began is newer than the sight, and so is one of a moment before."""
    state.see(make_participant(), Version(READ_AT - 1, READ_AT - 1))
    assert look(state, gone=["p1"]).left_alone == 1
    state.see(make_participant(), Version(READ_AT + 1, READ_AT + 1))
    assert look(state, gone=["p1"]).left_alone == 1
    assert state.types == ["participant.joined"]


def test_who_had_left_is_not_gone_again(state):
    """A removal that was told meanwhile, and somebody never heard of, are nothing to tell."""
    state.see(make_participant(), 1)
    state.lose(make_participant(), 2)
    assert look(state, gone=["p1", "p9"]).published == {}
    assert state.types == ["participant.joined", "participant.left"]


def test_who_left_is_named_by_what_is_committed(state):
    """The API does not know it any more: its type and canonical addresses are what is left to tell."""
    state.see(make_participant("p1", name="Ana"), 1)
    look(state, gone=["p1"])
    told = state.entries[-1].data
    assert (told.address, told.participant.type, told.participant.name) == ("+14155550101", "CUSTOMER", None)
    assert told.cause.event_type == "recovered"


def test_who_is_being_created_is_left_alone(state):
    """Its creator announces it."""
    recovery = look(state, make_participant(), creating={"p1"})
    assert (recovery.published, recovery.left_alone, state.entries) == ({}, 1, [])


def test_own_side_that_nobody_knows(state):
    """Whoever sits at our own address is ours, and noted as our side of the conversation."""
    ours = make_participant("p2", DESK, type="AGENT")
    assert look(state, ours, make_participant(), own=frozenset({DESK.key})).published == {Result.JOINED: 1}
    assert state.entries[0].data.recipient.address == DESK.value


def test_everything_of_a_closed_ledger_is_over(state):
    """What was told as closed is closed, whatever the API still shows."""
    state.report(1, status="CLOSED")
    fields = dict(state.fields)
    assert look(state, make_participant(), gone=["p1"]).published == {}
    assert state.fields == fields


def test_closing_without_a_time(state):
    """A closed conversation that tells no time has closed by the time of the sweep."""
    state.see(make_participant(), 1)
    assert look(state, status="CLOSED").published == {Result.CLOSED: 1}


def test_next_call_of_a_participant(state):
    """A new call of somebody who is there is a stay of its own; a call that is over is none."""
    assert look(state, call(CALL)).published == {Result.JOINED: 1}
    assert look(state, call(NEXT_CALL), read_at=READ_AT + 1).published == {Result.JOINED: 1}
    for sid in (CALL, NEXT_CALL):
        state.hang_up(sid, call(sid), READ_AT)
    assert look(state, call(NEXT_CALL), read_at=READ_AT + 2).published == {}
    assert state.types == ["participant.joined"] * 2 + ["participant.left"]


def test_members_of_the_classic_side_are_not_missed(state):
    """A classic member that was taken into a conversation of v2 is no participant there: nothing says it is gone."""
    state.see(make_participant(MEMBER), 1)
    state.see(make_participant("p2", DESK, type="UNKNOWN"), 1)
    assert expected_in(state.open()) == {"p2"}
