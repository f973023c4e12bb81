"""SECURITY.md says nothing that no test shows: every test that it names is there, and every setting, too."""

import re

import pytest

from router.settings.model import Settings, variable_of
from tests.support.source import ROOT, modules

TEXT = (ROOT / "SECURITY.md").read_text(encoding="utf-8")
NAMED = sorted(set(re.findall(r"`(tests/[\w/]+\.py)(?:::(\w+))?`", TEXT)))


@pytest.mark.parametrize(("path", "function"), NAMED)
def test_named_test_is_there(path, function):
    """A claim whose test is gone, or was renamed, is a claim no more."""
    (module,) = [module for module in modules("tests") if module.path == path]
    names = {one.name for one in module.functions()}
    assert function in names if function else any(name.startswith("test_") for name in names)


def test_every_defense_names_a_test():
    """No row of the table is without proof."""
    table = TEXT.split("## Defenses")[1].split("\n\n")[1]
    rows = table.splitlines()[2:]
    assert len(rows) > 15
    assert [row for row in rows if "`tests/" not in row] == []


def test_named_settings_exist():
    """A variable that it tells operators to set is one."""
    named = set(re.findall(r"\b(?:ROUTER|TWILIO)_[A-Z_]+\b|\bREDIS_URL\b", TEXT))
    assert named <= {variable_of(name) for name in Settings.model_fields}


def test_numbers_are_those_of_the_code():
    """Seconds and sizes in the text are the constants'."""
    from router.inbound.email.inbound_parse import MAX_TEXT
    from router.receiver import bodies, connections

    assert f"{connections.HEAD_TIMEOUT:.0f} s for a first request" in TEXT
    assert f"{bodies.BODY_TIMEOUT:.0f} s for a body, {bodies.MAIL_TIMEOUT:.0f} s for a mail" in TEXT
    assert f"or {bodies.MAILS_AT_ONCE} mails arrive, the slowest gives way" in TEXT
    assert f"{connections.MAX_HEADERS * connections.MAX_HEADER_SIZE // 1024} KiB for each connection" in TEXT
    assert f"default of {Settings.model_fields['max_connections'].default}" in TEXT
    assert f"at most {MAX_TEXT // 1024} KiB" in TEXT
