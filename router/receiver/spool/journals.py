"""The spool files in a folder: one of this process, and those adopted from processes that died and left events.

A file is named `<namespace>@<time>-<pid>.sqlite`, so that receivers of several namespaces can share a folder and never
adopt each other's events. All calls block, as in `journal`, and come from one thread.
"""

from __future__ import annotations

import os
import sqlite3
import time
from contextlib import ExitStack, suppress
from typing import TYPE_CHECKING, NamedTuple

from router.core.formats import OtherFormatError
from router.logs import describe_fully
from router.receiver.spool.journal import SUFFIX, Journal, UnreadableJournalError, lock_folder, set_aside

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    from router.receiver.spool.journal import Stored
    from router.streams.store.append import InboundFields


class JournalState(NamedTuple):
    """Number of events in the file of this process, its bytes, and number of events in the adopted files.

    `unreadable` of the adopted ones cannot be read now.
    """

    entries: int = 0
    size: int = 0
    adopted: int = 0
    unreadable: int = 0


class Adoption(NamedTuple):
    """Result of one search: the adopted files, the number of events in them, and files that cannot be read."""

    files: tuple[str, ...] = ()
    entries: int = 0
    unreadable: tuple[str, ...] = ()


class Journals:
    """The open files. Raises what Journal raises: sqlite3.Error, OSError or UnreadableJournalError.

    A file of this process that was removed from its folder, or that cannot be read now, is kept open like an adopted
    one, and new events get a new file.
    """

    def __init__(self, folder: Path, namespace: str) -> None:
        self._folder = folder
        self._namespace = namespace
        self._own: Journal | None = None
        self._entries, self._size = 0, 0
        self._source: Journal | None = None  # the file in which the rows are that were read last of the own one
        self._adopted: dict[Journal, int] = {}
        self._unreadable: set[Journal] = set()
        self._reported: set[Path] = set()

    @property
    def adopted(self) -> list[Journal]:
        """The adopted files, oldest first."""
        return list(self._adopted)

    @property
    def own(self) -> Journal:
        """The file of this process; opened on first use."""
        return self._own or self._open()

    def state(self) -> JournalState:
        """Return the current numbers."""
        with suppress(sqlite3.Error):  # the disk fails: the last number is good enough
            self._size = self._own.used() if self._own else 0
        unreadable = sum(self._adopted[journal] for journal in self._unreadable)
        return JournalState(self._entries, self._size, sum(self._adopted.values()), unreadable)

    def check(self) -> None:
        """Raise the error that a usual webhook would meet; writes nothing into the file."""
        self._leave_lost()
        self.own.check_room()

    def probe(self) -> None:
        """Raise the error that a write would raise, and try again to delete what could not be deleted."""
        self.check()
        self.own.probe()
        for journal in self._adopted:
            journal.delete_gone()

    def add(self, events: Iterable[InboundFields]) -> list[bool]:
        """Add events; returns, once all are on disk, which of them are new."""
        self._leave_lost()
        added = self.own.add(events)
        self._entries += sum(added)
        return added

    def read(self, journal: Journal | None, after: int, limit: int) -> list[Stored]:
        """Return the oldest events with a number above `after`, of an adopted journal or (None) of the own one."""
        if journal is None:
            journal = self._source = self._own  # none is made to be read: the disk may be full
            return journal.read(after, limit) if journal is not None else []
        if journal not in self._adopted:
            return []
        found = journal.read(after, limit)
        self._unreadable.discard(journal)
        return found

    def remove(self, journal: Journal | None, numbers: list[int]) -> sqlite3.Error | None:
        """Delete events that are in Redis, as `read` returned them; returns the error if the disk does not let them go.

        They are not read again even so. An adopted file is closed and deleted with its last event.
        """
        journal = journal or self._source
        if journal is None:
            return None
        problem = journal.remove(numbers)
        if journal is self._own:
            self._entries -= len(numbers)
            if not self._entries and journal.discard():
                self._own = None
        elif journal in self._adopted:
            self._adopted[journal] -= len(numbers)
            if not self._adopted[journal]:
                self._forget(journal)
                if not journal.discard():
                    journal.close()
        return problem

    def shelve(self, journal: Journal | None) -> None:
        """Note that a file cannot be read now: it is tried again, and holds up no event in another one."""
        journal = journal or self._source
        if journal is not None and journal is self._own:
            self._leave_own()
        if journal in self._adopted:
            self._unreadable.add(journal)

    def _leave_lost(self) -> None:
        """Begin a new file if that of this process is not in the folder any more; what is in it can still be read."""
        if self._own is not None and self._own.is_lost():
            self._leave_own()

    def _leave_own(self) -> None:
        own, entries = self._own, self._entries
        self._own, self._entries = None, 0
        if own is not None and entries:
            self._adopted[own] = entries
        elif own is not None:
            own.close()

    def _forget(self, journal: Journal) -> int:
        """Return the number of events in an adopted file that is adopted no longer."""
        self._unreadable.discard(journal)
        return self._adopted.pop(journal)

    def adopt(self) -> Adoption:
        """Adopt the files of dead processes in the folder, and set aside those that cannot be read."""
        left = self._list_others()
        if not left:
            return Adoption()
        files, unreadable, before = [], [], sum(self._adopted.values())
        try:
            with lock_folder(self._folder, self._namespace):
                for path in left:
                    if problem := self._adopt_file(path):
                        unreadable.append(problem)
                    elif any(journal.path == path for journal in self._adopted):
                        files.append(path.name)
        except OSError:  # no permission to write to the folder: its files belong to another user
            return Adoption()
        return Adoption(tuple(files), sum(self._adopted.values()) - before, tuple(unreadable))

    def _list_others(self) -> list[Path]:
        ours = {journal.path for journal in (*self._adopted, self._own) if journal}
        return [path for path in sorted(self._folder.glob(f"{self._namespace}@*{SUFFIX}")) if path not in ours]

    def set_aside(self, journal: Journal | None) -> str:
        """Set a damaged file aside; returns a description for the log."""
        damaged = journal or self._source or self.own
        if damaged is self._own:
            lost, self._own, self._entries = self._entries, None, 0
        else:
            lost = self._forget(damaged)
        return f"{damaged.set_aside().name}: about {lost} events are in it"

    def close(self) -> None:
        """Close all files; those that are not empty stay for the next process."""
        for journal in (*self._adopted, self._own):
            if journal is not None:
                journal.close()
        self._own, self._entries = None, 0
        self._adopted.clear()
        self._unreadable.clear()

    def _open(self) -> Journal:
        self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        with lock_folder(self._folder, self._namespace):
            name = f"{self._namespace}@{time.time_ns()}-{os.getpid()}{SUFFIX}"
            self._own = Journal(self._folder / name)
        return self._own

    def _adopt_file(self, path: Path) -> str:
        """Adopt a file if its owner is dead and it is not empty; returns a problem to report, or an empty text."""
        if not path.exists():  # another process was faster
            return ""
        try:
            with ExitStack() as stack:
                journal = Journal(path)
                stack.callback(journal.close)  # deletes an empty file
                if count := journal.count():
                    self._adopted[journal] = count
                    stack.pop_all()
        except BlockingIOError:  # its owner is alive
            return ""
        except UnreadableJournalError as error:
            return f"{set_aside(path).name}: {error}"
        except OtherFormatError as error:  # left for a receiver of the release that wrote it
            return self._report_once(path, str(error))
        except (sqlite3.Error, OSError) as error:  # the disk or its permissions: retried later
            return self._report_once(path, describe_fully(error))
        return ""

    def _report_once(self, path: Path, problem: str) -> str:
        is_new = path not in self._reported
        self._reported.add(path)
        return f"{path.name}: {problem}" if is_new else ""
