"""The audit stream: what is kept of an action, pages of it, its bound, and entries of others."""

import pytest

from router.core.keys import Keys
from router.streams.store import audit
from router.streams.store.audit import AuditLog


@pytest.fixture
def log(redis):
    """The audit stream."""
    return AuditLog(redis, Keys())


async def test_actions_are_read_newest_first_and_in_pages(log):
    """Each page continues before the last entry of the one before."""
    for number in range(5):
        await log.note("ann", "operator", "replay", f"letter {number}", "done")
    first = await log.read(limit=3)
    second = await log.read(before=first[-1].entry_id, limit=3)
    assert [one.what for one in (*first, *second)] == [f"letter {number}" for number in (4, 3, 2, 1, 0)]
    assert (first[0].who, first[0].role, first[0].action, first[0].detail) == ("ann", "operator", "replay", "done")
    assert first[0].at == int(first[0].entry_id.partition("-")[0])
    assert await log.read(before=second[-1].entry_id) == []


async def test_texts_are_cut_and_may_be_anything(log):
    """A text that cannot be encoded is escaped, and a long one is cut."""
    await log.note("\ud800", "viewer", "x" * 5000)
    (entry,) = await log.read()
    assert entry.who == "\\ud800"
    assert len(entry.action) < 1000


async def test_the_stream_is_bounded(log, redis, monkeypatch):
    """The oldest actions are removed, in whole nodes of Redis."""
    monkeypatch.setattr(audit, "MOST", 100)
    for number in range(400):
        await log.note("ann", "operator", str(number))
    assert 100 <= await redis.xlen(Keys().audit()) < 400
    assert (await log.read(limit=1))[0].action == "399"


async def test_entries_of_others_are_read_too(log, redis):
    """Whatever somebody has added by hand lacks fields or has bytes in them."""
    await redis.xadd(Keys().audit(), {"who": b"\xff"})
    (entry,) = await log.read()
    assert (entry.who, entry.action) == ("\ufffd", "")
