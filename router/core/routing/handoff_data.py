"""HandoffData of a call: what the AI agent gave ConversationRelay when it ended its session for a person. Pure, total.

It is whatever text the agent chose; Twilio's examples write a JSON object with `reasonCode` and `reason`. Known fields
are read in any spelling of their names (`reasonCode`, `reason_code`); all others, and known ones with a value of the
wrong kind, become the context of the request, as does a text that is no JSON object. Nothing in it can fail the
handoff: a queue or skills that nobody here has are noted in the context, and the default queue takes the call.
https://www.twilio.com/docs/voice/conversationrelay/websocket-messages
"""

from __future__ import annotations

from hashlib import sha256
from typing import TYPE_CHECKING, Any, Final

from router.core.lenient_json import parse_json
from router.core.policy import MAX_PRIORITY
from router.core.routing.holding import MAX_CONTEXT, MAX_SUMMARY, HandoffRequest, measure_context
from router.core.routing.queues import DEFAULT_QUEUE
from router.core.values import Value

if TYPE_CHECKING:
    from collections.abc import Iterator

    from router.core.routing.team import Team

#: The reasons of a request that gives none.
HANDED_OVER: Final = "handed over by the AI agent"
FAILED: Final = "the session with the AI agent failed"
#: Fields of the context that the router adds.
RAW: Final = "handoff_data"
UNKNOWN_QUEUE: Final = "unknown_queue"
UNKNOWN_SKILLS: Final = "unknown_skills"
LEFT_OUT: Final = "left_out"
#: Names of the known fields, without case and separators; the first one that has a usable value is taken.
_REASONS: Final = ("reason", "handoffreason", "reasoncode")
_SUMMARIES: Final = ("summary", "callsummary", "conversationsummary")
_QUEUES: Final = ("queue", "queuename")
_SKILLS: Final = ("skills", "skill")
_CONTEXT: Final = "context"
_PRIORITY: Final = "priority"
#: As many skills, and characters of a name, as a command may have.
_MAX_SKILLS: Final = 50
_MAX_NAME: Final = 255
#: Bytes of the context that are kept free for LEFT_OUT.
_RESERVE: Final = 40


class CallHandoff(Value):
    """The request in HandoffData. `queue` is empty for the default one; `context` has at most MAX_CONTEXT bytes."""

    reason: str = HANDED_OVER
    summary: str | None = None
    queue: str = ""
    skills: tuple[str, ...] = ()
    priority: int = 0
    context: dict[str, Any] | None = None


def read_handoff_data(text: str, team: Team | None = None) -> CallHandoff:
    """Return the request in a text; empty: the session failed. With a `team`, queue and skills are of that team."""
    if not text:
        return CallHandoff(FAILED)
    text = _repair(text)
    document = _load(text)
    if document is None:
        return CallHandoff(context={RAW: _cut(text)})
    fields = _Fields(document)
    reason = fields.text(_REASONS, MAX_SUMMARY) or HANDED_OVER
    summary = fields.text(_SUMMARIES, MAX_SUMMARY)
    queue, skills, priority = fields.text(_QUEUES, _MAX_NAME) or "", fields.skills(), fields.priority()
    notes: dict[str, Any] = {}
    if team is not None and queue and not team.has_queue(queue):
        queue, notes[UNKNOWN_QUEUE] = "", queue
    if team is not None and not team.has_skills(skills):
        skills, notes[UNKNOWN_SKILLS] = _known_skills(skills, team)
    context = _bound(fields.rest(), notes)
    return CallHandoff(reason, summary, queue, skills, priority, context or None)


def request_of(data: CallHandoff, *, home: str, key: str, now: int) -> HandoffRequest:
    """Return the request for a person that HandoffData makes in a conversation at `now` (ms).

    `home` is `account/conversation`. `key` is the idempotency key of the webhook: the same one makes the same request.
    """
    return HandoffRequest(
        id=f"{home}/call-{sha256(key.encode()).hexdigest()[:12]}",
        reason=data.reason,
        queue=data.queue or DEFAULT_QUEUE,
        since=now,
        queued_at=now,
        summary=data.summary,
        context=data.context,
        skills=data.skills,
        priority=data.priority,
    )


