"""`erase` in a whole deployment beside its running processes: nothing of a customer is left, and nothing doubles."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
from base64 import b64encode
from contextlib import suppress

import pytest

from router.core.aes_gcm import make_sealer
from router.core.sealing import NO_KEYS
from router.operations.stories import StorySearch
from router.settings.load import load
from tests.deployments.town import WORDS, be_refused, hand_over, open_town, say_it_all, settings_of
from tests.harness.dev import running_dev
from tests.support.contents import read_all
from tests.support.source import ROOT
from tests.support.waiting import until

pytestmark = [pytest.mark.real, pytest.mark.processes, pytest.mark.timeout(300)]
KEY = bytes(range(60, 92))
SEALER = make_sealer([KEY], lambda: os.urandom(12))
#: One customer who does everything, and another one.
CUSTOMER, OTHER = "+15557778888", "+15557779999"
#: Seconds between two messages: a load that two cores can bear.
PAUSE = 0.1
#: What others say, or what nobody keeps: mails are of another customer.
OF_OTHERS = {"mail", "subject", "spool"}


class Eraser:
    """Runs `erase` against a deployment."""

    def __init__(self, dev, settings):
        keep = {name: value for name, value in os.environ.items() if not name.startswith(("TWILIO_", "ROUTER_"))}
        wanted = {name: value for name, value in dev.items() if name != "ROUTER_CONFIG_DIR"}
        self.environment = keep | wanted | settings

    async def __call__(self, *arguments):
        """Return exit status and report."""
        done = await asyncio.to_thread(
            subprocess.run,
            [sys.executable, "-m", "router", "erase", *arguments, "--json"],
            cwd=ROOT,
            env=self.environment,
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.stdout, done.stderr
        return done.returncode, json.loads(done.stdout)


@pytest.mark.parametrize("sealer", [NO_KEYS, SEALER], ids=["in-the-clear", "sealed"])
def test_nothing_of_a_customer_is_left(sealer, redis_url, tmp_path):
    """Neither the number nor a word, in any key; what others said is still there; a repeat is a duplicate."""
    del redis_url  # the session's server is started, not used: `dev` has its own
    state = tmp_path / "state"
    state.mkdir()
    settings = settings_of(tmp_path) | {"ROUTER_SEAL_KEYS": b64encode(KEY).decode() if sealer.has_keys else ""}
    with running_dev(state, **settings) as dev:
        asyncio.run(erase(dev, settings, sealer))


async def erase(dev, settings, sealer):
    eraser = Eraser(dev, settings)
    async with open_town(dev, sealer, [CUSTOMER] * 5) as town:
        await say_it_all(town)
        await be_refused(town)
        await hand_over(town)
        await town.write(OTHER, "zqotherxw")
        await until(lambda: is_published(town, "zqotherxw"), timeout=60)
        await town.deployment.until_quiet()
        places = await where_it_is(town)
        assert len(places) >= 6

        status, report = await eraser(CUSTOMER, "--dry-run")
        assert (status, report["dry_run"], report["done"]) == (0, True, True)
        assert places <= await where_it_is(town)
        shown = {row["where"]: row["found"] for row in report["places"] if row["found"]}
        wanted = {"inbound", "participants:ai-agent", "ledgers", "routes", "dead-letters", "quarantine", "stories"}
        assert wanted <= shown.keys()
        assert (await search(town, settings)).found

        status, report = await eraser(CUSTOMER, "--yes")
        assert (status, report["done"]) == (0, True)
        assert {row["where"]: row["found"] for row in report["places"] if row["found"]} == shown
        await assert_nothing_is_left(town, sealer)
        status, report = await eraser(CUSTOMER, "--yes")
        assert (status, report["found"], report["done"]) == (0, 0, True)

        assert not (await search(town, settings)).found
        await come_back(town)


async def search(town, settings):
    """Search the customer's story as `story` does."""
    names = {name: text for name, text in town.dev.items() if name != "ROUTER_CONFIG_DIR"}
    return await StorySearch(town.redis, load(environment=names | settings)).find(CUSTOMER)


async def where_it_is(town):
    """Return the keys that have the customer's number."""
    return {name for name, content in (await read_all(town.redis)).items() if b"5557778888" in content}


async def is_published(town, text):
    said = await town.entries("communication.received")
    return text in [one.data.communication.text for one in said]


async def assert_nothing_is_left(town, sealer):
    """No key has the number or a word of the customer; the other customer's are all there."""
    after = await read_all(town.redis)
    assert not await where_it_is(town)
    words = [word.encode() for name, word in WORDS.items() if name not in OF_OTHERS]
    assert [(name, word) for name, content in after.items() for word in words if word in content] == []
    assert any(b"5557779999" in content for content in after.values())
    assert await is_published(town, "zqotherxw")
    assert await is_published(town, WORDS["mail"])


async def come_back(town):
    """A webhook that is repeated is a duplicate; a new message is published, and answered."""
    inbound = town.keys.inbound(0)
    last = (await town.redis.xinfo_stream(inbound))["last-generated-id"]
    assert await town.write(CUSTOMER, WORDS["sms"]) == 200
    assert (await town.redis.xinfo_stream(inbound))["last-generated-id"] == last
    joined = len(await town.entries("participant.joined"))
    assert await town.write(CUSTOMER, "zqagainxw") == 200
    await until(lambda: is_published(town, "zqagainxw"), timeout=60)
    (entry,) = [
        one for one in await town.entries("communication.received") if one.data.communication.text == "zqagainxw"
    ]
    assert entry.data.address == CUSTOMER
    assert len(await town.entries("participant.joined")) == joined, "the stay that had been announced goes on"
    await until(lambda: is_answered(town, entry), timeout=60)


async def is_answered(town, entry):
    return "answer: zqagainxw" in await town.said(entry.data.conversation.id)


def test_erasing_while_the_customer_writes(tmp_path):
    """Nothing of another customer is lost or doubled, nothing dies, and a last run leaves nothing."""
    state = tmp_path / "state"
    state.mkdir()
    settings = settings_of(tmp_path)
    with running_dev(state, **settings) as dev:
        asyncio.run(erase_under_load(dev, settings))


async def erase_under_load(dev, settings):
    eraser = Eraser(dev, settings)
    async with open_town(dev, NO_KEYS, [CUSTOMER]) as town:
        is_over = asyncio.Event()
        writing = asyncio.create_task(write_on(town, is_over))
        for _ in range(3):
            status, report = await eraser(CUSTOMER, "--yes")
            assert status == 0 or report["notes"]
        is_over.set()
        said = await writing
        await until(lambda: has_all(town, said), timeout=60)
        await town.deployment.until_quiet()
        status, report = await eraser(CUSTOMER, "--yes")
        assert (status, report["done"]) == (0, True)
        assert not await where_it_is(town)
        assert await town.deployment.count_dead_letters() == 0


async def write_on(town, is_over):
    """Let both customers write until it is over; returns what the other one has said."""
    said = []
    while not is_over.is_set():
        said.append(f"message {len(said)}")
        statuses = await asyncio.gather(town.write(CUSTOMER, said[-1]), town.write(OTHER, said[-1]))
        assert statuses == [200, 200]
        with suppress(TimeoutError):
            await asyncio.wait_for(is_over.wait(), PAUSE)
    return said


async def has_all(town, said):
    """Tell whether the other customer's messages are published, each once."""
    heard = [
        one.data.communication.text for one in await town.entries("communication.received") if one.data.address == OTHER
    ]
    return sorted(heard) == sorted(said)
