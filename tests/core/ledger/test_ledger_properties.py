"""What holds for any facts about a conversation, in any order, however often each is repeated."""

from dataclasses import dataclass

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from router.core.addresses import Address
from router.core.events import Change, Version
from router.core.ledger.marker import Result
from tests.core.book import Book
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
class Told:
    """One thing that Twilio tells of a participant."""

    participant_id: str
    change: Change
    version: Version
    name: str

    @property
    def rank(self):
        """Newer facts rank higher; of two equally new ones the removal does."""
        return (self.version, self.change is Change.REMOVED)

    def take(self, book, **changes):
        """Apply it and return the result and the entries that it made."""
        before = len(book.entries)
        participant = make_participant(self.participant_id, *ADDRESSES[self.participant_id], name=self.name)
        take = book.lose if self.change is Change.REMOVED else book.see
        result = take(participant, self.version, DECISIONS[self.participant_id], **changes)
        return result, book.entries[before:]


VERSIONS = st.builds(Version, st.integers(1, 4), st.integers(1, 4))


def tellings(participants=tuple(ADDRESSES)):
    """Return facts, some of them several times, in any order."""
    told = st.builds(
        Told, st.sampled_from(participants), st.sampled_from(list(Change)), VERSIONS, st.sampled_from("ab")
    )
    lists = st.lists(told, min_size=1, max_size=10)
    return lists.flatmap(lambda facts: st.permutations(facts + facts[: len(facts) // 2]))


def present(book):
    """Return the markers of those who are announced and present."""
    markers = {one: book.marker(one) for one in ADDRESSES}
    return {one: marker for one, marker in markers.items() if marker and marker.is_present and marker.target}


@settings(max_examples=400)
@given(tellings())
def test_entries_tell_a_story_that_can_be_true(facts):
    """Per participant, entries go joined, updates, left, and again from the beginning; no id is published twice."""
    book = Book()
    for fact in facts:
        fact.take(book)
    for participant_id in ADDRESSES:
        is_there = False
        for entry in (one for one in book.entries if one.subject == participant_id):
            assert is_there == (entry.type != "participant.joined")
            is_there = entry.type != "participant.left"
        assert is_there == (participant_id in present(book))
    assert len({entry.id for entry in book.entries}) == len(book.entries)
    assert all(entry.subject != "p4" for entry in book.entries)


@settings(max_examples=400)
@given(tellings())
def test_stale_facts_are_silent(facts):
    """A fact that is older than another one that was taken about its participant changes nothing."""
    book, newest = Book(), {}
    for fact in facts:
        before = dict(book.fields)
        result, entries = fact.take(book)
        if fact.participant_id in newest and fact.rank < newest[fact.participant_id]:
            assert (result, entries, book.fields) == (Result.STALE, [], before)
        newest[fact.participant_id] = max(fact.rank, newest.get(fact.participant_id, fact.rank))


@settings(max_examples=400)
@given(tellings())
def test_the_newest_fact_says_who_is_present(facts):
    """In the end a participant is present if the newest fact about it says so, in whatever order they came."""
    book = Book()
    for fact in facts:
        fact.take(book)
    for participant_id in {fact.participant_id for fact in facts}:
        newest = max(fact.rank for fact in facts if fact.participant_id == participant_id)
        assert book.marker(participant_id).is_present == (not newest[1])
        assert book.marker(participant_id).version == newest[0]


@settings(max_examples=400)
@given(tellings())
def test_no_address_has_two_announced_participants(facts):
    """At no time are two participants present that were announced at one address."""
    book = Book()
    for fact in facts:
        fact.take(book)
        keys = [key for marker in present(book).values() for key in marker.addresses]
        assert len(keys) == len(set(keys))
        for participant_id, marker in present(book).items():
            assert all(book.fields[f"a:{key}"] == participant_id for key in marker.addresses)
        assert sum(name.startswith("a:") for name in book.fields) == len(keys)


@given(tellings())
def test_the_first_target_holds(facts):
    """All entries of a conversation go to one target, with one reason: that of the first."""
    book = Book()
    for fact in facts:
        fact.take(book)
    assert len({(entry.data.target, entry.data.reason) for entry in book.entries}) <= 1


@given(tellings(("p1",)), st.randoms(use_true_random=False))
def test_a_stay_has_one_id(facts, random):
    """A participant's first stay has the same entry id in every order in which facts may come, from every source."""
    ids = []
    for source in ("conversations", "messaging"):
        book = Book()
        for fact in facts:
            fact.take(book, cause=make_cause(source=source, received_at=random.randrange(10**15)))
        ids += [entry.id for entry in book.entries if entry.type == "participant.joined"][:1]
        random.shuffle(facts)
    assert len(set(ids)) <= 1


@given(tellings(), st.data())
def test_a_lost_race_is_repeated_without_a_trace(facts, data):
    """A fact whose commit was lost, to a crash or to somebody faster, ends as if it had been taken once."""
    book, other = Book(), Book()
    for fact in facts:
        for _ in range(data.draw(st.integers(0, 2))):
            book.open().take_participant(make_fact(make_participant(fact.participant_id), fact.version))
        assert fact.take(book)[0] == fact.take(other)[0]
    assert (book.fields, book.entries) == (other.fields, other.entries)


@given(tellings(), tellings(), VERSIONS)
def test_nothing_follows_the_closing(before, after, version):
    """Once a conversation is closed, no fact about it changes or publishes anything."""
    book = Book()
    for fact in before:
        fact.take(book)
    was_held = book.fields.get("target") is not None
    book.tell(version.updated_at, status="CLOSED")
    assert [entry.type for entry in book.entries].count("conversation.closed") == was_held
    fields, entries = dict(book.fields), list(book.entries)
    for fact in after:
        assert fact.take(book)[0] in {Result.GONE, Result.STALE}
    ledger = book.open()
    ledger.take_conversation(make_conversation(status="CLOSED"), version, make_cause())
    book.commit(ledger)
    assert (book.fields, book.entries) == (fields, entries)
