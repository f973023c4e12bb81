"""Recovery, case by case: what a snapshot adds to a ledger. General properties are in test_recovery_properties."""

import json
from dataclasses import replace

import pytest

from router.core.addresses import Address
from router.core.classic.members import Member
from router.core.erasing import read_customer
from router.core.events import Version
from router.core.judging.recovery import QUIET, expected_in, recover
from router.core.ledger.erasing import erase_from
from router.core.ledger.marker import Result
from router.core.resolution.reconciliation import ConversationSnapshot
from router.core.timestamps import to_text
from tests.core.builders import CUSTOMER, DESK, RECEIVED_AT, make_conversation, make_participant
from tests.core.committed import CommittedState
from tests.core.judging.events import make_context
from tests.support.accounts import OTHER_CUSTOMER
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


def sweep(state, *participants, policy=PLAIN, own=frozenset(), gone=(), read_at=READ_AT, creating=(), **conversation):
    ledger = state.open()
    members = tuple(Member(one, None, None) for one in participants)
    snapshot = ConversationSnapshot(make_conversation(**conversation), members, frozenset(gone))
    context = make_context(policy, own, read_at)
    recovery = recover(context, snapshot, ledger, read_at=read_at, creating=creating)
    state.commit(ledger)
    return recovery


def at(micros, **changes):
    return make_participant(updated_at=to_text(micros), **changes)


def call(sid):
    return make_participant(addresses=[{"channel": "VOICE", "address": "+14155550101", "channel_id": sid}])


def test_the_policy_decides_by_the_time_of_the_change(state):
    """A rule on hours uses the time at which the participant was added, as its callback would have."""
    sweep(state, at(RECEIVED_AT), policy=BY_DAY)
    assert state.entries[0].data.reason == "by-day (hours)"


def test_without_a_time_the_policy_decides_by_the_time_of_the_sweep(state):
    """A participant without a time is judged and dated by the time of the sweep."""
    assert sweep(state, make_participant(), policy=BY_DAY).published == {Result.JOINED: 1}
    assert state.entries[0].data.reason == "default"
    assert state.marker().version == Version(READ_AT, READ_AT)


@pytest.mark.parametrize(("age", "published"), [(QUIET - 1, 0), (QUIET, 1)])
def test_a_change_younger_than_quiet_is_left_to_its_callback(state, age, published):
    """A participant is announced once it is QUIET seconds old."""
    recovery = sweep(state, at(READ_AT - age * 1_000_000))
    assert (recovery.published[Result.JOINED], recovery.left_alone) == (published, 1 - published)


def test_a_participant_that_was_just_added_is_not_removed(state):
    """A participant committed after reading began, or just before, is newer than a snapshot that lacks it."""
    state.see(make_participant(), Version(READ_AT - 1, READ_AT - 1))
    assert sweep(state, gone=["p1"]).left_alone == 1
    state.see(make_participant(), Version(READ_AT + 1, READ_AT + 1))
    assert sweep(state, gone=["p1"]).left_alone == 1
    assert state.types == ["participant.joined"]


def test_a_participant_that_has_left_does_not_leave_again(state):
    """Missing participants that have left already, or were never announced, publish nothing."""
    state.see(make_participant(), 1)
    state.lose(make_participant(), 2)
    assert sweep(state, gone=["p1", "p9"]).published == {}
    assert state.types == ["participant.joined", "participant.left"]


def test_a_lost_removal_is_published_from_the_marker(state):
    """A participant that the API no longer knows leaves with the type and canonical addresses of its marker."""
    state.see(make_participant("p1", name="Ana"), 1)
    sweep(state, gone=["p1"])
    left = state.entries[-1].data
    assert (left.address, left.participant.type, left.participant.name) == ("+14155550101", "CUSTOMER", None)
    assert left.cause.event_type == "recovered"


def test_a_participant_that_is_being_created_is_left_to_its_creator(state):
    """A participant that a worker is creating is left to that worker."""
    recovery = sweep(state, make_participant(), creating={"p1"})
    assert (recovery.published, recovery.left_alone, state.entries) == ({}, 1, [])


def test_a_missed_agent_at_our_address_becomes_the_recipient(state):
    """An agent at our own address is not announced and becomes the recipient of customers."""
    ours = make_participant("p2", DESK, type="AGENT")
    assert sweep(state, ours, make_participant(), own=frozenset({DESK.key})).published == {Result.JOINED: 1}
    assert state.entries[0].data.recipient.address == DESK.value


def test_a_closed_ledger_stays_unchanged(state):
    """Once a closing is committed, a snapshot changes nothing, whatever it shows."""
    state.report(1, status="CLOSED")
    fields = dict(state.fields)
    assert sweep(state, make_participant(), gone=["p1"]).published == {}
    assert state.fields == fields


def test_a_closing_without_a_time_is_published(state):
    """A closed conversation without a time is taken as closed at the time of the sweep."""
    state.see(make_participant(), 1)
    assert sweep(state, status="CLOSED").published == {Result.CLOSED: 1}


def test_another_call_of_a_present_participant_is_a_new_stay(state):
    """A new call of a present participant is announced as another stay; a call that is over is not."""
    assert sweep(state, call(CALL)).published == {Result.JOINED: 1}
    assert sweep(state, call(NEXT_CALL), read_at=READ_AT + 1).published == {Result.JOINED: 1}
    for sid in (CALL, NEXT_CALL):
        state.hang_up(sid, call(sid), READ_AT)
    assert sweep(state, call(NEXT_CALL), read_at=READ_AT + 2).published == {}
    assert state.types == ["participant.joined"] * 2 + ["participant.left"]


def test_a_late_report_of_one_who_left_unseen_announces_nobody(state):
    """While another was announced at its address it was not; the sweep learns that both have left."""
    first, second = at(RECEIVED_AT, id="p1"), at(RECEIVED_AT, id="p2")
    state.see(first, 1)
    state.see(second, 1)
    assert state.types == ["participant.joined"]
    sweep(state, gone=expected_in(state.open()))
    state.see(second, 1)
    assert state.types == ["participant.joined", "participant.left"]


def test_a_customer_who_was_erased_is_not_brought_back(state):
    """A snapshot has the address; only an event of the participant itself shows it again. Others are recovered."""
    state.see(make_participant(), 1)
    customer = replace(read_customer(CUSTOMER.value), ids=frozenset({"p1"}))
    ledger = state.open()
    erase_from(ledger, customer)
    state.commit(ledger)
    recovery = sweep(state, make_participant(), make_participant("p2", Address("SMS", OTHER_CUSTOMER)))
    assert recovery.published == {Result.JOINED: 1}
    assert state.marker().is_erased
    assert CUSTOMER.value not in json.dumps(state.fields)
    state.see(make_participant(), READ_AT + 1)
    assert CUSTOMER.value in json.dumps(state.fields)


def test_classic_members_are_not_expected_in_v2(state):
    """A classic member that was announced in a v2 conversation is not expected among its participants."""
    state.see(make_participant(MEMBER), 1)
    state.see(make_participant("p2", DESK, type="UNKNOWN"), 1)
    assert expected_in(state.open()) == {"p2"}
