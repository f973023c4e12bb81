"""The state machine of a conversation's floor: every interleaving, and the words of each refusal."""

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from router.core.keys import Target
from router.core.routing.holding import (
    MAX_ASKED,
    Because,
    HandoffRequest,
    Holder,
    Holding,
    OfferEnd,
    Why,
    read_holding,
)
from router.core.routing.inputs import (
    AcceptOffer,
    AddForeign,
    AskAgain,
    AskForPerson,
    Changed,
    CloseFloor,
    DeclineOffer,
    Ended,
    ExpireOffer,
    Failed,
    GetPlace,
    GiveUp,
    LapseHolder,
    LoseCustomer,
    LosePlace,
    Made,
    Overflow,
    ReleaseFloor,
    RemoveForeign,
    Requested,
)
from router.core.routing.queues import Fallback
from router.core.routing.transitions import FOREIGN, TABLE, Floor, Stage, floor_of, stage_of, take

pytestmark = pytest.mark.promise(6)
AI = Holder(target=Target.AI_AGENT)
QUEUE = Holder(target=Target.HUMAN_AGENT)
RING = 20_000


def request(number=1, **fields):
    return HandoffRequest(id=f"r{number}", reason="asked", queue="default", since=0, **fields)


def run(*inputs, start=AI):
    """Return the last step of a holding that takes the inputs in turn; those before it must not be refused."""
    holding = Holding(holder=start)
    for given in inputs[:-1]:
        step = take(holding, given)
        assert step.refused is None, given
        holding = step.holding
    return take(holding, inputs[-1])


ASKED = AskForPerson(request())
PLACED = GetPlace("r1", "dana", "Dana", now=0, ring=RING)
OFFER = "r1.1"
ACCEPTED = AcceptOffer(OFFER, "dana", now=5)


def test_the_giver_keeps_the_floor_until_somebody_accepts():
    """A request and an offer change nobody; the acceptance does, with the next epoch."""
    offered = run(ASKED, PLACED).holding
    assert (offered.holder, offered.epoch) == (AI, 0)
    step = run(ASKED, PLACED, ACCEPTED)
    assert step.holding.holder == Holder(target=Target.HUMAN_AGENT, agent="dana")
    assert (step.holding.epoch, step.holding.request, step.holding.offer) == (1, None, None)
    ended, changed = step.happened
    assert (ended.how, changed.before, changed.epoch, changed.because) == (OfferEnd.ACCEPTED, AI, 1, Because.ACCEPTED)


def test_a_queue_that_does_not_ask_assigns():
    """Without an offer the agent holds at once."""
    step = run(ASKED, GetPlace("r1", "dana", "Dana", now=0, ring=RING, is_automatic=True))
    assert (step.holding.holder.agent, step.holding.epoch) == ("dana", 1)
    assert [type(one) for one in step.happened] == [Changed]


def test_who_declined_is_not_asked_again_and_who_missed_is_asked_last():
    """Both stay known with the request."""
    declined = run(ASKED, PLACED, DeclineOffer(OFFER, "dana"))
    assert declined.holding.request.declined == ("dana",)
    assert take(declined.holding, GetPlace("r1", "dana", "Dana", now=9, ring=RING)).refused is Why.NO_OFFER
    missed = run(ASKED, PLACED, ExpireOffer(OFFER, now=RING))
    assert (missed.holding.request.missed, missed.holding.request.declined) == (("dana",), ())
    again = take(missed.holding, GetPlace("r1", "dana", "Dana", now=RING, ring=RING))
    assert again.holding.offer.id == "r1.2"


def test_a_transfer_is_withdrawn_by_a_release():
    """The conversation goes to the AI agent, and nobody can accept it any more."""
    transfer = AskForPerson(request(2, asked_by="dana"), epoch=1)
    step = run(
        ASKED,
        PLACED,
        ACCEPTED,
        transfer,
        GetPlace("r2", "eli", "Eli", now=9, ring=RING),
        ReleaseFloor("dana", 1, "bye"),
    )
    ended, changed = step.happened
    assert (ended.how, changed.note, step.holding.holder, step.holding.epoch) == (OfferEnd.WITHDRAWN, "bye", AI, 2)
    assert take(step.holding, AcceptOffer("r2.2", "eli", now=10)).refused is Why.NO_OFFER


