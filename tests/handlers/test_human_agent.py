"""The human agents: the person who holds a conversation joins it once, over crashes and refusals."""

from __future__ import annotations

import pytest

from router.core.entries import CommunicationData
from router.core.routing.team import TeamMember
from tests.handlers.harness import DANA_JOINED, CrashError, HumanAgentProcess, crashing, participant
from tests.support.accounts import OURS


async def test_the_one_who_holds_joins_once(harness, lines):
    """The person joins as HUMAN_AGENT under their identity; redeliveries change nothing."""
    process, opened = HumanAgentProcess(harness), await harness.open()
    for _ in range(3):
        await process.handle(opened.held_by("dana"))
    assert await harness.our_participants(opened.id) == DANA_JOINED
    line, *later = lines("consumed")
    assert (line["result"], line["agent"], line["handler"]) == ("joined", "dana", "human_agent")
    assert [one["result"] for one in later] == ["repeated", "repeated"]


async def test_what_customers_do_meanwhile_is_logged(harness, lines):
    """Nobody joins before somebody has accepted."""
    process, opened = HumanAgentProcess(harness), await harness.open()
    for entry in (opened.entry(), opened.entry(CommunicationData)):
        await process.handle(entry)
    assert [one["result"] for one in lines("consumed")] == ["waiting", "waiting"]
    assert await harness.our_participants(opened.id) == []


@pytest.mark.parametrize(
    ("agent", "target"),
    [(None, "ai-agent"), (None, "human-agent"), ("participant:p9", "human-agent"), ("x", "human-agent")],
)
async def test_others_do_not_join(harness, lines, agent, target):
    """The AI agent, the queue, somebody of another system, and one whom the roster does not know."""
    process, opened = HumanAgentProcess(harness), await harness.open()
    await process.handle(opened.held_by(agent, target))
    assert lines("consumed")[0]["result"] == "elsewhere"
    assert await harness.our_participants(opened.id) == []


@pytest.mark.parametrize(
    ("there", "result", "expected"),
    [
        pytest.param(None, "joined", [("HUMAN_AGENT", OURS, "Dana")], id="nobody"),
        pytest.param("AGENT", "promoted", [("HUMAN_AGENT", OURS, "Dana")], id="an agent of no kind"),
        pytest.param("HUMAN_AGENT", "adopted", [("HUMAN_AGENT", OURS, OURS)], id="a person"),
        pytest.param("AI_AGENT", "joined", [("AI_AGENT", OURS, OURS), *DANA_JOINED], id="the AI agent"),
    ],
)
async def test_a_person_joins_at_their_address_on_the_channel(harness, lines, there, result, expected):
    """If another participant has the address that the roster gives, the person joins under the identity."""
    process = HumanAgentProcess(harness, TeamMember("dana", "Dana", 1, addresses={"SMS": OURS}))
    opened = await harness.open(*([participant(there, OURS)] if there else []))
    await process.handle(opened.held_by("dana"))
    assert await harness.our_participants(opened.id) == expected
    assert lines("consumed")[0]["result"] == result


async def test_a_customer_with_the_persons_identity_is_not_replaced(harness, lines):
    """The person holds without joining, and the log line is a warning."""
    opened = await harness.open(participant("CUSTOMER", "dana", "CHAT"))
    before = await harness.participants(opened.id)
    await HumanAgentProcess(harness).handle(opened.held_by("dana"))
    assert await harness.participants(opened.id) == before
    assert [(one["result"], one["level"], one["agent"]) for one in lines("consumed")] == [
        ("address-taken", "warning", "dana")
    ]


async def test_a_closed_conversation(harness, lines):
    """Nobody joins it any more."""
    opened = await harness.open()
    await harness.close(opened.id)
    await HumanAgentProcess(harness).handle(opened.held_by("dana"))
    assert lines("consumed")[0]["result"] == "conversation-closed"


@pytest.mark.parametrize("after", [False, True], ids=["before", "after"])
async def test_one_person_over_a_crash_at_every_call(harness, after):
    """Wherever the process crashes, after the redelivery one person has joined."""
    crashes = 0
    for at in range(1, 40):
        opened = await harness.open()
        try:
            await HumanAgentProcess(crashing(harness, at, after=after)).handle(opened.held_by("dana"))
            break
        except CrashError:
            crashes += 1
        await HumanAgentProcess(harness).handle(opened.held_by("dana"))
        assert (at, await harness.our_participants(opened.id)) == (at, DANA_JOINED)
    assert crashes >= 6
