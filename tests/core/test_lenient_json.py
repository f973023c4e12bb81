"""Tests of router.core.lenient_json."""

import orjson
import pytest

from router.core.lenient_json import load_json


@pytest.mark.parametrize(
    ("text", "value"),
    [
        (rb'"hi \ud83d"', "hi \ufffd"),
        (r'"hi \uDE00"', "hi \ufffd"),
        (rb'"\ud83d\ude00"', "\U0001f600"),
        (rb'"\ud83d\ud83d\ude00"', "\ufffd\U0001f600"),
        (rb'"\\ud83d"', r"\ud83d"),
        (rb'{"\ud83d": [1]}', {"\ufffd": [1]}),
        (b'"caf\xe9"', "caf\ufffd"),
    ],
)
def test_a_broken_character_costs_itself(text, value):
    """Half of a surrogate pair, or a byte that is not UTF-8, is U+FFFD; whole pairs and other escapes are kept."""
    assert load_json(orjson.loads, text) == value


@pytest.mark.parametrize("text", [b"", b"{", rb'{"a": "\ud83d"', '"\\x"', "[" * 5000])
def test_other_faults_are_refused(text):
    """A document that is not JSON raises orjson's error, whichever characters it holds."""
    with pytest.raises(orjson.JSONDecodeError):
        load_json(orjson.loads, text)
