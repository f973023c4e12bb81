"""Outages that last, for seconds rather than for a few requests, and the rows about them. Plain data.

Each is of one account, one channel, one customer, the disk of a worker's log or the disk of a receiver's spool. Whoever
is not affected has to be served throughout: in every part of the outage something of theirs is published. That what
waited is neither lost nor doubled, the other rows of the table show.
"""

from __future__ import annotations

import resource
from dataclasses import dataclass
from enum import StrEnum
from itertools import pairwise
from typing import TYPE_CHECKING, Final

from tests.chaos.row import Row
from tests.support.accounts import OTHER_ACCOUNT

if TYPE_CHECKING:
    import random
    from collections.abc import Callable, Iterable, Sequence

    from tests.chaos.record import RoundRecord
    from tests.chaos.scenario import Customer, Scenario

#: The fraction of a round in which outages of the API and of a log begin.
BEGINS: Final = 0.45
#: Seconds before an outage of Redis in which the disk of the spool fails, and after it in which it is well again.
AROUND: Final = 1.0
#: Seconds around an outage in which its process is not killed: it has to live through it, and to report it.
SPARED: Final = 8.0
#: Seconds after an outage of Redis in which nobody needs to be served yet.
AFTER_REDIS: Final = 10.0
#: Seconds of an outage in which others are served even if Redis is away for half of it.
ENOUGH: Final = 20.0
#: The roles whose disks fail.
LOGGING, SPOOLING = "worker-1", "web-1"
#: Whether a disk of a process can be made to fail here, without any privilege.
CAN_FILL_DISKS: Final = hasattr(resource, "prlimit")


class Scope(StrEnum):
    """What an outage affects."""

    ACCOUNT = "an account"
    CHANNEL = "a channel"
    CUSTOMER = "a customer"
    LOG = "the disk of a log"
    SPOOL = "the disk of a spool"

    @property
    def is_disk(self) -> bool:
        """Whether it is an outage of a disk, and not of the API."""
        return self in {Scope.LOG, Scope.SPOOL}


@dataclass(frozen=True, slots=True)
class Lasting:
    """An outage from the second `at` on.

    `about` is a text in the API's requests that fail, or the role whose disk does; `affected` are the keys of the
    addresses of customers who have to wait.
    """

    scope: Scope
    at: float
    seconds: float
    about: str
    affected: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class LastedOutage:
    """An outage that is over, in seconds since 1970.

    `hits` counts the requests, or the webhooks of the receiver, that it made fail; `accepted` the webhooks that were
    answered 2xx meanwhile. The lines that a log has lost are counted by its process.
    """

    outage: Lasting
    begun: float
    ended: float
    hits: int = 0
    accepted: int = 0


def draw_lasting(
    chance: random.Random,
    *,
    seconds: float,
    length: float,
    scenarios: Sequence[Scenario],
    redis_kills: Iterable[tuple[float, float]],
) -> tuple[Lasting, ...]:
    """Draw one outage of each scope; `redis_kills` are the moments and lengths of outages of Redis."""
    among: dict[Scope, tuple[str, Callable[[Customer], bool]]] = {
        Scope.ACCOUNT: ("", lambda one: one.account == OTHER_ACCOUNT),
        Scope.CHANNEL: ('"RCS"', lambda one: one.address.channel == "RCS"),
        Scope.CUSTOMER: ("", _may_wait),
    }
    found = []
    for scope, (about, is_affected) in among.items():
        first = _choose(chance, seconds, [one for one in scenarios if all(map(is_affected, one.customers))])
        customers = first.customers if scope is Scope.CUSTOMER else _all(scenarios, is_affected)
        at = max(0.0, first.at + first.steps[0].pause - AROUND)
        text = first.customers[0].address.value if scope is Scope.CUSTOMER else about
        found.append(Lasting(scope, at, length, text, frozenset(one.address.key for one in customers)))
    found.append(Lasting(Scope.LOG, chance.uniform(0.05, BEGINS) * seconds, length, LOGGING))
    begun, away = chance.choice([*redis_kills])
    found.append(Lasting(Scope.SPOOL, max(0.0, begun - AROUND), away + 2 * AROUND, SPOOLING))
    return tuple(found)


def _may_wait(one: Customer) -> bool:
    """Tell whether the API may fail for a customer: the one of the first account fails, and its messages need calls."""
    return one.account != OTHER_ACCOUNT and one.kind == "sms" and one.is_direct and one.left == one.closed == 0


