"""Turns: each communication in exactly one, in order, at its time, for the holder of the moment."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from router.core.addresses import Address
from router.core.entries import ClosedData, CommunicationData, TurnData
from router.core.events import Content, Version
from router.core.keys import Target
from router.core.ledger.communications import from_message, take_communication
from router.core.ledger.fields import FieldNotReadError
from router.core.ledger.floor import holding_of
from router.core.ledger.marker import BURST_FIELD, TURN_FIELD
from router.core.ledger.turns import (
    MAX_COMMUNICATIONS,
    MAX_TURN_BYTES,
    WITH_TURN,
    next_turn,
    publish_turns,
    show_heard,
    with_turns,
)
from router.core.policy import Asking, Burst, Decision
from router.core.routing.inputs import AddForeign
from router.core.values import replace
from tests.core.builders import CUSTOMER, make_cause, make_conversation, make_message, make_participant
from tests.core.committed import CommittedState

pytestmark = pytest.mark.promise(8)
OTHER_CUSTOMER = Address("SMS", "+14155550102")
#: ms between two rounds of the worker's loop.
INTERVAL = 250
QUIET, MOST = 1500, 8000


class TurnState(CommittedState):
    """The committed state of a conversation with a burst, and its timer as the scripts and the loop set it."""

    def __init__(self, *, asking=None):
        super().__init__()
        self.now, self.timer, self.at = 1_000_000, None, []
        decision = Decision(Target.AI_AGENT, "a rule", asking or Asking(burst=Burst(QUIET / 1000, MOST / 1000)))
        for number, address in enumerate((CUSTOMER, OTHER_CUSTOMER), 1):
            self.see(make_participant(f"p{number}", address), decision=decision)

    def open(self, known=None):
        return with_turns(super().open(known))

    def commit(self, ledger):
        before, revision = len(self.entries), ledger.revision
        super().commit(ledger)
        fresh = {entry.id for entry in self.entries[before:]}
        self.at += [self.now] * len(fresh)
        lines = [
            show_heard(one.to_fields()["event"], self.now)
            for one in ledger.entries
            if one.id in ledger.heard and one.id in fresh
        ]
        if lines:
            turn = self.fields.get(TURN_FIELD, "") + "".join(lines)
            self.fields |= {TURN_FIELD: turn, "rev": str(revision + 1)}
            due = min(self.now + QUIET, int(turn.partition(" ")[0]) + MOST)
            self.timer = min(due, self.timer or due)

    def say(self, text, customer=CUSTOMER, *, opt_out=None, sid=None):
        """Take a message of a customer."""
        content = Content(text, opt_out=opt_out)
        self.publish(from_message(replace(make_message(customer, sid=sid or f"SM{text}"), content=content)), 5000)

    def look(self):
        """Do what the worker does when the timer is due."""
        ledger = self.open()
        publish_turns(ledger, self.now)
        self.commit(ledger)
        self.timer = next_turn(self.open())

    def wait(self, milliseconds):
        """Let time pass, with the rounds of the loop."""
        end = self.now + milliseconds
        while self.now < end:
            self.now = min(end, self.now + INTERVAL)
            if self.timer is not None and self.timer <= self.now:
                self.look()

    def give(self, participant_id):
        """Let somebody hold the conversation whom another system added."""
        ledger = self.open()
        ledger.take_floor(holding_of(ledger), AddForeign(participant_id), make_cause())
        self.commit(ledger)

    def turns(self):
        """Return the customer and the texts of each turn."""
        found = [entry for entry in self.entries if type(entry.data) is TurnData]
        return [(one.subject, [said.text for said in one.data.communications]) for one in found]


@pytest.fixture
def state():
    return TurnState()


def test_a_burst_is_one_turn(state):
    """It is ready once the customer has been quiet, and not before; each message was published by itself too."""
    state.say("hi")
    state.wait(1000)
    state.say("are you")
    state.say("there?")
    state.wait(1499)
    assert state.turns() == []
    state.wait(1 + INTERVAL)
    assert state.turns() == [("p1", ["hi", "are you", "there?"])]
    assert state.types.count("communication.received") == 3
    assert (state.timer, state.open().get(TURN_FIELD)) == (None, None)


def test_the_entry_of_a_turn(state):
    """Customer and cause are those of its last communication; its id is of its first one, and equal if repeated."""
    state.say("hi")
    state.say("there")
    ledgers = [state.open(), state.open()]
    for ledger in ledgers:
        assert publish_turns(ledger, None)
    assert [entry.id for entry in ledgers[0].entries] == [entry.id for entry in ledgers[1].entries]
    state.commit(ledgers[0])
    last, turn = state.entries[-2:]
    assert type(last.data) is CommunicationData
    assert turn.data.model_dump(exclude={"communications", "opt_out"}) == last.data.model_dump(
        exclude={"communication"}
    )
    assert (turn.subject, turn.time, turn.data.communications[1]) == (last.subject, last.time, last.data.communication)


def test_never_later_than_most(state):
    """Of a customer who does not stop, the turn is ready all the same."""
    for number in range(12):
        state.say(str(number))
        state.wait(1000)
    assert [len(texts) for _, texts in state.turns()] == [8]
    state.wait(MOST)
    assert [text for _, texts in state.turns() for text in texts] == list(map(str, range(12)))


def test_a_repeated_report_is_in_no_turn(state):
    """It neither comes twice nor keeps the turn open."""
    state.say("hi", sid="SM1")
    state.wait(1400)
    state.say("hi", sid="SM1")
    state.wait(100 + INTERVAL)
    assert state.turns() == [("p1", ["hi"])]
    state.say("hi", sid="SM1")
    assert state.timer is None


def test_each_customer_has_turns(state):
    """Also if both write at the same time."""
    state.say("a")
    state.wait(1000)
    state.say("b", OTHER_CUSTOMER)
    state.wait(1000)
    assert state.turns() == [("p1", ["a"])]
    state.wait(1000)
    assert state.turns() == [("p1", ["a"]), ("p2", ["b"])]


def test_the_closing_ends_the_turn(state):
    """Before it is told."""
    state.say("bye")
    state.report(5, status="CLOSED")
    assert state.types[-2:] == [TurnData.type, ClosedData.type]
    assert state.turns() == [("p1", ["bye"])]
    state.wait(MOST)
    assert len(state.turns()) == 1


def test_a_message_and_the_closing_in_one_commit(state):
    """Cannot be: whether the message is part of the turn is known after its commit only."""
    ledger = state.open()
    fact = from_message(make_message())
    take_communication(ledger, fact, text_limit=100)
    assert ledger.wake_at == WITH_TURN
    with pytest.raises(FieldNotReadError):
        ledger.take_conversation(make_conversation(status="CLOSED"), Version(5, 5), make_cause())


def test_the_holder_of_the_moment_gets_it(state):
    """With the epoch of the moment."""
    state.say("hi")
    state.give("mb1")
    state.say("again")
    state.wait(2000)
    (turn,) = [entry for entry in state.entries if type(entry.data) is TurnData]
    assert (turn.data.target, turn.data.epoch) == ("human-agent", 1)
    assert state.turns() == [("p1", ["hi", "again"])]


@pytest.mark.parametrize(
    ("keywords", "opt_out"),
    [
        ([None], None),
        (["STOP"], "STOP"),
        (["HELP"], "HELP"),
        (["HELP", None], None),
        ([None, "STOP"], "STOP"),
        (["STOP", None], "STOP"),
        (["STOP", "START", None], None),
        (["STOP", "START"], "START"),
        (["START", "STOP", "HELP"], "STOP"),
    ],
)
def test_opt_outs(state, keywords, opt_out):
    """After STOP nothing is to be answered until START; what Twilio has answered is not to be answered again."""
    for number, keyword in enumerate(keywords):
        state.say(str(number), opt_out=keyword)
    state.wait(2000)
    assert state.entries[-1].data.opt_out == opt_out


def test_a_full_turn_is_ready_at_once(state):
    """And what is too much for it makes the next one."""
    for number in range(MAX_COMMUNICATIONS + 3):
        state.say(str(number))
    state.look()
    assert [len(texts) for _, texts in state.turns()] == [MAX_COMMUNICATIONS]
    state.wait(2000)
    assert [len(texts) for _, texts in state.turns()] == [MAX_COMMUNICATIONS, 3]
    for number in range(20):
        state.say(f"{number}{'ü' * 4500}")
    state.look()
    size = len(state.entries[-1].model_dump_json().encode())
    assert MAX_TURN_BYTES / 2 < size < MAX_TURN_BYTES + 10_000


def test_texts_with_line_separators(state):
    """Are kept as they are."""
    texts = ["a\nb", "c\u2028d", "e\x85f\r", "\x1c", ""]
    for text in texts:
        state.say(text)
    state.wait(2000)
    assert state.turns() == [("p1", texts)]


def test_without_a_burst():
    """Nothing is kept."""
    state = TurnState(asking=Asking())
    state.say("hi")
    assert (BURST_FIELD in state.fields, TURN_FIELD in state.fields, state.timer) == (False, False, None)


def test_a_burst_that_is_taken_out_of_the_policy():
    """Open turns end all the same, and the conversation keeps its burst until it closes."""
    state = TurnState()
    state.say("hi")
    ledger = CommittedState.open(state)
    assert publish_turns(ledger, state.now + QUIET)
    assert len(ledger.entries) == 1


STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("say"), st.sampled_from([CUSTOMER, OTHER_CUSTOMER])),
        st.tuples(st.just("repeat"), st.just(None)),
        st.tuples(st.just("wait"), st.integers(1, 4000)),
        st.tuples(st.just("give"), st.just(None)),
        st.tuples(st.just("look"), st.just(None)),
    ),
    max_size=40,
)


def play(state, steps):
    """Do steps; return who said what when, by text, and the holder at the time of each entry."""
    said, holders = {}, []
    for number, (step, value) in enumerate(steps):
        if step == "say":
            said[str(number)] = ("p1" if value == CUSTOMER else "p2", state.now)
            state.say(str(number), value)
        elif step == "repeat" and said:
            state.say(next(iter(said)))
        elif step == "give":
            state.give(f"mb{number}")
        elif step == "wait":
            state.wait(value)
        elif step == "look":
            state.look()
        holders += [(state.fields["target"], state.open().epoch)] * (len(state.entries) - len(holders))
    return said, holders


@settings(max_examples=200)
@given(STEPS, st.booleans())
def test_any_interleaving(steps, is_closed):
    """Each communication is in one turn, in order; none is empty, none too early or too late, each for the holder."""
    state = TurnState()
    said, holders = play(state, steps)
    if is_closed:
        state.report(5, status="CLOSED")
    state.wait(MOST + INTERVAL)
    assert TURN_FIELD not in state.fields
    for subject in ("p1", "p2"):
        texts = [text for owner, texts in state.turns() for text in texts if owner == subject]
        assert texts == [text for text, (owner, _) in said.items() if owner == subject]
    turns = [number for number, entry in enumerate(state.entries) if type(entry.data) is TurnData]
    for number in turns:
        data, at = state.entries[number].data, state.at[number]
        first, last = (said[data.communications[end].text][1] for end in (0, -1))
        assert at <= first + MOST + INTERVAL
        assert is_closed or at >= min(last + QUIET, first + MOST)
        assert number >= len(holders) or (data.target, data.epoch) == holders[number]
