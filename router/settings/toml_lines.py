"""Line numbers in TOML files: the parser returns values without lines, but error messages need them."""

from __future__ import annotations

import re
import tomllib
from typing import TYPE_CHECKING, Any, Final

from router.core.lenient_json import MOST_LEVELS, is_deeper

if TYPE_CHECKING:
    from router.core.errors import SettingsError


#: The line that begins a table, or one of several.
_HEADER: Final = re.compile(r"\s*\[\[?\s*([\w\"'-][^\[\],]*?)\s*\]\]?\s*(#.*)?$")

#: The bound of whole numbers: below it, and not below its negative.
_LIMIT: Final = 1 << 63


def _name(header: re.Match[str]) -> str:
    """Return the name in a header, without spaces and quotes."""
    return re.sub(r"[\s\"']", "", header[1])


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
        """Return the line that sets `key`, or begins it as a table of its own, from `start` to the next table.

        Without one it is `start`.
        """
        begun = _HEADER.match(self._lines[start - 1]) if start <= len(self._lines) else None
        setting = re.compile(rf"\s*[\"']?{re.escape(key)}[\"']?\s*[=.]")
        for number in range(start, len(self._lines) + 1):
            line = self._lines[number - 1]
            header = _HEADER.match(line) if number > start else None
            if header is not None and begun is not None:
                name = _name(header).removeprefix(f"{_name(begun)}.")
                if name == _name(header):
                    break
                if name.partition(".")[0] == key:
                    return number
            elif number > start and self._header.match(line):
                break
            if setting.match(line):
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
        return read_toml(text)
    except ValueError as error:
        raise error_type([f"{origin}: {error}"]) from error


def read_toml(text: str) -> dict[str, Any]:
    """Parse the document; raises ValueError if it is not TOML, or nested too deep.

    Whole numbers have 64 bits at most (https://toml.io/en/v1.0.0#integer): Python cannot even show much longer ones.
    """
    try:
        document = tomllib.loads(text)
        _check_numbers(document)
    except RecursionError as error:
        raise ValueError("it is nested too deep") from error
    if is_deeper(document, MOST_LEVELS):
        raise ValueError("it is nested too deep")
    return document


def _check_numbers(value: Any) -> None:
    if isinstance(value, int) and not -_LIMIT <= value < _LIMIT:
        raise ValueError(f"a whole number has more than 64 bits: {value:#x}"[:80])
    for one in value.values() if isinstance(value, dict) else value if isinstance(value, list) else ():
        _check_numbers(one)
