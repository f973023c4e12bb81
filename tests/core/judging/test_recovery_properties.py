"""Any true history of a conversation, told with losses, repetitions and in any order, then looked at.

What is promised where callbacks are lost: after a sweep everybody who is in the conversation has exactly one joined
more than left, with the content of now, nobody who is gone is still there, and a closing is told; entries of each
participant are in an order that can be true, and no callback that comes later undoes any of it. What is not: whoever
came and went while every callback about it was lost is never told of, nor is a content that lasted between two sweeps.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from hypothesis import given, settings
from hypothesis import strategies as st

from router.core.classic.members import Member
from router.core.events import Cause, Change, ConversationReported, ParticipantReported, Version
from router.core.judging.recovery import QUIET, expected_in, recover
from router.core.ledger.marker import digest_of
from router.core.resolution.reconciliation import ConversationSnapshot
from router.core.resources import Conversation, Participant
from router.core.timestamps import to_microseconds, to_text
from tests.core.builders import CONVERSATION, RECEIVED_AT
from tests.core.committed import CommittedState
from tests.core.judging.events import judge, make_context
from tests.support.accounts import ACCOUNT, CONFIGURATION
from tests.support.policies import PLAIN

#: Seats at which participants come and go; the last one is our side's.
SEATS = {"ana": ("CUSTOMER", "+14155550101"), "bo": ("UNKNOWN", "+14155550102"), "ai": ("AI_AGENT", "+15557650001")}
#: µs between two things that happen: with times in whole seconds several share one.
STEP = 400_000
READ_AT = RECEIVED_AT + (QUIET + 3600) * 1_000_000
STEPS = st.lists(
    st.tuples(st.sampled_from(["come", "come", "change", "go"]), st.sampled_from(list(SEATS))), min_size=1, max_size=10
)


@dataclass
class History:
    """What truly happened, and the callback of each thing."""

    has_fractions: bool
    present: dict[str, Participant] = field(default_factory=dict)
    status: str = "ACTIVE"
    callbacks: list[ParticipantReported | ConversationReported] = field(default_factory=list)
    born: int = 0
    now: int = RECEIVED_AT

    def time(self) -> str:
        text = to_text(self.now)
        return text if self.has_fractions else f"{text[:19]}Z"

    def step(self, what: str, seat: str, *, is_touched: bool) -> None:
        """Let something happen, where it can."""
        self.now += STEP
        if what == "come" and seat not in self.present:
            self.born += 1
            self.present[seat] = self.make(seat, f"p{self.born}", None, self.time())
            self.tell(Change.ADDED, self.present[seat])
        elif what == "change" and seat in self.present:
            one = self.present[seat]
            self.present[seat] = self.make(seat, one.id, f"name {self.now}", one.created_at)
            self.tell(Change.UPDATED, self.present[seat])
        elif what == "go" and seat in self.present:
            one = self.present.pop(seat)
            self.tell(Change.REMOVED, one.model_copy(update={"updated_at": self.time()}) if is_touched else one)

    def make(self, seat: str, participant_id: str, name: str | None, created: str | None) -> Participant:
        kind, address = SEATS[seat]
        return Participant(
            id=participant_id,
            conversation_id=CONVERSATION,
            type=kind,
            name=name,
            addresses=[{"channel": "SMS", "address": address}],
            created_at=created,
            updated_at=self.time(),
        )

    def tell(self, change: Change, participant: Participant) -> None:
        told, updated = to_microseconds(self.time()), to_microseconds(participant.updated_at)
        version = Version(max(told, updated) if change is Change.REMOVED else updated, told)
        cause = Cause("conversations", f"PARTICIPANT_{change.upper()}", participant.id, f"k{self.now}", self.now)
        self.callbacks.append(ParticipantReported(cause, ACCOUNT, change, participant, version))

    def close(self) -> None:
        self.now += STEP
        self.status = "CLOSED"
        cause = Cause("conversations", "CONVERSATION_UPDATED", CONVERSATION, f"k{self.now}", self.now)
        at = to_microseconds(self.time())
        self.callbacks.append(ConversationReported(cause, ACCOUNT, self.conversation, Version(at, at)))

    @property
    def conversation(self) -> Conversation:
        return Conversation(id=CONVERSATION, status=self.status, configuration_id=CONFIGURATION, updated_at=self.time())

    @property
    def customers(self) -> dict[str, Participant]:
        return {one.id: one for one in self.present.values() if one.type != "AI_AGENT"}


@st.composite
def histories(draw, *, has_fractions=None):
    history = History(draw(st.booleans()) if has_fractions is None else has_fractions)
    is_touched = draw(st.booleans())
    for what, seat in draw(STEPS):
        history.step(what, seat, is_touched=is_touched)
    if draw(st.integers(0, 3)) == 0:
        history.close()
    return history


def some_of(callbacks):
    """Some of the callbacks, some of them several times, in any order."""
    return st.lists(st.sampled_from(callbacks), max_size=2 * len(callbacks)) if callbacks else st.just([])


def context(now):
    return make_context(PLAIN, now=now)


def take(state, callback):
    ledger = state.open()
    judge(context(READ_AT), callback, ledger)
    state.commit(ledger)


def look(state, history, read_at=READ_AT):
    """A sweep: what the API shows, applied to what is committed."""
    ledger = state.open()
    people = tuple(Member(one, None, None) for one in history.present.values())
    gone = expected_in(ledger) - {one.id for one in history.present.values()}
    sight = (
        ConversationSnapshot(history.conversation, people, gone)
        if history.status == "ACTIVE"
        else ConversationSnapshot(history.conversation)
    )
    recovery = recover(context(read_at), sight, ledger, read_at=read_at)
    state.commit(ledger)
    return recovery


def announced(state):
    """Return the markers of those who are announced, by id."""
    return {one: state.marker(one) for one in expected_in(state.open())}


def check_truth(state, history):
    """Compare what is committed and published with what is so."""
    entries = state.entries
    assert len({entry.id for entry in entries}) == len(entries)
    stays = {}
    for entry in entries:
        if entry.type.startswith("participant."):
            stays.setdefault(entry.subject, []).append(entry.type.partition(".")[2])
    for told in stays.values():
        assert told[0] == "joined"
        assert told.count("joined") == 1
        assert "left" not in told[:-1]
    if history.status == "CLOSED":
        assert state.open().is_closed
        assert [entry.type for entry in entries].count("conversation.closed") == bool(stays)
        assert not stays or entries[-1].type == "conversation.closed"
        return
    assert {one for one, told in stays.items() if told[-1] != "left"} == set(history.customers)
    for one, marker in announced(state).items():
        assert marker.digest == digest_of(history.customers[one])
    keys = {address.key: one.id for one in history.customers.values() for address in one.addresses}
    assert {name[2:]: value for name, value in state.fields.items() if name.startswith("a:")} == keys


@settings(max_examples=300)
@given(histories(), st.data())
def test_a_sweep_after_any_losses_ends_in_the_truth(history, data):
    """Whatever was told, how often and in which order: a sweep makes it true, and the next one finds nothing."""
    state = CommittedState()
    for callback in data.draw(some_of(history.callbacks)):
        take(state, callback)
    look(state, history)
    check_truth(state, history)
    before = list(state.entries)
    assert not look(state, history, READ_AT + 1_000_000).published
    assert state.entries == before


@settings(max_examples=300)
@given(histories(), st.data())
def test_what_comes_after_a_sweep_undoes_nothing(history, data):
    """A callback that comes late about anybody whom the sweep knew publishes nothing and changes nobody's state."""
    state = CommittedState()
    for callback in data.draw(some_of(history.callbacks)):
        take(state, callback)
    look(state, history)
    known = {name for name in state.fields if name.startswith("p:")}
    for callback in data.draw(st.permutations(history.callbacks)):
        is_known = isinstance(callback, ConversationReported) or f"p:{callback.participant.id}" in known
        before, there = list(state.entries), announced(state)
        take(state, callback)
        if is_known or state.open().is_closed:
            assert state.entries == before
            assert announced(state).keys() == there.keys()
    look(state, history, READ_AT + 1_000_000)
    check_truth(state, history)


@settings(max_examples=200)
@given(histories(), st.data())
def test_sweeps_in_the_middle_disturb_nothing(history, data):
    """A sweep between any two callbacks, early or late, leads to the same truth in the end."""
    state = CommittedState()
    for number, callback in enumerate(data.draw(some_of(history.callbacks))):
        take(state, callback)
        if data.draw(st.booleans()):
            look(state, history, READ_AT + number)
    look(state, history, READ_AT + 1_000_000)
    check_truth(state, history)


@given(histories(has_fractions=True))
def test_without_losses_everything_is_told(history):
    """Every callback once and in order: each stay has its joined, and its left where it ended, before any sweep."""
    state = CommittedState()
    for callback in history.callbacks:
        take(state, callback)
    told = [entry for entry in state.entries if entry.type == "participant.joined"]
    come = [one for one in history.callbacks if isinstance(one, ParticipantReported) and one.change is Change.ADDED]
    assert [entry.subject for entry in told] == [
        one.participant.id for one in come if one.participant.type != "AI_AGENT"
    ]
    assert not look(state, history).published
    check_truth(state, history)
