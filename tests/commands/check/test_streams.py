"""Findings about streams: late groups, dead letters, and webhooks that came to a wrong URL."""

from __future__ import annotations

import time
from contextlib import suppress
from dataclasses import replace

import pytest
from redis.exceptions import ResponseError

from router.commands.check.streams import check_streams
from router.core.keys import COMMANDER, RESOLVER, Target
from router.core.refused import Bounds
from router.settings.load import load
from router.streams.delivery import Delivery, StreamRef
from router.streams.store.parking import Parking, Waiting
from router.streams.store.quarantine import keep
from tests.core.test_refused import REFUSED

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


async def start_reading(redis, settings, stream, group, count=1):
    """Read some entries as a live consumer of a group that begins with the oldest entry; returns its name."""
    with suppress(ResponseError):  # the group exists
        await redis.xgroup_create(stream, group, id="0")
    await redis.xreadgroup(group, "me", {stream: ">"}, count=count)
    await redis.set(settings.keys.heartbeat(0, group, "me"), 1, px=HOUR)
    return "me"


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
    assert not [one for one in await warnings(redis, settings) if "has not finished" in one.text]


async def test_what_a_late_group_has_not_read_is_counted_where_the_server_does_not_know(redis, settings):
    """Its group was created at `$`, as FastStream does: it is late with what came afterwards."""
    people = settings.keys.participants(0, Target.HUMAN_AGENT)
    for hours in (6, 5):
        await enter(redis, people, hours)
    await redis.xgroup_create(people, "forgotten", id="$")
    for hours in (4, 3, 2):
        await enter(redis, people, hours)
    (forgotten,) = await warnings(redis, settings)
    assert "forgotten has not finished an entry 4.0 hours old (0 pending, 3 unread, 0 consumers)" in forgotten.text


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


@pytest.mark.parametrize("number", [1, 300, 1179])
async def test_unread_entries_without_a_consumer_are_named(redis, settings, number):
    """However few and young they are: nobody reads them, whether the group is there already or not."""
    inbound = settings.keys.inbound(0)
    for _ in range(number):
        await redis.xadd(inbound, {"n": 1})
    (unknown,) = await warnings(redis, settings)
    assert unknown.text == f"has {number} entries and no group: nobody reads them, start a consumer"
    await redis.xgroup_create(inbound, RESOLVER, id="0")
    (finding,) = await warnings(redis, settings)
    assert (finding.level, finding.subject) == ("warn", inbound)
    assert f"group resolver has {number} unread and 0 unfinished entries" in finding.text
    assert "no consumer runs" in finding.text


async def test_a_group_whose_consumers_are_gone_is_named(redis, settings):
    """A consumer without a heartbeat is dead, although the group still lists it with what it had in progress."""
    inbound = settings.keys.inbound(0)
    await redis.xadd(inbound, {"n": 1})
    consumer = await start_reading(redis, settings, inbound, RESOLVER)
    assert await warnings(redis, settings) == []
    await redis.delete(settings.keys.heartbeat(0, RESOLVER, consumer))
    (finding,) = await warnings(redis, settings)
    assert "0 unread and 1 unfinished entries, and no consumer runs" in finding.text


@pytest.mark.parametrize(("group", "is_removable"), [("ai-agent", False), ("reports", True)])
async def test_a_stopped_group_of_the_user_may_be_removed(redis, settings, group, is_removable):
    """The group of a handler that was added and does not run is named, with the command that removes it."""
    stream = settings.keys.participants(0, Target.AI_AGENT)
    await redis.xgroup_create(stream, "ai-agent", id="0", mkstream=True)
    await redis.xadd(stream, {"n": 1})
    if group != "ai-agent":
        await redis.xreadgroup("ai-agent", "me", {stream: ">"})
        await redis.xack(stream, "ai-agent", (await redis.xrange(stream))[0][0])
        await redis.xgroup_create(stream, group, id="0")
    (finding,) = await warnings(redis, settings)
    assert f"group {group} has 1 unread" in finding.text
    assert (f"`groups remove {group}`" in finding.text) == is_removable


@pytest.mark.parametrize(
    ("number", "seconds", "words"),
    [
        (999, 50, None),
        (1000, 0, "1000 unread"),
        (1179, 0, "1179 unread"),
        (1, 70, "1 unread"),
        (5, 180, "oldest unread one 3 minutes old"),
    ],
)
async def test_a_group_with_live_consumers_is_behind_by_number_or_age(redis, settings, number, seconds, words):
    """1000 unread entries, or one that has waited for a minute; fewer and younger ones are a moment's work."""
    people = settings.keys.participants(0, Target.AI_AGENT)
    await enter(redis, people, seconds / 3600)
    await start_reading(redis, settings, people, "ai-agent")
    for place in range(number):
        await redis.xadd(people, {"n": 1}, id=f"{int((time.time() - seconds) * 1000)}-{place + 1}")
    found = await warnings(redis, settings)
    assert [finding.subject for finding in found] == ([people] if words else [])
    assert all(words in finding.text and "behind" in finding.text for finding in found)
    if not words:
        (fine,) = [finding for finding in await check_streams(redis, settings) if finding.subject == "streams"]
        assert fine.text == "1000 entries, 999 unread, no group is late"


async def test_a_consumer_of_the_users_own_is_alive_while_it_reads(redis, settings):
    """It writes no heartbeat: what counts is when it has read last."""
    people = settings.keys.participants(0, Target.AI_AGENT)
    await redis.xadd(people, {"n": 1})
    await redis.xgroup_create(people, "mine", id="0")
    assert len(await warnings(redis, settings)) == 1
    await redis.xreadgroup("mine", "me", {people: ">"}, count=1)
    assert await warnings(redis, settings) == []


async def test_unread_entries_are_counted_where_the_server_does_not_know(redis, settings):
    """After a deletion in the middle the server gives no lag."""
    inbound = settings.keys.inbound(0)
    ids = [await redis.xadd(inbound, {"n": 1}) for _ in range(1201)]
    await start_reading(redis, settings, inbound, RESOLVER)
    await redis.xdel(inbound, ids[600])
    (group,) = await redis.xinfo_groups(inbound)
    assert group["lag"] is None
    (finding,) = await warnings(redis, settings)
    assert "1199 unread" in finding.text


async def test_webhooks_without_a_route_are_counted(redis, settings):
    """Twilio calls a wrong URL: what comes there waits for a replay. Other refusals are no finding here."""
    bounds = Bounds(10, 100_000, 1000)
    await keep(redis, settings.keys, REFUSED, bounds)
    assert await warnings(redis, settings) == []
    await keep(redis, settings.keys, replace(REFUSED, reason="route", body=b"Body=y"), bounds)
    (finding,) = await warnings(redis, settings)
    assert finding.subject == settings.keys.quarantine()
    assert finding.text.startswith("1 authentic webhooks came to a wrong URL")
    assert "--reason route" in finding.text


async def test_commands_that_nobody_reads_are_named(redis, settings):
    """The stream of commands is one of those that must have a reader, and its group is not one to remove."""
    commands = settings.keys.commands(0)
    await enter(redis, commands, 0)
    (nobody,) = await warnings(redis, settings)
    assert (nobody.subject, "no group: nobody reads them" in nobody.text) == (commands, True)
    await redis.xgroup_create(commands, COMMANDER, id="0")
    (behind,) = await warnings(redis, settings)
    assert behind.text == (
        "group commander has 1 unread and 0 unfinished entries, the oldest unread one 0 s old, "
        "and no consumer runs: start one"
    )
    await start_reading(redis, settings, commands, COMMANDER)
    assert await warnings(redis, settings) == []
