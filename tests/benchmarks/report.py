"""Reports as text: a table of the contenders and one of the figures, for a terminal."""

from __future__ import annotations

import os
import platform
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tests.benchmarks.frame import Column, Figure, Report, Spread


def machine() -> str:
    """Describe the machine on which the figures were measured."""
    return f"{_processor()}, {os.cpu_count()} cores, {platform.system()}, Python {platform.python_version()}"


def _processor() -> str:
    try:
        with open("/proc/cpuinfo", encoding="utf-8") as lines:  # noqa: PTH123 - a file of the kernel
            names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    except OSError:
        names = []
    return names[0] if names else platform.processor() or platform.machine()


def render(report: Report) -> str:
    """Return the tables of one measurement."""
    columns, figures = report.measurement.columns, report.measurement.figures
    heads = [["", *(column.heading for column in columns)]]
    rows = [[report.labels[name], *(_cell(report, name, column) for column in columns)] for name in report.samples]
    below = [
        ["", "median", "min .. max", "target", ""],
        *(_figure_row(report, figure) for figure in figures if report.has(figure)),
    ]
    return "\n".join([f"\n{report.measurement.title}", *table(heads + rows), "", *table(below)])


def _cell(report: Report, name: str, column: Column) -> str:
    spread = report.spread(name, column.metric)
    return _with_range(spread, column.digits) if spread else "-"


def _with_range(spread: Spread, digits: int) -> str:
    low, middle, high = (f"{value:,.{digits}f}" for value in (spread.minimum, spread.median, spread.maximum))
    return f"{middle} ({low} .. {high})"


def _figure_row(report: Report, figure: Figure) -> list[str]:
    spread = report.figure(figure)
    if spread is None:
        return [figure.label, "-", "", figure.target, ""]
    verdict = ("met" if figure.is_met(spread.median) else "not met") if figure.target else ""
    return [
        figure.label,
        f"{spread.median:.3g}",
        f"{spread.minimum:.3g} .. {spread.maximum:.3g}",
        figure.target,
        verdict,
    ]


def table(rows: Sequence[Sequence[str]], *, last_is_text: bool = False) -> list[str]:
    """Return rows as lines: the first column aligned left, the others right, except a last one of text."""
    widths = [max(len(row[place]) for row in rows) for place in range(len(rows[0]))]
    if last_is_text:
        widths[-1] = 0
    return ["  ".join([row[0].ljust(widths[0]), *map(str.rjust, row[1:], widths[1:])]).rstrip() for row in rows]
