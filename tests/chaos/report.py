"""What a round is told as: the table, what the storm did, and, where a row is false, all that is known on disk."""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import asdict, dataclass, field
from statistics import median
from typing import TYPE_CHECKING, Final

import orjson

from tests.chaos.books import settled_of
from tests.chaos.order import count_overtakes
from tests.chaos.stories import ACCOUNT

if TYPE_CHECKING:
    from pathlib import Path

    from tests.chaos.accounting import Row
    from tests.chaos.books import Books
    from tests.chaos.schedule import Schedule

#: So many of what does not fit are printed of each row.
SHOWN: Final = 5
#: So many log lines are kept of each of these.
LINES: Final = 40
#: What is long enough to name one thing: keys, ids, SIDs.
_NAME: Final = re.compile(r"[\w-]{20,}")
#: Seconds that processes need after an outage of Redis until all of them have beaten again.
HEARTBEATS: Final = 2.0


@dataclass
class Report:
    """A round that is over; `told` is what is told besides the table."""

    schedule: Schedule
    rows: list[Row]
    told: dict[str, str] = field(default_factory=dict)

    @property
    def is_true(self) -> bool:
        """Whether every row is as it must be."""
        return all(row.is_true for row in self.rows)

    def render(self) -> str:
        """Return it as text."""
        widest = max(len(row.name) for row in self.rows)
        lines = [f"  {'':<{widest}}  {'expected':>9}  {'found':>9}"]
        for row in self.rows:
            word = "ok" if row.is_true else "FALSE"
            lines.append(f"  {row.name:<{widest}}  {row.expected:>9,}  {row.found:>9,}  {word:<5}  {row.note}".rstrip())
            lines += [f"      {wrong}" for wrong in row.wrong[:SHOWN]]
            if len(row.wrong) > SHOWN:
                lines.append(f"      ... and {len(row.wrong) - SHOWN} more")
        lines += [f"  {name}: {text}" for name, text in self.told.items()]
        return "\n".join(lines)


def tell(books: Books, kills: Counter[str], seconds: float) -> dict[str, str]:
    """Return what the storm did and what it cost, in words."""
    requests = sum(fate.taken.total() for fate in books.fates.values())
    results = Counter(line.fields["result"] for line in books.lines("webhook"))
    redis_kills = sum(one.is_kill for one in books.aways)
    times = sorted(line.fields["ms"] / 1000 for line in books.lines("event"))
    recoveries, settled = recovery_times(books), settled_of(books)
    slowest = max((one.seconds for one in recoveries), default=0.0)
    undisturbed = max((one.seconds for one in recoveries if not one.is_disturbed), default=0.0)
    words = sum(len(messages) for messages in settled)
    return {
        "killed": f"{kills.total()}: " + ", ".join(f"{role} {count}" for role, count in sorted(kills.items())),
        "Redis": f"killed {redis_kills}, stalled {len(books.aways) - redis_kills}",
        "webhooks": f"{requests:,} answered 2xx, {requests / seconds:.0f}/s; {results['duplicate']:,} duplicates",
        "spooled": f"{results['spooled']:,} webhooks",
        "taken over": f"{sum(one.entries for one in recoveries):,} entries, {len(recoveries)} times",
        "longest recovery": f"{slowest:.1f} s from kill to take-over, {undisturbed:.1f} s where Redis was there",
        "from receipt to end": f"median {median(times):.2f} s, longest {times[-1]:.1f} s" if times else "nothing",
        "overtaken between sources": f"{count_overtakes(settled)} of {words:,} words, which is no promise",
    }


@dataclass(frozen=True, slots=True)
class Recovery:
    """So many entries of a killed process were taken over so many seconds after the kill, and after the start of
    whoever took them: where all of a kind are dead, nobody can.

    `is_disturbed` if Redis was away meanwhile, or had been just before, so that heartbeats had to begin anew.
    """

    seconds: float
    entries: int
    is_disturbed: bool


def recovery_times(books: Books) -> list[Recovery]:
    """Return the take-overs that a log tells of; a consumer's name has its process id."""
    died = {str(end.pid): end.at for end in books.ends}
    started = {(line.role, line.start): line.at for line in books.lines("process.started")}
    found = []
    for line in books.lines("claimed"):
        pid = line.fields["from_consumer"].rsplit("-", 3)[1]
        if pid in died:
            since = max(died[pid], started.get((line.role, line.start), 0.0))
            is_disturbed = any(one.begun <= line.at and one.ended + HEARTBEATS >= since for one in books.aways)
            found.append(Recovery(line.at - since, line.fields["entries"], is_disturbed))
    return found


def known_of(wrong: str, books: Books) -> list[str]:
    """Return the log lines about whatever a wrong item names, by when they were written."""
    names = [name for name in _NAME.findall(wrong) if name != ACCOUNT]
    lines = [line for line in books.found.lines if any(name in str(line.fields) for name in names)]
    return [f"{line.role}.{line.start} {line.fields}" for line in sorted(lines, key=lambda one: one.at)[:LINES]]


def dump(directory: Path, books: Books, report: Report) -> None:
    """Write all that is known as JSON lines, so that somebody can find out why."""
    found = books.found
    tables = {
        "inbound": [asdict(one) | {"body": one.body.decode("utf-8", "replace")} for one in found.inbound],
        "published": [asdict(one) for one in found.published],
        "sandbox-members": [asdict(one) for one in found.members],
        "sandbox-texts": [{"conversation": where, "text": text} for where, text in found.texts],
        "customers": [asdict(one) for one in books.customers],
        "accepted": [asdict(one) for one in books.events.values()],
        "ends": [asdict(one) for one in books.ends],
        "kills": [asdict(one) for one in report.schedule.kills],
        "wrong": [
            {"row": row.name, "wrong": wrong, "lines": known_of(wrong, books) if number < SHOWN else None}
            for row in report.rows
            for number, wrong in enumerate(row.wrong)
        ],
    }
    for name, rows in tables.items():
        text = b"\n".join(orjson.dumps(row) for row in rows)
        (directory / f"{name}.jsonl").write_bytes(text + b"\n")
    (directory / "report.txt").write_text(report.render() + "\n", encoding="utf-8")
