"""A Redis without free memory or disk space: webhooks are spooled, work waits, and nothing is lost or doubled."""

from __future__ import annotations

import sys
from collections import Counter

import pytest

from router.core.keys import RESOLVER, Keys
from router.receiver.spool import drainer
from router.streams.client.connection import RedisError, connect, load_script
from router.streams.consuming.poison_isolation import CrashCounts
from router.streams.delivery import Delivery, StreamRef
from router.streams.store import dead_letters
from router.streams.store.trim import Trimmer
from tests.bounds.deployment import NUMBER
from tests.support.waiting import scaled, until

pytestmark = [pytest.mark.real, pytest.mark.promise(1)]
BEFORE, MEANWHILE = range(20), range(20, 40)


@pytest.fixture(autouse=True)
def soon(monkeypatch):
    """Let the drainer try Redis again soon."""
    monkeypatch.setattr(drainer, "LONGEST_PAUSE", 0.2)


class Memory:
    """No memory: commands that need some are refused with OOM, the others work."""

    def __init__(self, server, redis):
        self.redis = redis

    async def fill(self):
        await self.redis.config_set("maxmemory", "1")

    async def free(self):
        await self.redis.config_set("maxmemory", "0")


class Disk:
    """No space for the append-only file: every write is refused with MISCONF, and no heartbeat can be renewed."""

    def __init__(self, server, redis):
        self.server, self.redis = server, redis

    async def fill(self):
        await self.redis.config_set("appendfsync", "everysec")  # with `always` the server itself ends
        self.server.fill_disk()
        await until(self._is_refused)

    async def _is_refused(self):
        try:
            await self.redis.set("full", "1", ex=1)
        except RedisError as error:
            return str(error).startswith("MISCONF")

    async def free(self):
        self.server.free_disk()


needs_linux = pytest.mark.skipif(sys.platform != "linux", reason="no other system limits a running process' files")
KINDS = [pytest.param(Memory, id="memory"), pytest.param(Disk, id="disk", marks=needs_linux)]


@pytest.mark.parametrize("kind", KINDS)
async def test_new_webhooks_and_events_in_flight_outlive_a_full_redis(own_server, make_deployment, lines, kind):
    """Each webhook is answered 200 and each customer joins once; neither live worker claims entries of the other."""
    # A heartbeat that is once too late cannot be written anew: it has time for a machine that stalls.
    deployment = await make_deployment(own_server.url, ROUTER_HEARTBEAT_TTL=f"{scaled(2.5):.1f}")
    shortage = kind(own_server, deployment.redis)
    for _ in range(2):
        await deployment.start_worker()
    sandbox = deployment.sandbox
    sandbox.fault(method="POST", route="/v2/Conversations", latency_seconds=scaled(2), times=len(BEFORE))
    assert set(await deployment.send(*BEFORE)) == {200}
    await until(lambda: _has_begun(deployment))
    beats = [deployment.keys.heartbeat(0, RESOLVER, consumer) for consumer in await _consumers(deployment)]
    life = int(deployment.settings.heartbeat_ttl * 1000)
    await deployment.redis.set("timer", "1", px=3 * life)  # three times as long as a heartbeat that is not renewed
    await shortage.fill()
    assert set(await deployment.send(*MEANWHILE)) == {200}
    await until(lambda: _has_expired(deployment, "timer"))
    assert await deployment.redis.exists(*beats) == (0 if kind is Disk else 2)
    assert {line["result"] for line in lines("webhook")} == {"accepted", "spooled"}
    await shortage.free()
    await until(lambda: lines("spool.drained"))
    await deployment.until_idle(deployment.keys.inbound(0))
    assert await deployment.joined() == Counter(NUMBER.format(number) for number in (*BEFORE, *MEANWHILE))
    assert not lines("claimed")
    assert await deployment.count_dead_letters() == 0
    assert not await deployment.redis.exists(deployment.keys.deaths(0, RESOLVER))


async def _has_begun(deployment):
    groups = await deployment.redis.xinfo_groups(deployment.keys.inbound(0))
    return groups[0]["lag"] == 0 and groups[0]["pending"] > 0


async def _consumers(deployment):
    return [
        row["name"].decode() for row in await deployment.redis.xinfo_consumers(deployment.keys.inbound(0), RESOLVER)
    ]


async def _has_expired(deployment, key):
    return not await deployment.redis.exists(key)


@pytest.fixture
async def full(own_server):
    """A client of a server without memory, whose inbound stream has 1,000 entries, the first ten of them pending."""
    redis, key = connect(own_server.url, timeout=scaled(20)), Keys().inbound(0)
    pipeline = redis.pipeline(transaction=False)
    for number in range(1_000):
        pipeline.xadd(key, {"n": number, "filling": "x" * 100}, id=f"{number + 1}-0")
    await pipeline.execute()
    await redis.xgroup_create(key, RESOLVER, id="0")
    await redis.xreadgroup(RESOLVER, "me", {key: ">"}, count=10)
    await redis.config_set("maxmemory", "1")
    yield redis
    await redis.aclose()


async def test_commands_that_free_memory_work_without_any(full):
    """Acknowledging, trimming and claiming are never refused, so that a full Redis can be emptied."""
    keys, stream = Keys(), StreamRef(0, Keys().inbound(0))
    taken = await CrashCounts(full, keys, group=RESOLVER, consumer="other").take_over(stream, "me", 0, ["1-0", "2-0"])
    assert [one.entry_id for one in taken] == ["1-0", "2-0"]
    assert await load_script("redeliver").run(full, [stream.key], [RESOLVER, "me", "3-0", "1"]) == 2
    assert await full.xack(stream.key, RESOLVER, *[f"{number}-0" for number in range(1, 11)]) == 10
    await full.xgroup_setid(stream.key, RESOLVER, "900-0")
    assert await Trimmer(full, keys, retention=0).trim(stream.key) > 800


async def test_an_entry_that_cannot_become_a_dead_letter_stays_pending(full):
    """Without memory for the dead letter the entry is not acknowledged; it is given up once there is some."""
    keys, stream = Keys(), StreamRef(0, Keys().inbound(0))
    delivery = Delivery(stream, "1-0", {b"n": b"0"})
    about = {"group": RESOLVER, "consumer": "me", "reason": "no sense", "deliveries": 5, "failed_at": "now"}
    with pytest.raises(RedisError):
        await dead_letters.give_up(full, keys, delivery, **about)
    assert (await full.xpending(stream.key, RESOLVER))["pending"] == 10
    await full.config_set("maxmemory", "0")
    assert await dead_letters.give_up(full, keys, delivery, **about)
    assert (await full.xpending(stream.key, RESOLVER))["pending"] == 9
