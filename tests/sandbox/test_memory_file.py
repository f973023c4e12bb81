"""The sandbox's conversations in a file: what a new process finds again, and what it does not believe."""

from __future__ import annotations

import asyncio
import os
import pickle
import stat
from contextlib import asynccontextmanager

import aiohttp
import pytest

from router.sandbox import serve
from router.sandbox.memory_file import can_read
from tests.harness.sandbox import SandboxClient, make_options
from tests.sandbox.harness import BY_CHANNEL, CONFIGURATIONS, make_communication, opening, pair
from tests.support.accounts import ACCOUNT
from tests.support.waiting import until


def options(callback="http://127.0.0.1:1/first", **changes):
    """The options of a start whose status callbacks go to a URL."""
    configurations = [one | {"statusCallbacks": [{"url": callback, "method": "POST"}]} for one in CONFIGURATIONS]
    return make_options(configurations=configurations, **changes)


@asynccontextmanager
async def running(path, given=None):
    """Give a client of a sandbox that keeps its conversations in a file; it ends in order."""
    ready = asyncio.get_running_loop().create_future()
    serving = asyncio.create_task(serve(given or options(), memory=path, on_ready=ready.set_result))
    try:
        async with aiohttp.ClientSession() as session:
            yield SandboxClient(await ready, session)
    finally:
        serving.cancel()
        await asyncio.gather(serving, return_exceptions=True)


async def fill(client):
    """Open a conversation, write in it, open and close another one, and write a classic message; returns all of it."""
    kept = await client.ask("POST", "/v2/Conversations", opening(*pair()))
    await client.ask("POST", f"/v2/Conversations/{kept['id']}/Communications", make_communication())
    closed = await client.ask("POST", "/v2/Conversations", opening(*pair(customer="+14155550177")))
    await client.ask("PUT", f"/v2/Conversations/{closed['id']}", {"status": "CLOSED"})
    await client.ask("POST", "/sandbox/classic/inbound", {"from": "+14155550178", "to": "+15557650000", "body": "hi"})
    return await snapshot(client)


async def snapshot(client):
    """Everything that the public API shows."""
    conversations = await client.conversations()
    said = [await client.communications(one["id"]) for one in conversations]
    return conversations, said, (await client.ask("GET", "/v1/Conversations"))["conversations"][0]["sid"]


async def test_a_new_process_has_the_conversations_of_the_one_before(tmp_path):
    """Open and closed ones, what was said, classic ones; the time that was advanced stays advanced."""
    path = tmp_path / "state" / "sandbox"
    async with running(path) as client:
        before = await fill(client)
        await client.ask("POST", "/sandbox/clock", {"advanceSeconds": 60})
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    async with running(path) as client:
        assert await snapshot(client) == before
        again = await client.session.post(
            f"{client.url}/v2/Conversations", json=opening(*pair()), headers=client._headers
        )
        assert again.status == 409  # the pair is still taken
        later = await client.ask("POST", "/v2/Conversations", opening(*pair(customer="+14155550179")))
        assert later["createdAt"] > max(one["createdAt"] for one in before[0])


async def test_a_kill_costs_a_second_at_most(tmp_path):
    """The file is written while the sandbox serves, and is whole at every moment."""
    path = tmp_path / "sandbox"
    async with running(path) as client:
        await until(path.exists)
        before = await fill(client)
        await until(lambda: before[2].encode() in path.read_bytes())  # the last of what was made
        copy = path.read_bytes()
    path.write_bytes(copy)
    async with running(path) as client:
        assert await snapshot(client) == before


async def test_status_callbacks_go_where_this_start_says(tmp_path):
    """The receiver may listen on another port; a URL that somebody added stays."""
    path, added = tmp_path / "sandbox", {"url": "http://127.0.0.1:1/added", "method": "POST"}
    async with running(path) as client:
        conversation = await client.ask("POST", "/v2/Conversations", opening(*pair()))
        first = await client.ask("GET", f"/v2/ControlPlane/Configurations/{BY_CHANNEL}")
        urls = {"statusCallbacks": [*first["statusCallbacks"], added]}
        await client.ask("PATCH", f"/sandbox/configurations/{BY_CHANNEL}", urls)
    async with running(path, options("http://127.0.0.1:1/second")) as client:
        second = await client.ask("GET", f"/v2/ControlPlane/Configurations/{BY_CHANNEL}")
        assert [one["url"] for one in second["statusCallbacks"]] == ["http://127.0.0.1:1/second", added["url"]]
        shown = await client.ask("GET", f"/v2/Conversations/{conversation['id']}")
        assert "http://127.0.0.1:1/first" not in str(shown)


class Forged:
    """An object whose pickle calls a function."""

    def __reduce__(self):
        return os.mkdir, ("forged",)


@pytest.mark.parametrize(
    "spoil",
    [
        lambda _: b"",
        lambda content: content[:-100],
        lambda content: content.partition(b"\n")[2],
        lambda content: b'{"account": "AC1", "format": "0"}\n' + content.partition(b"\n")[2],
        lambda content: content.partition(b"\n")[0] + b"\n" + pickle.dumps(Forged()),
        lambda content: content.partition(b"\n")[0] + b"\n" + pickle.dumps({"callbacks": {}}),
        lambda content: content.partition(b"\n")[0] + b"\n" + pickle.dumps(7),
    ],
    ids=["empty", "cut", "no header", "another account", "forged", "incomplete", "no table"],
)
async def test_a_file_that_cannot_be_read_is_an_empty_sandbox(tmp_path, monkeypatch, spoil):
    """Another release, a cut file, somebody else's: nothing but records is made of it, and the sandbox serves."""
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "sandbox"
    async with running(path) as client:
        await fill(client)
    path.write_bytes(spoil(path.read_bytes()))
    async with running(path) as client:
        assert await client.conversations() == []
        await fill(client)
    assert can_read(path, ACCOUNT)
    assert not (tmp_path / "forged").exists()


async def test_who_can_read_a_file(tmp_path):
    """Its account, and this release; a file that is not there nobody."""
    path = tmp_path / "sandbox"
    assert not can_read(path, ACCOUNT)
    async with running(path):
        await until(path.exists)
    assert can_read(path, ACCOUNT)
    assert not can_read(path, "AC" + "0" * 32)


async def test_a_disk_that_is_full_stops_nothing(tmp_path, monkeypatch):
    """The sandbox serves; what could not be written is written at the next change."""

    def fail(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("router.sandbox.memory_file._write", fail)
    async with running(tmp_path / "sandbox") as client:
        await fill(client)
    assert not (tmp_path / "sandbox").exists()
