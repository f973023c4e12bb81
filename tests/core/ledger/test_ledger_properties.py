"""Properties of the ledger for any facts, in any order, with any repetitions."""

from dataclasses import dataclass

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from router.core.addresses import Address
from router.core.events import Change, Version
from router.core.ledger.marker import Result
from tests.core.builders import (
    CUSTOMER,
    TO_AI,
    TO_NOBODY,
    TO_PEOPLE,
    make_cause,
    make_conversation,
    make_fact,
    make_participant,
)
from tests.core.committed import CommittedState

pytestmark = pytest.mark.promise(3)

WHATSAPP = Address("WHATSAPP", "whatsapp:+14155550101")
#: p1 and p2 share an address, p2 and p3 another; nobody takes p4.
ADDRESSES = {
    "p1": (CUSTOMER,),
    "p2": (Address("SMS", "+1 415 555 0101"), WHATSAPP),
    "p3": (Address("WHATSAPP", "+14155550101"),),
    "p4": (Address("CHAT", "dana"),),
}
DECISIONS = {"p1": TO_AI, "p2": TO_PEOPLE, "p3": TO_AI, "p4": TO_NOBODY}


@dataclass(frozen=True)
class Report:
    """One report of Twilio about a participant."""

    participant_id: str
    change: Change
    version: Version
    name: str

    @property
    def rank(self):
        """Newer facts rank higher; of two equally new ones the removal does."""
        return (self.version, self.change is Change.REMOVED)

    def take(self, state, **changes):
        """Apply the report; return the result and the entries that it made."""
        before = len(state.entries)
        participant = make_participant(self.participant_id, *ADDRESSES[self.participant_id], name=self.name)
        take = state.lose if self.change is Change.REMOVED else state.see
        result = take(participant, self.version, DECISIONS[self.participant_id], **changes)
        return result, state.entries[before:]


VERSIONS = st.builds(Version, st.integers(1, 4), st.integers(1, 4))


def reports(participants=tuple(ADDRESSES)):
    """Return reports, some of them repeated, in any order."""
    report = st.builds(
        Report, st.sampled_from(participants), st.sampled_from(list(Change)), VERSIONS, st.sampled_from("ab")
    )
    lists = st.lists(report, min_size=1, max_size=10)
    return lists.flatmap(lambda facts: st.permutations(facts + facts[: len(facts) // 2]))


def present(state):
    """Return the markers of the announced participants that are present."""
    markers = {one: state.marker(one) for one in ADDRESSES}
    return {one: marker for one, marker in markers.items() if marker and marker.is_present and marker.target}


@settings(max_examples=400)
@given(reports())
def test_entries_of_a_participant_are_in_a_possible_order(facts):
    """Per participant, entries go joined, updates, left, and again; no id is published twice."""
    state = CommittedState()
    for fact in facts:
        fact.take(state)
    for participant_id in ADDRESSES:
        is_there = False
        for entry in (one for one in state.entries if one.subject == participant_id):
            assert is_there == (entry.type != "participant.joined")
            is_there = entry.type != "participant.left"
        assert is_there == (participant_id in present(state))
    assert len({entry.id for entry in state.entries}) == len(state.entries)
    assert all(entry.subject != "p4" for entry in state.entries)


@settings(max_examples=400)
@given(reports())
def test_stale_facts_are_silent(facts):
    """A fact older than another one taken about its participant changes nothing."""
    state, newest = CommittedState(), {}
    for fact in facts:
        before = dict(state.fields)
        result, entries = fact.take(state)
        if fact.participant_id in newest and fact.rank < newest[fact.participant_id]:
            assert (result, entries, state.fields) == (Result.STALE, [], before)
        newest[fact.participant_id] = max(fact.rank, newest.get(fact.participant_id, fact.rank))


@settings(max_examples=400)
@given(reports())
def test_the_newest_fact_says_who_is_present(facts):
    """In the end a participant is present if its newest fact says so, in whatever order they came."""
    state = CommittedState()
    for fact in facts:
        fact.take(state)
    for participant_id in {fact.participant_id for fact in facts}:
        newest = max(fact.rank for fact in facts if fact.participant_id == participant_id)
        assert state.marker(participant_id).is_present == (not newest[1])
        assert state.marker(participant_id).version == newest[0]


@settings(max_examples=400)
@given(reports())
def test_no_address_has_two_announced_participants(facts):
    """At no time are two present participants announced at one address."""
    state = CommittedState()
    for fact in facts:
        fact.take(state)
        keys = [key for marker in present(state).values() for key in marker.addresses]
        assert len(keys) == len(set(keys))
        for participant_id, marker in present(state).items():
            assert all(state.fields[f"a:{key}"] == participant_id for key in marker.addresses)
        assert sum(name.startswith("a:") for name in state.fields) == len(keys)


@given(reports())
def test_the_first_target_holds(facts):
    """All entries of a conversation have the target and the reason of the first."""
    state = CommittedState()
    for fact in facts:
        fact.take(state)
    assert len({(entry.data.target, entry.data.reason) for entry in state.entries}) <= 1


@given(reports(("p1",)), st.randoms(use_true_random=False))
def test_a_stay_has_one_id(facts, random):
    """A participant's first stay has the same entry id for every order of facts and every source."""
    ids = []
    for source in ("conversations", "messaging"):
        state = CommittedState()
        for fact in facts:
            fact.take(state, cause=make_cause(source=source, received_at=random.randrange(10**15)))
        ids += [entry.id for entry in state.entries if entry.type == "participant.joined"][:1]
        random.shuffle(facts)
    assert len(set(ids)) <= 1


@given(reports(), st.data())
def test_a_lost_race_is_repeated_without_a_trace(facts, data):
    """A fact whose commit was lost, by a crash or a conflict, ends as if it had been taken once."""
    state, other = CommittedState(), CommittedState()
    for fact in facts:
        for _ in range(data.draw(st.integers(0, 2))):
            state.open().take_participant(make_fact(make_participant(fact.participant_id), fact.version))
        assert fact.take(state)[0] == fact.take(other)[0]
    assert (state.fields, state.entries) == (other.fields, other.entries)


@given(reports(), reports(), VERSIONS)
def test_nothing_follows_the_closing(before, after, version):
    """After the closing no fact changes or publishes anything."""
    state = CommittedState()
    for fact in before:
        fact.take(state)
    was_held = state.fields.get("target") is not None
    state.report(version.updated_at, status="CLOSED")
    assert [entry.type for entry in state.entries].count("conversation.closed") == was_held
    fields, entries = dict(state.fields), list(state.entries)
    for fact in after:
        assert fact.take(state)[0] in {Result.GONE, Result.STALE}
    ledger = state.open()
    ledger.take_conversation(make_conversation(status="CLOSED"), version, make_cause())
    state.commit(ledger)
    assert (state.fields, state.entries) == (fields, entries)
