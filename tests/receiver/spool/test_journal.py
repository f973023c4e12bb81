"""One file of the spool: durable, in order, each key once, one owner, and damage is detected."""

from __future__ import annotations

import sqlite3
import subprocess
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from router.core.events import SharedBody, share
from router.core.formats import OtherFormatError
from router.receiver.spool import journal as journals
from router.receiver.spool.journal import Journal, UnreadableJournalError, size_of
from router.streams.store.append import InboundFields
from tests.support.source import ROOT
from tests.support.waiting import scaled

OTHER_PROCESS = """
import sys
from pathlib import Path
from router.receiver.spool.journal import Journal
try:
    Journal(Path(sys.argv[1]))
except BlockingIOError:
    print("held")
else:
    print("free")
"""


def event(number=1, **changes):
    fields = {
        "source": "messaging",
        "account_id": "AC1",
        "key": f"AC1:messaging:SM{number}",
        "subject": "SMS|+14155550101",
        "received_at": 1_767_787_200_000_000 + number,
        "body": b"Body=hi",
        "ttl": 86_400,
    }
    return InboundFields(**(fields | changes))


@pytest.fixture
def path(tmp_path):
    return tmp_path / "router@1-1.sqlite"


@pytest.fixture
def journal(path):
    journal = Journal(path)
    yield journal
    journal.close()


def read_all(journal):
    return [stored.fields for stored in journal.read(0, 1000)]


def try_elsewhere(path):
    """Open the file in another process: "held" or "free"."""
    command = [sys.executable, "-c", OTHER_PROCESS, str(path)]
    return subprocess.run(
        command, cwd=ROOT, capture_output=True, text=True, check=True, timeout=scaled(60)
    ).stdout.strip()


texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)


@given(
    key=texts,
    subject=texts,
    body=st.binary(max_size=200),
    aliases=st.lists(texts, max_size=3).map(tuple),
    received_at=st.integers(0, 2**60),
    replayed_at=texts,
)
def test_an_event_is_read_back_unchanged(tmp_path_factory, **values):
    """Every field survives, whatever its value."""
    journal = Journal(tmp_path_factory.mktemp("journal") / "one.sqlite")
    journal.add([event(**values)])
    assert read_all(journal) == [event(**values)]
    journal.close()


@given(batches=st.lists(st.lists(st.integers(0, 9), max_size=6), max_size=6))
def test_each_key_is_stored_once_and_order_is_kept(tmp_path_factory, batches):
    """However keys repeat within and across transactions, the first event of each stays, in order of arrival."""
    journal = Journal(tmp_path_factory.mktemp("journal") / "one.sqlite")
    expected: list[int] = []
    for batch in batches:
        new = []
        for number in batch:
            new.append(number not in expected)
            expected += [number] if new[-1] else []
        assert journal.add([event(number) for number in batch]) == new
    assert read_all(journal) == [event(number) for number in expected]
    assert journal.count() == len(expected)
    journal.close()


def test_events_survive_the_process(path):
    """Added events are there when the file is opened again."""
    first = Journal(path)
    first.add([event(1), event(2)])
    first.close()
    second = Journal(path)
    assert read_all(second) == [event(1), event(2)]
    second.close()


def test_a_file_has_one_owner_at_a_time(journal, path):
    """Another process finds it locked as long as it is open, and no longer."""
    journal.add([event()])
    assert try_elsewhere(path) == "held"
    journal.close()
    assert try_elsewhere(path) == "free"


def test_an_empty_file_is_deleted_when_it_is_closed(journal, path):
    """A file without events leaves nothing to adopt."""
    journal.add([event()])
    journal.remove([journal.read(0, 1)[0].number])
    journal.close()
    assert not list(path.parent.iterdir())


def test_only_the_owner_may_read_a_file(journal, path):
    """It holds customers' messages, so its mode is 0600."""
    journal.add([event()])
    assert {each.stat().st_mode & 0o777 for each in path.parent.iterdir()} == {0o600}


