"""One file of the spool: an SQLite database of events that Redis could not take, in the order in which they arrived.

Once `add` has returned, its events are on disk: write-ahead log, synchronous FULL, one transaction for all of them
(https://www.sqlite.org/pragma.html#pragma_synchronous). Locking mode EXCLUSIVE keeps other processes out while the file
is open, by a lock that the kernel releases when the process ends in any way; `lock_folder` makes creating and locking a
file one step. A body that several events share is in the file once, and removed with the last of them.

Reading needs no space, so that a file on a full disk can be drained. Deleting does: what the disk does not let be
deleted counts as deleted in this process, and a file without other events is deleted as a whole.

A file has the version of its format in `user_version` (router.core.formats). One of the version before is read and
emptied, and not changed otherwise.

All calls block and know nothing of event loops; all calls of one journal come from one thread.
"""

from __future__ import annotations

import fcntl
import json
import os
import sqlite3
import tempfile
from contextlib import ExitStack, contextmanager, suppress
from typing import IO, TYPE_CHECKING, Any, Final, NamedTuple

from router.core.events import SharedBody
from router.core.formats import SPOOL_FILE
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
#: Bytes that must be free for a file to count as writable: the pages that a usual webhook changes, in the log.
ROOM: Final = 6 * 4096
_EVENT: Final = (
    "CREATE TABLE IF NOT EXISTS event"
    " (id INTEGER PRIMARY KEY AUTOINCREMENT, key BLOB NOT NULL UNIQUE, head BLOB NOT NULL, body BLOB NOT NULL{more})"
)
#: The table of events in each version.
_EVENTS: Final = {"1": _EVENT.format(more=""), "2": _EVENT.format(more=", shared TEXT")}
#: Made with the first shared body: nearly all files need none of it, and it takes 12 KiB.
_SHARED: Final = (
    "CREATE TABLE IF NOT EXISTS shared (name TEXT PRIMARY KEY, data BLOB NOT NULL)",
    "CREATE INDEX IF NOT EXISTS event_shared ON event (shared) WHERE shared IS NOT NULL",
)
_IS_SHARING: Final = "SELECT count(*) FROM sqlite_master WHERE name = 'shared'"
_INSERT: Final = "INSERT OR IGNORE INTO event (key, head, body, shared) VALUES (?, ?, ?, ?)"
_SHARE: Final = "INSERT OR IGNORE INTO shared (name, data) VALUES (?, ?)"
_READ: Final = "SELECT id, head, body, {shared} FROM event WHERE id > ? ORDER BY id LIMIT ?"
_UNSHARE: Final = "DELETE FROM shared WHERE NOT EXISTS (SELECT 1 FROM event WHERE event.shared = shared.name)"
#: The fields of an event that are in `head`, as JSON.
_HEAD: Final = ("source", "account_id", "key", "subject", "received_at", "ttl", "aliases", "replayed_at")


class Stored(NamedTuple):
    """An event in a journal, and its row number."""

    number: int
    fields: InboundFields


class UnreadableJournalError(Exception):
    """A file is damaged; waiting or retrying does not help."""


