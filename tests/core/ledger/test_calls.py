"""Calls in the ledger: each is announced once, the last one's end is the caller's, and what is over stays over."""

from dataclasses import dataclass

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from router.core.addresses import Address
from router.core.events import Version
from router.core.ledger.calls import calls_of
from router.core.ledger.marker import Result
from tests.core.book import Book
from tests.core.builders import CUSTOMER as SMS
from tests.core.builders import TO_NOBODY, make_fact, make_participant

VOICE = Address("VOICE", "+14155550101")
ONE, TWO = "CA1", "CA2"


@pytest.fixture
def book():
    """A conversation of which nothing is committed."""
    return Book()


def caller(*calls, participant_id="p1", others=(), **changes):
    """Return a participant whose VOICE address carries each of the calls (None: an address without one)."""
    addresses = [{"channel": "VOICE", "address": VOICE.value, "channelId": sid} for sid in calls]
    addresses += [{"channel": one.channel, "address": one.value} for one in others]
    return make_participant(participant_id, **({"addresses": addresses} | changes))


def kinds(book):
    return [one.partition(".")[2] for one in book.types]


# --- one call -------------------------------------------------------------------------------------


def test_a_call_comes_and_goes(book):
    """A caller joins once, whoever tells of it, and leaves when the call is over."""
    assert book.see(caller(ONE), 1, call_sid=ONE) is Result.JOINED
    assert book.see(caller(ONE), 2) is Result.KNOWN
    assert book.hang_up(ONE, caller(ONE)) is Result.LEFT
    assert book.hang_up(ONE, caller(ONE)) is Result.KNOWN
    assert kinds(book) == ["joined", "left"]
    left = book.entries[1]
    assert (left.subject, left.data.target, left.data.participant.id) == ("p1", "ai-agent", "p1")


@pytest.mark.parametrize("told", [caller(ONE, name="late"), caller(None, name="late")], ids=["with sid", "without"])
def test_a_late_callback_does_not_bring_a_call_back(book, told):
    """However new a callback about a caller who has hung up is, nobody joins."""
    book.see(caller(ONE), 1, call_sid=ONE)
    book.hang_up(ONE, caller(ONE))
    before = dict(book.fields)
    assert book.see(told, 9) is Result.STALE
    assert book.fields == before
    assert book.see(caller(ONE), 10, call_sid=ONE) is Result.STALE
    assert kinds(book) == ["joined", "left"]


def test_an_end_that_came_first(book):
    """A call that is over before anything else was told of it is never announced."""
    assert book.hang_up(ONE, caller(ONE)) is Result.NOTED
    assert book.see(caller(ONE), 5) is Result.STALE
    assert book.see(caller(ONE), 6, call_sid=ONE) is Result.STALE
    assert book.entries == []


def test_a_callback_that_did_not_say_which_call(book):
    """The call that begins later is the one that the callback was about."""
    assert book.see(caller(None), 1) is Result.JOINED
    assert book.see(caller(None), 2, call_sid=ONE) is Result.KNOWN
    assert book.marker().calls == (ONE,)
    assert book.hang_up(ONE, caller(None)) is Result.LEFT
    assert kinds(book) == ["joined", "left"]


def test_an_update_keeps_the_calls(book):
    """What is new about a caller during the call is told, and the call goes on."""
    book.see(caller(ONE), 1, call_sid=ONE)
    assert book.see(caller(None, name="Ana"), 2) is Result.UPDATED
    assert book.marker().calls == (ONE,)


# --- the next call --------------------------------------------------------------------------------


@pytest.mark.parametrize("participant_id", ["p1", "p2"], ids=["reused", "another"])
def test_the_next_call_is_a_new_stay(book, participant_id):
    """Whether the API reuses the participant or makes another, the next call joins anew, under an id of its own."""
    book.see(caller(ONE), 1, call_sid=ONE)
    book.hang_up(ONE, caller(ONE))
    second = caller(TWO, participant_id=participant_id)
    assert book.see(second, 2) is Result.JOINED
    assert book.see(second, 3, call_sid=TWO) is Result.KNOWN
    assert book.hang_up(TWO, second) is Result.LEFT
    assert kinds(book) == ["joined", "left", "joined", "left"]
    assert len({entry.id for entry in book.entries}) == 4


@pytest.mark.parametrize("participant_id", ["p1", "p2"], ids=["reused", "another"])
def test_the_next_call_before_the_end_of_the_first_is_told(book, participant_id):
    """It is announced all the same; the late end of the first ends nothing that goes on."""
    book.see(caller(ONE), 1, call_sid=ONE)
    second = caller(TWO, participant_id=participant_id)
    assert book.see(second, 2) is Result.JOINED
    first_end = book.hang_up(ONE, caller(ONE))
    assert first_end is (Result.NOTED if participant_id == "p1" else Result.LEFT)
    assert book.marker(participant_id).is_announced
    assert book.hang_up(TWO, second) is Result.LEFT
    assert kinds(book).count("joined") == 2
    assert len({entry.id for entry in book.entries}) == len(book.entries)


def test_one_call_has_one_caller(book):
    """A second participant at the same address in the same call is nobody new."""
    book.see(caller(ONE), 1)
    assert book.see(caller(ONE, participant_id="p2"), 2) is Result.IGNORED
    assert book.see(caller(None, participant_id="p3"), 2) is Result.IGNORED


