"""Every target, for a short time: any bytes give a value or a declared error."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from router.inbound.sources import SOURCES
from tests.fuzz.targets import NASTY, TARGETS, any_bytes
from tests.support.source import modules

#: The beginnings of the names of functions that read bytes or text from outside.
READERS = ("read_", "parse_", "from_fields", "identify", "normalize", "split", "decode", "html_to_text", "verify")


@pytest.mark.parametrize("name", TARGETS)
@settings(max_examples=40)
@given(data=st.data())
def test_any_bytes(name, data):
    """Any bytes raise only declared errors, and every result can be written."""
    TARGETS[name].check(data.draw(any_bytes(TARGETS[name])))


@pytest.mark.parametrize("name", TARGETS)
def test_seeds_with_nasty_bytes(name):
    """Every seed passes, with each of the nasty inputs before and after it."""
    target = TARGETS[name]
    for seed in (*target.seeds, b""):
        for nasty in NASTY:
            target.check(seed + nasty)
            target.check(nasty + seed)


def test_every_source_is_a_target():
    """Every source is a target; the target of mails, which are read as a stream, is `mail`."""
    assert {name.value for name in SOURCES} - {"email"} <= set(TARGETS)
    assert "mail" in TARGETS


def test_every_module_that_reads_from_outside_is_fuzzed():
    """Every module with a parser is reached from the properties, or is listed with a reason."""
    elsewhere = {
        "router.core.accounts": "splits settings of the operator",
        "router.core.ledger.marker": "reads what the ledger wrote",
        "router.core.ledger.turns": "reads what the ledger wrote",
        "router.core.routing.holding": "reads what the ledger wrote",
        "router.core.routing.journal": "reads what the worker wrote",
        "router.core.stories": "reads what the writer of stories wrote",
        "router.core.erasing": "reads an address that an operator types, as `parse_address` does, which is fuzzed",
        "router.core.ids": "makes ids, and reads texts of the API, which `answer` fuzzes",
        "router.core.classic.members": "decides about resources that `answer` fuzzes",
        "router.settings.toml_lines": "numbers the lines of files that are fuzzed",
        "router.core.resolution.reconciliation": "requests resources, which `answer` fuzzes",
        "router.core.voice.twiml": "reads templates that are fuzzed",
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
