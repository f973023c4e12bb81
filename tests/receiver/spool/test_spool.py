"""The spool of one process: one transaction for many, bounds, the way out, and the files of those who died."""

from __future__ import annotations

import asyncio
import sqlite3

import pytest

from router import metrics
from router.core.errors import NotDurableError
from router.receiver.spool.journal import ASIDE, Journal, UnreadableJournalError
from router.receiver.spool.spool import Spool
from tests.receiver.spool.test_journal import event


@pytest.fixture
async def make_spool(tmp_path):
    """Make spools that share a folder, as the processes of one machine do."""
    spools = []

    async def make(*, max_bytes=1_000_000, namespace="router"):
        spool = Spool(tmp_path / "spool", namespace, max_bytes)
        await spool.tend()
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
    """What a process that died leaves behind."""
    folder.mkdir(exist_ok=True)
    journal = Journal(folder / name)
    journal.add([event(number) for number in numbers])
    journal.close()


async def test_concurrent_events_share_a_transaction(make_spool, monkeypatch):
    """What gathers while one transaction is under way goes with the next: a thousand events wait for few."""
    spool = await make_spool(max_bytes=10_000_000)
    sizes = []
    add = Journal.add
    monkeypatch.setattr(Journal, "add", lambda self, events: sizes.append(len(events)) or add(self, events))
    assert all(await asyncio.gather(*[spool.put(event(number)) for number in range(1000)]))
    assert sum(sizes) == 1000
    assert len(sizes) <= 3
    assert await keys_in(spool) == [event(number).key for number in range(1000)]


async def test_repeats_are_told(make_spool):
    """The same key is one event, within a transaction and over two, and counted as what it is."""
    spool = await make_spool()
    before = count_of("kept"), count_of("repeat")
    assert await asyncio.gather(spool.put(event()), spool.put(event())) == [True, False]
    assert await spool.put(event()) is False
    assert (count_of("kept"), count_of("repeat")) == (before[0] + 1, before[1] + 2)
    assert spool.entries == 1


async def test_bound_holds_for_a_flood_too(make_spool):
    """Those who wait for the disk count: a thousand at once cannot pass the bound together."""
    spool = await make_spool(max_bytes=100_000)
    answers = await asyncio.gather(*[spool.put(event(n)) for n in range(1000)], return_exceptions=True)
    refused = [answer for answer in answers if answer is not True]
    assert 0 < len(refused) < 1000
    assert all(isinstance(answer, NotDurableError) for answer in refused)
    assert "ROUTER_SPOOL_MAX_BYTES" in str(refused[0])
    assert not spool.is_usable
    assert spool.describe()["status"] == "full"
    assert spool.describe()["bytes"] <= 100_000


async def test_full_spool_takes_again_what_fits_after_some_went(make_spool):
    """Draining makes room."""
    spool = await make_spool(max_bytes=100_000)
    await asyncio.gather(*[spool.put(event(n)) for n in range(1000)], return_exceptions=True)
    await spool.remove(None, [stored.number for stored in await spool.read(None, 0, 10_000)])
    assert spool.is_usable
    assert await spool.put(event(2000)) is True


async def test_failing_disk_is_an_error_for_every_caller_and_one_line(make_spool, monkeypatch, output):
    """Each caller is told, the log once; a write that succeeds is the end of it."""
    spool = await make_spool()

    def fail(*_):
        raise sqlite3.OperationalError("database or disk is full")

    with monkeypatch.context() as patch:
        patch.setattr(Journal, "add", fail)
        for number in range(3):
            with pytest.raises(NotDurableError, match="disk is full"):
                await spool.put(event(number))
        assert spool.describe()["status"] == "failed"
        spool.begin("Redis is away")
        assert not spool.is_on
    assert output.getvalue().count('"spool.failed"') == 1
    await spool.tend()
    assert spool.is_usable
    assert await spool.put(event(0)) is True


async def test_text_that_cannot_be_encoded_fails_alone(make_spool):
    """A lone surrogate is its own webhook's error, at the door and not when it is fed back."""
    spool = await make_spool()
    calls = [spool.put(event(1)), spool.put(event(2, subject="\ud800")), spool.put(event(3))]
    answers = await asyncio.gather(*calls, return_exceptions=True)
    assert answers[0] is answers[2] is True
    assert isinstance(answers[1], UnicodeEncodeError)


async def test_newcomers_are_held_until_it_is_settled_where_they_go(make_spool):
    """While the last events are fed, newcomers wait; nothing left: directly; something left: into the spool."""
    spool = await make_spool()
    spool.begin("test")
    assert await spool.is_over() is False
    await spool.put(event())
    await spool.hold()
    waiting = asyncio.create_task(spool.is_over())
    await asyncio.sleep(0)
    assert not waiting.done()
    assert spool.release() is False
    assert await waiting is False
    await spool.hold()
    waiting = asyncio.create_task(spool.is_over())
    await spool.remove(None, [stored.number for stored in await spool.read(None, 0, 10)])
    assert spool.release() is True
    assert await waiting is True
    assert not spool.is_on


