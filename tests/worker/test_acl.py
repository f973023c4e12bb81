"""The Redis user that SECURITY.md advises: its few rights suffice for the processes."""

import re

import pytest

from router.core.refused import Bounds, Refused
from router.streams.client.connection import RedisError, connect
from router.streams.store.append import Appender
from router.streams.store.inspect import update_gauges
from router.streams.store.quarantine import keep, list_kept
from tests.support.source import ROOT
from tests.worker.harness import WorkerHarness

ADVISED = re.search(r"^    ACL SETUSER (.+)$", (ROOT / "SECURITY.md").read_text(encoding="utf-8"), re.MULTILINE)
REFUSED = Refused(
    "messaging", "signature", "d", 403, 1_767_787_200_000_000, "POST", b"/w", (), "AC1", b"x", is_whole=True
)


@pytest.fixture
async def limited(redis, redis_url):
    """A connection as the advised user, which is deleted afterwards."""
    await redis.execute_command("ACL", "SETUSER", *ADVISED[1].replace("PASSWORD", "a-long-one").split())
    url = redis_url.replace("redis://", "redis://router:a-long-one@")
    client = connect(url)
    yield client, url
    await client.aclose()
    await redis.execute_command("ACL", "DELUSER", "router")


async def test_the_advised_user_can_do_everything_the_processes_do(harness, limited):
    """The advised user may append, consume, publish, count and quarantine."""
    client, url = limited
    inner = WorkerHarness(client, url, harness.sandbox)
    inner.resolver = inner.make_resolver()
    await Appender(client, inner.keys).check()
    async with inner.consuming():
        await inner.append(inner.sms())
        await inner.finished()
    assert await inner.types() == ["joined"]
    await update_gauges(client, inner.keys)
    await keep(client, inner.keys, REFUSED, Bounds(10, 1000, 60))
    assert [kept.refused.body async for kept in list_kept(client, inner.keys)] == [b"x"]
    await inner.close()


async def test_the_advised_user_can_do_no_more(limited):
    """The advised user has no access to other keys, nor to commands that harm a server."""
    client, _ = limited
    for command in (
        ("GET", "other"),
        ("FLUSHALL",),
        ("CONFIG", "SET", "maxmemory", "1"),
        ("KEYS", "*"),
        ("ACL", "LIST"),
    ):
        with pytest.raises(RedisError, match=r"(?i)permission"):
            await client.execute_command(*command)
