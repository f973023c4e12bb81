"""The rules of `status`: which state is ok, degraded or down, and that each problem says what to do."""

from __future__ import annotations

import re
from dataclasses import replace

import pytest

from router.core.keys import OWN_GROUPS, RESOLVER
from router.operations import diagnosis
from router.operations.diagnosis import LATE, RECENT, VERY_LATE, find_problems, redis_away, worst
from router.operations.processes import ProcessState
from router.operations.status_values import Level, SpoolReport, Status
from router.operations.streams import GroupReport, StreamReport
from router.operations.team import QueueReport
from router.streams.store.inspect import Consumer
from tests.support.source import ROOT

NOW = 1_800_000_000_000_000
READER = (Consumer("c", 0, 0, is_alive=True),)


def process(kind, *, is_alive=True, seen_at=NOW):
    return ProcessState(f"{kind}/host", kind, is_alive, seen_at)


def group(name, *, readers=READER, lag=0, pending=0, parked=0, oldest=None, oldest_parked=None):
    return GroupReport(name, lag, pending, parked, oldest, oldest_parked, (), readers)


def stream(*groups, kind="inbound"):
    return StreamReport(f"router:{{0}}:{kind}", 0, kind, 0, 0, 0.0, 0, groups)


#: Every process of ours runs, and nothing is left to do.
WELL = Status(
    NOW,
    Level.OK,
    processes=(process("web"),),
    streams=(stream(*[group(name) for name in sorted(OWN_GROUPS)]),),
)


def with_group(**fields):
    others = [group(name) for name in sorted(OWN_GROUPS - {RESOLVER})]
    return replace(WELL, streams=(stream(group(RESOLVER, **fields), *others),))


def test_nothing_is_wrong():
    """No problem: ok."""
    assert find_problems(WELL) == ()
    assert worst(()) == Level.OK


CASES = {
    "no writes": (
        replace(WELL, processes=(), streams=(), refusals={0: "OutOfMemoryError: no", 3: "OutOfMemoryError: no"}),
        Level.DOWN,
        "Redis takes no writes to partition 0, 3: OutOfMemoryError: no",
    ),
    "no receiver": (replace(WELL, processes=()), Level.DOWN, "no receiver is running"),
    "a dead receiver": (
        replace(WELL, processes=(process("web", is_alive=False, seen_at=NOW - 2 * RECENT),)),
        Level.DOWN,
        "no receiver is running",
    ),
    "no worker": (with_group(readers=(), lag=3, pending=1), Level.DOWN, "no worker is running: 4 events left to do"),
    "never a worker": (
        replace(WELL, streams=(stream(*[group(name) for name in OWN_GROUPS - {RESOLVER}]),)),
        Level.DOWN,
        "no worker is running",
    ),
    "no AI agent": (
        replace(WELL, streams=(stream(*[group(name) for name in OWN_GROUPS - {"ai-agent"}]),)),
        Level.DEGRADED,
        "no AI agent is running",
    ),
    "a group that nobody reads": (
        replace(WELL, streams=(*WELL.streams, stream(group("reports", readers=(), lag=5)))),
        Level.DEGRADED,
        "nobody reads for the group reports: 5 entries left to do",
    ),
    "spooled": (replace(WELL, spool=SpoolReport(7, 1, "ok")), Level.DEGRADED, "7 webhooks in the spool"),
    "left in a spool": (
        replace(WELL, spool=SpoolReport(0, 0, "ok", {"host-7": 3})),
        Level.DEGRADED,
        "3 webhooks left on the disk of host-7 by a receiver that has ended",
    ),
    "a full spool": (replace(WELL, spool=SpoolReport(0, 0, "full")), Level.DEGRADED, "the spool is full"),
    "not stored": (
        replace(WELL, not_stored=(3, NOW - 7_000_000)),
        Level.DEGRADED,
        "3 webhooks answered 503, the last one 7 s",
    ),
    "refused": (replace(WELL, refused_lately=2), Level.DEGRADED, "2 webhooks of our accounts refused"),
    "dead letters": (replace(WELL, dead_letters=10_000), Level.DEGRADED, "10,000 dead letters"),
    "waiting": (
        replace(with_group(parked=4, oldest_parked=NOW - LATE), waiting=4),
        Level.DEGRADED,
        "4 events waiting for something to recover, the oldest for 60 s",
    ),
    "late": (
        with_group(lag=1, oldest=NOW - 3 * LATE),
        Level.DEGRADED,
        "inbound: the oldest entry that resolver has not finished is 3 minutes old",
    ),
    "late behind a parked one": (
        with_group(lag=1, oldest=NOW - 2 * LATE, parked=1, oldest_parked=NOW - LATE + 1_000_000),
        Level.DEGRADED,
        "inbound: the oldest entry that resolver has not finished is 2 minutes old",
    ),
    "customers wait": (
        replace(WELL, queues=(QueueReport("billing", True, 2, NOW - LATE, 0, (), ()),)),
        Level.DEGRADED,
        "2 customers waiting in the queue billing, the longest for 60 s, and nobody is available",
    ),
    "nobody accepts": (
        replace(WELL, queues=(QueueReport("billing", True, 1, NOW - VERY_LATE, 2, (), ()),)),
        Level.DEGRADED,
        "1 customer waiting in the queue billing, the longest for 5 minutes, and 2 are available and do not take them",
    ),
    "a death": (
        replace(WELL, processes=(*WELL.processes, process("worker", is_alive=False, seen_at=NOW - 30_000_000))),
        Level.DEGRADED,
        "the process worker/host died 30 s ago",
    ),
    "many deaths": (
        replace(
            WELL,
            processes=(
                *WELL.processes,
                *(process("worker", is_alive=False, seen_at=NOW - age * 10_000_000) for age in (5, 3, 4)),
            ),
        ),
        Level.DEGRADED,
        "the process worker/host died 30 s ago without ending in order, and so did 2 others of the kind worker lately",
    ),
}


