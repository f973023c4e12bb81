"""What a conversation wants of the desk: an agent only while its queue asks, and a time for every deadline."""

from __future__ import annotations

from datetime import UTC, datetime, time

import pytest

from router.core.keys import Target
from router.core.policy import Hours
from router.core.routing.holding import HandoffRequest, Holder, Holding
from router.core.routing.inputs import GiveUp, Overflow
from router.core.routing.queues import Fallback, Queue
from router.core.routing.team import Team, TeamMember
from router.core.routing.transitions import take
from router.core.routing.wishes import due_now, next_due, wish_of

DAY = (Hours("UTC", start=time(9), end=time(17)),)
TEN = int(datetime(2027, 1, 15, 10, tzinfo=UTC).timestamp() * 1000)
NIGHT = TEN + 12 * 3_600_000
PEOPLE = {one: TeamMember(one, one.title(), 1) for one in ("dana", "eli")}
QUEUE = Holder(target=Target.HUMAN_AGENT)


def waiting(since, holder=QUEUE, **fields):
    """Return a conversation with a request from `since`."""
    request = HandoffRequest(id="r", reason="x", queue="default", since=since, queued_at=since, **fields)
    return Holding(holder=holder, request=request)


def team(**options):
    return Team(PEOPLE, {"default": Queue(patience=60, **options), "late": Queue("late")})


@pytest.mark.parametrize("fallback", Fallback)
def test_nobody_is_asked_while_the_queue_is_closed(fallback):
    """Not between the request and its fallback, and not by a request that waits on."""
    closed = team(hours=DAY, fallback=fallback)
    fresh = waiting(NIGHT)
    assert (wish_of(fresh, closed, NIGHT).need, next_due(fresh, closed, NIGHT)) == (None, NIGHT)
    given = due_now(fresh, closed, NIGHT)
    assert given == GiveUp("r", fallback)
    waits = take(fresh, given).holding
    assert wish_of(waits, closed, NIGHT).need is None
    if waits.request is not None:
        later = next_due(waits, closed, NIGHT)
        assert NIGHT < later <= NIGHT + 60_000
        assert wish_of(waits, closed, TEN).need is not None


def test_looking_at_a_long_line_costs_little():
    """Each place is looked at for a change, the first ones often: 50,000 who wait make about 80 looks a second."""
    patient = Team(PEOPLE, {"default": Queue(patience=86_400, wait_message="{place}")})
    fresh = waiting(TEN)
    pauses = [next_due(fresh, patient, TEN, line=line) - TEN for line in range(1, 50_001)]
    assert pauses == sorted(pauses)
    assert pauses[0] < 6000
    assert sum(1000 / pause for pause in pauses) < 80


def test_nobody_is_asked_once_the_patience_is_over():
    """The overflow or the fallback comes first, whoever settles the conversation at that moment."""
    late = team(overflow="late")
    fresh = waiting(TEN)
    assert wish_of(fresh, late, TEN + 59_999).need is not None
    assert wish_of(fresh, late, TEN + 60_000).need is None
    assert next_due(fresh, late, TEN + 60_000) == TEN + 60_000
    assert due_now(fresh, late, TEN + 60_000) == Overflow("r", "late", TEN + 60_000)


@pytest.mark.parametrize("fallback", [Fallback.WAIT, Fallback.MESSAGE])
def test_a_request_for_one_agent_who_does_not_come_is_for_everybody_after_the_patience(fallback):
    """Nobody waits for ever for one who has declined, has left the roster, or is on holiday."""
    patient = team(fallback=fallback)
    declined = waiting(TEN, agent="dana", declined=("dana",))
    given = due_now(declined, patient, TEN)
    waits = take(declined, given).holding
    need = wish_of(waits, patient, TEN).need
    assert (need.agent, need.excluded) == (None, frozenset({"dana"}))
    absent = take(waiting(TEN, agent="dana"), GiveUp("r", fallback)).holding
    assert wish_of(absent, patient, TEN).need.agent is None


@pytest.mark.parametrize("fallback", Fallback)
def test_a_transfer_that_nobody_takes_ends_whatever_the_fallback(fallback):
    """The giver has kept the floor, and may transfer again."""
    holder = Holder(target=Target.HUMAN_AGENT, agent="dana")
    step = take(waiting(TEN, holder, asked_by="dana"), GiveUp("r", fallback))
    (failed,) = step.happened
    assert (step.holding.request, step.holding.holder, failed.fallback) == (None, holder, Fallback.AI_AGENT)
