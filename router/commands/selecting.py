"""The parts that commands on many entries share: the selection of the options, the progress, and the summary."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Final

from router.core.bulk import BulkProgress, EntryOutcome
from router.operations.redaction import plain
from router.operations.selection import Selection
from router.process.terminal import complain, show, show_json

if TYPE_CHECKING:
    import argparse
    from collections.abc import Sequence

#: Seconds between two lines about the progress.
EVERY: Final = 2.0


def selection_of(arguments: argparse.Namespace) -> Selection:
    """Return the selection of ids and filters; an option that a command does not have wants everything."""

    def given(name: str) -> str:
        return getattr(arguments, name, None) or ""

    return Selection(
        ids=tuple(getattr(arguments, "ids", ())),
        reason=given("reason"),
        stream=given("stream"),
        group=given("group"),
        account=given("account"),
        source=given("source"),
        event=given("event"),
        since=arguments.since or 0,
        until=arguments.until,
    )


def wrong_bulk(arguments: argparse.Namespace, what: str) -> str | None:
    """Return the problem with the ids and options of a replay or drop, None if there is none; `what` in the plural."""
    if not arguments.ids and not arguments.all:
        return f"name the {what} to {arguments.action} (see `{arguments.command} list`), or give --all"
    if arguments.ids and arguments.all:
        return f"name {what} or give --all, not both"
    return None


class BulkReport:
    """Prints outcomes and, on standard error, the progress: a line every EVERY seconds.

    `done` is the word for what was done. `is_quiet`: outcomes are only counted.
    """

    def __init__(self, arguments: argparse.Namespace, done: str, *, is_quiet: bool = False) -> None:
        self._arguments = arguments
        self._done = done
        self._is_quiet = is_quiet
        self._told_at = time.monotonic()
        self._names: set[str] = set()
        self.count = BulkProgress(0)

    def outcome(self, outcome: EntryOutcome) -> None:
        """Print the outcome of one entry."""
        self.count.note(outcome)
        self._names |= {outcome.name, outcome.name.rpartition(":")[2]}
        if self._is_quiet:
            return
        if self._arguments.json:
            show_json({"id": outcome.name, "is_done": outcome.is_done, "text": outcome.text})
        else:
            show(f"{outcome.name}: {plain(outcome.text)}")

    def progress(self, progress: BulkProgress) -> None:
        """Say how far it has come, if that was not said lately."""
        now = time.monotonic()
        if now - self._told_at >= EVERY:
            self._told_at = now
            failed = f", {progress.failed:,} not" if progress.failed else ""
            complain(f"{progress.looked_at:,} of {progress.total:,} looked at, {progress.done:,} {self._done}{failed}")

    def finish(self, what: str) -> int:
        """Name the ids that do not exist, print the summary, and return the exit status: 1 if anything was not done."""
        missing = [name for name in dict.fromkeys(self._arguments.ids) if name not in self._names]
        for name in missing:
            complain(f"{plain(name)}: no such {what}")
        failed = self.count.failed + len(missing)
        if not self._arguments.json:
            show(f"{self.count.done} {self._done}" + (f", {failed} not" if failed else ""))
        return 1 if failed else 0


def preview_drop(arguments: argparse.Namespace, names: Sequence[str], what: str) -> int:
    """Say what a drop would remove, each with --dry-run; returns the exit status: 2 if --yes was missing."""
    report = BulkReport(arguments, "would be dropped for good", is_quiet=not arguments.dry_run)
    for name in names:
        report.outcome(EntryOutcome(name, is_done=True, text="would be dropped for good"))
    status = report.finish(what)
    if arguments.dry_run:
        return status
    complain("nothing was dropped: give --yes to do it, or --dry-run to see them")
    return 2