def test_a_transfer_outlives_the_presence_of_the_giver():
    """The one who is asked may still accept; meanwhile the queue holds."""
    transfer = AskForPerson(request(2, asked_by="dana"))
    placed = GetPlace("r2", "eli", "Eli", now=9, ring=RING)
    step = run(ASKED, PLACED, ACCEPTED, transfer, placed, LapseHolder("dana", request(3)))
    assert (step.holding.holder, step.holding.offer.agent, step.holding.request.id) == (QUEUE, "eli", "r2")
    assert take(step.holding, AcceptOffer("r2.2", "eli", now=10)).holding.holder.agent == "eli"


def test_giving_up():
    """The AI agent goes on where it had the floor, gets it where the queue had it, and a person keeps it."""
    failed = run(ASKED, PLACED, GiveUp("r1", Fallback.AI_AGENT))
    assert ([type(one) for one in failed.happened], failed.holding.epoch) == ([Ended, Failed], 0)
    fallen = run(ASKED, GiveUp("r1", Fallback.AI_AGENT), start=QUEUE)
    assert ([type(one) for one in fallen.happened], fallen.holding.holder) == ([Failed, Changed], AI)
    transfer = AskForPerson(request(2, asked_by="dana"))
    kept = run(ASKED, PLACED, ACCEPTED, transfer, GiveUp("r2", Fallback.AI_AGENT))
    assert (kept.holding.holder.agent, kept.holding.epoch, kept.holding.request) == ("dana", 1, None)
    waits = run(ASKED, GiveUp("r1", Fallback.WAIT), start=QUEUE)
    assert (waits.holding.request.is_overdue, waits.holding.holder) == (True, QUEUE)
    assert take(waits.holding, GiveUp("r1", Fallback.WAIT)).refused is Why.NO_OFFER


@pytest.mark.parametrize(
    ("inputs", "why"),
    [
        ((ASKED, ASKED), Why.PENDING),
        ((ASKED, GiveUp("r1", Fallback.AI_AGENT), ASKED), Why.REPEATED),
        ((ASKED, PLACED, ACCEPTED, ReleaseFloor("dana", 1), ASKED), Why.REPEATED),
        ((AskForPerson(request(), epoch=1),), Why.STALE_EPOCH),
        ((AskForPerson(request(asked_by="dana")),), Why.NOT_HOLDER),
        ((ASKED, PLACED, ACCEPTED, AskForPerson(request(2, agent="dana", asked_by="dana"))), Why.ITSELF),
        ((ASKED, ACCEPTED), Why.NO_OFFER),
        ((ASKED, PLACED, AcceptOffer("r1.9", "dana", now=5)), Why.NO_OFFER),
        ((ASKED, PLACED, AcceptOffer(OFFER, "eli", now=5)), Why.NOT_ASKED),
        ((ASKED, PLACED, AcceptOffer(OFFER, "dana", now=RING)), Why.EXPIRED),
        ((ASKED, PLACED, ACCEPTED, ACCEPTED), Why.NO_OFFER),
        ((ASKED, PLACED, DeclineOffer(OFFER, "eli")), Why.NOT_ASKED),
        ((ReleaseFloor("dana", 0),), Why.NOT_HOLDER),
        ((ASKED, PLACED, ACCEPTED, ReleaseFloor("eli", 1)), Why.NOT_HOLDER),
        ((ASKED, PLACED, ACCEPTED, ReleaseFloor("dana", 0)), Why.STALE_EPOCH),
        ((ASKED, PLACED, CloseFloor(), ACCEPTED), Why.CLOSED),
        ((ASKED, PLACED, GetPlace("r1", "eli", "Eli", now=0, ring=RING)), Why.PENDING),
        ((ASKED, PLACED, ExpireOffer(OFFER, now=RING - 1)), Why.NO_OFFER),
    ],
)
def test_refusals(inputs, why):
    """A refusal names its reason and changes nothing."""
    step = run(*inputs)
    assert (step.refused, step.happened) == (why, ())