@pytest.mark.parametrize("case", CASES)
def test_a_problem_is_found(case):
    """Alone, with its level; its words come first."""
    status, level, text = CASES[case]
    (problem,) = find_problems(status)
    assert (problem.level, problem.text.startswith(text)) == (level, True), problem.text
    assert worst((problem,)) == level


def test_who_waits_is_named():
    """The command that says why nobody is asked can be copied: it has the conversation whose turn is next."""
    queue = QueueReport("billing", True, 2, NOW - LATE, 0, (), ("AC1 conv_conversation_2", "AC1 conv_conversation_1"))
    (problem,) = find_problems(replace(WELL, queues=(queue,)))
    assert problem.action.endswith("`python -m router explain conv_conversation_2`")


@pytest.mark.parametrize(
    "status",
    [
        with_group(parked=1, oldest_parked=NOW - LATE + 1_000_000),
        with_group(lag=1, oldest=NOW - LATE + 1_000_000),
        replace(WELL, queues=(QueueReport("billing", True, 2, NOW - LATE, 1, (), ()),)),
        replace(WELL, queues=(QueueReport("billing", True, 2, NOW - 1, 0, (), ()),)),
        replace(WELL, processes=(*WELL.processes, process("web", is_alive=False, seen_at=NOW - RECENT))),
        replace(WELL, quarantine={"signature": 5}),
        replace(WELL, streams=(*WELL.streams, stream(group("reports", readers=())))),
    ],
    ids=["waits shortly", "late shortly", "somebody is there", "waits for a moment", "dead long ago", "scans", "idle"],
)
def test_what_is_usual_is_no_problem(status):
    """Nobody is to be called for it."""
    assert find_problems(status) == ()


def test_the_worst_comes_first():
    """Down before degraded, else in the order of the rules."""
    problems = find_problems(replace(WELL, processes=(), dead_letters=1, refused_lately=1))
    assert [problem.level for problem in problems] == [Level.DOWN, Level.DEGRADED, Level.DEGRADED]


@pytest.mark.parametrize(
    ("takes_webhooks", "words"),
    [(None, "x"), (True, "keeps webhooks in its spool"), (False, "refuses webhooks")],
)
def test_a_redis_that_does_not_answer(takes_webhooks, words):
    """Down, with what becomes of webhooks meanwhile."""
    problem = redis_away("x", takes_webhooks=takes_webhooks)
    assert problem.level == Level.DOWN
    assert words in problem.text


def test_every_problem_has_a_section_to_read_on():
    """The heading exists in docs/operations.md."""
    text = (ROOT / "docs" / "operations.md").read_text(encoding="utf-8")
    headings = {
        re.sub(r"[^a-z0-9 -]", "", line.lstrip("# ").lower()).replace(" ", "-")
        for line in text.splitlines()
        if line.startswith("#")
    }
    problems = [problem for status, _, _ in CASES.values() for problem in find_problems(status)]
    problems.append(redis_away("x", takes_webhooks=None))
    assert {problem.section for problem in problems} <= headings
    assert all(problem.action for problem in problems)
    assert len(CASES) >= len(diagnosis.RULES)
