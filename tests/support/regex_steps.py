"""Counts the steps of a backtracking regular expression, so that a test can measure their growth without a clock.

A plain interpreter of the tree that `re` parses: the same choices in the same order as its engine, each one counted.
The engine's optimizations are left out, so that the count is an upper bound. It is for short texts.
"""

from __future__ import annotations

from itertools import combinations
from re import _parser as parser
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import re
    from collections.abc import Iterator

#: Samples of character classes.
_SAMPLES = "{}a0 .:-@<>?=;\n\tZ_+/\"'(\x01é"


class Counter:
    """Matches one pattern; `steps` counts the elements that were tried at a position."""

    def __init__(self, pattern: re.Pattern[Any]) -> None:
        source = pattern.pattern
        self.tree = parser.parse(source.decode("latin-1") if isinstance(source, bytes) else source, pattern.flags & ~32)
        self.steps = 0

    def search(self, text: str) -> None:
        """Try every position, like a search without a match."""
        for start in range(len(text) + 1):
            if next(self._sequence(list(self.tree), start, text), None) is not None:
                return

    def fullmatch(self, text: str) -> None:
        """Try the whole text."""
        any(end == len(text) for end in self._sequence(list(self.tree), 0, text))

    def _sequence(self, items: list[Any], start: int, text: str) -> Iterator[int]:
        if not items:
            yield start
            return
        for middle in self._one(items[0], start, text):
            yield from self._sequence(items[1:], middle, text)

    def _one(self, item: Any, at: int, text: str) -> Iterator[int]:
        self.steps += 1
        kind, value = str(item[0]), item[1]
        if kind in {"LITERAL", "NOT_LITERAL", "ANY", "IN"}:
            if at < len(text) and _is_one(kind, value, text[at]):
                yield at + 1
        elif kind == "BRANCH":
            for branch in value[1]:
                yield from self._sequence(list(branch), at, text)
        elif kind == "SUBPATTERN":
            yield from self._sequence(list(value[3]), at, text)
        elif kind in {"MAX_REPEAT", "MIN_REPEAT"}:
            low, high, inner = value
            yield from self._repeat(int(low), int(high), list(inner), at, text, is_greedy=kind == "MAX_REPEAT")
        elif self._holds(kind, value, at, text):
            yield at

    def _holds(self, kind: str, value: Any, at: int, text: str) -> bool:
        """Tell whether an assertion holds; one that looks behind counts as true, which gives the most steps."""
        if kind in {"ASSERT", "ASSERT_NOT"}:
            direction, inner = value
            found = next(self._sequence(list(inner), at, text), None) is not None
            return direction < 0 or found == (kind == "ASSERT")
        if kind == "AT":
            return at in {0, len(text)} or "BOUNDARY" in str(value)
        raise NotImplementedError(kind)

    def _repeat(self, low: int, high: int, inner: list[Any], at: int, text: str, *, is_greedy: bool) -> Iterator[int]:
        if not is_greedy and low <= 0:
            yield at
        if high > 0:
            for middle in self._sequence(inner, at, text):
                if middle > at:
                    yield from self._repeat(low - 1, high - 1, inner, middle, text, is_greedy=is_greedy)
        if is_greedy and low <= 0:
            yield at


def _is_one(kind: str, value: Any, character: str) -> bool:
    if kind == "ANY":
        return True
    if kind in {"LITERAL", "NOT_LITERAL"}:
        return (ord(character) == value) == (kind == "LITERAL")
    is_negated = str(value[0][0]) == "NEGATE"
    found = any(_is_in(item, character) for item in value[is_negated:])
    return found != is_negated


def _is_in(item: Any, character: str) -> bool:
    kind, value = str(item[0]), item[1]
    if kind == "LITERAL":
        return ord(character) == value
    if kind == "RANGE":
        return value[0] <= ord(character) <= value[1]
    word = str(value).removeprefix("CATEGORY_")
    tests = {
        "SPACE": character.isspace(),
        "DIGIT": character.isdigit(),
        "WORD": character.isalnum() or character == "_",
    }
    return tests[word.removeprefix("NOT_")] != word.startswith("NOT_")


def pumps(pattern: re.Pattern[Any]) -> list[str]:
    """Return short texts whose repetition may be expensive: characters of the pattern, alone and in pairs."""
    source = pattern.pattern.decode("latin-1") if isinstance(pattern.pattern, bytes) else pattern.pattern
    named = [character for character in _SAMPLES if character in source]
    alike = [character for character in "a0 <" if character not in named]
    characters = (named + alike)[:6]
    return [*characters, *("".join(pair) for pair in combinations(characters, 2))]


def growth(pattern: re.Pattern[Any], pump: str, *, is_searched: bool, size: int = 24) -> float:
    """Return the factor by which the steps grow when the text doubles: 2 is linear, 4 quadratic."""
    counts = []
    for length in (size, 2 * size):
        counter = Counter(pattern)
        text = (pump * length)[:length] + "\x00"
        (counter.search if is_searched else counter.fullmatch)(text)
        counts.append(counter.steps)
    return counts[1] / counts[0]
