"""The consumers of the README and docs/entries.md, as they stand there: nothing that happens to Redis ends them.

The Node.js one is run where `node` is, and the package `redis` in `node_modules` of this folder or of npm's global one.
"""

from __future__ import annotations

import asyncio
import os
import re
import shutil
import subprocess
import sys

import pytest

from router.core.keys import Keys, Target
from tests.harness.redis_server import RedisServer
from tests.support.entries import fields_of
from tests.support.source import ROOT
from tests.support.waiting import deadline, until
from tests.test_docs import a_closing, an_entry, example

pytestmark = [pytest.mark.processes, pytest.mark.timeout(180)]
STREAM = Keys().participants(0, Target.AI_AGENT)
#: Ten minutes of silence in a few seconds: how long a read blocks, and the longer time until a socket is given up.
SHORTER = {"block=2000": "block=200", "socket_timeout=10": "socket_timeout=1"} | {
    "BLOCK: 2000": "BLOCK: 200",
    "socketTimeout: 10000": "socketTimeout: 1000",
}
#: Blocking reads that take several of these times.
READS = 20


def node_modules():
    """Return a folder of Node.js packages that has `redis`, None if there is none."""
    if shutil.which("node") is None:
        return None
    shown = (
        subprocess.run(["npm", "root", "-g"], capture_output=True, text=True, check=False)
        if shutil.which("npm")
        else None
    )
    folders = [ROOT / "node_modules", *([ROOT / shown.stdout.strip()] if shown and shown.stdout.strip() else [])]
    return next((folder for folder in folders if (folder / "redis").is_dir()), None)


class Consumer:
    """One of the examples, saved in a folder and started; `errors` is what it has written to standard error."""

    def __init__(self, language, folder, server):
        self.folder, self.server = folder, server
        name, page = ("consumer.py", "README.md") if language == "python" else ("consumer.mjs", "docs/entries.md")
        text = example(name, page)
        for long, short in SHORTER.items():
            text = text.replace(long, short)
        assert sum(short in text for short in SHORTER.values()) == 2
        (folder / name).write_text(text, encoding="utf-8")
        self.group = re.search(r'"(my-[a-z-]+)"', text).group(1)
        self.command = [sys.executable if language == "python" else "node", str(folder / name)]
        self.environment = {**os.environ, "REDIS_URL": server.url}
        if language == "node":
            (folder / "node_modules").symlink_to(node_modules())

    async def __aenter__(self):
        with (self.folder / "errors").open("wb") as errors:
            self.process = await asyncio.create_subprocess_exec(
                *self.command, env=self.environment, stdout=subprocess.PIPE, stderr=errors
            )
        return self

    async def __aexit__(self, *_):
        if self.process.returncode is None:
            self.process.kill()
        await self.process.wait()

    @property
    def errors(self):
        return (self.folder / "errors").read_text()

    async def has_read(self, *entries):
        """Wait until it has printed these entries, in order and nothing else, and acknowledged them."""
        for entry in entries:
            async with deadline(30):
                line = (await self.process.stdout.readline()).decode()
            assert line.split() == [entry.type, entry.id, entry.subject], self.errors
        await until(self._has_acknowledged)

    async def _has_acknowledged(self):
        return (await self.server.ask("XPENDING", STREAM, self.group))["pending"] == 0


@pytest.fixture
async def server(tmp_path):
    server = RedisServer(tmp_path)
    await server.start()
    yield server
    server.kill()


@pytest.fixture(params=["python", "node"])
def consumer(request, tmp_path, server):
    if request.param == "node" and node_modules() is None:
        pytest.skip("node with its package redis is not installed")
    return Consumer(request.param, tmp_path, server)


async def publish(server, entry):
    parts = [part for pair in fields_of(entry).items() for part in pair]
    return await server.ask("XADD", STREAM, "*", *parts)


async def reads(server):
    return (await server.info("commandstats")).get("cmdstat_xreadgroup", {}).get("calls", 0)


async def test_it_outlives_silence_a_killed_connection_and_a_restart(consumer, server):
    """Each entry is printed once, also one from before the start; in silence no connection is lost."""
    entry = an_entry()
    await publish(server, entry)
    async with consumer:
        await consumer.has_read(entry)
        begun = await reads(server)

        async def is_silence_over():
            return await reads(server) > begun + READS

        await until(is_silence_over)
        assert consumer.errors == ""
        await publish(server, entry)
        await consumer.has_read(entry)
        assert await server.ask("CLIENT", "KILL", "TYPE", "normal") >= 1
        await publish(server, entry)
        await consumer.has_read(entry)
        server.kill()
        await until(lambda: "refused" in consumer.errors.lower())
        await server.start()
        await publish(server, a_closing())
        await consumer.has_read(a_closing())
        assert consumer.process.returncode is None


async def test_it_outlives_a_server_that_hangs(consumer, server):
    """A connection on which nothing comes any more is given up after the socket's timeout."""
    await publish(server, an_entry())
    async with consumer:
        await consumer.has_read(an_entry())
        server.stall()
        await until(lambda: consumer.errors)
        server.resume()
        await until(server.is_answering)
        await publish(server, a_closing())
        await consumer.has_read(a_closing())


async def test_it_outlives_a_server_that_has_lost_its_data(consumer, server):
    """The group is gone with them, and is made again at the beginning of the stream."""
    await publish(server, an_entry())
    async with consumer:
        await consumer.has_read(an_entry())
        await server.ask("FLUSHALL")
        await publish(server, a_closing())
        await consumer.has_read(a_closing())


async def test_it_reads_again_what_it_had_not_acknowledged(consumer, server):
    """An answer may be lost with its connection, and an entry may be trimmed before it is read again."""
    await server.ask("XGROUP", "CREATE", STREAM, consumer.group, "0", "MKSTREAM")
    for _ in range(2):
        first = await publish(server, an_entry())
    await publish(server, a_closing())
    await server.ask("XREADGROUP", "GROUP", consumer.group, "me", "COUNT", 2, "STREAMS", STREAM, ">")
    await server.ask("XDEL", STREAM, first)
    async with consumer:
        await consumer.has_read(an_entry(), a_closing())


async def test_it_ends_with_an_error_that_does_not_pass(consumer, server):
    """A key of another type is no lost connection: the error is shown, and the exit status is not 0."""
    await server.ask("SET", STREAM, "x")
    async with consumer:
        async with deadline(30):
            assert await consumer.process.wait() != 0
        assert "WRONGTYPE" in consumer.errors
