"""Every regular expression of the project takes steps with the length of its text, not with a power of it.

Counted, not timed (tests/support/regex_steps.py): a text made of what the pattern names is doubled, and the steps may
at most double with it, and a little. What grows faster is listed with the bound on its text.
"""

import importlib
import re

import pytest

from tests.support.regex_steps import Counter, growth, pumps
from tests.support.source import modules

#: A little over linear: constant parts weigh more in the shorter text.
LINEAR = 2.6
_SEARCHES = r"\.(?:search|findall|finditer|sub|subn|split)\b"
#: Patterns whose steps grow with the square, and what bounds their text.
SQUARE = {
    "router.conversations.answers._PERSONAL": "a thousand characters of an API's message",
    "router.core.voice.templates._VARIABLE": "an operator's template, read at the start",
}


def collect():
    """Every pattern that a module of the project keeps, by its name, and whether it is searched for."""
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
    """A test of nothing finds nothing."""
    assert len(PATTERNS) > 30
    assert set(SQUARE) <= set(PATTERNS)


@pytest.mark.parametrize("name", [name for name in PATTERNS if name not in SQUARE])
def test_pattern_is_linear(name):
    """Doubling the text doubles the steps, whatever of the pattern's own characters it is made of."""
    pattern, is_searched = PATTERNS[name]
    worst = max((growth(pattern, pump, is_searched=is_searched), pump) for pump in pumps(pattern))
    assert worst[0] <= LINEAR, worst


@pytest.mark.parametrize(
    ("source", "text", "is_worse"),
    [(r"(a+)+$", "a", True), (r"a*a*b", "a", True), (r"[^,]*,", "a", False), (r"(?:a|b)+c", "ab", False)],
)
def test_the_counter_tells_them_apart(source, text, is_worse):
    """It sees what backtracking costs, or the test above would pass whatever the patterns are."""
    assert (growth(re.compile(source), text, is_searched=False, size=8) > LINEAR) == is_worse


@pytest.mark.parametrize(
    ("source", "text", "found"),
    [(r"a{2,3}b?", "aab", True), (r"[^\s@]+@x", "a@x", True), (r"<[^>]*>", "<a", False), (r"\d\d(?:Z|)", "12Z", True)],
)
def test_the_counter_matches_as_re_does(source, text, found):
    """An interpreter that matched otherwise would count something else."""
    counter = Counter(re.compile(source))
    ends = list(counter._sequence(list(counter.tree), 0, text))
    assert (len(text) in ends) == found == bool(re.fullmatch(source, text))


@pytest.mark.parametrize("name", SQUARE)
def test_exceptions_are_needed(name):
    """What is listed does grow faster, and no faster than the square; a longer list would hide what is new."""
    pattern, is_searched = PATTERNS[name]
    worst = max(growth(pattern, pump, is_searched=is_searched) for pump in pumps(pattern))
    assert LINEAR < worst < 4.5
