"""Processes that start or stop during an outage: the start is waited for, and the end does not wait for it."""

from __future__ import annotations

import asyncio
import signal
from contextlib import AsyncExitStack

import aiohttp
import pytest
from yarl import URL

from router.core.keys import RESOLVER, Keys
from router.simulator.messages import message
from router.streams.client.connection import connect
from tests.harness.deployment import Deployment
from tests.harness.processes import start_process
from tests.harness.sandbox import running_sandbox
from tests.harness.settings import COMMANDS, make_environment, quick_recovery, write_config
from tests.receiver.samples import signed
from tests.support.accounts import ACCOUNT, AGENT, OURS
from tests.support.relay import REDIS, Relay
from tests.support.waiting import scaled, until

pytestmark = [pytest.mark.processes, pytest.mark.real]

LOADING = b"-LOADING Valkey is loading the dataset in memory\r\n"
PROCESSES = COMMANDS | {"receivers": ("router", "receive", "--processes", "2")}
CONSUMERS = [role for role in COMMANDS if role != "receiver"]
#: Seconds of ROUTER_GRACE, and those after which a process must have ended; the second is scaled.
GRACE, LIMIT = 1.5, 2.5


class Site:
    """A deployment on a Redis server of its own behind a relay, with a sandbox; all in reach of outages."""

    def __init__(self, directory, server, sandbox, relay):
        self.directory, self.server, self.sandbox, self.relay = directory, server, sandbox, relay
        self.processes = {}
        self.environment = make_environment(
            f"redis://127.0.0.1:{relay.port}/0",
            sandbox.url,
            PORT="0",
            ROUTER_CONFIG_DIR=str(write_config(directory, "dana")),
            ROUTER_AI_AGENT_ADDRESS=AGENT,
            **quick_recovery(ROUTER_GRACE=f"{scaled(GRACE):.1f}"),
        )

    async def start(self, *roles):
        for role in roles:
            self.processes[role] = await start_process(self.directory, *PROCESSES[role], **self.environment)

    async def started(self):
        await asyncio.gather(
            *[process.started(2 if role == "receivers" else 1) for role, process in self.processes.items()]
        )

    async def send(self, number, *, role="receiver"):
        """Send a first message of a customer; returns the status of the answer, 0 if there was none."""
        url = f"http://127.0.0.1:{self.processes[role].find('process.started')[0]['port']}"
        sender, sid = f"+1555{number:07d}", f"SM{number:032x}"
        request = signed(message("sms", account_sid=ACCOUNT, sender=sender, recipient=OURS, body="hi", sid=sid))
        try:
            async with (
                aiohttp.ClientSession() as session,
                session.post(
                    URL(url + request.path, encoded=True), data=request.body, headers=request.headers()
                ) as response,
            ):
                return response.status
        except aiohttp.ClientError:
            return 0

    async def stop(self):
        """Stop all processes at once; returns the status of each, TimeoutError if one lasts longer than it may."""
        stopping = [process.stop(limit=LIMIT) for process in self.processes.values()]
        return dict(zip(self.processes, await asyncio.gather(*stopping), strict=True))

    def assert_no_traceback(self):
        for role, process in self.processes.items():
            assert all(line.startswith("{") for line in process.text.splitlines()), (role, process.text)
            failed = [line for line in process.lines if line["event"] == "process.failed"]
            assert failed == [], role


@pytest.fixture
async def site(tmp_path, own_server):
    async with AsyncExitStack() as stack:
        relay = await stack.enter_async_context(Relay(own_server.url, REDIS).running())
        site = Site(tmp_path, own_server, await stack.enter_async_context(running_sandbox()), relay)
        yield site
        own_server.resume()
        for process in site.processes.values():
            await process.kill()


def refuse(site):
    site.server.kill()


async def accept(site):
    await site.server.start()


def stall(site):
    site.server.stall()


async def resume(site):
    site.server.resume()


def load(site):
    site.relay.refusal = LOADING


async def finish_loading(site):
    site.relay.refusal = None


def slow(site):
    site.relay.latency = 3.3  # above FastStream's three seconds, below the timeout of a command


