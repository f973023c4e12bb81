"""A deployment in Redis without its processes: entries, parked events, dead letters, heartbeats; and one with them.

`parts` are the processes themselves, over a sandbox of the API.
"""

from __future__ import annotations

import pytest

from router.core.keys import RESOLVER, Keys
from router.settings.load import load
from router.streams.consuming.groups import ensure_group
from router.streams.delivery import Delivery, StreamRef
from router.streams.store.announcements import announce
from router.streams.store.parking import Parking, Waiting
from tests.harness.sandbox import running_sandbox
from tests.operations.parts import Parts
from tests.support.accounts import ACCOUNT, CUSTOMER, OURS

SUBJECT = f"SMS|{CUSTOMER}|{OURS}"


class Deployment:
    """What the tests put into Redis; one partition."""

    def __init__(self, redis, settings):
        self.redis, self.settings, self.keys = redis, settings, settings.keys
        self.inbound = self.keys.inbound(0)

    async def run(self, *kinds, version="0.1.0"):
        """Let processes be alive: each is announced, and beats in its group."""
        for kind in kinds:
            record = b'{"kind":"%s","version":"%s","started_at":1}' % (kind.encode(), version.encode())
            await announce(self.redis, self.keys, f"{kind}/host-1-a", record)
            streams = {"worker": [(self.inbound, RESOLVER)]}.get(kind, [])
            if kind in {"ai-agent", "human-agent"}:
                streams = [(self.keys.participants(0, kind), kind)]
            for stream, group in streams:
                await ensure_group(self.redis, stream, group)
                await self.redis.xgroup_createconsumer(stream, group, f"{kind}-1")
                await self.redis.set(self.keys.heartbeat(0, group, f"{kind}-1"), "1", ex=600)

    async def park(self, *texts, reason="the API is away", group=RESOLVER, subject=SUBJECT, tries=3, since=0):
        """Add webhooks with these keys and park them; returns their entry ids."""
        await ensure_group(self.redis, self.inbound, group)
        for text in texts:
            await self.redis.xadd(self.inbound, self.webhook(text, subject=subject))
        ((_, rows),) = await self.redis.xreadgroup(group, "me", {self.inbound: ">"})
        ref = StreamRef(0, self.inbound)
        items = [(f"{ACCOUNT} {subject}", Delivery(ref, entry_id.decode(), fields)) for entry_id, fields in rows]
        parking = Parking(self.redis, self.keys, group=group, consumer="me")
        waiting = Waiting(f"{ACCOUNT} SMS", reason, delay=600.0, tries=tries, since=since)
        assert await parking.park(ref, items, waiting) == []
        return [delivery.entry_id for _, delivery in items]

    def webhook(self, key="messaging:AC:SM1", subject=SUBJECT):
        """Return the fields of an inbound entry."""
        return {"source": "messaging", "account": ACCOUNT, "key": key, "subject": subject, "body": "Body=hi"}

    async def bury(self, fields=None, **dead):
        """Add a dead letter of an entry; returns its name."""
        origin = {"stream": self.inbound, "entry": "1-0", "group": RESOLVER, "reason": "ValueError: x"}
        origin |= {"deliveries": "5", "failed-at": "2026-01-07T12:00:00.000Z", "consumer": "c"} | dead
        entry = (fields if fields is not None else self.webhook()) | {
            f"dead-{name}": value for name, value in origin.items()
        }
        return "0:" + (await self.redis.xadd(self.keys.dead_letters(0), entry)).decode()


@pytest.fixture
def settings(redis_url, tmp_path):
    """Settings with a spool of their own: another test's receiver may hold a file in the usual one."""
    environment = {"REDIS_URL": redis_url, "TWILIO_ACCOUNT_SID": ACCOUNT, "ROUTER_SPOOL_DIR": str(tmp_path / "spool")}
    return load(environment=environment)


@pytest.fixture
def keys():
    return Keys()


@pytest.fixture
def deployment(redis, settings):
    return Deployment(redis, settings)


@pytest.fixture
async def parts(redis, redis_url, output, tmp_path):
    async with running_sandbox() as sandbox:
        yield Parts(redis, redis_url, sandbox, tmp_path)
