"""One file of the spool: an SQLite database of events that Redis could not take, in the order in which they arrived.

Once `add` has returned, its events are on disk: write-ahead log, synchronous FULL, one transaction for all of them
(https://www.sqlite.org/pragma.html#pragma_synchronous). Locking mode EXCLUSIVE keeps other processes out while the file
is open, by a lock that the kernel releases when the process ends in any way; `lock_folder` makes creating and locking a
file one step.

All calls block and know nothing of event loops; all calls of one journal come from one thread.
"""

from __future__ import annotations

import fcntl
import json
import os
import sqlite3
from contextlib import contextmanager, suppress
from dataclasses import asdict
from typing import TYPE_CHECKING, Final, NamedTuple

from router.streams.store.append import InboundFields

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from pathlib import Path

SUFFIX: Final = ".sqlite"
#: Added to the name of a file that cannot be read and is left for an operator.
ASIDE: Final = ".unreadable"
#: Bytes that are read at once; a single event may be larger.
READ_BYTES: Final = 4 * 1_048_576
#: Bytes of the write-ahead log that stay on disk between two transactions.
_LOG_BYTES: Final = 4 * 1_048_576
_VERSION: Final = 1
_TABLE: Final = (
    "CREATE TABLE IF NOT EXISTS event"
    " (id INTEGER PRIMARY KEY AUTOINCREMENT, key BLOB NOT NULL UNIQUE, head BLOB NOT NULL, body BLOB NOT NULL)"
)
_INSERT: Final = "INSERT OR IGNORE INTO event (key, head, body) VALUES (?, ?, ?)"


class Stored(NamedTuple):
    """An event in a journal, and its row number."""

    number: int
    fields: InboundFields


class UnreadableJournalError(Exception):
    """A file is damaged or was written by another version; waiting or retrying does not help."""


def size_of(fields: InboundFields) -> int:
    """Return the approximate number of bytes that an event takes in a journal."""
    return len(fields.body) + 2 * len(fields.key) + len(fields.subject) + 512


@contextmanager
def lock_folder(folder: Path, name: str) -> Iterator[None]:
    """Keep other processes from creating or adopting files of this `name` while the block runs."""
    with (folder / f"{name}.lock").open("a", encoding="ascii") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


