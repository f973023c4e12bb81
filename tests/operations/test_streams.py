"""The streams: rate, lag, readers."""

from __future__ import annotations

import pytest

from router.core.keys import Keys
from router.operations import streams
from router.operations.streams import read_report, read_streams

pytestmark = pytest.mark.real


async def test_streams_that_do_not_exist_are_empty(redis, keys):
    """All of the namespace are listed, by partition and kind."""
    found = await read_streams(redis, Keys(partitions=2))
    assert [(one.partition, one.kind) for one in found[:2]] == [(0, "inbound"), (0, "participants:ai-agent")]
    assert {one.partition for one in found} == {0, 1}
    assert all((one.length, one.rate, one.added, one.groups) == (0, 0.0, 0, ()) for one in found)


async def test_a_group_with_a_reader(redis, keys, deployment):
    """What it has not read, since when, and who is alive."""
    await deployment.run("worker")
    await redis.xgroup_createconsumer(keys.inbound(0), "resolver", "dead-one")
    for number in range(3):
        await redis.xadd(keys.inbound(0), {"n": number}, id=f"{number + 1}000-0")
    report = await read_report(redis, keys, keys.inbound(0))
    (group,) = report.groups
    assert (report.length, report.added, group.lag, group.oldest) == (3, 3, 3, 1_000_000)
    assert {reader.name: reader.is_alive for reader in group.readers} == {"worker-1": True, "dead-one": False}
    assert group.is_read
    shown = report.to_json()
    assert shown["groups"][0]["oldest"] == "1970-01-01T00:00:01.000Z"


async def test_a_program_of_the_users_is_alive_while_it_reads(redis, keys):
    """It writes no heartbeat."""
    await redis.xgroup_create(keys.inbound(0), "reports", id="0", mkstream=True)
    await redis.xreadgroup("reports", "me", {keys.inbound(0): ">"})
    report = await read_report(redis, keys, keys.inbound(0))
    assert report.groups[0].is_read


@pytest.mark.parametrize(("count", "most"), [(6, 200), (6, 3)], ids=["counted", "estimated"])
async def test_the_rate_of_the_last_minute(redis, keys, monkeypatch, count, most):
    """Of more entries than are counted, the time of the newest ones gives it."""
    monkeypatch.setattr(streams, "RATE_MOST", most)
    await redis.xadd(keys.inbound(0), {"old": 1}, id="1-0")
    for number in range(count):
        await redis.xadd(keys.inbound(0), {"n": number})
    report = await read_report(redis, keys, keys.inbound(0))
    assert (report.rate == pytest.approx(count / 60)) is (most > count)
    assert report.rate >= count / 60 - 0.001
    assert report.added == count + 1


async def test_names_that_are_not_utf_8_end_nothing(redis, keys):
    """Anybody with access to Redis names groups and consumers."""
    await redis.xgroup_create(keys.inbound(0), b"g\xff", id="0", mkstream=True)
    await redis.xgroup_create(keys.inbound(0), "reports", id="0")
    await redis.xgroup_createconsumer(keys.inbound(0), "reports", b"c\xff")
    report = await read_report(redis, keys, keys.inbound(0))
    assert {group.name for group in report.groups} == {"g\\xff", "reports"}
    assert [reader.name for group in report.groups for reader in group.readers] == ["c\\xff"]
