"""The files of the spool in its folder: one of this process, and those of processes that died and left something.

A file is named `<namespace>@<time>-<pid>.sqlite`, so that receivers of several namespaces may share a folder and take
over no events that are not theirs. Blocking, like `journal`, and used by one thread.
"""

from __future__ import annotations

import os
import sqlite3
import time
from contextlib import ExitStack
from typing import TYPE_CHECKING, NamedTuple

from router.receiver.spool.journal import SUFFIX, Journal, UnreadableJournalError, lock_folder, set_aside

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    from router.receiver.spool.journal import Stored
    from router.streams.store.append import InboundFields


class JournalState(NamedTuple):
    """How much there is: in the file that this process writes, and in those that it took over."""

    entries: int = 0
    size: int = 0
    adopted: int = 0


class Adoption(NamedTuple):
    """What a look at the folder brought: files taken over and the events in them, and files that cannot be read."""

    files: tuple[str, ...] = ()
    entries: int = 0
    unreadable: tuple[str, ...] = ()


class Journals:
    """The open files. Failures are those of Journal: sqlite3.Error, OSError or UnreadableJournalError."""

    def __init__(self, folder: Path, namespace: str) -> None:
        self._folder = folder
        self._namespace = namespace
        self._own: Journal | None = None
        self._entries = 0
        self._adopted: dict[Journal, int] = {}
        self._told: set[Path] = set()

    @property
    def adopted(self) -> list[Journal]:
        """The files taken over, oldest first."""
        return list(self._adopted)

    @property
    def own(self) -> Journal:
        """The file of this process; opened if it is not."""
        return self._own or self._open()

    def state(self) -> JournalState:
        """Return how much there is now."""
        return JournalState(self._entries, self._own.used() if self._own else 0, sum(self._adopted.values()))

    def probe(self) -> None:
        """Raise what a write would raise."""
        self.own.probe()

    def add(self, events: Iterable[InboundFields]) -> list[bool]:
        """Return, once all are on the disk, which of them are new."""
        added = self.own.add(events)
        self._entries += sum(added)
        return added

    def read(self, journal: Journal | None, after: int, limit: int) -> list[Stored]:
        """Return the oldest events above a number, of this process' own file or of one that was taken over."""
        if journal is not None and journal not in self._adopted:
            return []
        return (journal or self.own).read(after, limit)

    def remove(self, journal: Journal | None, numbers: list[int]) -> None:
        """Forget events that are in Redis; a file that was taken over goes with its last one."""
        if journal is None:
            self.own.remove(numbers)
            self._entries -= len(numbers)
            return
        journal.remove(numbers)
        self._adopted[journal] -= len(numbers)
        if not self._adopted[journal]:
            del self._adopted[journal]
            journal.close()

    def adopt(self) -> Adoption:
        """Take over what dead processes left in the folder, and set aside what cannot be read."""
        left = self._list_others()
        if not left:
            return Adoption()
        files, unreadable, before = [], [], sum(self._adopted.values())
        try:
            with lock_folder(self._folder, self._namespace):
                for path in left:
                    if problem := self._take_over(path):
                        unreadable.append(problem)
                    elif any(journal.path == path for journal in self._adopted):
                        files.append(path.name)
        except OSError:  # a folder that we may not write to: what is in it belongs to somebody else
            return Adoption()
        return Adoption(tuple(files), sum(self._adopted.values()) - before, tuple(unreadable))

    def _list_others(self) -> list[Path]:
        ours = {journal.path for journal in (*self._adopted, self._own) if journal}
        return [path for path in sorted(self._folder.glob(f"{self._namespace}@*{SUFFIX}")) if path not in ours]

    def set_aside(self, journal: Journal | None) -> str:
        """Put a file away in which damage was found; returns what is to be told of it."""
        if journal is None:
            damaged, lost = self.own, self._entries
            self._own, self._entries = None, 0
        else:
            damaged, lost = journal, self._adopted.pop(journal)
        return f"{damaged.set_aside().name}: about {lost} events are in it"

    def close(self) -> None:
        """Close all; what is not empty stays for the next process."""
        for journal in (*self._adopted, self._own):
            if journal is not None:
                journal.close()
        self._own, self._entries = None, 0
        self._adopted.clear()

    def _open(self) -> Journal:
        self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        with lock_folder(self._folder, self._namespace):
            name = f"{self._namespace}@{time.time_ns()}-{os.getpid()}{SUFFIX}"
            self._own = Journal(self._folder / name)
        return self._own

    def _take_over(self, path: Path) -> str:
        """Take one file over, if its owner is dead and it is not empty; returns what an operator must know."""
        if not path.exists():  # another process was faster
            return ""
        try:
            with ExitStack() as stack:
                journal = Journal(path)
                stack.callback(journal.close)  # which deletes an empty one
                if count := journal.count():
                    self._adopted[journal] = count
                    stack.pop_all()
        except BlockingIOError:  # its owner lives
            return ""
        except UnreadableJournalError as error:
            return f"{set_aside(path).name}: {error}"
        except (sqlite3.Error, OSError) as error:  # of the disk or its permissions: tried again, told once
            is_new = path not in self._told
            self._told.add(path)
            return f"{path.name}: {type(error).__name__}: {error}" if is_new else ""
        return ""
