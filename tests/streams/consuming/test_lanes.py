"""Lanes: the shares of slots, and gates that close after failures and open with a success."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from router.streams.consuming import lanes as module
from router.streams.consuming.lanes import CLOSE_AFTER, FEWEST, FIRST, LATE, OWN_FAILURES, PROBE_EVERY, Lanes

SMS, MAIL, OTHER = "AC1 SMS", "AC1 EMAIL", "AC2 SMS"


class Clock:
    """A clock that a test moves."""

    now = 1_000.0

    def __call__(self):
        return self.now


@pytest.fixture
def clock():
    return Clock()


def fill(lanes, name):
    """Begin subjects of a lane until it has no room; returns how many."""
    count = 0
    while lanes.room(name):
        lanes.begin(name)
        count += 1
    return count


def prove(lanes, *names):
    """Let so many of each lane succeed that only the shares bound it."""
    for name in names:
        lanes.of(name)
        for _ in range(601):
            lanes.note_success(name)


def fail(lanes, name, number=CLOSE_AFTER, tries=0):
    for subject in range(number):
        lanes.note_failure(name, f"S{subject}", tries=tries)


def test_a_lane_leaves_slots_for_others():
    """One lane takes half of them, whatever its backlog; another channel and another account still find room."""
    lanes = Lanes(300, 300)
    prove(lanes, SMS, MAIL, OTHER)
    assert fill(lanes, SMS) == 150
    assert fill(lanes, MAIL) > 40
    assert fill(lanes, OTHER) > 40


def test_a_lane_starts_slowly():
    """A few subjects begin at first, one more with each success, half as many with each failure."""
    lanes = Lanes(300, 300)
    assert fill(lanes, SMS) == FIRST
    for number in range(20):
        lanes.note_success(SMS)
        lanes.end(SMS)
        assert fill(lanes, SMS) == 2
        assert lanes.of(SMS).running == FIRST + number + 1
    for number in range(10):
        lanes.note_given_up(SMS)
        assert lanes.of(SMS).limit == max(FEWEST, (FIRST + 20) >> number + 1)
    assert lanes.room(SMS) == 0
    assert lanes.room(MAIL) == FIRST


def test_a_lane_leaves_calls_of_its_account_for_others():
    """The API takes fewer calls at once than there are slots: a hanging channel must not use all of them."""
    lanes = Lanes(500, 90)
    prove(lanes, SMS, MAIL, OTHER)
    assert fill(lanes, SMS) == 45
    assert fill(lanes, MAIL) > 20
    assert fill(lanes, OTHER) == 45


@given(st.integers(1, 600), st.integers(1, 300), st.lists(st.tuples(st.integers(1, 3), st.integers(1, 3)), max_size=20))
def test_slots_are_never_exceeded_and_an_idle_consumer_has_room_for_any_lane(slots, calls, names):
    """However many lanes fill what they may, no more begin than there are slots."""
    lanes = Lanes(slots, calls)
    total = 0
    for account, channel in names:
        name = f"AC{account} {channel}"
        prove(lanes, name)
        if not total:
            assert lanes.room(name)
        total += fill(lanes, name)
    assert total <= slots


def test_a_lane_closes_after_failures_of_different_subjects(clock):
    """Then one probe begins at once, the next one after a pause."""
    lanes = Lanes(300, 300, clock=clock)
    prove(lanes, SMS, MAIL)
    fail(lanes, SMS, CLOSE_AFTER - 1)
    assert lanes.room(SMS) == 150
    fail(lanes, SMS)
    assert lanes.room(SMS) == lanes.room_to_return(SMS) == 1
    lanes.begin(SMS)
    assert lanes.room(SMS) == 0
    clock.now += PROBE_EVERY
    assert lanes.room(SMS) == 1
    assert lanes.room(MAIL) > 100
    lanes.note_success(SMS)
    assert lanes.room(SMS) == 149


def test_an_entry_that_is_given_up_slows_down_what_comes_back_and_closes_no_lane():
    """Good entries of the lane begin as before."""
    lanes = Lanes(300, 300)
    prove(lanes, SMS)
    for _ in range(20):
        lanes.note_given_up(SMS)
    assert not lanes.of(SMS).is_closed
    assert (lanes.room(SMS), lanes.room_to_return(SMS), lanes.is_slowed(SMS)) == (150, 1, True)
    prove(lanes, SMS)
    assert (lanes.room_to_return(SMS), lanes.is_slowed(SMS)) == (75, False)


def test_a_subject_that_keeps_failing_closes_no_lane():
    """Neither one subject however often it fails, nor many that have failed for long."""
    lanes = Lanes(300, 300)
    for tries in range(50):
        lanes.note_failure(SMS, "S", tries=tries)
    fail(lanes, SMS, 50, tries=OWN_FAILURES)
    assert not lanes.of(SMS).is_closed


def test_what_is_brought_back_grows_with_each_success_and_halves_with_each_failure():
    """From one after an outage up to half of the room, so that new entries begin as well."""
    lanes, seen = Lanes(300, 300), []
    prove(lanes, SMS)
    assert lanes.room_to_return(SMS) == 75
    fail(lanes, SMS, 20)
    for _ in range(8):
        lanes.note_success(SMS)
        seen.append(lanes.room_to_return(SMS))
    assert seen == [2, 3, 4, 5, 6, 7, 8, 9]
    lanes.begin(SMS)
    assert lanes.room_to_return(SMS) == 8
    lanes.note_failure(SMS, "S", tries=0)
    assert lanes.room_to_return(SMS) == 3
    for _ in range(400):
        lanes.note_success(SMS)
    assert lanes.room_to_return(SMS) == 75


def test_a_lane_is_crowded_until_nothing_of_it_is_late(clock):
    """In no part of the streams; what has just been parked is not late yet, but will be."""
    lanes = Lanes(30, 30, clock=clock)
    lanes.crowd(SMS)
    lanes.crowd(MAIL)
    lanes.note_late(1, set())
    assert lanes.of(SMS).is_crowded
    clock.now += LATE
    lanes.note_late(1, {SMS, MAIL})
    lanes.note_late(2, {SMS})
    lanes.note_late(1, set())
    assert (lanes.of(SMS).is_crowded, lanes.of(MAIL).is_crowded) == (True, False)
    lanes.note_late(2, set())
    assert not lanes.of(SMS).is_crowded


@pytest.mark.parametrize("slots", [2, 3, 4, 10])
def test_a_small_window_has_room_for_a_second_channel_and_a_second_account(slots):
    """As long as there is more than one slot, a lane that hangs does not have them all."""
    lanes = Lanes(slots, 256)
    assert fill(lanes, SMS) < slots
    assert lanes.room(MAIL)
    assert lanes.room(OTHER)


def test_lanes_without_entries_are_forgotten(monkeypatch):
    """Accounts and channels may be named by strangers: their number is bounded, and what runs is not forgotten."""
    monkeypatch.setattr(module, "MAX_IDLE", 10)
    lanes = Lanes(300, 300)
    lanes.begin(SMS)
    for number in range(50):
        lanes.room(f"AC{number} x")
    assert len(lanes._lanes) <= 11
    assert lanes.of(SMS).running == 1
