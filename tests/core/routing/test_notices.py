"""What waiting customers are told: their place in line once each, and the queue's words when its patience is over."""

import pytest

from router.core.keys import Target
from router.core.routing.holding import HandoffRequest, Holder, Holding, Offer
from router.core.routing.notices import notice_of
from router.core.routing.queues import Fallback, Queue
from router.core.routing.team import Team

REQUEST = HandoffRequest(id="r1", reason="x", queue="default", since=0)
OFFER = Offer(id="r1.1", agent="dana", name="Dana", made_at=0, expires_at=9)
WORDS = Queue(ring=20, wait_message="You are number {place}; about {minutes} min.")


def notice(queue=WORDS, line=0, pace=0, **fields):
    holding = Holding(**{"holder": Holder(target=Target.AI_AGENT), "request": REQUEST} | fields)
    return notice_of(holding, Team(queues={"default": queue}), line=line, pace=pace)


@pytest.mark.parametrize(("line", "pace", "minutes"), [(1, 0, 1), (4, 0, 2), (3, 60_000, 3), (3, 61_000, 4), (1, 1, 1)])
def test_place_in_line(line, pace, minutes):
    """Named by the place, so that one which comes back is not told again; a wait is at least a minute."""
    assert notice(line=line, pace=pace) == (f"r1 place {line}", f"You are number {line}; about {minutes} min.")


@pytest.mark.parametrize(
    "fields",
    [
        pytest.param({"line": 0}, id="not in line"),
        pytest.param({"line": 1, "queue": Queue()}, id="no words"),
        pytest.param({"line": 1, "offer": OFFER}, id="somebody is asked"),
        pytest.param({"line": 1, "request": None}, id="no request"),
        pytest.param({"line": 1, "is_closed": True}, id="closed"),
    ],
)
def test_silence(fields):
    """Nothing is told otherwise."""
    assert notice(**fields) is None


def test_patience_is_over():
    """The fallback's message is sent once by the request's name, in place of the place in line."""
    queue = Queue(fallback=Fallback.MESSAGE, fallback_message="Tomorrow.", wait_message="{place}")
    overdue = REQUEST.model_copy(update={"is_overdue": True})
    assert notice(queue, line=1, request=overdue) == ("r1 fallback", "Tomorrow.")


def test_patience_is_over_and_somebody_is_asked():
    """The customer is told all the same: whoever let an offer expire is asked again at once."""
    queue = Queue(fallback=Fallback.MESSAGE, fallback_message="Tomorrow.")
    overdue = REQUEST.model_copy(update={"is_overdue": True})
    assert notice(queue, request=overdue, offer=OFFER) == ("r1 fallback", "Tomorrow.")
