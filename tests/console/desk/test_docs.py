"""docs/desk.md names every page of the desk, and everything that a command by HTTP is answered with."""

import re

from router.console.desk import PAGES
from router.console.desk.pages import _LOOKS
from router.console.desk.presence import LEAVING, LOADED, PAUSE, RENEW
from router.console.desk.reading import MAX_LINES
from router.console.desk.sending import PATIENCE
from tests.support.source import ROOT

TEXT = (ROOT / "docs" / "desk.md").read_text(encoding="utf-8")


def rows(name):
    """Return the first cells of a table."""
    text = TEXT.split(f"<!-- table: {name} -->\n")[1].split("\n\n")[0]
    return [line.split(" | ")[0].strip("| ") for line in text.splitlines()[2:]]


def test_every_page_is_named():
    """With its method and path."""
    assert sorted(one.replace("`", "") for one in rows("pages of the desk")) == sorted(
        f"{page.method} {page.path}" for page in PAGES
    )


def test_the_answers_to_commands_are_those_that_tests_have_seen():
    """tests/console/desk/test_commands.py and tests/console/test_security.py get each of them."""
    assert [int(one) for one in rows("answers to commands by HTTP")] == [202, 400, 401, 403, 413, 415, 503]


def test_times_are_those_of_the_code():
    """Presence, patience, and how much is shown."""
    assert f"every {RENEW:.0f} s" in TEXT
    assert f"presence ends {PAUSE + LEAVING:.0f} s later" in TEXT
    assert LOADED == 120
    assert "counts for two minutes" in TEXT
    assert f"within {PATIENCE:.0f} s" in TEXT
    assert f"newest {MAX_LINES} lines" in re.sub(r"\s+", " ", TEXT)
    first, second, last = _LOOKS
    assert f"after {first:g}, {second:g} and {last:g} s" in TEXT
