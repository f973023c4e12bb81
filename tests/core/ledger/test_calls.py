"""Calls in the ledger: each is announced once, the caller leaves with the last, and an ended call stays ended."""

from dataclasses import dataclass

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from router.core.addresses import Address
from router.core.events import Version
from router.core.ledger.calls import calls_of
from router.core.ledger.marker import Result
from tests.core.builders import CUSTOMER as SMS
from tests.core.builders import TO_NOBODY, make_fact, make_participant
from tests.core.committed import CommittedState

VOICE = Address("VOICE", "+14155550101")
ONE, TWO = "CA1", "CA2"


@pytest.fixture
def state():
    """A conversation without any committed state."""
    return CommittedState()


def caller(*calls, participant_id="p1", others=(), **changes):
    """Return a participant whose VOICE address carries each of the calls (None: an address without one)."""
    addresses = [{"channel": "VOICE", "address": VOICE.value, "channelId": sid} for sid in calls]
    addresses += [{"channel": one.channel, "address": one.value} for one in others]
    return make_participant(participant_id, **({"addresses": addresses} | changes))


def kinds(state):
    return [one.partition(".")[2] for one in state.types]


# --- one call -------------------------------------------------------------------------------------


def test_a_call_comes_and_goes(state):
    """A caller joins once, whichever source reports it, and leaves when the call is over."""
    assert state.see(caller(ONE), 1, call_sid=ONE) is Result.JOINED
    assert state.see(caller(ONE), 2) is Result.KNOWN
    assert state.hang_up(ONE, caller(ONE)) is Result.LEFT
    assert state.hang_up(ONE, caller(ONE)) is Result.KNOWN
    assert kinds(state) == ["joined", "left"]
    left = state.entries[1]
    assert (left.subject, left.data.target, left.data.participant.id) == ("p1", "ai-agent", "p1")


@pytest.mark.parametrize("callback", [caller(ONE, name="late"), caller(None, name="late")], ids=["with sid", "without"])
def test_a_late_callback_does_not_bring_a_call_back(state, callback):
    """A callback about a caller who has hung up announces nobody, however new it is."""
    state.see(caller(ONE), 1, call_sid=ONE)
    state.hang_up(ONE, caller(ONE))
    before = dict(state.fields)
    assert state.see(callback, 9) is Result.STALE
    assert state.fields == before
    assert state.see(caller(ONE), 10, call_sid=ONE) is Result.STALE
    assert kinds(state) == ["joined", "left"]


def test_an_end_that_came_first(state):
    """A call that is over before any other report is never announced."""
    assert state.hang_up(ONE, caller(ONE)) is Result.NOTED
    assert state.see(caller(ONE), 5) is Result.STALE
    assert state.see(caller(ONE), 6, call_sid=ONE) is Result.STALE
    assert state.entries == []


def test_a_callback_without_a_call_is_about_the_next_one(state):
    """A callback that names no call is about the call that begins later."""
    assert state.see(caller(None), 1) is Result.JOINED
    assert state.see(caller(None), 2, call_sid=ONE) is Result.KNOWN
    assert state.marker().calls == (ONE,)
    assert state.hang_up(ONE, caller(None)) is Result.LEFT
    assert kinds(state) == ["joined", "left"]


def test_an_update_keeps_the_calls(state):
    """A change of a caller during the call is published, and the call continues."""
    state.see(caller(ONE), 1, call_sid=ONE)
    assert state.see(caller(None, name="Ana"), 2) is Result.UPDATED
    assert state.marker().calls == (ONE,)


# --- withheld numbers -----------------------------------------------------------------------------


def anonymous(*calls, participant_id="p1"):
    """Return a caller who withholds the number."""
    addresses = [{"channel": "VOICE", "address": "+266696687", "channelId": sid} for sid in calls]
    return make_participant(participant_id, addresses=addresses)