def test_reading_continues_after_a_number_and_stops_at_many_bytes(journal, monkeypatch):
    """A file is read in pieces that fit into memory; a single larger event is still read."""
    monkeypatch.setattr(journals, "READ_BYTES", 1000)
    journal.add([event(number, body=bytes(400)) for number in range(5)])
    first = journal.read(0, 100)
    assert [stored.fields.key[-1] for stored in first] == ["0", "1", "2"]
    assert [stored.fields.key[-1] for stored in journal.read(first[-1].number, 1)] == ["3"]
    journal.add([event(9, body=bytes(5000))])
    assert journal.read(5, 100)[0].fields == event(9, body=bytes(5000))


def test_space_is_returned_once_the_file_is_empty(journal, path):
    """A long outage leaves no large file behind, and the space of removed events is reused."""
    journal.add([event(number, body=bytes(10_000)) for number in range(100)])
    full = journal.used()
    assert full > 1_000_000
    numbers = [stored.number for stored in journal.read(0, 1000)]
    journal.remove(numbers[:50])
    assert journal.used() < full * 0.6
    journal.remove(numbers[50:])
    assert journal.used() < 50_000
    journal.add([event(200)])
    assert path.stat().st_size < full


def test_the_estimated_size_of_an_event_covers_its_space(journal):
    """The limit is checked by an estimate, which is close to the used space for usual webhooks."""
    events = [event(number, body=bytes(900)) for number in range(500)]
    journal.add(events)
    assert journal.used() <= sum(map(size_of, events)) * 1.2


def test_a_transaction_is_atomic(journal):
    """A failure in the middle leaves nothing of it, and the next transaction succeeds."""

    def broken():
        yield event(1)
        raise ValueError("stop")

    with pytest.raises(ValueError, match="stop"):
        journal.add(broken())
    assert journal.count() == 0
    assert journal.add([event(1)]) == [True]


def test_every_transaction_waits_for_the_disk(journal):
    """Durability depends on these settings of SQLite: write-ahead log and synchronous FULL."""
    ask = journal._connection.execute
    assert ask("PRAGMA journal_mode").fetchone() == ("wal",)
    assert ask("PRAGMA synchronous").fetchone() == (2,)
    assert ask("PRAGMA locking_mode").fetchone() == ("exclusive",)


#: A file of version 1, as the first release wrote it.
FIRST_VERSION = """
PRAGMA journal_mode = WAL;
CREATE TABLE event (
    id INTEGER PRIMARY KEY AUTOINCREMENT, key BLOB NOT NULL UNIQUE, head BLOB NOT NULL, body BLOB NOT NULL
);
INSERT INTO event (key, head, body) VALUES (
    CAST('AC1:messaging:SM1' AS BLOB),
    CAST('{"source": "messaging", "account_id": "AC1", "key": "AC1:messaging:SM1", "subject": "SMS|+14155550101",
    "received_at": 1767787200000001, "ttl": 86400, "aliases": ["AC1:other:1"], "replayed_at": ""}' AS BLOB),
    CAST('Body=hi' AS BLOB)
);
PRAGMA user_version = 1;
"""
#: The rows of a file of version 2: a body that two events share, and one that has its own.
SECOND_VERSION = """
PRAGMA journal_mode = WAL;
CREATE TABLE event (
    id INTEGER PRIMARY KEY AUTOINCREMENT, key BLOB NOT NULL UNIQUE, head BLOB NOT NULL, body BLOB NOT NULL, shared TEXT
);
CREATE INDEX event_shared ON event (shared) WHERE shared IS NOT NULL;
CREATE TABLE shared (name TEXT PRIMARY KEY, data BLOB NOT NULL);
INSERT INTO shared VALUES ('5f3a', CAST('the mail' AS BLOB));
INSERT INTO event (key, head, body, shared) VALUES (
    CAST('AC1:messaging:SM1' AS BLOB),
    CAST('{"source": "messaging", "account_id": "AC1", "key": "AC1:messaging:SM1", "subject": "SMS|+14155550101",
    "received_at": 1767787200000001, "ttl": 86400, "aliases": ["AC1:other:1"], "replayed_at": ""}' AS BLOB),
    CAST('Body=hi' AS BLOB), NULL
), (
    CAST('AC1:messaging:SM2' AS BLOB),
    CAST('{"source": "messaging", "account_id": "AC1", "key": "AC1:messaging:SM2", "subject": "SMS|+14155550101",
    "received_at": 1767787200000002, "ttl": 86400, "aliases": [], "replayed_at": ""}' AS BLOB),
    CAST('one' AS BLOB), '5f3a'
), (
    CAST('AC1:messaging:SM3' AS BLOB),
    CAST('{"source": "messaging", "account_id": "AC1", "key": "AC1:messaging:SM3", "subject": "SMS|+14155550101",
    "received_at": 1767787200000003, "ttl": 86400, "aliases": [], "replayed_at": ""}' AS BLOB),
    CAST('two' AS BLOB), '5f3a'
);
PRAGMA user_version = 2;
"""
MAIL = SharedBody("5f3a", b"the mail")
EXPECTED = {
    FIRST_VERSION: [event(1, aliases=("AC1:other:1",))],
    SECOND_VERSION: [
        event(1, aliases=("AC1:other:1",)),
        event(2, body=b"one", shared=MAIL),
        event(3, body=b"two", shared=MAIL),
    ],
}


