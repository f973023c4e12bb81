"""In which order, how often and after which pauses the webhooks of a scenario are sent: pure, and equal for a seed."""

from __future__ import annotations

import random
from typing import NamedTuple


class Send(NamedTuple):
    """One request: which webhook of the scenario (its place), and the pause in seconds before it."""

    which: int
    pause: float


def make_plan(count: int, *, times: int = 1, delay: float = 0.0, seed: int | None = None) -> tuple[Send, ...]:
    """Return how `count` webhooks are sent, each `times` times.

    Without a `seed`: in the given order, each one's repeats behind it, `delay` seconds before all but the first. With
    one: all of them shuffled, repeats among the others, with random pauses of `delay` on average.
    """
    order = [which for which in range(count) for _ in range(times)]
    if seed is None:
        return tuple(Send(which, delay if place else 0.0) for place, which in enumerate(order))
    chance = random.Random(seed)  # noqa: S311 # an order that can be had again, no secret
    chance.shuffle(order)
    return tuple(Send(which, chance.uniform(0.0, 2 * delay) if place else 0.0) for place, which in enumerate(order))
