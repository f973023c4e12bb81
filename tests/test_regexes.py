"""Every regular expression of the project takes a number of steps that is linear in the length of its text.

Steps are counted, not timed (tests/support/regex_steps.py): doubling a text made of the pattern's own characters may
little more than double the steps. Patterns that grow faster are listed with the bound on their text.
"""

import importlib
import re

import pytest

from tests.support.regex_steps import Counter, growth, pumps
from tests.support.source import modules

#: Slightly above 2, because constant parts weigh more in the shorter text.
LINEAR = 2.6
_SEARCHES = r"\.(?:search|findall|finditer|sub|subn|split)\b"
#: Patterns whose steps grow with the square, and the bound on their text.
SQUARE = {
    "router.core.voice.templates._VARIABLE": "an operator's template, read at the start",
}


def collect():
    """Every compiled pattern of the project by name, and whether it is used for searching."""
    found = {}
    for module in modules("router", "handlers"):
        if module.name.endswith("__main__"):
            continue
        for name, value in vars(importlib.import_module(module.name)).items():
            if isinstance(value, re.Pattern) and re.search(rf"^{name}\b.*=", module.text, re.MULTILINE):
                found[f"{module.name}.{name}"] = (value, bool(re.search(name + _SEARCHES, module.text)))
    return found


PATTERNS = collect()


def test_the_patterns_were_found():
    """The collection finds the project's patterns."""
    assert len(PATTERNS) > 30
    assert set(SQUARE) <= set(PATTERNS)


@pytest.mark.parametrize("name", [name for name in PATTERNS if name not in SQUARE])
def test_pattern_is_linear(name):
    """Doubling a text made of the pattern's own characters at most doubles the steps."""
    pattern, is_searched = PATTERNS[name]
    worst = max((growth(pattern, pump, is_searched=is_searched), pump) for pump in pumps(pattern))
    assert worst[0] <= LINEAR, worst


@pytest.mark.parametrize(
    ("source", "text", "is_worse"),
    [(r"(a+)+$", "a", True), (r"a*a*b", "a", True), (r"[^,]*,", "a", False), (r"(?:a|b)+c", "ab", False)],
)
def test_the_counter_sees_backtracking(source, text, is_worse):
    """The step counter finds patterns that backtrack, and only those."""
    assert (growth(re.compile(source), text, is_searched=False, size=8) > LINEAR) == is_worse


@pytest.mark.parametrize(
    ("source", "text", "found"),
    [(r"a{2,3}b?", "aab", True), (r"[^\s@]+@x", "a@x", True), (r"<[^>]*>", "<a", False), (r"\d\d(?:Z|)", "12Z", True)],
)
def test_the_counter_matches_as_re_does(source, text, found):
    """The step counter matches the same texts as `re`."""
    counter = Counter(re.compile(source))
    ends = list(counter._sequence(list(counter.tree), 0, text))
    assert (len(text) in ends) == found == bool(re.fullmatch(source, text))


@pytest.mark.parametrize("name", SQUARE)
def test_exceptions_are_needed(name):
    """The listed exceptions grow faster than linear, but no faster than the square."""
    pattern, is_searched = PATTERNS[name]
    worst = max(growth(pattern, pump, is_searched=is_searched) for pump in pumps(pattern))
    assert LINEAR < worst < 4.5
