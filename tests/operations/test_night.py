"""The night: ten accidents, and an operator who has one customer's number.

Whoever searches for the number, on the page or with the command, learns in two steps at most what happened, why, and
what to do: the story, and what its advice names.
"""

from __future__ import annotations

import os
import re
import shlex
import signal
from contextlib import asynccontextmanager
from dataclasses import replace
from importlib import import_module
from urllib.parse import quote

import orjson
import pytest

from handlers.replies import CommunicationEntry, replies_to
from router.__main__ import COMMANDS, make_parser
from router.console.app import make_app
from router.console.hub import running
from router.console.roles import Role
from router.console.serve import make_ports
from router.core.keys import RESOLVER, Keys
from router.process import announce
from router.process.apis import close_clients, make_apis
from router.streams.client.connection import connect
from router.streams.consuming.groups import ensure_group
from tests.console.people import PEOPLE, Visitor, users_text
from tests.harness.processes import start_process
from tests.harness.sandbox import running_sandbox
from tests.harness.serving import serving
from tests.harness.settings import make_environment, quick_recovery, write_config
from tests.operations.parts import Parts, sms
from tests.support.accounts import CUSTOMER, OTHER_TOKEN
from tests.support.html import read_html
from tests.support.waiting import scaled, until

KEYS = Keys()


@replies_to(CommunicationEntry)
def failing(_):
    """Fail."""
    raise LookupError("no order of that number")


class Operator:
    """Somebody who has the customer's number, a shell, and the page."""

    def __init__(self, parts, visitor, capsys):
        self._parts, self._visitor, self._capsys = parts, visitor, capsys

    async def run(self, line):
        """Run a command line of the project; returns what it prints."""
        arguments = make_parser().parse_args(shlex.split(line)[3:])
        module, _, name = COMMANDS[arguments.command].function.partition(":")
        self._capsys.readouterr()
        await getattr(import_module(module), name)(arguments)
        return self._capsys.readouterr().out

    async def open(self, path):
        """Return the content of a page."""
        _, _, text = await self._visitor.get(path)
        return read_html(text).one("main")

    async def find(self, *words):
        """Search for the customer until the story has all these words; returns the output and the page."""
        page = None

        async def is_there():
            nonlocal page
            page = await self.open(f"/story?q={quote(CUSTOMER)}")
            return all(word in page.text for word in words)

        await until(is_there)
        output = await self.run(f"python -m router story {CUSTOMER}")
        assert [word for word in words if word not in output] == []
        return output, page

    async def follow(self, output, page, *words, said=()):
        """Take the second step: the command and the link of the last advice; both show these words (or `said`)."""
        (command,) = re.findall(r"to do: .*: (python -m router .*)", output)[-1:]
        printed = await self.run(command)
        (path,) = [link.attributes["href"] for link in page.all("a") if link.attributes.get("class") == "todo"][-1:]
        shown = (await self.open(path)).text
        assert [word for word in (said or words) if word.lower() not in printed.lower()] == [], printed
        assert [word for word in words if word.lower() not in shown.lower()] == [], shown

    async def status(self):
        """Return the first page and what `status` prints."""
        return await self.run("python -m router status"), (await self.open("/")).text


@asynccontextmanager
async def on_call(parts, tmp_path, monkeypatch, capsys):
    """An operator of a deployment, with a console beside it."""
    users = tmp_path / "users.toml"
    users.touch(mode=0o600)
    users.write_text(users_text(), encoding="utf-8")
    parts.changes["ROUTER_CONSOLE_USERS"] = str(users)
    for name, value in make_environment(parts.redis_url, parts.sandbox.url).items():
        monkeypatch.setenv(name, value)
    settings = parts.settings()
    apis, redis = make_apis(settings), connect(settings.redis, timeout=scaled(2))
    ports = make_ports(settings, redis, apis)
    async with running(ports.hub), serving(make_app(ports)) as url:
        visitor = Visitor(url)
        await visitor.sign_in(PEOPLE[Role.OPERATOR])
        yield Operator(parts, visitor, capsys)
        await visitor.close()
    await ports.jobs.close()
    await close_clients(apis, redis)


@pytest.fixture
async def operator(parts, tmp_path, monkeypatch, capsys):
    """An operator on call."""
    async with on_call(parts, tmp_path, monkeypatch, capsys) as one:
        yield one


async def test_a_wrong_token(parts, operator):
    """Refused with 403, as the signature does not match; the advice leads to what was signed."""
    async with parts.receiving() as send:
        assert await send(sms(), token=OTHER_TOKEN) == 403
        found = await operator.find("refused", "answered 403 (signature)", "find out what was signed")
    await operator.follow(*found, "signature", said=["signed with another auth token"])


async def test_a_refused_form(parts, operator):
    """Refused with 400, as the form cannot be read; nothing is known of its customer, but of the webhook."""
    async with parts.receiving() as send:
        broken = replace(sms(), body=sms().body.replace(b"&To=%2B15557650000", b"&To="))
        assert await send(broken) == 400

        async def is_kept():
            return await operator.run("python -m router quarantine list --since 1d") != "0 in the quarantine\n"

        await until(is_kept)
    output, page = await operator.find("thing is known of")
    assert "python -m router quarantine list --since 1d" in output
    assert "unreadable" in await operator.run("python -m router quarantine list --since 1d")
    assert "unreadable" in (await operator.open(page.links()["webhooks refused within a day"])).text