async def test_event_on_its_way_to_the_disk_keeps_it_on(make_spool):
    """An event that is just being written is not overlooked."""
    spool = await make_spool()
    spool.begin("test")
    put = asyncio.create_task(spool.put(event()))
    await asyncio.sleep(0)
    assert spool.release() is False
    assert await put is True


async def test_closing_commits_what_waits(make_spool, tmp_path):
    """What was given before the end is answered and on the disk."""
    spool = await make_spool()
    puts = [asyncio.create_task(spool.put(event(number))) for number in range(50)]
    await asyncio.sleep(0)
    await spool.close()
    assert all(await asyncio.gather(*puts))
    (path,) = (tmp_path / "spool").glob("*.sqlite")
    journal = Journal(path)
    assert journal.count() == 50
    journal.close()


async def test_files_of_dead_processes_are_taken_over(make_spool, tmp_path, output):
    """Oldest first; from then on it is on, because older events come first; emptied files are deleted."""
    spool = await make_spool()
    leave(tmp_path / "spool", "router@2-7.sqlite", 3)
    leave(tmp_path / "spool", "router@1-7.sqlite", 1, 2)
    await spool.tend()
    assert spool.is_on
    assert spool.entries == 3
    first, second = spool.adopted
    assert await keys_in(spool, first) == [event(1).key, event(2).key]
    assert await keys_in(spool, second) == [event(3).key]
    await spool.remove(first, [1, 2])
    assert await keys_in(spool, first) == []
    assert not first.path.exists()
    assert '"spool.adopted"' in output.getvalue()


async def test_files_of_the_living_and_of_others_are_left_alone(make_spool, tmp_path):
    """A neighbor that lives keeps its events, and so does another namespace."""
    leave(tmp_path / "spool", "router.2@1-7.sqlite", 1)
    neighbor = await make_spool()
    await neighbor.put(event(5))
    spool = await make_spool()
    assert spool.entries == 0
    other = await make_spool(namespace="router.2")
    assert other.entries == 1


async def test_file_that_cannot_be_read_is_set_aside(make_spool, tmp_path, output):
    """It stays for people to look at, loudly, and everything goes on."""
    folder = tmp_path / "spool"
    leave(folder, "router@2-7.sqlite", 1)
    (folder / "router@1-7.sqlite").write_text("no database" * 1000)
    spool = await make_spool()
    assert spool.entries == 1
    assert (folder / f"router@1-7.sqlite{ASIDE}").exists()
    assert "router@1-7.sqlite" in output.getvalue()
    assert '"spool.failed"' in output.getvalue()


async def test_damage_found_later_sets_the_file_aside_too(make_spool, tmp_path, output):
    """An event that cannot be read back ends its file, is told of, and new events get a new one."""
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
    assert spool.release() is True
    assert await spool.put(event(2)) is True


async def test_event_that_no_spool_could_hold_leaves_room_for_others(make_spool, output):
    """One that is too large for an empty spool is refused, which says nothing of the others."""
    spool = await make_spool(max_bytes=100_000)
    with pytest.raises(NotDurableError):
        await spool.put(event(1, body=bytes(200_000)))
    assert spool.is_usable
    assert await spool.put(event(2)) is True


async def test_file_that_the_disk_does_not_give_is_told_once(make_spool, tmp_path, output):
    """A neighbor's file that cannot be opened now keeps nobody from anything, and is tried again."""
    spool = await make_spool()
    (tmp_path / "spool" / "router@1-7.sqlite").mkdir()
    for _ in range(3):
        await spool.tend()
    assert spool.is_usable
    assert output.getvalue().count('"spool.failed"') == 1
    assert await spool.put(event(1)) is True


async def test_file_that_fails_while_it_is_taken_over_stops_nothing(make_spool, tmp_path, monkeypatch, output):
    """Whatever is wrong with what a dead process left, the receiver starts; the file stays and is tried again."""
    leave(tmp_path / "spool", "router@1-7.sqlite", 1)

    def fail(_):
        raise sqlite3.OperationalError("disk I/O error")

    with monkeypatch.context() as patch:
        patch.setattr(Journal, "count", fail)
        spool = await make_spool()
        assert (spool.is_usable, spool.entries) == (True, 0)
        assert "disk I/O error" in output.getvalue()
    await spool.tend()
    assert spool.entries == 1


async def test_two_starts_at_once_share_what_was_left(make_spool, tmp_path):
    """Each file is taken over by one process, whichever is faster."""
    for number in range(1, 6):
        leave(tmp_path / "spool", f"router@{number}-7.sqlite", number)
    first = await make_spool()
    second = await make_spool()
    assert (first.entries, second.entries) == (5, 0)
