"""What `python -m router check` finds: one line each."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Finding:
    """One line of the report; `level` is ok, warn or FAIL."""

    level: str
    subject: str
    text: str