def _load(text: str) -> dict[str, Any] | None:
    """Return the JSON object of a text, also of one that was encoded twice; None if it is none."""
    document: Any = text
    for _ in range(2):
        try:
            document = parse_json(document)
        except ValueError:
            return None
        if not isinstance(document, str):
            break
    return document if isinstance(document, dict) else None


class _Fields:
    """The fields of a document, of which those that are read are taken out."""

    def __init__(self, document: dict[str, Any]) -> None:
        self._document = dict(document)
        self._keys: dict[str, list[str]] = {}
        for key in document:
            if len(key) <= _MAX_NAME:
                self._keys.setdefault("".join(filter(str.isalnum, key)).lower(), []).append(key)

    def _find(self, *names: str) -> Iterator[tuple[str, Any]]:
        for name in names:
            for key in self._keys.get(name, ()):
                yield key, self._document[key]

    def text(self, names: tuple[str, ...], most: int) -> str | None:
        """Take the first of these fields that is a text, without white space at its ends, cut to `most` characters."""
        for key, given in self._find(*names):
            if isinstance(given, str) and given.strip():
                del self._document[key]
                return given.strip()[:most]
        return None

    def skills(self) -> tuple[str, ...]:
        """Take the skills: a list of texts, or one text with commas."""
        for key, given in self._find(*_SKILLS):
            names = given.split(",") if isinstance(given, str) else given
            if isinstance(names, list) and all(isinstance(one, str) for one in names):
                del self._document[key]
                found = dict.fromkeys(one.strip()[:_MAX_NAME] for one in names if one.strip())
                return tuple(found)[:_MAX_SKILLS]
        return ()

    def priority(self) -> int:
        """Take the priority: a whole number, also as a text; too high a one is the highest."""
        for key, given in self._find(_PRIORITY):
            if isinstance(given, bool) or not isinstance(given, str | int):
                continue
            digits = str(given).strip()
            if digits.isascii() and digits.isdecimal():
                del self._document[key]
                return min(MAX_PRIORITY, int(digits[:_MAX_NAME]))
        return 0

    def rest(self) -> dict[str, Any]:
        """Return all other fields; those of a `context` object come first."""
        document = dict(self._document)
        own = document.pop(_CONTEXT, None)
        if isinstance(own, dict):
            return own | document
        return document if own is None else {_CONTEXT: own} | document


def _known_skills(skills: tuple[str, ...], team: Team) -> tuple[tuple[str, ...], list[str]]:
    """Return as many of the skills as one person has, in their order, and the others."""
    known: tuple[str, ...] = ()
    for one in skills:
        if team.has_skills((*known, one)):
            known = (*known, one)
    return known, [one for one in skills if one not in known]


def _bound(fields: dict[str, Any], notes: dict[str, Any]) -> dict[str, Any]:
    """Return as many whole fields as the context holds, with the notes, and how many fields were left out."""
    size = measure_context(fields | notes)
    if size is not None and size <= MAX_CONTEXT:
        return fields | notes
    kept: dict[str, Any] = {}
    every, used = notes | {name: given for name, given in fields.items() if name not in notes}, 0
    for name, given in every.items():
        size = measure_context({name: given})
        if size is not None and used + size <= MAX_CONTEXT - _RESERVE:
            kept[name] = given
            used += size
    return kept | {LEFT_OUT: len(every) - len(kept)}


def _cut(text: str) -> str:
    """Return as much of a text as fits into the context."""
    most = MAX_CONTEXT
    while (size := measure_context({RAW: text[:most]})) is None or size > MAX_CONTEXT:
        most = most * 9 // 10
    return text[:most]


def _repair(text: str) -> str:
    """Return a text with U+FFFD for each half of a surrogate pair."""
    return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
