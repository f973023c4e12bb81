"""The order that is promised, and whether it was kept. Pure.

Three orders are checked, each only as far as it is promised.

In a conversation (promise 3): a customer joins before the first message, leaves after the last one, and nothing comes
after the conversation has closed, whichever process crashes. Within an epoch one stream has all of that.

Into the inbound stream: of two messages of one customer, the second sent after the first was answered 2xx, the first
stands first. Not promised where the first went into the spool of one receiver, and the second may have come in through
the other one: spools do not wait for each other.

Out of the workers: of two messages of one subject, the one that came in first is published first, whichever workers
settle them and whichever process crashes meanwhile. Not promised between the different subjects that different sources
give to the messages of one customer.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, field
from itertools import pairwise
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from tests.chaos.final_state import Published

_STAYS: Final = {
    ("participant.joined", False): True,
    ("participant.updated", True): True,
    ("communication.received", True): True,
    ("participant.left", True): False,
}
_CHECKED: Final = frozenset({"conversation.closed", *(kind for kind, _ in _STAYS)})


@dataclass
class OrderCheck:
    """The number of cases checked, those that are wrong, and the number of cases without a promise."""

    checked: int = 0
    wrong: list[str] = field(default_factory=list)
    not_promised: int = 0


def check_stays(published: Iterable[Published]) -> OrderCheck:
    """Check that each entry comes while its participant is in the conversation, and the conversation open."""
    present: defaultdict[tuple[str, str], bool] = defaultdict(bool)
    closed: set[str] = set()
    check = OrderCheck()
    for entry in sorted(published, key=lambda one: (one.epoch, one.target, one.place)):
        if entry.type not in _CHECKED:
            continue
        check.checked += 1
        about = (entry.conversation, entry.participant)
        if entry.conversation in closed:
            check.wrong.append(f"{entry.type} {entry.id} after {entry.conversation} had closed")
        elif entry.type == "conversation.closed":
            closed.add(entry.conversation)
        elif (entry.type, present[about]) not in _STAYS:
            where = "in" if present[about] else "out"
            check.wrong.append(f"{entry.type} {entry.id} while {entry.participant} was {where}")
        else:
            present[about] = _STAYS[entry.type, present[about]]
    return check


@dataclass(frozen=True, slots=True)
class Arrival:
    """The arrival of a message: its place in the stream, the receivers tried, and what these did with it."""

    message: str
    place: int
    tried: frozenset[int]
    accepted: bool
    spooled: frozenset[int]


def check_arrivals(customers: Iterable[Sequence[Arrival]]) -> OrderCheck:
    """Check each two successive messages of every customer, given in the order in which they were sent."""
    check = OrderCheck()
    for arrivals in customers:
        for first, second in pairwise(arrivals):
            if not (first.accepted or (second.tried and second.tried <= first.spooled)):
                check.not_promised += 1
                continue
            check.checked += 1
            if first.place > second.place:
                check.wrong.append(f"'{second.message}' came in before '{first.message}'")
    return check


@dataclass(frozen=True, slots=True)
class Settled:
    """The places of a message in the inbound and the participants stream, and its subject."""

    message: str
    arrived: int
    published: int
    subject: str


def check_departures(customers: Iterable[Sequence[Settled]]) -> OrderCheck:
    """Check each two successive messages of every customer."""
    check = OrderCheck()
    for messages in customers:
        for first, second in pairwise(sorted(messages, key=lambda one: one.arrived)):
            if first.subject != second.subject:
                check.not_promised += 1
                continue
            check.checked += 1
            if first.published > second.published:
                check.wrong.append(f"'{second.message}' was published before '{first.message}'")
    return check


def count_overtakes(customers: Iterable[Sequence[Settled]]) -> int:
    """Count the messages that were published before one that had arrived earlier."""
    return sum(
        one.published > other.published
        for messages in customers
        for one, other in pairwise(sorted(messages, key=lambda one: one.arrived))
    )


def group_by_owner(messages: Mapping[str, str], items: Mapping[str, object]) -> list[list]:
    """Return the items of each customer, in the order of `messages`, which maps each message to its customer."""
    found: defaultdict[str, list] = defaultdict(list)
    for message, owner in messages.items():
        if message in items:
            found[owner].append(items[message])
    return list(found.values())
