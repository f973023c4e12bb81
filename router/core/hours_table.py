"""Reads a table of hours, as rules and queues have them: days, from, to, time_zone."""

from __future__ import annotations

from datetime import time
from typing import TYPE_CHECKING, Any, Final
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from router.core.policy import ALL_DAYS, DAYS, Hours

if TYPE_CHECKING:
    from collections.abc import Callable

_KEYS: Final = frozenset({"days", "from", "to", "time_zone"})
_EXAMPLE: Final = "{ days = ['mon'], from = '09:00', to = '17:00', time_zone = 'UTC' }"


class HoursReader:
    """Reads one table; `report` takes each mistake."""

    def __init__(self, report: Callable[[str], None]) -> None:
        self._report = report

    def read(self, table: Any) -> Hours | None:
        """Return the window; of a wrong table None, or one in which harmless values stand for the wrong ones."""
        if not isinstance(table, dict):
            self._report(f"hours must be a table such as {_EXAMPLE}")
            return None
        for key in sorted(table.keys() - _KEYS):
            self._report(f"unknown key '{key}' in hours (known: {', '.join(sorted(_KEYS))})")
        return Hours(
            time_zone=self._time_zone(table.get("time_zone")),
            days=self._days(table.get("days")),
            start=self._clock(table.get("from", "00:00")),
            end=self._clock(table.get("to", "00:00")),
        )

    def _time_zone(self, value: Any) -> str:
        try:
            return str(ZoneInfo(value).key)
        except (ZoneInfoNotFoundError, ValueError, TypeError, OSError):
            self._report(f"time_zone {value!r} is not a zone such as 'Europe/Berlin' or 'UTC'")
            return "UTC"

    def _days(self, value: Any) -> frozenset[int]:
        if value is None:
            return ALL_DAYS
        if not isinstance(value, list) or not value or not all(day in DAYS for day in value):
            self._report(f"days {value!r} is not a list of {', '.join(DAYS)}")
            return ALL_DAYS
        return frozenset(DAYS.index(day) for day in value)

    def _clock(self, value: Any) -> time:
        try:
            clock = value if isinstance(value, time) else time.fromisoformat(value)
        except (ValueError, TypeError):
            clock = None
        if clock is None or clock.tzinfo is not None:  # the zone belongs in time_zone
            self._report(f"{value!r} is not a time such as '09:00'")
            return time(0, 0)
        return clock