@pytest.mark.parametrize(("first", "second"), [(ONE, TWO), (None, None), (ONE, None)], ids=["sids", "none", "one"])
def test_two_withheld_callers_are_two_customers(state, first, second):
    """Callers who withhold their numbers have the same stand-in for one, and are announced each."""
    assert state.see(anonymous(first), 1) is Result.JOINED
    assert state.see(anonymous(second, participant_id="p2"), 2) is Result.JOINED
    assert state.see(anonymous(first), 3) is Result.KNOWN
    assert [(one.subject, one.data.address, one.data.is_withheld) for one in state.entries] == [
        ("p1", "+266696687", True),
        ("p2", "+266696687", True),
    ]


def test_one_withheld_call_has_one_caller(state):
    """A second participant without a number in the same call is not announced."""
    assert state.see(anonymous(ONE), 1) is Result.JOINED
    assert state.see(anonymous(ONE, participant_id="p2"), 2) is Result.IGNORED


def test_a_number_is_not_withheld(state):
    """A caller with a number is not said to withhold it."""
    state.see(caller(ONE), 1)
    assert state.entries[0].data.is_withheld is False


# --- the next call --------------------------------------------------------------------------------


@pytest.mark.parametrize("participant_id", ["p1", "p2"], ids=["reused", "another"])
def test_the_next_call_is_a_new_stay(state, participant_id):
    """The next call is a new stay with a new id, whether the API reuses the participant or not."""
    state.see(caller(ONE), 1, call_sid=ONE)
    state.hang_up(ONE, caller(ONE))
    second = caller(TWO, participant_id=participant_id)
    assert state.see(second, 2) is Result.JOINED
    assert state.see(second, 3, call_sid=TWO) is Result.KNOWN
    assert state.hang_up(TWO, second) is Result.LEFT
    assert kinds(state) == ["joined", "left", "joined", "left"]
    assert len({entry.id for entry in state.entries}) == 4


@pytest.mark.parametrize("participant_id", ["p1", "p2"], ids=["reused", "another"])
def test_the_next_call_before_the_end_of_the_first_is_reported(state, participant_id):
    """The next call is announced; the late end of the first does not end it."""
    state.see(caller(ONE), 1, call_sid=ONE)
    second = caller(TWO, participant_id=participant_id)
    assert state.see(second, 2) is Result.JOINED
    first_end = state.hang_up(ONE, caller(ONE))
    assert first_end is (Result.NOTED if participant_id == "p1" else Result.LEFT)
    assert state.marker(participant_id).is_announced
    assert state.hang_up(TWO, second) is Result.LEFT
    assert kinds(state).count("joined") == 2
    assert len({entry.id for entry in state.entries}) == len(state.entries)


def test_one_call_has_one_caller(state):
    """A second participant at the same address in the same call is not announced."""
    state.see(caller(ONE), 1)
    assert state.see(caller(ONE, participant_id="p2"), 2) is Result.IGNORED
    assert state.see(caller(None, participant_id="p3"), 2) is Result.IGNORED


def test_a_further_call_that_nobody_takes_leaves_the_stay_alone(state):
    """A policy that ignores a further call does not end the stay."""
    state.see(caller(ONE), 1, call_sid=ONE)
    assert state.see(caller(TWO), 2, decision=TO_NOBODY) is Result.IGNORED
    assert state.hang_up(ONE, caller(ONE)) is Result.LEFT


def test_a_caller_without_a_target_does_not_leave(state):
    """A caller who was not announced is not reported as left."""
    state.see(caller(ONE), 1, decision=TO_NOBODY)
    assert state.hang_up(ONE, caller(ONE)) is Result.NOTED
    assert state.see(caller(ONE), 2) is Result.STALE
    assert state.entries == []


# --- other channels -------------------------------------------------------------------------------


def test_a_caller_with_other_channels_stays(state):
    """For a participant with other channels too, calls neither begin nor end a stay."""
    both = caller(ONE, others=(SMS,))
    state.see(both, 1, address=SMS)
    assert state.see(both, 2, call_sid=ONE) is Result.KNOWN
    assert state.hang_up(ONE, both) is Result.NOTED
    assert state.see(caller(TWO, others=(SMS,)), 3, call_sid=TWO) is Result.KNOWN
    assert kinds(state) == ["joined"]


