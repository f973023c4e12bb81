"""The schedule of one seed: who comes in when, who is killed when, when Redis is away, how the API misbehaves.

All of it is drawn up front from `random.Random(seed)`, so that a seed is the same schedule every time, whatever the
machine makes of it. Moments are seconds from the beginning of the storm.
"""

from __future__ import annotations

import random
from dataclasses import dataclass
from hashlib import sha256
from typing import TYPE_CHECKING, Any, Final

from tests.chaos.stories import make_stories

if TYPE_CHECKING:
    from tests.chaos.story import Story

#: Every process that is killed: its name, and what is run.
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
#: Seconds that a process is left alone after a kill: it has to be killed at work, not at its start.
WORKING: Final = 6.0
#: How the API misbehaves, a few requests at a time.
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
    """How large a round is: stories, seconds of storm, mean pauses between kills and faults, and Redis' outages.

    With fewer than `least` events it shows too little.
    """

    stories: int
    seconds: float
    kill_pause: float
    fault_pause: float
    redis_kills: int
    redis_stalls: int
    least: int


FULL: Final = Scale(
    stories=1500, seconds=240, kill_pause=2.2, fault_pause=6.0, redis_kills=3, redis_stalls=2, least=20_000
)
SHORT: Final = Scale(stories=60, seconds=15, kill_pause=1.5, fault_pause=3.0, redis_kills=1, redis_stalls=1, least=300)


@dataclass(frozen=True, slots=True)
class Kill:
    """SIGKILL for one process, which is started again `down` seconds later."""

    at: float
    role: str
    down: float


@dataclass(frozen=True, slots=True)
class Outage:
    """Redis is killed and started again, or is stopped and goes on, `seconds` later."""

    at: float
    is_kill: bool
    seconds: float


@dataclass(frozen=True, slots=True)
class Misbehavior:
    """What the API does from a moment on: a fault for a few requests, and how it calls back."""

    at: float
    fault: dict[str, Any]
    switches: dict[str, Any]


@dataclass(frozen=True, slots=True)
class Schedule:
    """Everything that a seed says."""

    seed: int
    scale: Scale
    stories: tuple[Story, ...]
    kills: tuple[Kill, ...]
    outages: tuple[Outage, ...]
    misbehaviors: tuple[Misbehavior, ...]

    @property
    def digest(self) -> str:
        """Name the schedule: two runs with an equal digest have done the same."""
        return sha256(repr(self).encode()).hexdigest()[:12]


def make_schedule(seed: int, scale: Scale) -> Schedule:
    """Return the schedule of a seed."""
    chance = random.Random(seed)
    return Schedule(
        seed=seed,
        scale=scale,
        stories=make_stories(chance, scale.stories, scale.seconds * 0.7),
        kills=_kills(chance, scale),
        outages=_outages(chance, scale),
        misbehaviors=_misbehaviors(chance, scale),
    )


def _moments(chance: random.Random, pause: float, seconds: float) -> list[float]:
    """Return moments that are `pause` seconds apart, more or less."""
    moments, at = [], 0.0
    while (at := at + chance.uniform(0.3, 1.7) * pause) < seconds:
        moments.append(at)
    return moments


def _kills(chance: random.Random, scale: Scale) -> tuple[Kill, ...]:
    """Kill one after the other, each of them again and again, never one that has hardly begun to work."""
    free = dict.fromkeys(ROLES, 0.0)
    kills = []
    for at in _moments(chance, scale.kill_pause, scale.seconds):
        role = chance.choice([name for name, since in free.items() if since <= at] or [min(free, key=free.__getitem__)])
        kill = Kill(at, role, chance.uniform(0.1, 2.0))
        free[role] = at + kill.down + WORKING
        kills.append(kill)
    return tuple(kills)


def _outages(chance: random.Random, scale: Scale) -> tuple[Outage, ...]:
    """Spread the outages over the storm, one in each part of it."""
    kinds = [True] * scale.redis_kills + [False] * scale.redis_stalls
    chance.shuffle(kinds)
    part = scale.seconds / max(1, len(kinds))
    return tuple(
        Outage((number + chance.uniform(0.15, 0.5)) * part, is_kill, chance.uniform(2.0, 4.0 if is_kill else 7.0))
        for number, is_kill in enumerate(kinds)
    )


def _misbehaviors(chance: random.Random, scale: Scale) -> tuple[Misbehavior, ...]:
    found = []
    for at in _moments(chance, scale.fault_pause, scale.seconds):
        switches = {
            "callbackDuplicates": chance.choice((0, 0, 1, 2)),
            "callbackOrder": chance.choice(("in-order", "shuffled")),
            "callbackDelaySeconds": chance.choice((0.0, 0.0, 0.5, 5.0)),
        }
        found.append(Misbehavior(at, {"method": "*", "route": "*", **chance.choice(FAULTS)}, switches))
    return tuple(found)
