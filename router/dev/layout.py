"""The layout of `dev`: a happening on one line that fits into the terminal, and its ids below it on request.

Texts and names come from outside: they are masked and made visible before they are measured, by the columns that a
terminal gives them. Times are in UTC, as in logs and stories and as `--around` takes them.
"""

from __future__ import annotations

import shutil
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Final

from router.core.printable import fit, masked, visible, width
from router.dev.happening import SIGNS, LineKind
from router.process.terminal import Style, can_show, has_terminal
from router.settings.environment import allows_colors

if TYPE_CHECKING:
    from collections.abc import Callable

    from router.dev.happening import Happening

#: Columns where there is no terminal.
WITHOUT_TERMINAL: Final = 100
#: Columns of who did something, and of the customer.
_WHO: Final = 11
_CUSTOMER: Final = 16
#: Columns from which on the customer has a column.
_NARROW: Final = 60
#: The part of the room that a remark may take from the text.
_SHARE: Final = 2
#: How many signs the legend explains on one line.
_SIGNS_OF_A_LINE: Final = 6
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)


def terminal_columns() -> int:
    """Return the columns of the terminal at this moment."""
    return shutil.get_terminal_size((WITHOUT_TERMINAL, 0)).columns


class LineLayout:
    """Makes lines of happenings; `columns` is asked for each, since a terminal may change."""

    def __init__(
        self,
        *,
        columns: Callable[[], int] = terminal_columns,
        is_verbose: bool = False,
        has_colors: bool = False,
        has_signs: bool = True,
    ) -> None:
        self._columns = columns
        self._is_verbose = is_verbose
        self._has_colors = has_colors
        self._has_signs = has_signs

    @classmethod
    def of_output(cls, *, is_verbose: bool) -> LineLayout:
        """Return the layout for standard output as it is: colors for a terminal only, signs if it has them."""
        return cls(
            is_verbose=is_verbose, has_colors=has_terminal() and allows_colors(), has_signs=can_show(SIGNS + "…")
        )

    def legend(self) -> tuple[str, ...]:
        """Return the meaning of the signs, and the time zone, on lines that fit into a small terminal."""
        words = [kind.explain(is_plain=not self._has_signs) for kind in LineKind]
        rows = [words[:_SIGNS_OF_A_LINE], [*words[_SIGNS_OF_A_LINE:], "times in UTC"]]
        return tuple("  ".join(row) for row in rows)

    def lines_of(self, happening: Happening, customer: str) -> list[tuple[str, Style]]:
        """Return the line of a happening with its style, and with ids the line below it; none for a detail."""
        if happening.is_detail and not self._is_verbose:
            return []
        style = happening.kind.style if self._has_colors else Style.PLAIN
        columns = max(1, self._columns())
        lines = [(self._lay_out(happening, customer, columns), style)]
        if self._is_verbose and any(happening.ids.values()):
            ids = "  ".join(f"{name} {visible(text)}" for name, text in happening.ids.items() if text)
            lines.append((f"{'':<11}{ids}", Style.FAINT if self._has_colors else Style.PLAIN))
        return lines

    def _lay_out(self, happening: Happening, customer: str, columns: int) -> str:
        sign = happening.kind.sign(is_plain=not self._has_signs)
        cells = [self._time(happening.at), sign, _cell(_safe(happening.who), _WHO)]
        if columns >= _NARROW:
            cells.append(_cell(_safe(customer), _CUSTOMER))
        head = " ".join(cells)
        line = f"{head} {self._words(happening, columns - width(head) - 1)}".rstrip()
        return self._plain(fit(line, columns))

    def _words(self, happening: Happening, room: int) -> str:
        """Return text and remark; a long text is cut, so that the remark can be read."""
        text, remark = _safe(happening.text), _safe(happening.remark)
        if happening.times > 1 and text and not remark:
            remark = f"{happening.times} times"
        if not remark:
            return text
        if not text:
            return remark
        tail = f"  [{remark}]"
        return f"{fit(text, max(room - width(tail), room // _SHARE))}{tail}"

    @staticmethod
    def _time(at: int) -> str:
        moment = _EPOCH + timedelta(microseconds=min(max(at, 0), _LATEST))
        return moment.strftime("%H:%M:%S")

    def _plain(self, line: str) -> str:
        return line if self._has_signs else line.replace("…", "~")


#: The year 9000, in µs: what is on a stream may claim any time.
_LATEST: Final = 221_845_392_000_000_000


def _safe(text: str) -> str:
    return visible(masked(text.strip()))


def _cell(text: str, columns: int) -> str:
    text = fit(text, columns)
    return text + " " * (columns - width(text))
