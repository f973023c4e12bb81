"""The line of an event's story."""

from router.core.events import Cause, Change, ClassicReported, InboundEntry
from router.core.judging.kinds import KINDS
from router.core.judging.summary import story_line, summarize
from router.core.judging.work import Work
from router.core.ledger.marker import Outcome, Result
from tests.support.accounts import ACCOUNT


class PlainMaker:
    """A maker of lines that names addresses by themselves."""

    process = "worker"
    digest = staticmethod(str)
    digests_of = staticmethod(lambda _: ())


SID = "CH00000000000000000000000000000001"


def test_a_classic_conversation_without_a_customer_has_a_line():
    """Nobody is in it yet when it is reported."""
    cause = Cause("classic", "onConversationAdded", SID, "k", 1)
    event = ClassicReported(cause, ACCOUNT, "conversation", Change.ADDED, (1, 0), SID)
    entry = InboundEntry("1-0", "classic", ACCOUNT, "k", SID, 1, b"", event_id="ev_1")
    work = Work(entry, event, KINDS[ClassicReported], 1, ACCOUNT, outcome=Outcome(Result.IGNORED, "no message yet"))
    fields = summarize(work, work.outcome)
    line = story_line(work, fields, 2, "", PlainMaker())
    assert b"no message yet" in line
