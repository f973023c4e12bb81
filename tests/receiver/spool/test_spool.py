"""The spool of one process: shared transactions, limits, deactivation, and the files of dead processes."""

from __future__ import annotations

import asyncio
import errno
import os
import resource
import sqlite3

import pytest

from router import metrics
from router.core.errors import NotDurableError
from router.receiver.spool import journal
from router.receiver.spool.journal import ASIDE, Journal, UnreadableJournalError
from router.receiver.spool.spool import Spool
from tests.receiver.spool.test_journal import SECOND_VERSION, event, write_file


@pytest.fixture
async def make_spool(tmp_path):
    """A function that makes spools that share a folder, like the processes of one machine."""
    spools = []

    async def make(*, max_bytes=1_000_000, namespace="router"):
        spool = Spool(tmp_path / "spool", namespace, max_bytes)
        await spool.maintain()
        spools.append(spool)
        return spool

    yield make
    for spool in spools:
        await spool.close()


def count_of(result):
    return metrics.REGISTRY.get_sample_value("router_spooled_total", {"result": result}) or 0


async def keys_in(spool, journal=None):
    return [stored.fields.key for stored in await spool.read(journal, 0, 10_000)]


def leave(folder, name, *numbers):
    """Write a file as a process that dies leaves it behind."""
    folder.mkdir(exist_ok=True)
    journal = Journal(folder / name)
    journal.add([event(number) for number in numbers])
    journal.close()


async def test_concurrent_events_share_a_transaction(make_spool, monkeypatch):
    """Events that arrive during a transaction go into the next one: a thousand events need few transactions."""
    spool = await make_spool(max_bytes=10_000_000)
    sizes = []
    add = Journal.add
    monkeypatch.setattr(Journal, "add", lambda self, events: sizes.append(len(events)) or add(self, events))
    assert all(await asyncio.gather(*[spool.put(event(number)) for number in range(1000)]))
    assert sum(sizes) == 1000
    assert len(sizes) <= 3
    assert await keys_in(spool) == [event(number).key for number in range(1000)]


async def test_repeats_are_recognized(make_spool):
    """An event with a known key, in the same transaction or an earlier one, is not stored, and is counted."""
    spool = await make_spool()
    before = count_of("kept"), count_of("repeat")
    assert await asyncio.gather(spool.put(event()), spool.put(event())) == [True, False]
    assert await spool.put(event()) is False
    assert (count_of("kept"), count_of("repeat")) == (before[0] + 1, before[1] + 2)
    assert spool.entries == 1


async def test_the_limit_holds_for_a_flood_too(make_spool):
    """Events that wait for the disk count, so a thousand at once cannot exceed the limit together."""
    spool = await make_spool(max_bytes=100_000)
    answers = await asyncio.gather(*[spool.put(event(n)) for n in range(1000)], return_exceptions=True)
    refused = [answer for answer in answers if answer is not True]
    assert 0 < len(refused) < 1000
    assert all(isinstance(answer, NotDurableError) for answer in refused)
    assert "ROUTER_SPOOL_MAX_BYTES" in str(refused[0])
    assert not spool.is_usable
    assert spool.describe()["status"] == "full"
    assert spool.describe()["bytes"] <= 100_000


async def test_a_full_spool_accepts_events_again_after_some_were_removed(make_spool):
    """Draining frees space."""
    spool = await make_spool(max_bytes=100_000)
    await asyncio.gather(*[spool.put(event(n)) for n in range(1000)], return_exceptions=True)
    await spool.remove(None, await spool.read(None, 0, 10_000))
    assert spool.is_usable
    assert await spool.put(event(2000)) is True


async def test_a_failing_disk_is_an_error_for_every_caller_and_one_line(make_spool, monkeypatch, output):
    """Each caller gets the error and the log one line; a successful write ends the failure."""
    spool = await make_spool()

    def fail(*_):
        raise sqlite3.OperationalError("database or disk is full")

    with monkeypatch.context() as patch:
        patch.setattr(Journal, "add", fail)
        for number in range(3):
            with pytest.raises(NotDurableError, match="disk is full"):
                await spool.put(event(number))
        assert spool.describe()["status"] == "failed"
    assert output.getvalue().count('"spool.failed"') == 1
    await spool.maintain()
    assert spool.is_usable
    assert await spool.put(event(0)) is True