def _choose(chance: random.Random, seconds: float, scenarios: Sequence[Scenario]) -> Scenario:
    """Choose a scenario whose first message comes while an outage can begin; else the earliest of all."""
    early = [one for one in scenarios if one.at + one.steps[0].pause < BEGINS * seconds]
    most = max((len(one.customers[0].messages) for one in early), default=0)
    many = [one for one in early if len(one.customers[0].messages) == most]
    return chance.choice(many) if many else min(scenarios, key=lambda one: one.at + one.steps[0].pause)


def _all(scenarios: Iterable[Scenario], is_so: Callable[[Customer], bool]) -> list[Customer]:
    return [one for scenario in scenarios for one in scenario.customers if is_so(one)]


def is_spared(lasting: Iterable[Lasting], role: str, at: float) -> bool:
    """Tell whether a process must not be killed at a moment, because its disk fails around it."""
    return any(one.about == role and one.at - SPARED < at < one.at + one.seconds + SPARED for one in lasting)


def served_throughout(scope: Scope) -> Callable[[RoundRecord], Row]:
    """Return the row of an outage: in every part of it something of those who are not affected was published."""

    def row(record: RoundRecord) -> Row:
        name = f"parts of an outage of {scope} = others were served"
        if scope.is_disk and not CAN_FILL_DISKS:
            return Row(name, 0, 0, note="left out: this system has no prlimit")
        over = next((one for one in record.lasting if one.outage.scope is scope), None)
        if over is None:
            return Row(name, 1, 0, (f"there was no outage of {scope}",))
        hits = lines_lost(record, over.begun) if scope is Scope.LOG else over.hits
        wrong = [] if hits else [f"the outage of {scope} has made nothing fail"]
        parts = _parts(over, record)
        served = [part for part in parts if _is_served(over, part, record)]
        wrong += [f"nothing of others between {part[0]:.1f} and {part[1]:.1f}" for part in parts if part not in served]
        note = f"{over.ended - over.begun:.0f} s, {hits:,} {_HITS[scope]}"
        return Row(name, len(parts), len(served), tuple(wrong), note)

    row.__name__ = f"served_in_spite_of_{scope.name.lower()}"
    return row


def lines_lost(record: RoundRecord, since: float = 0.0) -> int:
    """Count the log lines that processes could not write, as they have said afterwards."""
    return sum(line.fields["lines"] for line in record.lines("log.dropped") if line.at >= since)


def _parts(over: LastedOutage, record: RoundRecord) -> list[tuple[float, float]]:
    """Return the parts of an outage, each long enough for something to be published, without those without Redis."""
    if over.outage.scope is Scope.SPOOL:  # it begins and ends with an outage of Redis
        return [(over.begun, over.ended)]
    away = [(one.begun, one.ended + AFTER_REDIS) for one in record.redis_outages]
    lasted = over.ended - over.begun
    number = max(1, int(lasted / record.part))
    ends = [over.begun + place * lasted / number for place in range(number + 1)]
    parts = [part for part in pairwise(ends) if not _covered(part, away)]
    if not parts and lasted >= ENOUGH and _covered((over.begun, over.ended), away) <= lasted / 2:
        return [(over.begun, over.ended)]  # a slow machine, with parts as long as all of it
    return parts


def _covered(part: tuple[float, float], away: Iterable[tuple[float, float]]) -> float:
    """Return how many seconds of a part Redis was away, or has just come back."""
    return sum(max(0.0, min(part[1], until) - max(part[0], since)) for since, until in away)


def _is_served(over: LastedOutage, part: tuple[float, float], record: RoundRecord) -> bool:
    """Tell whether others were served: webhooks where Redis is away, or else entries published."""
    if over.outage.scope is Scope.SPOOL:
        return over.accepted > 0
    affected = over.outage.affected
    return any(
        part[0] <= one.at <= part[1] and one.owner and one.owner not in affected for one in record.state.published
    )


_HITS: Final = {
    Scope.ACCOUNT: "requests failed",
    Scope.CHANNEL: "requests failed",
    Scope.CUSTOMER: "requests failed",
    Scope.LOG: "lines dropped",
    Scope.SPOOL: "webhooks answered 503",
}
#: The rows, one for each scope.
LASTING_ROWS: Final = tuple(served_throughout(scope) for scope in Scope)
