"""Tests of router.core.lenient_json."""

import orjson
import pytest

from router.core.lenient_json import load_json, parse_json


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


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ('{"a": [1, 2.5, "\\ud83d\\ude00", true, null]}', {"a": [1, 2.5, "\U0001f600", True, None]}),
        (b'"\xff\\udc00"', "\ufffd\ufffd"),
        ("9223372036854775807", 9223372036854775807),
        ("-9223372036854775808", -9223372036854775808),
        ("9" * 30, 1e30),
    ],
)
def test_json_without_a_library(text, expected):
    """It has the values that other readers find in it."""
    assert parse_json(text) == expected


@pytest.mark.parametrize("text", ["", "{", "NaN", "-Infinity", "1e400", "9" * 400, "[" * 5000, "{'a': 1}"])
def test_no_json(text):
    """What is no JSON for other readers is none here, and nothing but a ValueError says so."""
    with pytest.raises(ValueError, match=r"."):
        parse_json(text)
