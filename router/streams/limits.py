"""How much a consumer takes on."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Limits:
    """The settings of the same names; durations in seconds."""

    window: int = 500
    batch: int = 200
    max_deliveries: int = 5
    dead_letter_budget: float = 0.5
    retry_delay: float = 1.0
    heartbeat_ttl: float = 2.0
    grace: float = 10.0
