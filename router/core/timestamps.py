"""Timestamps of the API: ISO 8601 in UTC with 0 to 9 fraction digits (examples have 0, callbacks 3, others 9).

Texts are stored as they came; this module makes them comparable as whole microseconds since 1970 (int).
"""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from typing import Final

_ISO: Final = re.compile(
    r"(\d{4})-(\d\d)-(\d\d)[Tt ](\d\d):(\d\d):(\d\d)(?:\.(\d{1,9}))?(?:[Zz]|([+-])(\d\d):?(\d\d))?", re.ASCII
)
#: Length of the longest text that _ISO matches.
_LONGEST: Final = 36
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_MINUTE: Final = 60
_HOUR: Final = 3600
_DAY: Final = 86_400
_DAY_MICROS: Final = _DAY * 1_000_000
_UNITS: Final = {"s": 1, "m": _MINUTE, "h": _HOUR, "d": _DAY}
_AGO: Final = re.compile(r"(\d{1,6}) ?([smhd])", re.ASCII)
_CLOCK: Final = re.compile(r"([01]?\d|2[0-3]):([0-5]\d)(?::([0-5]\d))?", re.ASCII)
#: The forms of a time that read_moment reads, for people.
MOMENTS: Final = "ISO 8601, an age such as 15m, 2h or 3d, or a time of day such as 14:03 (UTC)"
_MICROSECOND: Final = timedelta(microseconds=1)
#: The first and the last time that can be written: the years 1 and 9999.
_FIRST: Final = (datetime.min.replace(tzinfo=UTC) - _EPOCH) // _MICROSECOND
_LAST: Final = (datetime.max.replace(tzinfo=UTC) - _EPOCH) // _MICROSECOND


def to_microseconds(text: str | None) -> int | None:
    """Return the time in `text`, or None if there is none or it cannot be parsed; never raises."""
    text = text.strip() if text else ""
    return _read(text) if len(text) <= _LONGEST else None


@lru_cache(maxsize=256)  # resources that are created together, and an event and its resource, share timestamps
def _read(text: str) -> int | None:
    match = _ISO.fullmatch(text)
    if match is None:
        return None
    *parts, fraction, sign, hours, minutes = match.groups()
    try:
        moment = datetime(*map(int, parts), tzinfo=UTC)  # type: ignore[misc,arg-type] # six ints by the pattern
    except ValueError:
        return None
    micros = (moment - _EPOCH) // _MICROSECOND + int((fraction or "0").ljust(9, "0")[:6])
    if sign:
        offset = (int(hours) * 60 + int(minutes)) * 60_000_000
        micros -= offset if sign == "+" else -offset
        if not _FIRST <= micros <= _LAST:
            return None  # in UTC it is before the year 1 or after 9999, which to_text cannot write
    return micros


def read_moment(text: str, now: int) -> int | None:
    """Return the time that a person means, in µs since 1970 as `now` is; None if it cannot be read, or is before 1970.

    It is ISO 8601, so long before now (`15m`, `2h`, `3d`), or a time of day in UTC (`14:03`): the last one that has
    passed.
    """
    text = text.strip()
    if (ago := _AGO.fullmatch(text)) is not None:
        return max(0, now - int(ago[1]) * _UNITS[ago[2]] * 1_000_000)
    if (clock := _CLOCK.fullmatch(text)) is not None:
        hours, minutes, seconds = (int(part or 0) for part in clock.groups())
        of_day = (hours * _HOUR + minutes * _MINUTE + seconds) * 1_000_000
        passed = now // _DAY_MICROS * _DAY_MICROS + of_day
        return passed if passed <= now else passed - _DAY_MICROS
    moment = to_microseconds(text)
    return moment if moment is not None and moment >= 0 else None


@lru_cache(maxsize=8)  # an entry has the same time twice: 22 of the 5,100 steps of a known customer's message
def to_text(micros: int) -> str:
    """Format `micros` as ISO 8601 in UTC with three fraction digits, as Twilio's callbacks do.

    It is total: a time outside the years 1 to 9999, which an id of a stream may hold, is shown as their first or last.
    """
    seconds, fraction = divmod(micros, 1_000_000)
    return f"{_second(seconds)}.{fraction // 1000:03d}Z"


def show_span(seconds: float) -> str:
    """Return a duration for people: 40 s, 12 minutes, 3.5 hours, 2.0 days; a negative one is 0 s."""
    seconds = max(0.0, seconds)
    if seconds < 2 * _MINUTE:
        return f"{seconds:.0f} s"
    if seconds < 2 * _HOUR:
        return f"{seconds / _MINUTE:.0f} minutes"
    return f"{seconds / _HOUR:.1f} hours" if seconds <= 2 * _DAY else f"{seconds / _DAY:.1f} days"


@lru_cache(maxsize=256)  # many events share a second: takes a fifth of the time
def _second(seconds: int) -> str:
    moment = _EPOCH + timedelta(seconds=min(max(seconds, _FIRST // 1_000_000), _LAST // 1_000_000))
    return moment.isoformat(timespec="seconds").removesuffix("+00:00")  # four times as fast as strftime
