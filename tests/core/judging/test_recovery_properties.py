"""Recovery over random histories of a conversation, whose callbacks are lost, repeated and reordered, then a sweep.

Promised if callbacks are lost: after a sweep every participant of the conversation has exactly one more joined than
left, with its current content; no one who is gone is still present; a closing is published. The entries of each
participant are in a possible order, and no later callback undoes any of it. Not promised: a participant that came and
went, or a content that lasted, between two sweeps while every callback about it was lost.
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

#: The participants that are added and removed, by type and address; the last one is our side.
PARTICIPANTS = {
    "ana": ("CUSTOMER", "+14155550101"),
    "bo": ("UNKNOWN", "+14155550102"),
    "ai": ("AI_AGENT", "+15557650001"),
}
#: µs between two changes: times in whole seconds are shared by several changes.
STEP = 400_000
READ_AT = RECEIVED_AT + (QUIET + 3600) * 1_000_000
STEPS = st.lists(
    st.tuples(st.sampled_from(["add", "add", "change", "remove"]), st.sampled_from(list(PARTICIPANTS))),
    min_size=1,
    max_size=10,
)


@dataclass
class History:
    """The true history of a conversation, and the callback of each change."""

    has_fractions: bool
    present: dict[str, Participant] = field(default_factory=dict)
    status: str = "ACTIVE"
    callbacks: list[ParticipantReported | ConversationReported] = field(default_factory=list)
    added: int = 0
    now: int = RECEIVED_AT

    def time(self) -> str:
        text = to_text(self.now)
        return text if self.has_fractions else f"{text[:19]}Z"

    def step(self, action: str, who: str, *, is_touched: bool) -> None:
        """Add, change or remove a participant, if that is possible."""
        self.now += STEP
        if action == "add" and who not in self.present:
            self.added += 1
            self.present[who] = self.make(who, f"p{self.added}", None, self.time())
            self.report(Change.ADDED, self.present[who])
        elif action == "change" and who in self.present:
            one = self.present[who]
            self.present[who] = self.make(who, one.id, f"name {self.now}", one.created_at)
            self.report(Change.UPDATED, self.present[who])
        elif action == "remove" and who in self.present:
            one = self.present.pop(who)
            self.report(Change.REMOVED, one.model_copy(update={"updated_at": self.time()}) if is_touched else one)

    def make(self, who: str, participant_id: str, name: str | None, created: str | None) -> Participant:
        kind, address = PARTICIPANTS[who]
        return Participant(
            id=participant_id,
            conversation_id=CONVERSATION,
            type=kind,
            name=name,
            addresses=[{"channel": "SMS", "address": address}],
            created_at=created,
            updated_at=self.time(),
        )

    def report(self, change: Change, participant: Participant) -> None:
        reported, updated = to_microseconds(self.time()), to_microseconds(participant.updated_at)
        version = Version(max(reported, updated) if change is Change.REMOVED else updated, reported)
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
    for action, who in draw(STEPS):
        history.step(action, who, is_touched=is_touched)
    if draw(st.integers(0, 3)) == 0:
        history.close()
    return history


def some_of(callbacks):
    """Draw some of the callbacks, some of them several times, in any order."""
    return st.lists(st.sampled_from(callbacks), max_size=2 * len(callbacks)) if callbacks else st.just([])


def context(now):
    return make_context(PLAIN, now=now)


def take(state, callback):
    ledger = state.open()
    judge(context(READ_AT), callback, ledger)
    state.commit(ledger)


def sweep(state, history, read_at=READ_AT):
    """Apply the API's present state to the committed one."""
    ledger = state.open()
    members = tuple(Member(one, None, None) for one in history.present.values())
    gone = expected_in(ledger) - {one.id for one in history.present.values()}
    snapshot = (
        ConversationSnapshot(history.conversation, members, gone)
        if history.status == "ACTIVE"
        else ConversationSnapshot(history.conversation)
    )
    recovery = recover(context(read_at), snapshot, ledger, read_at=read_at)
    state.commit(ledger)
    return recovery