def test_the_ids_of_requests_are_remembered_within_bounds():
    """However many requests a conversation has had, its state stays small, and the last ones are known."""
    holding = Holding(holder=AI)
    for number in range(3 * MAX_ASKED):
        holding = take(holding, AskForPerson(request(number))).holding
        holding = take(holding, GiveUp(f"r{number}", Fallback.AI_AGENT)).holding
    assert holding.asked == tuple(f"r{number}" for number in range(2 * MAX_ASKED, 3 * MAX_ASKED))
    assert take(holding, AskForPerson(request(3 * MAX_ASKED))).refused is None


def test_a_holding_is_read_as_it_was_written():
    """The ledger keeps it as JSON."""
    holding = run(ASKED, PLACED).holding
    assert read_holding(holding.model_dump_json()) == holding


AGENTS = st.sampled_from(["dana", "eli", "fay"])
EPOCHS = st.integers(-1, 1)


class Floors(RuleBasedStateMachine):
    """Every interleaving of requests, offers, presence, other systems and the closing of one conversation."""

    def __init__(self):
        super().__init__()
        self.holding = Holding(holder=AI)
        self.now = 0
        self.requests = 0
        self.open_offers = set()
        self.open_requests = set()
        self.asked = []
        self.epochs = [0]

    def take(self, given):
        """Take an input and check what holds for every one."""
        before, step = self.holding, take(self.holding, given)
        assert take(before, given) == step
        if step.refused is not None:
            assert (step.holding, step.happened) == (before, ())
            return step
        self.holding = step.holding
        changes = [one for one in step.happened if isinstance(one, Changed)]
        assert len(changes) <= 1
        assert (step.holding.holder != before.holder) <= bool(changes)
        assert step.holding.epoch == before.epoch + len(changes)
        for one in step.happened:
            self.note(one)
        if (asked := step.holding.request) is not None:
            assert asked.id in self.open_requests
        return step

    def note(self, one):
        match one:
            case Requested():
                assert one.request.id not in self.open_requests
                self.open_requests.add(one.request.id)
            case Made():
                assert one.offer.id not in self.open_offers
                self.open_offers.add(one.offer.id)
            case Ended():
                self.open_offers.remove(one.offer.id)
            case Changed():
                assert one.epoch > self.epochs[-1]
                self.epochs.append(one.epoch)
                assert one.after == self.holding.holder

    def fresh(self, **fields):
        self.requests += 1
        return request(self.requests, **fields)

    @rule(agent=st.none() | AGENTS, asked_by=st.none() | AGENTS, epoch=st.none() | EPOCHS)
    def ask(self, agent, asked_by, epoch):
        epoch = None if epoch is None else self.holding.epoch + epoch
        fresh = self.fresh(agent=agent, asked_by=asked_by)
        if self.take(AskForPerson(fresh, epoch)).refused is None:
            self.asked.append(fresh)

    @precondition(lambda self: self.asked)
    @rule(back=st.integers(1, MAX_ASKED))
    def ask_again(self, back):
        step = self.take(AskForPerson(self.asked[-min(back, len(self.asked))]))
        assert step.refused in {Why.REPEATED, Why.PENDING, Why.CLOSED}

    @precondition(lambda self: self.holding.request is not None)
    @rule(agent=AGENTS, is_automatic=st.booleans())
    def place(self, agent, is_automatic):
        self.take(GetPlace(self.holding.request.id, agent, agent.title(), self.now, RING, is_automatic))

    @precondition(lambda self: self.holding.offer is not None)
    @rule(agent=AGENTS, is_late=st.booleans())
    def accept(self, agent, is_late):
        offer = self.holding.offer
        step = self.take(AcceptOffer(offer.id, agent, offer.expires_at if is_late else self.now))
        is_taken = agent == offer.agent and not is_late and self.now < offer.expires_at
        assert (step.refused is None) == is_taken
        if is_taken:
            assert self.holding.holder.agent == agent

    @precondition(lambda self: self.holding.offer is not None)
    @rule(agent=AGENTS)
    def decline(self, agent):
        self.take(DeclineOffer(self.holding.offer.id, agent))

    @rule(agent=AGENTS)
    def unplace(self, agent):
        self.take(LosePlace(agent))

    @precondition(lambda self: self.holding.offer is not None)
    @rule()
    def expire(self):
        self.now = max(self.now, self.holding.offer.expires_at)
        self.take(ExpireOffer(self.holding.offer.id, self.now))

    @precondition(lambda self: self.holding.request is not None)
    @rule(fallback=st.sampled_from(Fallback))
    def give_up(self, fallback):
        self.take(GiveUp(self.holding.request.id, fallback))

    @precondition(lambda self: self.holding.request is not None)
    @rule(queue=st.sampled_from(["default", "late"]))
    def overflow(self, queue):
        self.take(Overflow(self.holding.request.id, queue, self.now))

    @precondition(lambda self: self.holding.request is not None)
    @rule()
    def ask_all_again(self):
        step = self.take(AskAgain(self.holding.request.id, self.now))
        assert step.refused is not None or not self.holding.request.declined

    @precondition(lambda self: self.holding.request is not None)
    @rule()
    def lose_customer(self):
        step = self.take(LoseCustomer(self.holding.request.id))
        assert step.refused is not None or self.holding.request is None

    @rule(agent=AGENTS, epoch=EPOCHS)
    def release(self, agent, epoch):
        holder, right = self.holding.holder, self.holding.epoch
        step = self.take(ReleaseFloor(agent, right + epoch))
        assert (step.refused is None) == (holder.agent == agent and epoch == 0 and not self.holding.is_closed)

    @rule(agent=AGENTS)
    def lapse(self, agent):
        self.take(LapseHolder(agent, self.fresh()))
        assert self.holding.is_closed or self.holding.holder.agent != agent

    @rule(number=st.integers(1, 2))
    def join(self, number):
        self.take(AddForeign(f"p{number}"))
        assert self.holding.is_closed or self.holding.holder.agent == f"{FOREIGN}p{number}"

    @rule(number=st.integers(1, 2), is_queued=st.booleans())
    def leave(self, number, is_queued):
        self.take(RemoveForeign(f"p{number}", self.fresh() if is_queued else None))
        assert self.holding.is_closed or self.holding.holder.agent != f"{FOREIGN}p{number}"

    @rule()
    def close(self):
        self.take(CloseFloor())
        assert floor_of(self.holding) is Floor.CLOSED

    @invariant()
    def an_offer_belongs_to_a_request_and_is_open(self):
        offer = self.holding.offer
        assert self.open_offers == ({offer.id} if offer else set())
        assert offer is None or (self.holding.request is not None and offer.agent != self.holding.holder.agent)
        assert offer is None or offer.agent not in self.holding.request.declined

    @invariant()
    def a_queue_without_a_person_has_a_request(self):
        has_lost_customer = self.holding.taken is not None  # and puts them in line again once they come back
        is_idle = stage_of(self.holding) is Stage.IDLE
        assert floor_of(self.holding) is not Floor.QUEUE or not is_idle or has_lost_customer


Floors.TestCase.settings = settings(max_examples=60, stateful_step_count=40, deadline=None)
TestFloors = Floors.TestCase


def test_the_table_has_every_input():
    """Each row is about known floors and stages."""
    assert set(TABLE) == {
        AcceptOffer,
        AddForeign,
        AskAgain,
        AskForPerson,
        CloseFloor,
        DeclineOffer,
        ExpireOffer,
        GetPlace,
        GiveUp,
        LapseHolder,
        LoseCustomer,
        LosePlace,
        Overflow,
        ReleaseFloor,
        RemoveForeign,
    }
