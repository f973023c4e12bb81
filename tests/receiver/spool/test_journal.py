"""One file of the spool: durable, in order, each key once, one owner, and damage is detected."""

from __future__ import annotations

import sqlite3
import subprocess
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

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


@pytest.mark.parametrize("damage", ["text", "page", "version", "head"])
def test_damage_is_detected(path, damage):
    """A file that is no database, is torn, has another version or holds no event raises UnreadableJournalError."""
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
            other.execute("PRAGMA user_version = 99" if damage == "version" else "UPDATE event SET head = '{}'")
            other.close()
    with pytest.raises(UnreadableJournalError):
        Journal(path).read(0, 100)