async def hurry(site):
    site.relay.latency = 0.0


#: How Redis fails, how it comes back, and whether a start can succeed meanwhile.
OUTAGES = {"refused": (refuse, accept), "hanging": (stall, resume), "loading": (load, finish_loading)}


@pytest.mark.parametrize(("begin", "end"), OUTAGES.values(), ids=OUTAGES)
async def test_a_start_during_an_outage_of_redis_is_waited_for(site, begin, end):
    """Every consumer says why it waits and starts once Redis is back; a receiver starts at once; no traceback."""
    begin(site)
    await site.start(*PROCESSES)
    await until(lambda: all(site.processes[role].find("start.waiting") for role in CONSUMERS))
    await asyncio.gather(site.processes["receiver"].started(), site.processes["receivers"].started(2))
    assert not [role for role in CONSUMERS if site.processes[role].find("process.started")]
    await end(site)
    await site.started()
    assert await site.send(1) == 200
    assert set((await site.stop()).values()) == {0}
    site.assert_no_traceback()


async def test_a_redis_that_becomes_slow_during_the_start_is_read_from(site):
    """FastStream gives its subscriber three seconds to begin; a server that takes longer is read from all the same."""
    await site.start("worker")
    await until(lambda: site.relay.passed["group"])
    slow(site)
    await until(lambda: site.relay.passed["XREADGROUP"])
    await hurry(site)
    await site.started()
    assert await site.stop() == {"worker": 0}
    site.assert_no_traceback()


@pytest.mark.parametrize(("begin", "end"), [OUTAGES["hanging"]], ids=["hanging"])
async def test_a_stop_during_a_start_that_waits_ends_at_once(site, begin, end):
    """SIGTERM ends a process that waits for Redis with status 0."""
    begin(site)
    await site.start(*PROCESSES)
    await until(lambda: all(site.processes[role].find("start.waiting") for role in CONSUMERS))
    await asyncio.gather(site.processes["receiver"].started(), site.processes["receivers"].started(2))
    assert set((await site.stop()).values()) == {0}
    site.assert_no_traceback()
    await end(site)


def nothing(_):
    pass


def hang(site):
    site.sandbox.fault(hang=True)


@pytest.mark.parametrize(
    ("redis", "api"),
    [(stall, hang), (load, hang), (slow, nothing)],
    ids=lambda one: one.__name__,
)
async def test_a_stop_during_an_outage_ends_every_process_in_time(site, redis, api):
    """SIGTERM ends each process within the grace and a second, also with work in flight; none is lost."""
    await site.start(*PROCESSES)
    await site.started()
    api(site)
    deployment = Deployment(connect(site.server.url, timeout=scaled(20)), site.sandbox)
    statuses = await asyncio.gather(*[site.send(number) for number in range(30)])
    assert statuses == [200] * 30
    await until(lambda: _is_under_way(deployment, site))
    redis(site)
    more = [asyncio.create_task(site.send(number, role="receivers")) for number in range(30, 60)]
    await asyncio.sleep(0)
    assert set((await site.stop()).values()) == {0}
    await asyncio.gather(*more)
    site.assert_no_traceback()
    await deployment.redis.aclose()


async def _is_under_way(deployment, site):
    if site.processes["worker"].find("event"):
        return True
    return (await deployment.redis.xpending(Keys().inbound(0), RESOLVER))["pending"] > 0


async def test_a_signal_while_a_consumer_joins_its_group_is_not_lost(site):
    """It leaves the group again: nobody has to wait until it looks dead."""
    client = connect(site.server.url, timeout=scaled(20))
    for moment in ("SET", "group", "XGROUP"):
        await site.start("worker")
        worker = site.processes["worker"]
        await until(lambda moment=moment: site.relay.passed[moment])
        worker.send_signal(signal.SIGTERM)
        assert await worker.wait(LIMIT) == 0
        assert not [key async for key in client.scan_iter("*heartbeat*")]
        if await client.exists(Keys().inbound(0)):
            assert await client.xinfo_consumers(Keys().inbound(0), RESOLVER) == []
        site.relay.passed.clear()
    await client.aclose()