async def test_a_full_disk_gets_no_files_and_the_log_one_line(make_spool, tmp_path, output):
    """Whatever is tried in an outage leaves nothing behind; the next outage is logged again."""
    usual = resource.getrlimit(resource.RLIMIT_FSIZE)
    for outage in (1, 2):
        resource.setrlimit(resource.RLIMIT_FSIZE, (0, usual[1]))
        try:
            spool = await make_spool()
            for number in range(3):
                await spool.maintain()
                with pytest.raises(NotDurableError):
                    await spool.put(event(number))
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, usual)
        assert [path.name for path in (tmp_path / "spool").iterdir()] == ["router.lock"]
        assert output.getvalue().count('"spool.failed"') == outage
        await spool.maintain()
        assert await spool.put(event(0)) is True
        await spool.remove(None, await spool.read(None, 0, 9))
        await spool.close()


async def test_a_file_that_cannot_be_made_is_one_line(make_spool, monkeypatch, output):
    """Each attempt has a name of its own, which is no news."""

    def fail(path):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(path))

    monkeypatch.setattr(journal, "_create", fail)
    spool = await make_spool()
    for _ in range(3):
        await spool.maintain()
    assert output.getvalue().count('"spool.failed"') == 1


async def test_text_that_cannot_be_encoded_fails_alone(make_spool):
    """A lone surrogate fails for its own webhook, when it is put and not when it is drained."""
    spool = await make_spool()
    calls = [spool.put(event(1)), spool.put(event(2, subject="\ud800")), spool.put(event(3))]
    answers = await asyncio.gather(*calls, return_exceptions=True)
    assert answers[0] is answers[2] is True
    assert isinstance(answers[1], UnicodeEncodeError)


async def test_new_events_wait_while_the_spool_is_paused(make_spool):
    """After the pause they go to Redis if the spool is empty, and to the spool if it is not."""
    spool = await make_spool()
    spool.activate("test")
    assert await spool.can_bypass() is False
    await spool.put(event())
    await spool.pause()
    waiting = asyncio.create_task(spool.can_bypass())
    await asyncio.sleep(0)
    assert not waiting.done()
    assert spool.resume() is False
    assert await waiting is False
    await spool.pause()
    waiting = asyncio.create_task(spool.can_bypass())
    await spool.remove(None, await spool.read(None, 0, 10))
    assert spool.resume() is True
    assert await waiting is True
    assert not spool.is_active


async def test_an_event_that_is_being_written_keeps_the_spool_active(make_spool):
    """It counts before it is on disk."""
    spool = await make_spool()
    spool.activate("test")
    put = asyncio.create_task(spool.put(event()))
    await asyncio.sleep(0)
    assert spool.resume() is False
    assert await put is True


async def test_closing_commits_waiting_events(make_spool, tmp_path):
    """Events given before the end are on disk, and their callers are answered."""
    spool = await make_spool()
    puts = [asyncio.create_task(spool.put(event(number))) for number in range(50)]
    await asyncio.sleep(0)
    await spool.close()
    assert all(await asyncio.gather(*puts))
    (path,) = (tmp_path / "spool").glob("*.sqlite")
    journal = Journal(path)
    assert journal.count() == 50
    journal.close()


async def test_files_of_dead_processes_are_adopted(make_spool, tmp_path, output):
    """They are read oldest first and activate the spool, since their events come first; empty files are deleted."""
    spool = await make_spool()
    leave(tmp_path / "spool", "router@2-7.sqlite", 3)
    leave(tmp_path / "spool", "router@1-7.sqlite", 1, 2)
    await spool.maintain()
    assert spool.is_active
    assert spool.entries == 3
    first, second = spool.adopted
    assert await keys_in(spool, first) == [event(1).key, event(2).key]
    assert await keys_in(spool, second) == [event(3).key]
    await spool.remove(first, await spool.read(first, 0, 9))
    assert await keys_in(spool, first) == []
    assert not first.path.exists()
    assert '"spool.adopted"' in output.getvalue()


