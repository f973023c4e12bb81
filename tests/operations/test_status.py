"""`read_status` of a deployment in Redis."""

from __future__ import annotations

from dataclasses import replace

import orjson
import pytest

from router.core.refused import Bounds
from router.operations.status import read_status
from router.operations.status_values import Level
from router.settings.load import load
from router.streams.client.connection import connect
from router.streams.store.announcements import announce, leave
from router.streams.store.quarantine import find, keep, remove
from tests.core.test_refused import REFUSED
from tests.operations.conftest import Deployment
from tests.support.accounts import ACCOUNT
from tests.support.waiting import scaled

pytestmark = pytest.mark.real
BOUNDS = Bounds(entries=100, size=100_000, ttl=3600)


async def test_an_empty_redis_is_down(redis, settings):
    """Nothing runs; the state can be written as JSON."""
    status = await read_status(redis, settings)
    assert status.level == Level.DOWN
    assert (status.lag, status.waiting, status.oldest, status.dead_letters) == (0, 0, None, 0)
    assert orjson.loads(orjson.dumps(status.to_json()))["level"] == "down"


async def test_a_deployment_that_runs_is_ok(redis, settings, deployment):
    """All processes are there, and nothing is left to do."""
    await deployment.run("web", "worker", "ai-agent", "human-agent")
    status = await read_status(redis, settings)
    assert (status.level, status.problems) == (Level.OK, ())
    assert {process.kind for process in status.processes} == {"web", "worker", "ai-agent", "human-agent"}


async def test_a_deployment_with_problems(redis, settings, deployment, keys):
    """Numbers of everything that waits or was given up."""
    await deployment.run("web", "worker", "ai-agent", "human-agent")
    await deployment.park("k1", "k2", since=1_000)
    await deployment.bury()
    status = await read_status(redis, settings)
    assert (status.level, status.waiting, status.dead_letters) == (Level.DEGRADED, 2, 1)
    assert status.oldest is not None
    assert [problem.section for problem in status.problems] == ["dead-letters"]  # the others wait only since now


async def test_the_spools_of_all_receivers_are_summed(redis, settings, keys):
    """The worst state counts; nonsense counts nothing."""
    spools = [
        {"status": "ok", "entries": 2, "bytes": 10},
        {"status": "full", "entries": 3, "bytes": 5},
        {"status": 7, "entries": "x"},
        "x",
    ]
    for number, spool in enumerate(spools):
        record = orjson.dumps({"kind": "web", "facts": {"spool": spool}})
        await announce(redis, keys, f"web/{number}", record)
    spool = (await read_status(redis, settings)).spool
    assert (spool.entries, spool.size, spool.state) == (5, 15, "full")


def record_of(host, *, folder="/spool", own=0, not_stored=(0, 0), **more):
    """The record of a receiver."""
    webhooks, last = not_stored
    spool = {"status": "ok", "entries": own, "own": own, "bytes": 9, "folder": folder}
    facts = {"spool": spool, "not_stored": {"webhooks": webhooks, "last": last}}
    return orjson.dumps({"kind": "web", "host": host, "facts": facts} | more)


async def test_what_is_on_the_disk_of_a_receiver_that_has_ended(redis, settings, keys):
    """Until a receiver of that host and folder adopts it, which then counts it."""
    await leave(redis, keys, "web/1", record_of("a", own=3, has_ended=True))
    await announce(redis, keys, "web/2", record_of("a", own=4))
    await redis.pexpire(keys.process("web/2"), 3_600_000)  # it has died
    await announce(redis, keys, "web/3", record_of("a", folder="/other"))
    await leave(redis, keys, "web/4", record_of("b", own="x", has_ended=True))
    await leave(redis, keys, "web/5", record_of("c", own=5, has_ended=True))
    await announce(redis, keys, "web/6", record_of("c"))
    status = await read_status(redis, settings)
    assert (status.spool.entries, status.spool.left) == (0, {"a": 7})
    assert status.to_json()["spool"]["left"] == {"a": 7}
    assert [one.name for one in status.processes] == ["web/3", "web/6", "web/2"]


