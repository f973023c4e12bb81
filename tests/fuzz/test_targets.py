"""Every parser of the table, for a moment: any bytes end in a value or in a declared error."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from router.inbound.sources import SOURCES
from tests.fuzz.targets import NASTY, TARGETS, any_bytes
from tests.support.source import modules

#: Functions that read bytes or text from outside, by how they are named.
READERS = ("read_", "parse_", "from_fields", "identify", "normalize", "split", "decode", "html_to_text", "verify")


@pytest.mark.parametrize("name", TARGETS)
@settings(max_examples=40)
@given(data=st.data())
def test_any_bytes(name, data):
    """Nothing is raised but what is declared, and what comes out can be written."""
    TARGETS[name].check(data.draw(any_bytes(TARGETS[name])))


@pytest.mark.parametrize("name", TARGETS)
def test_seeds_and_nasty_words(name):
    """What mutation begins with passes, and so does each nasty word alone, in front and behind."""
    target = TARGETS[name]
    for seed in (*target.seeds, b""):
        for nasty in NASTY:
            target.check(seed + nasty)
            target.check(nasty + seed)


def test_every_source_is_a_target():
    """A source of the table cannot be forgotten here; mails are read as a stream, under a name of their own."""
    assert {name.value for name in SOURCES} - {"email"} <= set(TARGETS)
    assert "mail" in TARGETS


def test_every_module_that_reads_from_outside_is_fuzzed():
    """A parser that nobody fuzzes is seen here: each is reached from the properties, or named with its reason."""
    elsewhere = {
        "router.core.accounts": "splits the operator's own variables",
        "router.core.ledger.marker": "reads what the ledger has written",
        "router.core.ids": "makes ids, and reads what the API says, which the answers bring",
        "router.core.classic.members": "decides on resources that the answers have read",
        "router.settings.toml_lines": "numbers the lines of the files that are fuzzed",
        "router.core.voice.twiml": "reads the templates that are fuzzed",
    }
    reading = {
        module.name
        for module in modules("router")
        if module.room in {"router.core", "router.inbound"}
        and any(function.name.startswith(READERS) for function in module.functions())
    }
    (properties,) = [module for module in modules("tests/fuzz") if module.path == "tests/fuzz/properties.py"]
    reached, waiting = set(), [properties]
    known = {module.name: module for module in modules("router")}
    while waiting:
        for name in waiting.pop().imports() & known.keys() - reached:
            reached.add(name)
            if name.startswith("router.inbound"):
                waiting.append(known[name])
    assert reading - reached <= set(elsewhere)