def announced(state):
    """Return the markers of the announced participants, by id."""
    markers = {one: state.marker(one) for one in expected_in(state.open())}
    return {one: marker for one, marker in markers.items() if marker.is_announced}


def check_truth(state, history):
    """Compare the committed and published state with the history."""
    entries = state.entries
    assert len({entry.id for entry in entries}) == len(entries)
    stays = {}
    for entry in entries:
        if entry.type.startswith("participant."):
            stays.setdefault(entry.subject, []).append(entry.type.partition(".")[2])
    for types in stays.values():
        assert types[0] == "joined"
        assert types.count("joined") == 1
        assert "left" not in types[:-1]
    if history.status == "CLOSED":
        assert state.open().is_closed
        assert [entry.type for entry in entries].count("conversation.closed") == bool(stays)
        assert not stays or entries[-1].type == "conversation.closed"
        return
    assert {one for one, types in stays.items() if types[-1] != "left"} == set(history.customers)
    for one, marker in announced(state).items():
        assert marker.digest == digest_of(history.customers[one])
    keys = {address.key: one.id for one in history.customers.values() for address in one.addresses}
    assert {name[2:]: value for name, value in state.fields.items() if name.startswith("a:")} == keys


@settings(max_examples=300)
@given(histories(), st.data())
def test_a_sweep_restores_the_truth_after_any_losses(history, data):
    """After lost, repeated or reordered callbacks a sweep restores the truth, and the next one publishes nothing."""
    state = CommittedState()
    for callback in data.draw(some_of(history.callbacks)):
        take(state, callback)
    sweep(state, history)
    check_truth(state, history)
    before = list(state.entries)
    assert not sweep(state, history, READ_AT + 1_000_000).published
    assert state.entries == before


@settings(max_examples=300)
@given(histories(), st.data())
def test_late_callbacks_undo_nothing_after_a_sweep(history, data):
    """A late callback about a participant that the sweep knew publishes nothing and changes no one's presence."""
    state = CommittedState()
    for callback in data.draw(some_of(history.callbacks)):
        take(state, callback)
    sweep(state, history)
    known = {name for name in state.fields if name.startswith("p:")}
    for callback in data.draw(st.permutations(history.callbacks)):
        is_known = isinstance(callback, ConversationReported) or f"p:{callback.participant.id}" in known
        before, there = list(state.entries), announced(state)
        take(state, callback)
        if is_known or state.open().is_closed:
            assert state.entries == before
            assert announced(state).keys() == there.keys()
    sweep(state, history, READ_AT + 1_000_000)
    check_truth(state, history)


@settings(max_examples=200)
@given(histories(), st.data())
def test_sweeps_between_callbacks_lead_to_the_same_truth(history, data):
    """Sweeps between callbacks, early or late, do not change the final state."""
    state = CommittedState()
    for number, callback in enumerate(data.draw(some_of(history.callbacks))):
        take(state, callback)
        if data.draw(st.booleans()):
            sweep(state, history, READ_AT + number)
    sweep(state, history, READ_AT + 1_000_000)
    check_truth(state, history)


@given(histories(has_fractions=True))
def test_without_losses_the_sweep_finds_nothing(history):
    """If every callback arrives once and in order, each stay is published and a sweep adds nothing."""
    state = CommittedState()
    for callback in history.callbacks:
        take(state, callback)
    joined = [entry for entry in state.entries if entry.type == "participant.joined"]
    added = [one for one in history.callbacks if isinstance(one, ParticipantReported) and one.change is Change.ADDED]
    assert [entry.subject for entry in joined] == [
        one.participant.id for one in added if one.participant.type != "AI_AGENT"
    ]
    assert not sweep(state, history).published
    check_truth(state, history)
