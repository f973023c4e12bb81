"""Findings about streams: late groups and dead letters."""

from __future__ import annotations

import time

import pytest

from router.commands.check.streams import check_streams
from router.core.keys import RESOLVER, Target
from router.settings.load import load
from router.streams.delivery import Delivery, StreamRef
from router.streams.store.parking import Parking, Waiting

pytestmark = pytest.mark.real
HOUR = 3_600_000


@pytest.fixture
def settings(redis_url):
    return load(environment={"REDIS_URL": redis_url, "ROUTER_STREAM_RETENTION": "7200"})


async def enter(redis, stream, hours):
    """Append an entry that is so many hours old."""
    return await redis.xadd(stream, {"n": 1}, id=f"{int(time.time() * 1000) - int(hours * HOUR)}-0")


async def warnings(redis, settings):
    return [finding for finding in await check_streams(redis, settings) if finding.level != "ok"]


async def test_a_late_group_is_named(redis, settings):
    """Entries that were never read or never finished make a group late; those younger than the retention do not."""
    inbound, people = settings.keys.inbound(0), settings.keys.participants(0, Target.HUMAN_AGENT)
    await enter(redis, inbound, 100)
    await enter(redis, inbound, 1.9)
    await redis.xgroup_create(inbound, RESOLVER, id="0")
    await redis.xreadgroup(RESOLVER, "me", {inbound: ">"}, count=1)
    await enter(redis, people, 3)
    await redis.xgroup_create(people, "forgotten", id="0")
    stuck, forgotten = await warnings(redis, settings)
    assert (stuck.level, stuck.subject, forgotten.subject) == ("warn", inbound, people)
    assert "resolver has not finished an entry 4.2 days old (1 pending, 1 unread, 1 consumers)" in stuck.text
    assert "forgotten has not finished an entry 3.0 hours old (0 pending, 1 unread, 0 consumers)" in forgotten.text
    await redis.xack(inbound, RESOLVER, (await redis.xpending(inbound, RESOLVER))["min"])
    await redis.xgroup_destroy(people, "forgotten")
    assert await warnings(redis, settings) == []


async def test_dead_letters_are_counted_and_never_late(redis, settings):
    """They are kept until an operator acts, so their number is a warning and their age is not."""
    await enter(redis, settings.keys.dead_letters(0), 1000)
    (finding,) = await warnings(redis, settings)
    assert finding.subject == settings.keys.dead_letters(0)
    assert finding.text.startswith("1 dead letters, kept until")


async def test_events_that_are_parked_for_long_are_named(redis, settings):
    """They hold back no trimming; what they wait for is in the log."""
    inbound = StreamRef(0, settings.keys.inbound(0))
    await enter(redis, inbound.key, 100)
    await redis.xgroup_create(inbound.key, RESOLVER, id="0")
    [[_, [(entry_id, fields)]]] = await redis.xreadgroup(RESOLVER, "me", {inbound.key: ">"}, count=1)
    parking = Parking(redis, settings.keys, group=RESOLVER, consumer="me")
    await parking.park(inbound, [("S", Delivery(inbound, entry_id.decode(), fields))], Waiting("lane", "away"))
    (waiting,) = await warnings(redis, settings)
    assert waiting.text.startswith("group resolver has 1 parked events, the oldest 4.2 days old")
