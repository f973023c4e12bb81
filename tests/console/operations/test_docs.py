"""The documentation of the operations pages."""

import re

from router.console.operations import PAGES
from tests.support.source import ROOT


def test_the_table_has_every_page():
    """Pages and actions are those of the code, no more and no less."""
    text = (ROOT / "docs" / "console.md").read_text(encoding="utf-8")
    section = text.partition("## The operations pages")[2].partition("\n## ")[0]
    shown, _, actions = section.partition("Actions, for operators:")
    pages = re.findall(r"^\| `(/[^`?]*)[^`]*` \|", shown, re.MULTILINE)
    assert sorted(pages) == sorted(page.path for page in PAGES if page.method == "GET")
    rows = [line.split("|")[1] for line in actions.splitlines() if line.startswith("| `/")]
    assert sorted(re.findall(r"`(/[^`]*)`", " ".join(rows))) == sorted(p.path for p in PAGES if p.method == "POST")
