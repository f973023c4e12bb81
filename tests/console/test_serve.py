"""The console as a process: start, stop, an address in use, and a repartition while it runs."""

import signal

import aiohttp
import pytest

from router.console.roles import Role
from router.core.keys import Keys, Target
from router.operations.processes import list_processes
from router.streams.store.partitions import Layout
from tests.console.people import bearer, users_text
from tests.harness.processes import start_process
from tests.harness.settings import make_environment
from tests.support.waiting import until

pytestmark = pytest.mark.processes


@pytest.fixture
def environment(redis_url, tmp_path):
    """The settings of a console on a free port."""
    users = tmp_path / "console-users.toml"
    users.touch(mode=0o600)
    users.write_text(users_text(), encoding="utf-8")
    changes = {"ROUTER_CONSOLE_PORT": "0", "ROUTER_CONSOLE_USERS": str(users)}
    return make_environment(redis_url, "http://127.0.0.1:9", **changes)


@pytest.fixture
async def start(environment, tmp_path):
    """Start a console; it is ended afterwards."""
    processes = []

    async def make(*arguments, **changes):
        process = await start_process(tmp_path, "router", "console", *arguments, **environment | changes)
        processes.append(process)
        return process

    yield make
    for process in processes:
        if process.returncode is None:
            await process.kill()


async def call(process, path, **headers):
    """Return the status and the JSON of an answer of a console."""
    port = process.find("process.started")[-1]["port"]
    async with aiohttp.ClientSession(f"http://127.0.0.1:{port}", headers=headers) as program:
        answer = await program.get(path)
        return answer.status, await answer.json()


async def test_it_serves_until_it_is_to_stop(start, redis):
    """It announces itself while it runs, and ends with status 0 after SIGTERM."""
    process = await start()
    await process.started()
    assert await call(process, "/healthz") == (200, {"status": "ok"})
    status, answer = await call(process, "/account", **bearer(Role.VIEWER))
    assert (status, answer["role"]) == (200, "viewer")
    (found,) = await until(lambda: list_processes(redis, Keys()))
    assert (found.kind, found.pid) == ("console", process.pid)
    assert await process.stop(signal.SIGTERM) == 0
    assert process.find("process.stopped")
    assert await list_processes(redis, Keys()) == []


async def test_it_starts_without_redis(start):
    """It serves at once, and says that Redis is away."""
    process = await start(REDIS_URL="redis://127.0.0.1:1/0")
    await process.started()
    status, answer = await call(process, "/account", Accept="application/json", Cookie="router-console=a.b")
    assert (status, "Redis does not answer" in answer["error"]) == (503, True)
    assert await process.stop() == 0


async def test_a_console_without_users_says_so(start, tmp_path):
    """It serves, and the log has the command that adds one; a mistake in the file is logged at the start as well."""
    process = await start(ROUTER_CONSOLE_USERS=str(tmp_path / "none.toml"))
    await process.started()
    (line,) = await until(lambda: process.find("console.users"))
    assert line["reason"].endswith("none.toml: `console add-user` makes it")
    (tmp_path / "wrong.toml").write_text("x", encoding="utf-8")
    process = await start(ROUTER_CONSOLE_USERS=str(tmp_path / "wrong.toml"))
    (line,) = await until(lambda: process.find("console.users"))
    assert "chmod 600" in line["reason"]


async def test_a_port_in_use_ends_it(start):
    """The reason names the address, and the status is 1."""
    first = await start()
    (line,) = await first.started()
    second = await start("--port", str(line["port"]))
    assert await second.wait() == 1
    (failed,) = second.find("process.failed")
    assert failed["reason"].startswith(f"cannot listen on 127.0.0.1:{line['port']}: ")


async def test_a_metrics_port_in_use_is_named(start):
    """It is not taken for the port of the console."""
    first = await start()
    (line,) = await first.started()
    second = await start(ROUTER_METRICS_PORT=str(line["port"]), HOST="127.0.0.1")
    assert await second.wait() == 1
    (failed,) = second.find("process.failed")
    assert failed["reason"].startswith(f"cannot listen on 127.0.0.1:{line['port']} (ROUTER_METRICS_PORT): ")


async def test_a_header_of_proxies_needs_their_networks(start):
    """Otherwise anybody could name any user: the start is refused with the setting that is missing."""
    process = await start(ROUTER_CONSOLE_PROXY_HEADER="X-Remote-User")
    assert await process.wait() == 2
    assert "ROUTER_CONSOLE_PROXIES is not set" in process.text
    process = await start(ROUTER_CONSOLE_PROXIES="10.0.0.0/33")
    assert await process.wait() == 2
    assert "ROUTER_CONSOLE_PROXIES: must be networks" in process.text


async def test_it_goes_on_after_a_repartition(start, redis):
    """It notices the new number of partitions by itself, and serves again."""
    process = await start()
    await process.started()
    await redis.set(Keys().layout(), Layout(3, 3).text)
    await process.started(2)
    (changed,) = process.find("partitions.changed")
    assert changed["partitions"] == 3
    assert await call(process, "/healthz") == (200, {"status": "ok"})
    assert await process.stop() == 0


async def test_a_console_that_starts_first_stores_the_number_of_the_data(start, redis):
    """Where Redis has lost the number, the data tell it: receivers and workers over them must not be refused."""
    keys = Keys(partitions=3)
    await redis.xadd(keys.participants(2, Target.AI_AGENT), {"id": "1"})
    process = await start()
    await process.started(2)
    assert await redis.get(keys.layout()) == b"3"
    (changed,) = process.find("partitions.changed")
    assert changed["partitions"] == 3
    assert await process.stop() == 0
