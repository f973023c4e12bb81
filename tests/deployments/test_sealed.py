"""A whole deployment with ROUTER_SEAL_KEYS: nothing that was said rests in the clear, in Redis or on disk.

The server's append-only file has every value that was ever written, so it is searched for the words, with the spool.
"""

from __future__ import annotations

import asyncio
import os
from base64 import b64encode
from pathlib import Path

import pytest

from router.core.aes_gcm import make_sealer
from router.core.sealing import MAGIC, NO_KEYS, PREFIX
from tests.deployments.town import CUSTOMERS, WORDS, be_refused, hand_over, open_town, say_it_all, settings_of
from tests.harness.dev import running_dev
from tests.harness.redis_server import RedisServer
from tests.support.waiting import until

pytestmark = [pytest.mark.real, pytest.mark.processes, pytest.mark.timeout(240)]
KEY = bytes(range(100, 132))
SEALER = make_sealer([KEY], lambda: os.urandom(12))


@pytest.fixture
def server(tmp_path):
    """A server of this test's own, whose append-only file can be read."""
    server = RedisServer(tmp_path, "aof-use-rdb-preamble no", "maxmemory 0")
    asyncio.run(server.start())
    yield server
    server.kill()


@pytest.mark.parametrize("sealer", [SEALER, NO_KEYS], ids=["sealed", "in-the-clear"])
def test_nothing_that_was_said_rests_in_the_clear(sealer, server, tmp_path):
    """SMS, a turn, a name, a mail to two, a handoff, a person's words and note, refusals, a dead letter, the spool.

    Without keys the same search finds every word, so it would find them with keys.
    """
    state = tmp_path / "state"
    state.mkdir()
    settings = settings_of(tmp_path) | {"ROUTER_SEAL_KEYS": b64encode(KEY).decode() if sealer.has_keys else ""}
    with running_dev(state, "--redis-url", server.url, **settings) as dev:
        spooled = asyncio.run(live(dev, server, state, sealer))
    written = spooled + b"".join(path.read_bytes() for path in Path(server.directory).rglob("*") if path.is_file())
    assert all(number.encode() in written for number in CUSTOMERS[:4]), "addresses stay in the clear"
    found = {name for name, word in WORDS.items() if word.encode() in written}
    assert found == (set() if sealer.has_keys else {*WORDS})
    assert (written.count(MAGIC) > 3) is (written.count(PREFIX.encode()) > 10) is sealer.has_keys
    logs = b"".join(path.read_bytes() for path in (state / "log").iterdir())
    assert [name for name, word in WORDS.items() if word.encode() in logs] == []


async def live(dev, server, state, sealer):
    """Let it all happen; returns what the spool had while Redis was away."""
    async with open_town(dev, sealer) as town:
        await say_it_all(town)
        await be_refused(town)
        await hand_over(town)
        return await go_through_the_spool(town, server, state)


async def go_through_the_spool(town, server, state):
    """While Redis is away a webhook rests on disk; it is published once Redis is back."""
    await town.deployment.until_idle(*town.deployment.inbound_streams)
    server.kill()
    assert await town.write(town.customers[4], WORDS["spool"]) == 200
    spooled = b"".join(path.read_bytes() for path in (state / "spool").rglob("*") if path.is_file())
    assert town.customers[4].encode() in spooled
    await server.start()

    async def is_published():
        said = await town.entries("communication.received")
        return WORDS["spool"] in [one.data.communication.text for one in said]

    await until(is_published, timeout=60)
    return spooled