def write_file(path, script):
    """Write a file as another release has left it."""
    other = sqlite3.connect(path)
    other.executescript(script)
    other.close()


@pytest.mark.parametrize("script", [FIRST_VERSION, SECOND_VERSION], ids=["1", "2"])
def test_files_of_the_last_two_versions_are_read_and_emptied(path, script):
    """A file that the release before has left is read, emptied and then removed."""
    write_file(path, script)
    journal = Journal(path)
    assert read_all(journal) == EXPECTED[script]
    journal.remove([stored.number for stored in journal.read(0, 1000)])
    journal.close()
    assert not path.exists()


def test_a_file_of_the_version_before_keeps_its_version(path):
    """Reading it does not convert it: a receiver of the release before may adopt it again."""
    write_file(path, FIRST_VERSION)
    Journal(path).close()
    other = sqlite3.connect(path)
    assert other.execute("PRAGMA user_version").fetchone() == (1,)
    other.close()


@pytest.mark.parametrize("version", [3, 99])
def test_a_file_of_a_later_version_is_refused_and_not_changed(path, version):
    """A later release wrote it, and reads it again."""
    write_file(path, SECOND_VERSION.replace("user_version = 2", f"user_version = {version}"))
    before = path.read_bytes()
    with pytest.raises(OtherFormatError, match=f"spool file in format {version}; this release reads 1 and 2"):
        Journal(path)
    assert path.read_bytes() == before


def test_a_body_that_events_share_is_stored_once(journal):
    """It is read back with each of them, and is gone with the last."""
    shared = share(bytes(100_000))
    events = [event(number, body=b"own", shared=shared) for number in range(50)] + [event(60)]
    assert journal.add(events) == [True] * 51
    assert journal.used() < 200_000
    found = journal.read(0, 1000)
    assert [stored.fields for stored in found] == events
    assert len({id(stored.fields.shared) for stored in found[:50]}) == 1
    journal.remove([stored.number for stored in found[:49]])
    assert read_all(journal) == events[49:]
    journal.remove([found[49].number])
    assert read_all(journal) == [event(60)]
    assert journal.used() < 100_000


@pytest.mark.parametrize("damage", ["text", "page", "head"])
def test_damage_is_detected(path, damage):
    """A file that is no database, is torn or holds no event raises UnreadableJournalError."""
    if damage == "text":
        path.write_text("this is no database, and never was one\n" * 200)
    else:
        journal = Journal(path)
        journal.add([event(number, body=bytes(3000)) for number in range(100)])
        journal.close()
        if damage == "page":
            content = bytearray(path.read_bytes())
            content[8192:40_960] = b"\xff" * 32_768
            path.write_bytes(content)
        else:
            other = sqlite3.connect(path, isolation_level=None)
            other.execute("UPDATE event SET head = '{}'")
            other.close()
    with pytest.raises(UnreadableJournalError):
        Journal(path).read(0, 100)
