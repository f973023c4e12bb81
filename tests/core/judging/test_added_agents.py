"""Agents whom another system adds hold the conversation while they are in it."""

import pytest

from router.core.addresses import Address
from router.core.events import Cause, Change, ParticipantReported, Version
from router.core.ledger.fields import FieldNotReadError
from router.core.ledger.floor import holding_of
from router.core.ledger.ledger import Ledger
from router.core.resources import Participant
from router.core.routing.holding import HandoffRequest
from router.core.routing.inputs import AskForPerson
from router.core.routing.journal import read_line
from router.core.routing.team import Team
from tests.core.builders import CONVERSATION, TO_AI, make_conversation, make_fact, make_participant
from tests.core.judging.events import NOW, judge, make_context
from tests.support.accounts import ACCOUNT
from tests.support.policies import PLAIN

FLEX, BOT = Address("CHAT", "flex-agent"), Address("CHAT", "other-bot")
CAUSE = Cause("conversations", "PARTICIPANT_ADDED", "r1", "k1", NOW)


def report(ledger, version, kind="HUMAN_AGENT", change=Change.ADDED, participant_id="p9", team=None, own=()):
    address = {"channel": "CHAT", "address": FLEX.value}
    one = Participant(id=participant_id, type=kind, addresses=[address], conversation_id=CONVERSATION)
    context = make_context(PLAIN, {address.key for address in own}, team=team or Team())
    event = ParticipantReported(CAUSE, ACCOUNT, change, one, Version(version, version))
    return judge(context, event, ledger)


@pytest.fixture
def ledger():
    """A conversation that the AI agent holds."""
    ledger = Ledger("router", ACCOUNT, CONVERSATION, {})
    ledger.take_participant(make_fact(make_participant("p1"), 1, decision=TO_AI))
    ledger.entries.clear()
    return ledger


def holder(ledger):
    holding = holding_of(ledger)
    return holding.holder.target, holding.holder.agent, holding.epoch


def told(ledger):
    return [(entry.type, entry.target) for entry in ledger.entries]


def test_one_who_is_added_holds_until_removed(ledger):
    """Both targets are told; then the AI agent goes on."""
    report(ledger, 2)
    assert holder(ledger) == ("human-agent", "participant:p9", 1)
    assert told(ledger) == [("holder.changed", "ai-agent"), ("holder.changed", "human-agent")]
    report(ledger, 3, change=Change.REMOVED)
    assert holder(ledger) == ("ai-agent", None, 2)


def test_the_journal_tells_who_came_and_who_left(ledger):
    """For `explain`: which report it was, and who holds since."""
    report(ledger, 2)
    report(ledger, 3, change=Change.REMOVED)
    lines = [read_line(line) for line in ledger.journal]
    assert [(one.what, one.by, one.happened, one.epoch, one.target, one.agent) for one in lines] == [
        ("PARTICIPANT_ADDED", "k1", ("holder.changed (added-by-another-system)",), 1, "human-agent", "participant:p9"),
        ("PARTICIPANT_ADDED", "k1", ("holder.changed (removed-by-another-system)",), 2, "ai-agent", None),
    ]
    assert [one.at for one in lines] == [NOW // 1000] * 2


def test_the_journal_tells_the_end(ledger):
    """The closing of a conversation that somebody holds, which ends their turn."""
    report(ledger, 2)
    ledger.take_conversation(make_conversation(status="CLOSED"), Version(5, 5), CAUSE)
    line = read_line(ledger.journal[-1])
    assert (line.happened, line.at, line.epoch, line.agent) == (
        ("conversation.closed",),
        NOW // 1000,
        1,
        "participant:p9",
    )


def test_the_queue_of_the_settings_gets_it_afterwards(ledger):
    """With a request, so that somebody is asked."""
    team = Team(after_foreign="default")
    report(ledger, 2, team=team)
    report(ledger, 3, change=Change.REMOVED, team=team)
    assert holder(ledger) == ("human-agent", None, 2)
    assert holding_of(ledger).request.queue == "default"


def test_an_open_request_ends(ledger):
    """Somebody has come: nobody else is asked."""
    request = HandoffRequest(id="r", reason="x", queue="default", since=0)
    ledger.take_floor(holding_of(ledger), AskForPerson(request), CAUSE)
    report(ledger, 2)
    assert holding_of(ledger).request is None


@pytest.mark.parametrize(
    ("kind", "team", "own"),
    [
        pytest.param("HUMAN_AGENT", Team(is_holder_foreign=False), (), id="switched off"),
        pytest.param("AI_AGENT", None, (), id="an AI agent"),
        pytest.param("AGENT", None, (), id="an agent of no kind"),
        pytest.param("HUMAN_AGENT", None, (FLEX,), id="a person of ours"),
    ],
)
def test_others_do_not(ledger, kind, team, own):
    """The AI agent keeps the floor."""
    report(ledger, 2, kind=kind, team=team, own=own)
    assert holder(ledger) == ("ai-agent", None, 0)


def test_an_ai_agent_by_the_switch(ledger):
    """Another system's AI agent, if the settings say so."""
    report(ledger, 2, kind="AI_AGENT", team=Team(is_ai_foreign=True))
    assert holder(ledger)[1] == "participant:p9"


def test_a_repeated_report_gives_it_once(ledger):
    """Whoever holds by now keeps it."""
    report(ledger, 2)
    report(ledger, 3, change=Change.REMOVED)
    report(ledger, 2)
    report(ledger, 4, participant_id="p8")
    report(ledger, 4, participant_id="p8")
    report(ledger, 5, participant_id="p8")
    assert holder(ledger) == ("human-agent", "participant:p8", 3)


def test_nobody_is_announced(ledger):
    """Without a customer there is no floor."""
    empty = Ledger("router", ACCOUNT, CONVERSATION, {})
    report(empty, 2)
    assert holding_of(empty) is None


def test_the_holding_is_read_when_it_matters(ledger):
    """A ledger of the usual fields is read again with it."""
    some = {name: text for name, text in ledger.fields.items() if name in {"target", "reason"}}
    usual = Ledger(
        "router", ACCOUNT, CONVERSATION, some, frozenset({"target", "reason", "p:p9", "a:CHAT|flex-agent", "status"})
    )
    with pytest.raises(FieldNotReadError):
        report(usual, 2)
