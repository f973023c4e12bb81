"""The lines of `dev`: within the terminal's width, whatever names and texts hold."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from router.core.printable import width
from router.dev.happening import Happening, LineKind
from router.dev.layout import WITHOUT_TERMINAL, LineLayout, terminal_columns
from router.process.terminal import Style
from tests.support.source import ROOT

#: 2026-11-30T10:00:00Z
AT = 1_796_032_800_000_000
HEARD = Happening(
    AT, LineKind.HEARD, "SMS", "Where is my order?", "ai-agent: default", ids={"conversation": "conv_1", "x": ""}
)


def lines(happening, columns=100, customer="+155***01", **options):
    layout = LineLayout(columns=lambda: columns, **options)
    return layout.lines_of(happening, customer)


def line(*arguments, **options):
    ((text, _), *_) = lines(*arguments, **options)
    return text


def test_a_line_tells_when_which_way_who_what_and_what_came_of_it():
    """Time, direction, channel, customer, text, and the decision."""
    assert line(HEARD) == "10:00:00 → SMS         +155***01        Where is my order?  [ai-agent: default]"


def test_a_long_text_is_cut_and_the_decision_stays():
    """The remark stands at the end of the line, the text gives way."""
    shown = line(Happening(AT, LineKind.HEARD, "SMS", "long " * 100, "ai-agent: default"))
    assert width(shown) == 100
    assert shown.endswith("…  [ai-agent: default]")


def test_a_narrow_terminal_has_no_column_for_the_customer():
    """The text matters more."""
    assert line(HEARD, 40) == "10:00:00 → SMS         Where i…  [ai-ag…"


@given(
    who=st.text(),
    text=st.text(),
    remark=st.text(),
    customer=st.text(),
    columns=st.integers(1, 200),
    at=st.integers(-(10**20), 10**20),
)
def test_no_line_is_wider_than_the_terminal(who, text, remark, customer, columns, at):
    """Escapes, wide characters, marks, line breaks, and times that nobody can mean."""
    shown = line(Happening(at, LineKind.SAID, who, text, remark), columns, customer)
    assert width(shown) <= columns
    assert shown.isprintable()


def test_texts_of_customers_are_masked_and_made_visible():
    """A number in a text is a number, and a control sequence is no control sequence."""
    shown = line(Happening(AT, LineKind.HEARD, "SMS", "call +15551230001\n\x1b[2Jnow"))
    assert shown.endswith(r"call +155***01\n\x1b[2Jnow")


def test_wide_names_keep_the_columns():
    """The text stands in the same column whatever the name is made of."""
    shown = [line(Happening(AT, LineKind.SAID, who, "text")) for who in ("Dana", "日本語", "Zoe\u0301", "x" * 40)]
    assert {width(one.removesuffix("text")) for one in shown} == {40}


def test_ids_and_details_are_shown_on_request():
    """With -v the ids stand below the line, whole, and events that lead to nothing are shown too."""
    assert [text for text, _ in lines(HEARD, is_verbose=True)][1].split() == ["conversation", "conv_1"]
    detail = Happening(AT, LineKind.NOTE, "callback", "ignored", is_detail=True)
    assert (lines(detail), len(lines(detail, is_verbose=True))) == ([], 1)


def test_colors_and_signs_only_where_the_output_has_them():
    """Without colors no style, without Unicode the same signs in ASCII."""
    ((_, style),) = lines(HEARD, has_colors=True)
    assert (style, lines(Happening(AT, LineKind.DEAD, "x"), has_colors=True)[0][1]) == (Style.PLAIN, Style.RED)
    assert lines(Happening(AT, LineKind.DEAD, "x"))[0][1] is Style.PLAIN
    plain = [line(Happening(AT, kind, "SMS", "x" * 100), has_signs=False) for kind in LineKind]
    assert all(one.isascii() for one in plain)
    assert len(set(plain)) == len(LineKind)


def test_every_sign_is_explained():
    """The legend has each sign, and its lines fit beside its name into a terminal of 80 columns."""
    for has_signs in (True, False):
        legend = LineLayout(has_signs=has_signs).legend()
        explained = [kind.explain(is_plain=not has_signs) for kind in LineKind]
        assert [one in "  ".join(legend) for one in explained] == [True] * len(LineKind)
        assert max(map(width, legend)) + 12 <= 80
        assert has_signs or "".join(legend).isascii()


@pytest.mark.parametrize(("changes", "has_colors"), [({}, True), ({"NO_COLOR": "1"}, False), ({"TERM": "dumb"}, False)])
def test_a_terminal_gets_colors_unless_its_user_wants_none(monkeypatch, changes, has_colors):
    """NO_COLOR (https://no-color.org) and a terminal that has none."""
    for name in ("NO_COLOR", "TERM"):
        monkeypatch.delenv(name, raising=False)
    for name, value in changes.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr("sys.stdout.isatty", lambda: True, raising=False)
    ((_, style),) = LineLayout.of_output(is_verbose=False).lines_of(Happening(AT, LineKind.DEAD, "x"), "")
    assert style is (Style.RED if has_colors else Style.PLAIN)


def test_without_a_terminal_a_line_has_100_columns(monkeypatch):
    """A pipe has no width; COLUMNS, which a shell may set, wins."""
    monkeypatch.setattr("os.get_terminal_size", lambda *_: (_ for _ in ()).throw(OSError()))
    monkeypatch.delenv("COLUMNS", raising=False)
    assert terminal_columns() == WITHOUT_TERMINAL == 100
    monkeypatch.setenv("COLUMNS", "132")
    assert terminal_columns() == 132


def test_the_page_lists_the_signs():
    """docs/development.md has a row for each kind of line, in the order of the table."""
    page = (ROOT / "docs" / "development.md").read_text(encoding="utf-8").partition("<!-- table: signs of dev -->")[2]
    rows = page.strip().partition("\n\n")[0].splitlines()[2:]
    assert [row.split("`")[1] for row in rows] == [kind.sign() for kind in LineKind]
