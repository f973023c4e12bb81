"""Line numbers in TOML files: the parser returns values without lines, but error messages need them."""

from __future__ import annotations

import re
import tomllib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from router.core.errors import SettingsError


class TomlLines:
    """Collects the problems of a file of `[[table]]`s as `origin:line: reason`, instead of stopping at the first."""

    def __init__(self, text: str, origin: str, *, table: str) -> None:
        self.origin = origin
        self.problems: list[str] = []
        self._header = re.compile(rf"\s*\[\[\s*{table}\s*\]\]")
        self._lines = text.splitlines()
        self._starts = [number for number, line in enumerate(self._lines, 1) if self._header.match(line)]

    def report(self, line: int, reason: str) -> None:
        """Add a problem."""
        self.problems.append(f"{self.origin}:{line}: {reason}")

    def line_of(self, index: int) -> int:
        """Return the line of the table with this index; 1 if it has no header of its own."""
        return self._starts[index] if index < len(self._starts) else 1

    def find(self, key: str, start: int) -> int:
        """Return the line that sets `key`, from `start` to the next table; else `start`."""
        pattern = re.compile(rf"\s*[\"']?{re.escape(key)}[\"']?\s*[=.]")
        for number in range(start, len(self._lines) + 1):
            if number > start and self._header.match(self._lines[number - 1]):
                break
            if pattern.match(self._lines[number - 1]):
                return number
        return start

    def find_top(self, key: str) -> int:
        """Return the line of a table, wherever it is, or of a key above all tables; else 1."""
        pattern = re.compile(rf"\s*\[+\s*[\"']?{re.escape(key)}[\"']?\s*[.\]]")
        tables = (number for number, line in enumerate(self._lines, 1) if pattern.match(line))
        return next(tables, None) or self.find(key, 1)


def parse_toml(text: str, origin: str, error_type: type[SettingsError]) -> dict[str, Any]:
    """Parse the document; raises `error_type` if it is not TOML."""
    try:
        return tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise error_type([f"{origin}: {error}"]) from error
