"""The examples of docs/ai-agents.md, as they stand there: a reply, a handler, and a command from Node.js."""

from __future__ import annotations

import asyncio
import os
from types import ModuleType

import pytest

from handlers.consume import Consumption
from handlers.replies import HandoffFailedEntry, HolderChangedEntry
from router.core.entries import CommunicationData, EntryCommunication
from router.core.keys import Target
from router.core.routing.commands import read_command
from router.streams.delivery import Done
from tests.handlers.floor_harness import Floor, take
from tests.handlers.harness import delivery_of, number
from tests.support.waiting import deadline, until
from tests.test_consumers import node_modules
from tests.test_docs import example

PAGE = "docs/ai-agents.md"


def module_of(name):
    """Return the module of an example."""
    module = ModuleType(name.removesuffix(".py"))
    exec(compile(example(name, PAGE), name, "exec"), module.__dict__)
    return module


def said(floor, text):
    return floor.opened.entry(CommunicationData, communication=EntryCommunication(text=text), distinction=number())


@pytest.fixture
async def floor(harness):
    """A conversation that the AI agent holds."""
    floor = Floor(harness, await harness.open())
    await floor.announce()
    await floor.heard()
    return floor


async def test_the_reply(harness, floor):
    """It answers, hands over with what was said as summary, and is back with the person's note."""
    reply = module_of("concierge.py").reply
    assert reply.entry_types >= {HolderChangedEntry.model_fields["data"].annotation.type, "handoff.failed"}
    assert HandoffFailedEntry.model_fields["data"].annotation.type == "handoff.failed"
    agent = harness.ai_agent(reply=reply)

    async def texts_are(*wanted):
        async def are_there():
            return (await harness.texts(floor.opened.id))[::-1] == list(wanted)  # the API lists the newest first

        await until(are_there)

    await take(agent, said(floor, "hello"))
    await texts_are("You said: hello")
    await take(agent, said(floor, "a refund, please"))
    (command,) = await floor.commands()
    assert read_command(command).raw["summary"] == "You said: hello / a refund, please"
    await floor.release(await floor.accept(), note="It is paid.")
    await floor.give(agent)
    await texts_are("You said: hello", "I'll get somebody who can do that.", "I'm back. It is paid.")


async def test_the_handler(harness, floor):
    """It asks once over redeliveries, and only where it has to."""
    watchman = Consumption("watchman", module_of("watchman.py").make_watchman(None), harness.effects("watchman"))
    entry = said(floor, "my lawyer will write to you")
    for one in (said(floor, "hello"), entry, entry):
        assert await watchman.attempt(delivery_of(one)) == Done()
    (command,) = await floor.commands()
    assert (read_command(command).raw["priority"], command[b"id"].decode()) == (
        9,
        f"{entry.id}:watchman:handoff.request",
    )
    (asked,) = await floor.place.told(Target.HUMAN_AGENT, "handoff.requested", conversation_id=floor.opened.id)
    assert asked.data.request.reason == "speaks of lawyers"


@pytest.mark.processes
async def test_the_command_from_node(floor, redis_url, tmp_path):
    """The worker takes it, and its id once."""
    modules = node_modules()
    if modules is None:
        pytest.skip("node with its package redis is not installed")
    (tmp_path / "handoff.mjs").write_text(example("handoff.mjs", PAGE), encoding="utf-8")
    (tmp_path / "node_modules").symlink_to(modules)
    for _ in range(2):
        arguments = (str(tmp_path / "handoff.mjs"), floor.opened.id, "asks for a refund", "my-first-command")
        environment = {**os.environ, "REDIS_URL": redis_url}
        process = await asyncio.create_subprocess_exec("node", *arguments, env=environment)
        async with deadline(30):
            assert await process.wait() == 0
    assert len(await floor.commands()) == 2
    (asked,) = await floor.place.told(Target.HUMAN_AGENT, "handoff.requested", conversation_id=floor.opened.id)
    assert (asked.data.request.reason, asked.data.request.context) == ("asks for a refund", {"order": 7})