async def test_webhooks_that_a_receiver_answered_503_before_it_ended(redis, settings, keys):
    """A restart hides nothing: they count for an hour after the last one."""
    now = (await read_status(redis, settings)).at
    await leave(redis, keys, "web/1", record_of("a", not_stored=(3, now), has_ended=True))
    await leave(redis, keys, "web/2", record_of("a", not_stored=(9, now - 7_200_000_000), has_ended=True))
    await announce(redis, keys, "web/3", record_of("a", not_stored=(1, now - 1)))
    assert (await read_status(redis, settings)).not_stored == (4, now)


async def test_webhooks_of_our_accounts_that_were_refused_lately(redis, settings, keys):
    """Others, which anybody can send, are only counted by reason."""
    status = await read_status(redis, settings)
    refused = replace(REFUSED, received_at=status.at)
    await keep(redis, keys, refused, BOUNDS, ours={ACCOUNT})
    await keep(redis, keys, replace(refused, account_id="AC9", body=b"2"), BOUNDS, ours={ACCOUNT})
    await keep(redis, keys, replace(refused, account_id="", reason="route", body=b"3"), BOUNDS, ours={ACCOUNT})
    await keep(redis, keys, replace(refused, received_at=status.at - 7_200_000_000, body=b"4"), BOUNDS, ours={ACCOUNT})
    status = await read_status(redis, settings)
    assert (status.refused_lately, status.quarantine["signature"]) == (2, 3)


async def test_webhooks_of_strangers_do_not_hide_that_ours_were_refused(redis, settings, keys):
    """However many come after it, and even if they displace it; once it is dropped or replayed, it does not count."""
    now = (await read_status(redis, settings)).at
    first = await keep(redis, keys, replace(REFUSED, received_at=now), BOUNDS, ours={ACCOUNT})
    kept = await find(redis, keys, first)
    for number in range(BOUNDS.entries + 10):
        junk = replace(REFUSED, received_at=now, account_id="AC9", body=b"%d" % number)
        await keep(redis, keys, junk, BOUNDS, ours={ACCOUNT})
    assert await find(redis, keys, first) is None
    assert (await read_status(redis, settings)).refused_lately == 1
    await remove(redis, keys, kept)
    assert (await read_status(redis, settings)).refused_lately == 0


async def test_a_machine_without_a_roster_has_no_queues(redis, settings, tmp_path):
    """Only workers need the files of people."""
    elsewhere = settings.model_copy(update={"config_dir": tmp_path})
    assert (await read_status(redis, elsewhere)).queues == ()


async def test_a_redis_without_memory(own_server, tmp_path):
    """It refuses writes, and processes that are alive stay so: renewing a record needs no memory."""
    environment = {"REDIS_URL": own_server.url, "TWILIO_ACCOUNT_SID": ACCOUNT}
    async with connect(own_server.url, timeout=scaled(20)) as redis:
        settings = load(environment=environment)
        deployment = Deployment(redis, settings)
        await deployment.run("web", "worker", "ai-agent", "human-agent")
        (life,) = [await redis.pttl(settings.keys.process("web/host-1-a"))]
        await redis.config_set("maxmemory", "1")
        await redis.pexpire(settings.keys.process("web/host-1-a"), life // 2)
        await announce(redis, settings.keys, "web/host-1-a", b"{}")
        status = await read_status(redis, settings)
        assert await redis.pttl(settings.keys.process("web/host-1-a")) > life // 2
    (problem,) = status.problems
    assert (status.level, problem.text.startswith("Redis takes no writes to partition 0: OutOfMemoryError")) == (
        Level.DOWN,
        True,
    )
    assert all(process.is_alive for process in status.processes)