@pytest.mark.parametrize(
    ("fault", "words"),
    [({"status": 429, "retry_after": 30}, "429"), ({"status": 500}, "500")],
    ids=["the API is too busy", "the API fails for minutes"],
)
async def test_the_api(parts, operator, fault, words):
    """The event waits, the reason names the API's answer, and there is nothing to do."""
    parts.sandbox.fault(**fault)
    async with parts.receiving() as send, parts.working():
        assert await send(sms()) == 200
        await operator.find("waiting", words, "nothing: it goes on by itself once the API takes it")
        parts.sandbox.clear_faults()


async def test_a_wrong_api_key(parts, operator):
    """The event waits for a setting, which the advice names."""
    parts.sandbox.fault(status=401)
    async with parts.receiving() as send, parts.working():
        assert await send(sms()) == 200
        await operator.find("waiting", "401", "the API key is wrong or lacks a permission: set it")
        parts.sandbox.clear_faults()


async def test_a_reply_that_raises(parts, operator):
    """The customer has no answer: the entry is a dead letter with the exception, which can be replayed."""
    changes = {"ROUTER_AI_AGENT_REPLY": f"{__name__}:failing", "ROUTER_MAX_DELIVERIES": "2"}
    async with parts.receiving() as send, parts.working(), parts.handling("ai_agent", **changes):
        assert await send(sms()) == 200
        found = await operator.find("dead", "given up by ai-agent", "LookupError", "repair that and replay it")
    await operator.follow(*found, "LookupError", "communication.received")


async def test_a_consumer_that_is_down(parts, operator):
    """The event is published and waits for the AI agent, of which none is alive."""
    async with parts.receiving() as send, parts.working():
        assert await send(sms()) == 200
        await operator.find("published", "no consumer of it is alive", "start the AI agent")
    printed, shown = await operator.status()
    assert "no AI agent is running" in printed
    assert "no AI agent is running" in shown


async def test_no_worker(parts, operator):
    """The event is durable and waits for a worker, of which none is alive."""
    async with parts.receiving() as send:
        assert await send(sms()) == 200
        await operator.find("received", "no worker is alive", "start a worker")


async def test_an_entry_that_kills_workers(parts, operator, redis):
    """After several deaths it is given up, with this reason."""
    async with parts.receiving() as send:
        assert await send(sms()) == 200
        await ensure_group(redis, KEYS.inbound(0), RESOLVER)
        ((_, ((entry_id, _),)),) = await redis.xreadgroup(RESOLVER, "one-that-died", {KEYS.inbound(0): ">"})
        await redis.hset(KEYS.deaths(0, RESOLVER), entry_id, 9)
        async with parts.working():
            found = await operator.find("dead", "given up by resolver", "processes died", "replay it")
    await operator.follow(*found, "processes died")


async def test_a_person_who_did_not_answer(parts, operator, redis, tmp_path):
    """Who was asked and did not answer stands in the story, and what became of the request."""
    config = write_config(tmp_path, "dana")
    with (config / "routing.toml").open("a", encoding="utf-8") as routing:
        routing.write('\n[[queue]]\nname = "default"\nring = 1\npatience = 1.5\n')
    parts.changes["ROUTER_CONFIG_DIR"] = str(config)
    async with parts.receiving() as send, parts.working(), parts.handling("ai_agent"):
        assert await send(sms()) == 200
        story = await parts.told(CUSTOMER, "sent")
        conversation = re.findall(r"conv_conversation_\w+", str(story))[0]
        for number, (kind, data) in enumerate(
            [
                ("agent.available", {"agent": "dana", "life": 600}),
                ("handoff.request", {"conversation": conversation, "reason": "wants a person"}),
            ]
        ):
            document = {"specversion": "1.0", "id": f"c{number}", "source": "/t", "type": f"command.{kind}"}
            fields = {"type": kind, "id": f"c{number}", "command": orjson.dumps(document | {"data": data})}
            await redis.xadd(KEYS.commands(0), fields)
        found = await operator.find("offered to dana", "not answered in time by dana", "accepted by nobody in time")
    await operator.follow(*found, "dana", "expired")


async def test_a_worker_that_is_killed(parts, operator, tmp_path):
    """What it was at is found by the number; another worker goes on with it."""
    parts.sandbox.fault(hang=True)
    environment = make_environment(parts.redis_url, parts.sandbox.url) | quick_recovery()
    async with parts.receiving() as send:
        worker = await start_process(tmp_path, "router", "work", **environment)
        try:
            await worker.started()
            assert await send(sms()) == 200
            await operator.find("received", "a worker is at it")
        finally:
            os.kill(worker.pid, signal.SIGKILL)
            await worker.wait()
        await operator.find("its worker has died before it was done, no worker is alive", "start a worker")
        parts.sandbox.clear_faults()
        async with parts.working():
            await operator.find("resolved", "published")


async def test_a_spool_that_is_full(own_server, output, tmp_path, monkeypatch, capsys):
    """Nothing is known of what nothing could store; the first page says how much that was, and when."""
    monkeypatch.setattr(announce, "INTERVAL", 0.1)
    async with running_sandbox() as sandbox, own_server.client() as redis:
        parts = Parts(redis, own_server.url, sandbox, tmp_path)
        parts.changes["ROUTER_SPOOL_MAX_BYTES"] = "4096"
        async with on_call(parts, tmp_path, monkeypatch, capsys) as operator, parts.receiving() as send:
            own_server.kill()
            assert await send(sms()) == 503
            await own_server.start()

            async def is_said():
                return [text for text in await operator.status() if "1 webhook answered 503" not in text] == []

            await until(is_said)
            output, page = await operator.find("thing is known of")
            assert "python -m router status" in output
            assert "1 webhook answered 503" in (await operator.open(page.links()["state now"])).text
