"""The receiver as a real process: its start, its stop under load, several processes on one port."""

import asyncio
import contextlib
import os
import re
import signal
import socket

import aiohttp
import pytest
from yarl import URL

from router.core.keys import Keys
from router.operations.processes import list_processes
from router.streams.client.embedded import is_free
from tests.harness.processes import start_process
from tests.receiver.samples import signed, sms
from tests.support.accounts import BASE_URL, TOKEN
from tests.support.waiting import until

pytestmark = pytest.mark.processes


def url_of(process):
    return f"http://127.0.0.1:{process.find('process.started')[0]['port']}"


class Load:
    """Callers that send one webhook after another, each on a new connection unless it `keeps` its own."""

    def __init__(self, url, *, callers=20, keeps=False):
        self.url, self.callers, self.keeps = url, callers, keeps
        self.answers, self.errors, self.refused, self.number = [], [], 0, 0
        self.is_over = False

    async def __aenter__(self):
        self.session = aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0, force_close=not self.keeps))
        self.tasks = [asyncio.create_task(self.call()) for _ in range(self.callers)]
        return self

    async def __aexit__(self, *_):
        self.is_over = True
        await asyncio.gather(*self.tasks)
        await self.session.close()

    async def call(self):
        while not self.is_over:
            self.number += 1
            request = signed(sms(self.number))
            try:
                url = URL(self.url + request.path, encoded=True)
                async with self.session.post(url, data=request.body, headers=request.headers()) as answer:
                    self.answers.append(answer.status)
            except aiohttp.ClientConnectorError:  # the receiver no longer listens, and this caller had not connected
                self.refused += 1
                return
            except aiohttp.ClientError as error:
                self.errors.append(f"{type(error).__name__}: {error}")
                return


@pytest.mark.parametrize("keeps", [False, True], ids=["new connections", "kept connections"])
async def test_sigterm_under_load_answers_every_caller(launch, redis, keeps):
    """Every connected caller gets an answer, every webhook answered 200 is in Redis, and the exit status is 0."""
    process = await launch()
    await process.started()
    async with Load(url_of(process), keeps=keeps) as load:
        await until(lambda: len(load.answers) > 300)
        assert await process.stop() == 0
    assert load.errors == []
    assert set(load.answers) == {200}
    assert load.refused == load.callers
    assert await redis.xlen(Keys().inbound(0)) == len(load.answers)
    assert len(process.find("process.stopping")) == 1
    assert process.lines[-1]["event"] == "process.stopped"


@pytest.mark.parametrize("keeps", [False, True], ids=["new connections", "kept connections"])
async def test_sigterm_under_load_of_several_processes_answers_every_caller(launch, redis, keeps):
    """Two processes that share a port stop accepting connections together and answer their callers."""
    process = await launch("--processes", "2")
    await process.started(2)
    async with Load(url_of(process), keeps=keeps) as load:
        await until(lambda: len(load.answers) > 300)
        assert await process.stop() == 0
    assert load.errors == []
    assert set(load.answers) == {200}
    assert await redis.xlen(Keys().inbound(0)) == len(load.answers)
    assert len(process.find("process.stopped")) == 2


async def test_sigint_stops_it_too(launch):
    """Ctrl-C has the same effect as SIGTERM."""
    process = await launch()
    await process.started()
    assert await process.stop(signal.SIGINT) == 0


async def test_signal_right_after_the_start_is_clean(launch):
    """From the line process.started on, a signal ends the process with status 0."""
    for _ in range(3):
        process = await launch()
        while not process.find("process.started"):  # noqa: ASYNC110 # no pause: as close to the line as possible
            await asyncio.sleep(0)
        assert await process.stop() == 0


async def test_start_shows_its_settings_masked(launch):
    """The line of the start has the effective configuration without any secret."""
    process = await launch(TWILIO_AUTH_TOKEN=f"{TOKEN},{TOKEN[::-1]}")
    (line,) = await process.started()
    assert line["settings"]["TWILIO_AUTH_TOKEN"] == "***,***"
    assert line["settings"]["PUBLIC_BASE_URL"] == BASE_URL
    assert line["mails"] == "off"
    assert TOKEN[::-1] not in process.text


async def worker_of(url):
    """Post one webhook on a connection of its own."""
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(force_close=True)) as session:
        request = signed(sms(os.getpid()))
        url = URL(url + request.path, encoded=True)
        async with session.post(url, data=request.body, headers=request.headers()) as answer:
            return answer.status


async def test_several_processes_share_one_port(launch, redis):
    """Both serve; one that is killed is restarted while the other continues; SIGTERM ends all of them."""
    process = await launch("--processes", "2")
    started = await process.started(2)
    port = started[0]["port"]
    assert started[1]["port"] == port
    url = f"http://127.0.0.1:{port}"
    async with Load(url, callers=8) as load:
        await until(lambda: len(load.answers) > 100)
    assert set(load.answers) == {200}

    os.kill(started[0]["pid"], signal.SIGKILL)
    await process.started(3)
    assert process.find("process.restarted")[0]["status"] == -signal.SIGKILL
    assert {await worker_of(url) for _ in range(20)} == {200}

    assert await process.stop() == 0
    assert is_free(port)
    assert len(process.find("process.stopped")) == 2


