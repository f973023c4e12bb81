"""The schedule of one seed: who writes when, who is killed when, when Redis is away, how the API fails, what lasts.

All of it is drawn up front from `random.Random(seed)`, so that a seed is the same schedule on every machine. Moments
are seconds from the beginning of the round.
"""

from __future__ import annotations

import random
from dataclasses import dataclass
from hashlib import sha256
from typing import TYPE_CHECKING, Any, Final

from tests.chaos.lasting import draw_lasting, is_spared
from tests.chaos.scenarios import make_scenarios

if TYPE_CHECKING:
    from tests.chaos.lasting import Lasting
    from tests.chaos.scenario import Scenario

#: Every process that is killed: its name, and the arguments of `python -m`.
ROLES: Final = {
    "web-1": ("router", "receive"),
    "web-2": ("router", "receive"),
    "worker-1": ("router", "work"),
    "worker-2": ("router", "work"),
    "worker-3": ("router", "work"),
    "ai-agent-1": ("handlers", "ai_agent"),
    "ai-agent-2": ("handlers", "ai_agent"),
    "human-agent-1": ("handlers", "human_agent"),
    "human-agent-2": ("handlers", "human_agent"),
}
#: Seconds that a process runs after a restart before it may be killed again: it has to be killed at work.
WORKING: Final = 6.0
#: Faults of the API, for a few requests each.
FAULTS: Final[tuple[dict[str, Any], ...]] = (
    {"latencySeconds": 1.5, "times": 30},
    {"hang": True, "times": 3},
    {"reset": True, "when": "before", "times": 10},
    {"reset": True, "when": "after", "times": 10},
    {"status": 429, "retryAfter": 1, "times": 40},
    {"status": 503, "times": 30},
    {"status": 503, "when": "after", "times": 5},
    {"body": "broken", "times": 3},
)


@dataclass(frozen=True, slots=True)
class Scale:
    """The size of a round: scenarios, seconds, mean pauses between kills and API faults, and outages of Redis.

    A round with fewer than `least` events shows too little; outages that last take `lasting` seconds.
    """

    scenarios: int
    seconds: float
    kill_pause: float
    fault_pause: float
    redis_kills: int
    redis_stalls: int
    least: int
    lasting: float


FULL: Final = Scale(
    scenarios=1500,
    seconds=240,
    kill_pause=2.2,
    fault_pause=6.0,
    redis_kills=3,
    redis_stalls=2,
    least=20_000,
    lasting=30.0,
)
SHORT: Final = Scale(
    scenarios=60, seconds=15, kill_pause=1.5, fault_pause=3.0, redis_kills=1, redis_stalls=1, least=300, lasting=5.0
)


@dataclass(frozen=True, slots=True)
class Kill:
    """SIGKILL for one process, which is started again `down` seconds later."""

    at: float
    role: str
    down: float


@dataclass(frozen=True, slots=True)
class Outage:
    """Redis is killed and started again `seconds` later, or stopped and resumed."""

    at: float
    is_kill: bool
    seconds: float


@dataclass(frozen=True, slots=True)
class ApiFault:
    """A fault of the API for a few requests, and switches for its callbacks, from a moment on."""

    at: float
    fault: dict[str, Any]
    switches: dict[str, Any]


@dataclass(frozen=True, slots=True)
class Schedule:
    """Everything that is drawn from a seed."""

    seed: int
    scale: Scale
    scenarios: tuple[Scenario, ...]
    kills: tuple[Kill, ...]
    outages: tuple[Outage, ...]
    api_faults: tuple[ApiFault, ...]
    lasting: tuple[Lasting, ...]

    @property
    def digest(self) -> str:
        """A name of the schedule: rounds with an equal digest have the same one."""
        return sha256(repr(self).encode()).hexdigest()[:12]


def make_schedule(seed: int, scale: Scale) -> Schedule:
    """Return the schedule of a seed."""
    chance = random.Random(seed)
    scenarios = make_scenarios(chance, scale.scenarios, scale.seconds * 0.7)
    outages = _outages(chance, scale)
    lasting = draw_lasting(
        chance,
        seconds=scale.seconds,
        length=scale.lasting,
        scenarios=scenarios,
        redis_kills=[(one.at, one.seconds) for one in outages if one.is_kill],
    )
    return Schedule(
        seed=seed,
        scale=scale,
        scenarios=scenarios,
        kills=_kills(chance, scale, lasting),
        outages=outages,
        api_faults=_api_faults(chance, scale),
        lasting=lasting,
    )


def _moments(chance: random.Random, pause: float, seconds: float) -> list[float]:
    """Return moments that are about `pause` seconds apart."""
    moments, at = [], 0.0
    while (at := at + chance.uniform(0.3, 1.7) * pause) < seconds:
        moments.append(at)
    return moments


def _kills(chance: random.Random, scale: Scale, lasting: tuple[Lasting, ...]) -> tuple[Kill, ...]:
    """Draw kills of every process, again and again, but never of one that was just started, or whose disk fails."""
    free = dict.fromkeys(ROLES, 0.0)
    kills = []
    for at in _moments(chance, scale.kill_pause, scale.seconds):
        spared = {role for role in ROLES if is_spared(lasting, role, at)}
        ready = [name for name, since in free.items() if since <= at and name not in spared]
        role = chance.choice(ready or [min(free.keys() - spared, key=lambda name: (free[name], name))])
        kill = Kill(at, role, chance.uniform(0.1, 2.0))
        free[role] = at + kill.down + WORKING
        kills.append(kill)
    return tuple(kills)


def _outages(chance: random.Random, scale: Scale) -> tuple[Outage, ...]:
    """Spread the outages over the round, one in each part of it."""
    kinds = [True] * scale.redis_kills + [False] * scale.redis_stalls
    chance.shuffle(kinds)
    part = scale.seconds / max(1, len(kinds))
    return tuple(
        Outage((number + chance.uniform(0.15, 0.5)) * part, is_kill, chance.uniform(2.0, 4.0 if is_kill else 7.0))
        for number, is_kill in enumerate(kinds)
    )


def _api_faults(chance: random.Random, scale: Scale) -> tuple[ApiFault, ...]:
    found: list[ApiFault] = []
    faults: list[dict[str, Any]] = []
    for at in _moments(chance, scale.fault_pause, scale.seconds):
        faults = faults or chance.sample(FAULTS, len(FAULTS))  # each of them before one comes again
        switches = {
            "callbackDuplicates": chance.choice((0, 0, 1, 2)),
            "callbackOrder": chance.choice(("in-order", "shuffled")),
            "callbackDelaySeconds": chance.choice((0.0, 0.0, 0.5, 5.0)),
        }
        found.append(ApiFault(at, {"method": "*", "route": "*", **faults.pop()}, switches))
    return tuple(found)