class Journal:
    """An open file, locked for this process. All methods raise sqlite3.Error or OSError if the disk fails."""

    def __init__(self, path: Path) -> None:
        """Open or create the file.

        Raises BlockingIOError if the process that owns it is alive, UnreadableJournalError if it is damaged.
        """
        self.path = path
        if not path.exists():
            _create(path)
        self._connection = sqlite3.connect(path, timeout=0, isolation_level=None)
        try:
            self._prepare()
        except sqlite3.Error as error:
            self._connection.close()
            raise _translate(error, path) from error
        except BaseException:
            self._connection.close()
            raise

    def _prepare(self) -> None:
        for pragma in (
            "locking_mode = EXCLUSIVE",  # before the first access, so that the log needs no shared memory
            "journal_mode = WAL",
            "synchronous = FULL",
            f"journal_size_limit = {_LOG_BYTES}",
        ):
            self._connection.execute(f"PRAGMA {pragma}").fetchall()
        if self._number("PRAGMA user_version") not in {0, _VERSION}:
            raise UnreadableJournalError("written by another version")
        if (report := self._connection.execute("PRAGMA quick_check(1)").fetchone()) != ("ok",):
            raise UnreadableJournalError(f"damaged: {report}")
        self.probe()

    def probe(self) -> None:
        """Write almost nothing, to find out whether writing is possible."""
        with self._transaction():
            self._connection.execute(_TABLE)
            self._connection.execute(f"PRAGMA user_version = {_VERSION}")

    def add(self, events: Iterable[InboundFields]) -> list[bool]:
        """Add events; returns, once all are on disk, True for each new one and False for each known key."""
        with self._transaction():
            return [self._connection.execute(_INSERT, _to_row(one)).rowcount == 1 for one in events]

    def read(self, after: int, limit: int) -> list[Stored]:
        """Return up to `limit` of the oldest events with a number above `after`."""
        found, size = [], 0
        query = "SELECT id, head, body FROM event WHERE id > ? ORDER BY id LIMIT ?"
        for number, head, body in self._connection.execute(query, (after, limit)):
            found.append(Stored(number, _from_row(head, body)))
            size += len(body)
            if size >= READ_BYTES:
                break
        return found

    def remove(self, numbers: Iterable[int]) -> None:
        """Delete events; once the file is empty, its space is returned to the disk."""
        with self._transaction():
            self._connection.executemany("DELETE FROM event WHERE id = ?", [(number,) for number in numbers])
        if self._connection.execute("SELECT 1 FROM event LIMIT 1").fetchone() is None:
            with suppress(sqlite3.OperationalError):  # no space for a copy: the events are deleted all the same
                self._connection.execute("VACUUM")

    def count(self) -> int:
        """Return the number of events."""
        return self._number("SELECT count(*) FROM event")

    def used(self) -> int:
        """Return the number of bytes that events take in the file."""
        pages = self._number("PRAGMA page_count") - self._number("PRAGMA freelist_count")
        return pages * self._number("PRAGMA page_size")

    def close(self) -> None:
        """Close the file, and delete it if it is empty; the next process on this disk adopts one that is not."""
        with suppress(sqlite3.Error):  # if the disk fails now, this process can do nothing about it
            if not self.count():
                self._unlink()
        self._connection.close()

    def set_aside(self) -> Path:
        """Close a file that cannot be read and rename it, for an operator to inspect; returns its new path."""
        self._connection.close()
        return set_aside(self.path)

    def _unlink(self) -> None:
        for suffix in ("-wal", ""):  # while it is locked, so no other process has adopted it
            self.path.with_name(self.path.name + suffix).unlink(missing_ok=True)

    def _number(self, query: str) -> int:
        return int(self._connection.execute(query).fetchone()[0])

    @contextmanager
    def _transaction(self) -> Iterator[None]:
        self._connection.execute("BEGIN IMMEDIATE")
        try:
            yield
            self._connection.execute("COMMIT")
        except BaseException:
            with suppress(sqlite3.Error):  # some failures have already rolled back
                self._connection.execute("ROLLBACK")
            raise


def set_aside(path: Path) -> Path:
    """Rename a file that cannot be read, together with its log; returns the new path."""
    for suffix in ("-wal", ""):
        part = path.with_name(path.name + suffix)
        if part.exists():
            part.rename(path.with_name(path.name + ASIDE + suffix))
    return path.with_name(path.name + ASIDE)


def is_damage(error: BaseException) -> bool:
    """Tell whether an error is about the content of a file, not about the disk or a lock."""
    return isinstance(error, UnreadableJournalError) or (
        isinstance(error, sqlite3.DatabaseError)
        and not isinstance(error, sqlite3.OperationalError | sqlite3.ProgrammingError | sqlite3.InterfaceError)
    )


def _create(path: Path) -> None:
    """Create an empty file, private because it will hold customers' messages, and make its name durable."""
    path.touch(mode=0o600, exist_ok=False)
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)


def _translate(error: sqlite3.Error, path: Path) -> Exception:
    if isinstance(error, sqlite3.OperationalError) and "locked" in str(error):
        return BlockingIOError(f"{path.name} is held by another process")
    return UnreadableJournalError(str(error)) if is_damage(error) else error


def _to_row(fields: InboundFields) -> tuple[bytes, bytes, bytes]:
    head = {name: value for name, value in asdict(fields).items() if name != "body"}
    return fields.key.encode(), json.dumps(head).encode(), fields.body


def _from_row(head: bytes, body: bytes) -> InboundFields:
    try:
        values = json.loads(head)
        return InboundFields(**{**values, "aliases": tuple(values["aliases"])}, body=body)
    except (ValueError, TypeError, KeyError) as error:
        raise UnreadableJournalError(f"an event in it is damaged: {type(error).__name__}") from error