def test_a_further_call_that_nobody_takes_leaves_the_stay_alone(book):
    """A policy that changed its mind during a call does not end it."""
    book.see(caller(ONE), 1, call_sid=ONE)
    assert book.see(caller(TWO), 2, decision=TO_NOBODY) is Result.IGNORED
    assert book.hang_up(ONE, caller(ONE)) is Result.LEFT


def test_a_caller_whom_nobody_takes(book):
    """Who was not announced is not told to have left."""
    book.see(caller(ONE), 1, decision=TO_NOBODY)
    assert book.hang_up(ONE, caller(ONE)) is Result.NOTED
    assert book.see(caller(ONE), 2) is Result.STALE
    assert book.entries == []


# --- other channels -------------------------------------------------------------------------------


def test_a_caller_with_other_channels_stays(book):
    """Where the customer writes in the conversation too, the end of a call ends no stay, and a call begins none."""
    both = caller(ONE, others=(SMS,))
    book.see(both, 1, address=SMS)
    assert book.see(both, 2, call_sid=ONE) is Result.KNOWN
    assert book.hang_up(ONE, both) is Result.NOTED
    assert book.see(caller(TWO, others=(SMS,)), 3, call_sid=TWO) is Result.KNOWN
    assert kinds(book) == ["joined"]


def test_a_closed_conversation(book):
    """Its closing ended all stays."""
    book.see(caller(ONE), 1, call_sid=ONE)
    book.tell(2, status="CLOSED")
    assert book.hang_up(ONE, caller(ONE)) is Result.STALE


def test_calls_of():
    """The event's own call counts, else the ids of VOICE addresses, once each."""
    assert calls_of(caller(ONE, TWO, ONE, None)) == (ONE, TWO)
    assert calls_of(caller(ONE), TWO) == (TWO,)
    text = {"channel": "SMS", "address": "+1", "channelId": "SM1"}
    assert calls_of(make_participant("p1", addresses=[text])) == ()


# --- any order ------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Told:
    """Something that is told of a call; `version` of what a callback carries."""

    kind: str
    call: str
    version: int = 0


HAPPENED = (
    Told("begins", ONE),
    Told("callback", ONE, 1),
    Told("callback", ONE, 2),
    Told("over", ONE),
    Told("begins", TWO),
    Told("callback", TWO, 3),
    Told("over", TWO),
)
ORDERS = st.lists(st.sampled_from(HAPPENED), max_size=8).flatmap(lambda more: st.permutations([*HAPPENED, *more]))


def take(book, told, number, participants):
    """Take one thing in; a call that begins is read from the API just now, so it is newer than all before."""
    participant = caller(told.call, participant_id=participants[told.call])
    if told.kind == "over":
        return book.hang_up(told.call, participant)
    if told.kind == "begins":
        return book.see(participant, Version(3, 100 + number), call_sid=told.call)
    return book.see(participant, Version(told.version, told.version))


@settings(max_examples=600)
@given(ORDERS, st.sampled_from([{ONE: "p1", TWO: "p2"}, {ONE: "p1", TWO: "p1"}]))
def test_each_call_is_announced_once(order, participants):
    """In any order, with any repetition: at most once, and once if it was told of, in time, before its end.

    A callback is in time unless the same participant is known from something newer: that is what stale means.
    """
    book, joined, expected, over = Book(), {ONE: 0, TWO: 0}, set(), set()
    newest = {}
    for number, told in enumerate(order):
        who, before = participants[told.call], len(book.entries)
        take(book, told, number, participants)
        new = [entry for entry in book.entries[before:] if entry.type == "participant.joined"]
        joined[told.call] += len(new)
        version = Version(3, 100 + number) if told.kind == "begins" else Version(told.version, told.version)
        if told.kind == "over":
            over.add(told.call)
        elif told.call not in over and version >= newest.get(who, version):
            expected.add(told.call)
            newest[who] = version
    assert all(count <= 1 for count in joined.values())
    assert {call for call, count in joined.items() if count} == expected
    assert len({entry.id for entry in book.entries}) == len(book.entries)


@settings(max_examples=300)
@given(ORDERS, st.sampled_from([{ONE: "p1", TWO: "p2"}, {ONE: "p1", TWO: "p1"}]))
def test_nobody_is_left_on_the_line(order, participants):
    """When all calls are over nobody is there, and whoever had joined has left after the last time."""
    book = Book()
    for number, told in enumerate(order):
        take(book, told, number, participants)
    for participant_id in set(participants.values()):
        marker = book.marker(participant_id)
        assert marker is None or not marker.is_announced
        kinds = [entry.type for entry in book.entries if entry.subject == participant_id]
        assert not kinds or kinds[-1] == "participant.left"
    assert not [name for name in book.fields if name.startswith("a:")]


def test_versions_of_facts_are_not_those_of_ends(book):
    """The end of a call has our time; what Twilio tells of the next one is not older because of that."""
    book.see(caller(ONE), Version(1, 1), call_sid=ONE)
    book.hang_up(ONE, caller(ONE), Version(10**9, 10**9))
    assert book.see(caller(TWO), Version(2, 2)) is Result.JOINED
    assert make_fact().call_sid is None
