"""The commands as real processes beside a running `dev`."""

from __future__ import annotations

import orjson
import pytest

from router.core.keys import Keys
from router.streams.client.connection import connect
from tests.support.waiting import scaled, until

pytestmark = pytest.mark.processes


async def test_check_passes_beside_dev(run, dev):
    """Everything is reachable, the port is used by our own receiver; plain http is a warning."""
    status, output = await run("check", PORT=dev["ROUTER_URL"].rpartition(":")[2])
    assert status == 0, output
    assert "0 failed" in output
    assert "ok    Conversations API" in output
    assert "answers /healthz as our processes do" in output
    assert "warn  PUBLIC_BASE_URL" in output


async def test_check_names_failures_and_shows_no_secret(run, dev):
    """Wrong credentials and an unreachable Redis are FAIL; secrets are printed as dots."""
    status, output = await run("check", TWILIO_API_SECRET="wrong", REDIS_URL="redis://:hush@127.0.0.1:1/0")
    assert status == 1
    assert "FAIL  REDIS_URL" in output
    assert "FAIL  Conversations API" in output
    assert "hush" not in output
    assert dev["TWILIO_AUTH_TOKEN"] not in output


async def test_check_warns_of_shadow_mode(run):
    """Accepting unsigned webhooks is a warning that names the sources."""
    status, output = await run("check", "--offline", ROUTER_SHADOW="messaging,event-streams")
    assert status == 0, output
    assert "warn  ROUTER_SHADOW: accepts unsigned webhooks of messaging, event-streams" in output


async def test_dead_letters_are_listed_and_replayed(run, dev):
    """An unreadable entry becomes a dead letter with its reason, and a replay puts it back on its stream."""
    redis, keys = connect(dev["REDIS_URL"], timeout=scaled(20)), Keys()
    fields = {
        "source": "messaging",
        "account": dev["TWILIO_ACCOUNT_SID"],
        "key": "k1",
        "subject": "s",
        "body": b"Body=x",
    }
    await redis.xadd(keys.inbound(0), fields)
    await until(lambda: redis.xlen(keys.dead_letters(0)))
    status, output = await run("dead-letters", "list", "--json")
    (letter,) = [orjson.loads(line) for line in output.splitlines()]
    assert (status, letter["stream"], letter["group"]) == (0, keys.inbound(0), "resolver")
    assert "missing or blank: From, To, MessageSid" in letter["reason"]
    status, output = await run("dead-letters", "replay", letter["id"])
    assert (status, "1 replayed" in output) == (0, True)
    await until(lambda: redis.xlen(keys.dead_letters(0)))  # it fails again
    status, output = await run("dead-letters", "replay", "0:1-1")
    assert (status, "no such dead letter" in output) == (1, True)
    await redis.delete(keys.dead_letters(0))
    await redis.aclose()
