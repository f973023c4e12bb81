"""Which order is promised, and whether it was kept: pure.

Three orders are checked, each as far as it is promised and no further.

In a conversation (promise 3): a customer joins before being heard, is heard before leaving, and nothing comes after
the conversation has closed. This holds whoever dies.

Into the inbound stream: of two messages of one customer, sent one after the other's 2xx, the first stands first. Not
promised where the first one went into the spool of one receiver only, and the second one may have come in by the
other: spools do not wait for each other.

Out of the workers: of two messages of one subject, the one that came in first is published first, whichever workers
settle them, and whoever dies meanwhile. Not promised where different sources name different subjects for what one
customer says.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, field
from itertools import pairwise
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from tests.chaos.findings import Published

_STAYS: Final = {
    ("participant.joined", False): True,
    ("participant.updated", True): True,
    ("communication.received", True): True,
    ("participant.left", True): False,
}


@dataclass
class Verdict:
    """How many cases were looked at, which of them are wrong, and how many are promised nothing."""

    looked_at: int = 0
    wrong: list[str] = field(default_factory=list)
    left_out: int = 0


def check_stays(published: Iterable[Published]) -> Verdict:
    """Look at every entry: does it come when its participant is in the conversation, and the conversation open?"""
    present: defaultdict[tuple[str, str], bool] = defaultdict(bool)
    closed: set[str] = set()
    verdict = Verdict()
    for entry in sorted(published, key=lambda one: (one.target, one.place)):
        verdict.looked_at += 1
        about = (entry.conversation, entry.participant)
        if entry.conversation in closed:
            verdict.wrong.append(f"{entry.type} {entry.id} after {entry.conversation} had closed")
        elif entry.type == "conversation.closed":
            closed.add(entry.conversation)
        elif (entry.type, present[about]) not in _STAYS:
            where = "in" if present[about] else "out"
            verdict.wrong.append(f"{entry.type} {entry.id} while {entry.participant} was {where}")
        else:
            present[about] = _STAYS[entry.type, present[about]]
    return verdict


@dataclass(frozen=True, slots=True)
class Arrival:
    """How a message came in: its place in the stream, which receivers were tried, and what they said of it."""

    word: str
    place: int
    tried: frozenset[int]
    accepted: bool
    spooled: frozenset[int]


def check_arrivals(customers: Iterable[Sequence[Arrival]]) -> Verdict:
    """Look at each two messages in a row of every customer, given in the order in which they were sent."""
    verdict = Verdict()
    for arrivals in customers:
        for first, second in pairwise(arrivals):
            if not (first.accepted or (second.tried and second.tried <= first.spooled)):
                verdict.left_out += 1
                continue
            verdict.looked_at += 1
            if first.place > second.place:
                verdict.wrong.append(f"'{second.word}' came in before '{first.word}'")
    return verdict


@dataclass(frozen=True, slots=True)
class Settled:
    """How a message went out: its places in inbound and participants stream, and its subject."""

    word: str
    arrived: int
    published: int
    subject: str


def check_departures(customers: Iterable[Sequence[Settled]]) -> Verdict:
    """Look at each two messages in a row of every customer."""
    verdict = Verdict()
    for messages in customers:
        for first, second in pairwise(sorted(messages, key=lambda one: one.arrived)):
            if first.subject != second.subject:
                verdict.left_out += 1
                continue
            verdict.looked_at += 1
            if first.published > second.published:
                verdict.wrong.append(f"'{second.word}' was published before '{first.word}'")
    return verdict


def count_overtakes(customers: Iterable[Sequence[Settled]]) -> int:
    """Return how many messages were published before one that had arrived before them: the gap, measured."""
    return sum(
        one.published > other.published
        for messages in customers
        for one, other in pairwise(sorted(messages, key=lambda one: one.arrived))
    )


def group_by_owner(words: Mapping[str, str], items: Mapping[str, object]) -> list[list]:
    """Return the items of each customer, in the order of `words`, which maps what was said to who said it."""
    found: defaultdict[str, list] = defaultdict(list)
    for word, owner in words.items():
        if word in items:
            found[owner].append(items[word])
    return list(found.values())