async def test_files_of_living_processes_and_other_namespaces_are_not_adopted(make_spool, tmp_path):
    """Their events stay with their owners."""
    leave(tmp_path / "spool", "router.2@1-7.sqlite", 1)
    neighbor = await make_spool()
    await neighbor.put(event(5))
    spool = await make_spool()
    assert spool.entries == 0
    other = await make_spool(namespace="router.2")
    assert other.entries == 1


async def test_a_file_that_cannot_be_read_is_set_aside(make_spool, tmp_path, output):
    """It stays for an operator, is logged, and all other events are available."""
    folder = tmp_path / "spool"
    leave(folder, "router@2-7.sqlite", 1)
    (folder / "router@1-7.sqlite").write_text("no database" * 1000)
    spool = await make_spool()
    assert spool.entries == 1
    assert (folder / f"router@1-7.sqlite{ASIDE}").exists()
    assert "router@1-7.sqlite" in output.getvalue()
    assert '"spool.failed"' in output.getvalue()


async def test_a_file_of_a_later_release_is_left_alone(make_spool, tmp_path, output):
    """It stays where it is, is said once, and a process of its release finds it again."""
    folder = tmp_path / "spool"
    folder.mkdir()
    path = folder / "router@1-1.sqlite"
    write_file(path, SECOND_VERSION.replace("user_version = 2", "user_version = 3"))
    spool = await make_spool()
    await spool.maintain()
    assert await spool.put(event(9))
    assert output.getvalue().count("spool file in format 3; this release reads 1 and 2") == 1
    await spool.close()
    assert path.exists()
    assert not list(folder.glob(f"*{ASIDE}*"))


async def test_damage_found_later_sets_the_file_aside_too(make_spool, tmp_path, output):
    """A file with an event that cannot be read is set aside and logged, and new events get a new file."""
    folder = tmp_path / "spool"
    leave(folder, "router@1-7.sqlite", 1)
    other = sqlite3.connect(folder / "router@1-7.sqlite", isolation_level=None)
    other.execute("UPDATE event SET head = '{}'")
    other.close()
    spool = await make_spool()
    with pytest.raises(UnreadableJournalError, match="damaged"):
        await keys_in(spool, spool.adopted[0])
    assert spool.entries == 0
    assert '"spool.failed"' in output.getvalue()
    assert spool.resume() is True
    assert await spool.put(event(2)) is True


async def test_an_event_larger_than_the_limit_does_not_fill_the_spool(make_spool, output):
    """It is refused alone; smaller events are still accepted."""
    spool = await make_spool(max_bytes=100_000)
    with pytest.raises(NotDurableError):
        await spool.put(event(1, body=bytes(200_000)))
    assert spool.is_usable
    assert await spool.put(event(2)) is True


async def test_a_file_that_cannot_be_opened_is_reported_once(make_spool, tmp_path, output):
    """The spool works without it and tries it again."""
    spool = await make_spool()
    (tmp_path / "spool" / "router@1-7.sqlite").mkdir()
    for _ in range(3):
        await spool.maintain()
    assert spool.is_usable
    assert output.getvalue().count('"spool.failed"') == 1
    assert await spool.put(event(1)) is True


async def test_a_file_that_fails_while_it_is_adopted_does_not_stop_the_start(make_spool, tmp_path, monkeypatch, output):
    """The error is logged; the file stays and is tried again."""
    leave(tmp_path / "spool", "router@1-7.sqlite", 1)

    def fail(_):
        raise sqlite3.OperationalError("disk I/O error")

    with monkeypatch.context() as patch:
        patch.setattr(Journal, "count", fail)
        spool = await make_spool()
        assert (spool.is_usable, spool.entries) == (True, 0)
        assert "disk I/O error" in output.getvalue()
    await spool.maintain()
    assert spool.entries == 1


async def test_each_file_is_adopted_by_one_process(make_spool, tmp_path):
    """The first of two processes gets the files, the second one none of them."""
    for number in range(1, 6):
        leave(tmp_path / "spool", f"router@{number}-7.sqlite", number)
    first = await make_spool()
    second = await make_spool()
    assert (first.entries, second.entries) == (5, 0)
