"""Advice about a stage of a story: in words, as a command, and as the page of the console that shows more.

To add advice, add a row to _ROWS; the first row whose stage and pattern fit counts.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final, NamedTuple
from urllib.parse import quote

from router.core.keys import RESOLVER
from router.core.stories import StageName

if TYPE_CHECKING:
    from collections.abc import Sequence

    from router.core.stories import StoryStage


class Advice(NamedTuple):
    """Words, a command line and a path of the console; command and path may be empty."""

    words: str
    command: str = ""
    path: str = ""


#: Stages that need nothing any more once another one follows; offers follow each other, whatever their events are.
_LAST_ONLY: Final = frozenset({StageName.WAITING, StageName.RECEIVED, StageName.OFFERED, StageName.ACCEPTED})
_OFFERS: Final = "offers"
#: The group in the detail of an event that was given up.
_GROUP: Final = re.compile(r"given up by (\S+).*", re.DOTALL)
_ROUTER: Final = "python -m router"
#: Stage, pattern of its detail, words, command, path. `{id}` is the id of the stage, `{1}` the first group.
_ROWS: Final[tuple[tuple[StageName, str, str, str, str], ...]] = (
    (
        StageName.REFUSED,
        r"\(signature\).* as ([0-9-]+)",
        "find out what was signed, repair that setting, then replay it",
        f"{_ROUTER} explain-signature --id {{1}}",
        "/quarantine?event={id}",
    ),
    (
        StageName.REFUSED,
        r" as ([0-9-]+)",
        "see why it was refused; repair that and replay it",
        f"{_ROUTER} quarantine show {{1}}",
        "/quarantine?event={id}",
    ),
    (StageName.SPOOLED, "", "nothing: it follows by itself once Redis takes it", "", "/processes"),
    (
        StageName.RECEIVED,
        "no worker is alive",
        "start a worker: it goes on by itself then",
        f"{_ROUTER} work",
        "/processes",
    ),
    (
        StageName.WAITING,
        "waits now for ai-agent: no consumer",
        "start the AI agent: it goes on by itself then",
        "python -m handlers ai_agent",
        "/processes",
    ),
    (
        StageName.WAITING,
        "waits now for human-agent: no consumer",
        "start the consumer of the human agents: it goes on by itself then",
        "python -m handlers human_agent",
        "/processes",
    ),
    (
        StageName.WAITING,
        r" 40[13]\b",
        "the API key is wrong or lacks a permission: set it and restart the workers; it goes on by itself then",
        f"{_ROUTER} check",
        "/waiting?event={id}",
    ),
    (
        StageName.WAITING,
        r" 4(04|10)\b",
        "the API does not know an id of the settings: set the right one and restart the workers",
        f"{_ROUTER} check",
        "/waiting?event={id}",
    ),
    (
        StageName.WAITING,
        r" (429|5\d\d)\b",
        "nothing: it goes on by itself once the API takes it",
        f"{_ROUTER} waiting --event {{id}}",
        "/waiting?event={id}",
    ),
    (StageName.WAITING, "", "see what it waits for", f"{_ROUTER} waiting --event {{id}}", "/waiting?event={id}"),
    (
        StageName.DEAD,
        "",
        "see why it was given up; repair that and replay it",
        f"{_ROUTER} dead-letters list --event {{id}}",
        "/dead-letters?event={id}",
    ),
    (StageName.OFFERED, r"(conv_\w+)$", "see who was asked and why", f"{_ROUTER} explain {{1}}", "/explain?q={1}"),
    (StageName.ACCEPTED, r"(conv_\w+)$", "see who was asked and why", f"{_ROUTER} explain {{1}}", "/explain?q={1}"),
)
_COMPILED: Final = tuple((name, re.compile(pattern), advice) for name, pattern, *advice in _ROWS)


def advise(stages: Sequence[StoryStage]) -> list[Advice | None]:
    """Return for each stage of a story, in order of time, what to do about it; of offers for the last one only.

    Nothing is to be done about a refused webhook whose event was accepted later, by a replay or from another source, or
    about an event that was given up and replayed: the worker notes that, and of a consumer's the next attempt tells it.
    """
    last = {_row_of(stage): at for at, stage in enumerate(stages)}
    accepted = {stage.id: at for at, stage in enumerate(stages) if stage.stage is not StageName.REFUSED}
    tried = {attempt: at for at, stage in enumerate(stages) for attempt in _attempts_of(stage)}

    def is_settled(at: int, stage: StoryStage) -> bool:
        if stage.stage in _LAST_ONLY:
            return last[_row_of(stage)] != at
        if stage.stage is StageName.REFUSED:
            return accepted.get(stage.id, at) > at
        return stage.stage is StageName.DEAD and any(tried[attempt] > at for attempt in _attempts_of(stage))

    return [None if is_settled(at, stage) else _find(stage) for at, stage in enumerate(stages)]


def _attempts_of(stage: StoryStage) -> list[tuple[str, str]]:
    """Return the event and the group of which a stage is an attempt's end, or a sign of a new one."""
    if stage.stage is StageName.DEAD:
        return [(stage.id, _GROUP.sub(r"\1", stage.detail))]
    groups = {StageName.CONSUMED: stage.process.partition(" ")[0], StageName.REPLAYED: RESOLVER}
    return [(stage.id, groups[stage.stage])] if stage.stage in groups else []


def _row_of(stage: StoryStage) -> str:
    return _OFFERS if stage.stage in {StageName.OFFERED, StageName.ACCEPTED} else stage.id


def _find(stage: StoryStage) -> Advice | None:
    for name, pattern, (words, command, path) in _COMPILED:
        if name is stage.stage and (found := pattern.search(stage.detail)) is not None:
            group = found[1] if found.groups() else ""
            return Advice(words, _fill(command, stage.id, group), _fill(path, quote(stage.id, safe=""), group))
    return None


def _fill(text: str, name: str, group: str) -> str:
    return text.replace("{id}", name).replace("{1}", group)
