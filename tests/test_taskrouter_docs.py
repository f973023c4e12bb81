"""The program of docs/taskrouter.md, beside `dev`: a callback written for TaskRouter decides about offers."""

from __future__ import annotations

import asyncio
import os
import sys
from contextlib import asynccontextmanager

import aiohttp
import orjson
import pytest
from aiohttp import web

from router.core.entries import HolderChangedData, OfferEndedData, read_entry
from router.core.keys import Keys, Target
from router.core.routing.commands import write_command
from router.simulator.http import Sender
from router.simulator.messages import message
from router.streams.client.connection import connect
from tests.harness.dev import running_dev
from tests.harness.serving import serving
from tests.support.waiting import scaled, until
from tests.test_docs import example

pytestmark = pytest.mark.processes
KEYS = Keys()
SERVICE_DESK = "+15557650002"


class Callback:
    """An assignment callback: it rejects the first reservation and accepts the second."""

    def __init__(self):
        self.forms = []

    async def decide(self, request):
        self.forms.append(dict(await request.post()))
        return web.json_response({"instruction": "reject" if len(self.forms) == 1 else "accept"})

    def app(self):
        app = web.Application()
        app.router.add_post("/assignment", self.decide)
        return app


async def told(db, model):
    rows = await db.xrange(KEYS.participants(0, Target.HUMAN_AGENT))
    entries = [read_entry(row[b"event"]) for _, row in rows]
    return [entry.data for entry in entries if isinstance(entry.data, model)]


@asynccontextmanager
async def bridging(folder, dev, url):
    """Run the example of the page beside `dev`, with its callback at a URL; returns once it reads the stream."""
    script = folder / "bridge.py"
    script.write_text(example("bridge.py", "docs/taskrouter.md"), encoding="utf-8")
    environment = os.environ | {"REDIS_URL": dev["REDIS_URL"], "CALLBACK_URL": f"{url}/assignment"}
    bridge = await asyncio.create_subprocess_exec(sys.executable, str(script), env=environment)
    try:
        async with connect(dev["REDIS_URL"], timeout=scaled(20)) as db:
            stream = KEYS.participants(0, Target.HUMAN_AGENT)

            async def has_group():
                return any(one["name"] == b"taskrouter-bridge" for one in await db.xinfo_groups(stream))

            await until(has_group, timeout=30)
            yield db
    finally:
        bridge.kill()
        await bridge.wait()


async def human_agents(dev, conversation_id):
    """Return the names of the people who are in a conversation of the sandbox."""
    path = f"{dev['TWILIO_CONVERSATIONS_URL']}/v2/Conversations/{conversation_id}/Participants"
    key = aiohttp.encode_basic_auth(dev["TWILIO_API_KEY"], dev["TWILIO_API_SECRET"])
    async with aiohttp.ClientSession(headers={"Authorization": key}) as session, session.get(path) as response:
        listed = (await response.json())["participants"]
    return [one["name"] for one in listed if one["type"] == "HUMAN_AGENT"]


@pytest.fixture
def own_dev(tmp_path):
    """A `dev --no-demo` of the test's own, whose people nobody else offers anything."""
    with running_dev(tmp_path) as environment:
        yield environment


async def test_a_callback_of_taskrouter_decides_about_offers(own_dev, tmp_path):
    """The first person's reservation is rejected, the second one's accepted; that person joins in the sandbox."""
    callback, dev = Callback(), own_dev
    async with serving(callback.app()) as url, bridging(tmp_path, dev, url) as db:
        for person in ("dana", "eli"):
            data = {"agent": person, "life": 600}
            await db.xadd(KEYS.commands(0), write_command("agent.available", person, data, source="/test"))
        given = {"receiver_url": dev["ROUTER_URL"], "public_base_url": dev["PUBLIC_BASE_URL"]}
        async with Sender(**given, auth_token=dev["TWILIO_AUTH_TOKEN"]) as sender:
            who = {"account_sid": dev["TWILIO_ACCOUNT_SID"], "sender": "+15551230001"}
            await sender.send(message("sms", **who, recipient=SERVICE_DESK, body="a person, please"))

        async def is_held():
            return bool(await told(db, HolderChangedData))

        await until(is_held, timeout=30)
        first, second = callback.forms
        assert {first["WorkerSid"], second["WorkerSid"]} == {"dana", "eli"}
        assert (first["TaskSid"], first["TaskQueueName"]) == (second["TaskSid"], "default")
        (changed,) = await told(db, HolderChangedData)
        assert changed.to.agent == second["WorkerSid"]
        assert orjson.loads(second["TaskAttributes"])["conversation"] == changed.conversation.id
        assert [one.how for one in await told(db, OfferEndedData)] == ["declined", "accepted"]

        async def has_joined():
            return await human_agents(dev, changed.conversation.id) == [second["WorkerName"]]

        await until(has_joined, timeout=30)
