"""The report of a round: the table, a summary, and, where a row is false, everything that is known, on disk."""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import asdict, dataclass, field
from statistics import median
from typing import TYPE_CHECKING, Final

import orjson
from msgspec.structs import asdict as to_dict

from router.core.keys import Target
from tests.chaos.order import count_overtakes
from tests.chaos.record import settled_of
from tests.chaos.watcher import CHANGED, ENDED, MADE, REQUESTED
from tests.support.accounts import ACCOUNT

if TYPE_CHECKING:
    from pathlib import Path

    from tests.chaos.accounting import Row
    from tests.chaos.record import RoundRecord
    from tests.chaos.schedule import Schedule

#: Items that are printed of each false row.
SHOWN: Final = 5
#: Log lines that are kept of each of these.
LINES: Final = 40
#: Words that are long enough to name one thing: keys, ids, SIDs.
_NAME: Final = re.compile(r"[\w-]{20,}")
#: Seconds that processes need after an outage of Redis until all heartbeats are renewed.
HEARTBEATS: Final = 2.0


@dataclass
class Report:
    """The report of a round that is over; `summary` has its numbers by name."""

    schedule: Schedule
    rows: list[Row]
    summary: dict[str, str] = field(default_factory=dict)

    @property
    def is_true(self) -> bool:
        """Whether every row is true."""
        return all(row.is_true for row in self.rows)

    def render(self) -> str:
        """Return it as text."""
        widest = max(len(row.name) for row in self.rows)
        lines = [f"  {'':<{widest}}  {'expected':>9}  {'found':>9}"]
        for row in self.rows:
            verdict = "ok" if row.is_true else "FALSE"
            counts = f"{row.expected:>9,}  {row.found:>9,}"
            lines.append(f"  {row.name:<{widest}}  {counts}  {verdict:<5}  {row.note}".rstrip())
            lines += [f"      {wrong}" for wrong in row.wrong[:SHOWN]]
            if len(row.wrong) > SHOWN:
                lines.append(f"      ... and {len(row.wrong) - SHOWN} more")
        lines += [f"  {name}: {text}" for name, text in self.summary.items()]
        return "\n".join(lines)


def summarize(record: RoundRecord, kills: Counter[str], seconds: float) -> dict[str, str]:
    """Describe what was disturbed, and what that cost."""
    requests = sum(delivery.accepted.total() for delivery in record.deliveries.values())
    results = Counter(line.fields["result"] for line in record.lines("webhook"))
    redis_kills = sum(one.is_kill for one in record.redis_outages)
    times = sorted(line.fields["ms"] / 1000 for line in record.lines("event"))
    recoveries, settled = recovery_times(record), settled_of(record)
    slowest = max((one.seconds for one in recoveries), default=0.0)
    undisturbed = max((one.seconds for one in recoveries if not one.is_disturbed), default=0.0)
    messages = sum(len(one) for one in settled)
    return {
        "killed": f"{kills.total()}: " + ", ".join(f"{role} {count}" for role, count in sorted(kills.items())),
        "people": f"lost {record.losses} presences, {_floors(record)}",
        "Redis": f"killed {redis_kills}, stalled {len(record.redis_outages) - redis_kills}",
        "webhooks": f"{requests:,} answered 2xx, {requests / seconds:.0f}/s; {results['duplicate']:,} duplicates",
        "spooled": f"{results['spooled']:,} webhooks",
        "taken over": f"{sum(one.entries for one in recoveries):,} entries, {len(recoveries)} times",
        "longest recovery": f"{slowest:.1f} s from kill to take-over, {undisturbed:.1f} s where Redis was there",
        "from receipt to end": f"median {median(times):.2f} s, longest {times[-1]:.1f} s" if times else "nothing",
        "overtaken between sources": f"{count_overtakes(settled)} of {messages:,} messages, which is no promise",
    }


def _floors(record: RoundRecord) -> str:
    ends = Counter(one.floor.how for one in record.entries(ENDED))
    changes = Counter(
        one.floor.how
        for one in record.entries(CHANGED)
        if one.target == Target.HUMAN_AGENT and one.floor.how != "accepted"
    )
    shown = ", ".join(f"{how} {count}" for how, count in sorted((ends + changes).items()))
    return f"{len(record.entries(REQUESTED))} requests, {len(record.entries(MADE))} offers: {shown or 'nothing'}"


@dataclass(frozen=True, slots=True)
class Recovery:
    """The take-over of so many entries of a killed process.

    `seconds` count from the kill, or from the start of the process that took them over if that was later. The recovery
    `is_disturbed` if Redis was away meanwhile, or just before, so that heartbeats had to be renewed first.
    """

    seconds: float
    entries: int
    is_disturbed: bool


def recovery_times(record: RoundRecord) -> list[Recovery]:
    """Return the take-overs found in the logs; a consumer's name contains its process id."""
    died = {str(end.pid): end.at for end in record.ends}
    started = {(line.role, line.start): line.at for line in record.lines("process.started")}
    found = []
    for line in record.lines("claimed"):
        pid = line.fields["from_consumer"].rsplit("-", 3)[1]
        if pid in died:
            since = max(died[pid], started.get((line.role, line.start), 0.0))
            is_disturbed = any(one.begun <= line.at and one.ended + HEARTBEATS >= since for one in record.redis_outages)
            found.append(Recovery(line.at - since, line.fields["entries"], is_disturbed))
    return found


def known_of(wrong: str, record: RoundRecord) -> list[str]:
    """Return the log lines about the things that a wrong item names, in order of time."""
    names = [name for name in _NAME.findall(wrong) if name != ACCOUNT]
    lines = [line for line in record.state.lines if any(name in str(line.fields) for name in names)]
    return [f"{line.role}.{line.start} {line.fields}" for line in sorted(lines, key=lambda one: one.at)[:LINES]]


def dump(directory: Path, record: RoundRecord, report: Report) -> None:
    """Write everything that is known as JSON lines."""
    state = record.state
    tables = {
        "inbound": [asdict(one) | {"body": one.body.decode("utf-8", "replace")} for one in state.inbound],
        "published": [asdict(one) for one in state.published],
        "sandbox-members": [asdict(one) for one in state.members],
        "sandbox-texts": [{"conversation": where, "text": text} for where, text in state.texts],
        "customers": [asdict(one) for one in record.customers],
        "accepted": [asdict(one) for one in record.events.values()],
        "ends": [asdict(one) for one in record.ends],
        "kills": [asdict(one) for one in report.schedule.kills],
        "wrong": [
            {"row": row.name, "wrong": wrong, "lines": known_of(wrong, record) if number < SHOWN else None}
            for row in report.rows
            for number, wrong in enumerate(row.wrong)
        ],
    }
    for name, rows in tables.items():
        text = b"\n".join(orjson.dumps(row, default=to_dict) for row in rows)
        (directory / f"{name}.jsonl").write_bytes(text + b"\n")
    (directory / "report.txt").write_text(report.render() + "\n", encoding="utf-8")