def size_of(fields: InboundFields) -> int:
    """Return the approximate number of bytes that an event takes in a journal, without the body that it shares."""
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

        A new file that cannot be prepared is removed again; one that has events is opened without writing. Raises
        BlockingIOError if the process that owns it is alive, UnreadableJournalError if it is damaged, and
        OtherFormatError if another release wrote it.
        """
        self.path = path
        self._version = SPOOL_FILE.current
        self._room: IO[bytes] | None = None
        self._gone: set[int] = set()  # events that are in Redis, and that the disk did not let be deleted
        with ExitStack() as stack:
            if not path.exists():
                stack.callback(_remove, path)  # a disk that is full must not fill with empty files, one per attempt
                _create(path)
                # beside it, without a name: a file that may be written to although no other can be made
                self._room = stack.enter_context(tempfile.TemporaryFile(dir=path.parent))
            self._connection = sqlite3.connect(path, timeout=0, isolation_level=None)
            stack.callback(self._connection.close)
            try:
                self._prepare()
            except sqlite3.Error as error:
                raise _translate(error, path) from error
            status = path.stat()
            self._identity = status.st_dev, status.st_ino
            stack.pop_all()

    def _prepare(self) -> None:
        # before the first access, so that the log needs no shared memory
        self._connection.execute("PRAGMA locking_mode = EXCLUSIVE").fetchall()
        if version := self._number("PRAGMA user_version"):  # 0: it is new
            self._version = str(version)
            SPOOL_FILE.require(self._version)
        for pragma in ("journal_mode = WAL", "synchronous = FULL", f"journal_size_limit = {_LOG_BYTES}"):
            self._connection.execute(f"PRAGMA {pragma}").fetchall()
        if (report := self._connection.execute("PRAGMA quick_check(1)").fetchone()) != ("ok",):
            raise UnreadableJournalError(f"damaged: {report}")
        if not version:
            self.probe()

    def probe(self) -> None:
        """Write almost nothing, to find out whether writing is possible; delete what could not be deleted before."""
        with self._transaction():
            self._connection.execute(_EVENTS[self._version])
            self._connection.execute(f"PRAGMA user_version = {self._version}")
        self.delete_gone()

    def check_room(self) -> None:
        """Raise the OSError that a usual webhook would meet now; the space is free again afterwards."""
        if self._room is None:  # it was adopted, and nothing is added to it
            return
        file, written = self._room.fileno(), 0
        try:
            while written < ROOM:
                written += os.pwrite(file, bytes(ROOM - written), written)
            os.fsync(file)
        finally:
            with suppress(OSError):
                os.ftruncate(file, 0)

    def is_lost(self) -> bool:
        """Tell whether the file has been removed or replaced: what is written into it is gone with this process."""
        try:
            self._beside("-wal").stat()
            status = self.path.stat()
        except (FileNotFoundError, NotADirectoryError):
            return True
        return (status.st_dev, status.st_ino) != self._identity

    def add(self, events: Iterable[InboundFields]) -> list[bool]:
        """Add events; returns, once all are on disk, True for each new one and False for each known key."""
        with self._transaction():
            return [self._add(one) for one in events]

    def _add(self, fields: InboundFields) -> bool:
        is_new = self._connection.execute(_INSERT, _to_row(fields)).rowcount == 1
        if is_new and fields.shared is not None:
            for statement in _SHARED:
                self._connection.execute(statement)
            self._connection.execute(_SHARE, (fields.shared.name, fields.shared.data))
        return is_new

    def read(self, after: int, limit: int) -> list[Stored]:
        """Return up to `limit` of the oldest events with a number above `after`, as far as they can be read.

        Raises the error of the disk if it meets the first of them.
        """
        found: list[Stored] = []
        size = 0
        try:
            for stored, more in self._rows(after, limit + len(self._gone)):
                if stored.number not in self._gone:
                    found.append(stored)
                    size += more
                if size >= READ_BYTES or len(found) >= limit:
                    break
        except sqlite3.OperationalError:
            if not found:
                raise
        return found

    def _rows(self, after: int, limit: int) -> Iterator[tuple[Stored, int]]:
        """Return events, and the bytes that each adds."""
        bodies: dict[str | None, SharedBody | None] = {None: None}
        query = _READ.format(shared="NULL" if self._version == "1" else "shared")
        for number, head, body, name in self._connection.execute(query, (after, limit)):
            size = len(body)
            if name not in bodies:
                bodies[name] = shared = self._shared(name)
                size += len(shared.data)
            yield Stored(number, _from_row(head, body, bodies[name])), size

    def _shared(self, name: str) -> SharedBody:
        row = self._connection.execute("SELECT data FROM shared WHERE name = ?", (name,)).fetchone()
        if row is None:
            raise UnreadableJournalError("the body that events in it share is missing")
        return SharedBody(name, row[0])

    def remove(self, numbers: Iterable[int]) -> sqlite3.Error | None:
        """Delete events; once the file is empty, its space is returned to the disk.

        Returns the error if the disk does not let them be deleted: they count as deleted all the same, and `probe`
        tries again. A process that reads them after a crash appends duplicates.
        """
        is_stuck = bool(self._gone)
        self._gone.update(numbers)
        return None if is_stuck else self.delete_gone()

    def delete_gone(self) -> sqlite3.Error | None:
        """Delete the events that count as deleted; returns the error if the disk does not allow it."""
        if not self._gone:
            return None
        try:
            with self._transaction():
                self._connection.executemany("DELETE FROM event WHERE id = ?", [(number,) for number in self._gone])
                if self._number(_IS_SHARING):
                    self._connection.execute(_UNSHARE)
        except sqlite3.OperationalError as error:
            return error
        self._gone.clear()
        with suppress(sqlite3.OperationalError):  # no space for a copy: the events are deleted all the same
            if self._connection.execute("SELECT 1 FROM event LIMIT 1").fetchone() is None:
                self._connection.execute("VACUUM")
        return None

    def scrub(self) -> None:
        """Leave nothing of deleted events in the file and its log."""
        self._connection.executescript("VACUUM; PRAGMA wal_checkpoint(TRUNCATE)")

    def count(self) -> int:
        """Return the number of events."""
        return self._number("SELECT count(*) FROM event") - len(self._gone)

    def discard(self) -> bool:
        """Delete a file whose events are all in Redis, if it is one of which not all could be deleted, and tell so."""
        if not self._gone:
            return False
        try:
            self._unlink()  # this needs no space
        except OSError:  # read-only: its events are not read again by this process
            return False
        self._disconnect()
        return True

    def used(self) -> int:
        """Return the number of bytes that events take in the file."""
        pages = self._number("PRAGMA page_count") - self._number("PRAGMA freelist_count")
        return pages * self._number("PRAGMA page_size")

    def close(self) -> None:
        """Close the file, and delete it if it is empty; the next process on this disk adopts one that is not."""
        with suppress(sqlite3.Error, OSError):  # if the disk fails now, this process can do nothing about it
            if not self.count():
                self._unlink()
        self._disconnect()

    def set_aside(self) -> Path:
        """Close a file that cannot be read and rename it, for an operator to inspect; returns its new path."""
        self._disconnect()
        return set_aside(self.path)

    def _disconnect(self) -> None:
        self._connection.close()
        if self._room is not None:
            self._room.close()

    def _unlink(self) -> None:
        for suffix in ("-wal", ""):  # while it is locked, so no other process has adopted it
            self._beside(suffix).unlink(missing_ok=True)

    def _beside(self, suffix: str) -> Path:
        return self.path.with_name(self.path.name + suffix)

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


def _remove(path: Path) -> None:
    """Remove a file that could not be prepared, and what SQLite keeps beside it."""
    for suffix in ("-journal", "-wal", ""):
        with suppress(OSError):  # the disk has failed: the first error is the one to report
            path.with_name(path.name + suffix).unlink(missing_ok=True)


def _translate(error: sqlite3.Error, path: Path) -> Exception:
    if isinstance(error, sqlite3.OperationalError) and "locked" in str(error):
        return BlockingIOError(f"{path.name} is held by another process")
    return UnreadableJournalError(str(error)) if is_damage(error) else error


def _to_row(fields: InboundFields) -> tuple[bytes, bytes, bytes, str | None]:
    head = {name: getattr(fields, name) for name in _HEAD}
    shared = fields.shared.name if fields.shared is not None else None
    return fields.key.encode(), json.dumps(head).encode(), fields.body, shared


def _from_row(head: bytes, body: bytes, shared: SharedBody | None) -> InboundFields:
    try:
        values: dict[str, Any] = json.loads(head)
        return InboundFields(**{**values, "aliases": tuple(values["aliases"])}, body=body, shared=shared)
    except (ValueError, TypeError, KeyError) as error:
        raise UnreadableJournalError(f"an event in it is damaged: {type(error).__name__}") from error