async def test_both_of_two_processes_accept_connections(launch):
    """The kernel spreads connections over all listeners, so neither process is idle."""
    process = await launch("--processes", "2")
    await process.started(2)
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(force_close=True)) as session:

        async def open_files():
            """Return the number of open files of each of the two."""
            async with session.get(f"{url_of(process)}/metrics") as answer:
                found = re.findall(r'process_open_fds{process="(web\.\d)"} (\S+)', await answer.text())
            return {name: float(value) for name, value in found}

        before, taken_by, count = await open_files(), {}, 100

        async def have_taken_all():
            now = await open_files()
            taken_by.update({name: now[name] - before[name] for name in before})
            return sum(taken_by.values()) >= count - 1  # one of `before` was the connection of that scrape

        with contextlib.ExitStack() as connections:
            for _ in range(count):
                connections.enter_context(socket.create_connection(("127.0.0.1", URL(url_of(process)).port)))
            await until(have_taken_all)
    assert sorted(taken_by) == ["web.1", "web.2"]
    assert all(count > 10 for count in taken_by.values())


async def test_a_child_that_keeps_dying_ends_the_parent(launch):
    """The parent ends with status 1 and a line that gives the reason."""
    process = await launch("--processes", "2")
    kept, killed = (await process.started(2))[0]["pid"], set()

    def kill_the_other_child():
        """Kill it as soon as it is there, so that every death is an early one; tell whether the parent has ended."""
        for pid in {*process.children} - {kept} - killed:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
            killed.add(pid)
        return process.returncode is not None

    await until(kill_the_other_child, pause=0.05)
    assert process.returncode == 1
    assert len(killed) >= 3
    (line,) = process.find("process.failed")
    assert "3 times" in line["reason"]


async def test_all_missing_settings_are_named(tmp_path):
    """The exit status is 2, and one message names every variable."""
    process = await start_process(tmp_path, "router", "receive", PORT="no port", ROUTER_LOGLEVEL="info")
    assert await process.wait() == 2
    for name in (
        "REDIS_URL",
        "TWILIO_ACCOUNT_SID",
        "TWILIO_AUTH_TOKEN",
        "PUBLIC_BASE_URL",
        "PORT",
        "ROUTER_LOGLEVEL",
    ):
        assert name in process.text
    assert "Traceback" not in process.text


async def test_a_port_in_use_ends_the_start(launch):
    """The exit status is 1, and the message names the reason."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        process = await launch("--port", str(taken.getsockname()[1]))
        assert await process.wait() == 1
        assert "address already in use" in process.text


async def test_shadow_mode_is_logged_at_the_start(launch):
    """A receiver that accepts wrong signatures warns about it as soon as it is up."""
    process = await launch(ROUTER_SHADOW="messaging,voice")
    (line,) = await until(lambda: process.find("shadow.on"))
    assert (line["level"], line["sources"]) == ("warning", "messaging,voice")
    assert process.find("process.started")[0]["settings"]["ROUTER_SHADOW"] == "messaging,voice"


@pytest.mark.parametrize(
    ("line", "more", "statuses"),
    [
        ("POST /webhooks/messaging", "", [403]),
        ("POST /webhooks/messaging?bodySHA256=00", "", [403]),
        ("POST http://example.com/webhooks/messaging", "", [403]),
        ("POST /webhooks/messaging", "Expect: 100-continue\r\n", [100, 403]),
        ("POST /webhooks/messagin%67", "", [403]),
        ("POST /webhooks/messaging/", "", [404]),
        ("PUT /webhooks/messaging", "", [405]),
        ("POST /healthz", "", [405]),
    ],
    ids=["path", "query", "whole URL", "expectation", "escaped", "another path", "method", "operator's path"],
)
async def test_bypassing_aiohttps_router_changes_no_route(launch, line, more, statuses):
    """Webhooks bypass aiohttp's router, other requests pass through it; each reaches the handler of its path."""
    process = await launch()
    await process.started()
    reader, writer = await asyncio.open_connection("127.0.0.1", URL(url_of(process)).port)
    body = b"From=%2B15550001234"
    kind = "Content-Type: application/x-www-form-urlencoded\r\nContent-Length: 19\r\nConnection: close\r\n"
    writer.write(f"{line} HTTP/1.1\r\nHost: example.com\r\n{kind}{more}\r\n".encode() + body)
    answered = (await reader.read()).decode()
    assert [int(status) for status in re.findall(r"HTTP/1\.1 (\d+)", answered)] == statuses
    writer.close()
    await writer.wait_closed()


async def test_a_port_in_use_is_one_line_and_status_1(launch):
    """Of one process and of several; no traceback."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        for options in ([], ["--processes", "2"]):
            process = await launch(*options, "--port", str(taken.getsockname()[1]))
            assert await process.wait() == 1
            [line] = process.find("process.failed")
            assert line["reason"].startswith("cannot listen on 127.0.0.1:")
            assert "Traceback" not in process.text


async def test_what_was_not_stored_is_known_after_an_orderly_end(launch, redis):
    """A restart, with which operators answer a 503, hides nothing from `status`."""
    process = await launch(ROUTER_SPOOL_MAX_BYTES="0")
    await process.started()
    request = signed(sms())
    await redis.config_set("maxmemory", "1")
    try:
        async with (
            aiohttp.ClientSession() as session,
            session.post(
                URL(url_of(process) + request.path, encoded=True), data=request.body, headers=request.headers()
            ) as answer,
        ):
            assert answer.status == 503
    finally:
        await redis.config_set("maxmemory", "0")
    assert await process.stop() == 0
    assert await list_processes(redis, Keys()) == []
    (ended,) = await list_processes(redis, Keys(), with_ended=True)
    assert ended.facts["not_stored"]["webhooks"] == 1
    assert ended.facts["not_stored"]["last"] > ended.started_at