def test_a_closed_conversation(state):
    """After the closing the end of a call publishes nothing."""
    state.see(caller(ONE), 1, call_sid=ONE)
    state.report(2, status="CLOSED")
    assert state.hang_up(ONE, caller(ONE)) is Result.STALE


def test_calls_of():
    """The event's own call counts, else the distinct ids of the VOICE addresses."""
    assert calls_of(caller(ONE, TWO, ONE, None)) == (ONE, TWO)
    assert calls_of(caller(ONE), TWO) == (TWO,)
    text = {"channel": "SMS", "address": "+1", "channelId": "SM1"}
    assert calls_of(make_participant("p1", addresses=[text])) == ()


# --- any order ------------------------------------------------------------------------------------


@dataclass(frozen=True)
class CallReport:
    """A report about a call; `version` is that of a callback."""

    kind: str
    call: str
    version: int = 0


HAPPENED = (
    CallReport("begins", ONE),
    CallReport("callback", ONE, 1),
    CallReport("callback", ONE, 2),
    CallReport("over", ONE),
    CallReport("begins", TWO),
    CallReport("callback", TWO, 3),
    CallReport("over", TWO),
)
ORDERS = st.lists(st.sampled_from(HAPPENED), max_size=8).flatmap(lambda more: st.permutations([*HAPPENED, *more]))


def take(state, report, number, participants):
    """Take one report; a call that begins was just read from the API, so it is newer than everything before."""
    participant = caller(report.call, participant_id=participants[report.call])
    if report.kind == "over":
        return state.hang_up(report.call, participant)
    if report.kind == "begins":
        return state.see(participant, Version(3, 100 + number), call_sid=report.call)
    return state.see(participant, Version(report.version, report.version))


@settings(max_examples=600)
@given(ORDERS, st.sampled_from([{ONE: "p1", TWO: "p2"}, {ONE: "p1", TWO: "p1"}]))
def test_each_call_is_announced_once(order, participants):
    """In any order, with any repetition: at most once, and once if it was reported, in time, before its end.

    A callback is in time unless the same participant is known from something newer: that is what stale means.
    """
    state, joined, expected, over = CommittedState(), {ONE: 0, TWO: 0}, set(), set()
    newest = {}
    for number, report in enumerate(order):
        who, before = participants[report.call], len(state.entries)
        take(state, report, number, participants)
        new = [entry for entry in state.entries[before:] if entry.type == "participant.joined"]
        joined[report.call] += len(new)
        version = Version(3, 100 + number) if report.kind == "begins" else Version(report.version, report.version)
        if report.kind == "over":
            over.add(report.call)
        elif report.call not in over and version >= newest.get(who, version):
            expected.add(report.call)
            newest[who] = version
    assert all(count <= 1 for count in joined.values())
    assert {call for call, count in joined.items() if count} == expected
    assert len({entry.id for entry in state.entries}) == len(state.entries)


@settings(max_examples=300)
@given(ORDERS, st.sampled_from([{ONE: "p1", TWO: "p2"}, {ONE: "p1", TWO: "p1"}]))
def test_no_caller_stays_after_the_last_call(order, participants):
    """When all calls are over every announced caller has left."""
    state = CommittedState()
    for number, report in enumerate(order):
        take(state, report, number, participants)
    for participant_id in set(participants.values()):
        marker = state.marker(participant_id)
        assert marker is None or not marker.is_announced
        kinds = [entry.type for entry in state.entries if entry.subject == participant_id]
        assert not kinds or kinds[-1] == "participant.left"
    assert not [name for name in state.fields if name.startswith("a:")]


def test_the_end_of_a_call_leaves_versions_alone(state):
    """The end of a call has our time and does not make Twilio's next report stale."""
    state.see(caller(ONE), Version(1, 1), call_sid=ONE)
    state.hang_up(ONE, caller(ONE), Version(10**9, 10**9))
    assert state.see(caller(TWO), Version(2, 2)) is Result.JOINED
    assert make_fact().call_sid is None
