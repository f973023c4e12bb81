"""`/metrics` of several real processes on one port: one exposition, whichever process answers, dies or hangs."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal

import aiohttp
import pytest
from prometheus_client.openmetrics.parser import text_string_to_metric_families as parse_openmetrics
from prometheus_client.parser import text_string_to_metric_families as parse_text
from yarl import URL

from router.tasks import end
from tests.receiver.samples import signed, sms
from tests.support.waiting import until

pytestmark = pytest.mark.processes
OPENMETRICS = "application/openmetrics-text"
#: What only rises, by its name in a text.
CUMULATIVE = ("_total", "_bucket", "_count", "_sum")


class Port:
    """Processes that share a port; every request is made on a connection of its own, so that any of them may get it."""

    def __init__(self, process, session):
        self.process, self.session, self.sent = process, session, 0
        self.url = f"http://127.0.0.1:{process.find('process.started')[0]['port']}"
        self.shown = {}

    async def send(self, count=1):
        """Send so many messages, one after the other."""
        for _ in range(count):
            request = signed(sms(self.sent))
            url = URL(self.url + request.path, encoded=True)
            async with self.session.post(url, data=request.body, headers=request.headers()) as answer:
                assert answer.status == 200
            self.sent += 1

    async def scrape(self, accept=""):
        """Return the samples by name and labels, after a comparison with what was shown before."""
        return self.compare(await self.read(accept))

    def compare(self, samples):
        """Return samples of which nothing that only rises is less than before."""
        fallen = {
            key: (value, samples.get(key, "gone"))
            for key, value in self.shown.items()
            if key[0].endswith(CUMULATIVE) and samples.get(key, -1.0) < value
        }
        assert fallen == {}
        self.shown = samples
        return samples

    async def read(self, accept=""):
        """Return the samples by name and labels."""
        async with self.session.get(f"{self.url}/metrics", headers={"Accept": accept}) as answer:
            assert answer.status == 200
            text, is_open = await answer.text(), OPENMETRICS in answer.headers["Content-Type"]
        assert is_open == bool(accept)
        families = (parse_openmetrics if is_open else parse_text)(text)
        return {(one.name, *sorted(one.labels.items())): one.value for each in families for one in each.samples}

    async def scrape_of_live_process(self):
        """Scrape on many connections, one of which reaches a process that is neither stopped nor about to die."""
        while True:
            scrapes = [asyncio.create_task(self.read()) for _ in range(12)]
            try:
                for scrape in asyncio.as_completed(scrapes):
                    with contextlib.suppress(aiohttp.ClientError):
                        return self.compare(await scrape)
            finally:
                await end(*scrapes)


def accepted(samples):
    """The number of accepted webhooks in a scrape."""
    (found,) = [
        value
        for (name, *labels), value in samples.items()
        if name == "router_webhooks_total" and ("result", "accepted") in labels and ("source", "messaging") in labels
    ]
    return found


def of_processes(samples, name):
    """The values of a metric that each process has for itself, by process."""
    return {dict(labels)["process"]: value for (each, *labels), value in samples.items() if each == name}


@pytest.fixture
async def open_port(launch):
    """A function that starts so many processes on one port."""
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0, force_close=True)) as session:

        async def open_one(count=3, **environment):
            process = await launch("--processes", str(count), **environment)
            await process.started(count)
            return Port(process, session)

        yield open_one


async def test_every_process_shows_the_sum_of_all(open_port):
    """Scrapes meet one process or another, and each shows all webhooks that were answered before."""
    port = await open_port(3)
    for _ in range(30):
        await port.send(2)
        assert accepted(await port.scrape()) == port.sent


async def test_scrapes_at_the_same_time_disturb_neither_each_other_nor_webhooks(open_port):
    """Each shows what was answered before it began, and all streams."""
    port = await open_port(3)
    scrapes = set()

    async def scrape_often():
        while port.sent < 80:
            before = port.sent
            samples = await port.read()
            assert before <= accepted(samples) <= 80
            scrapes.add(tuple(sorted(key for key in samples if key[0].startswith("router_stream_"))))

    await asyncio.gather(port.send(80), *(scrape_often() for _ in range(4)))
    assert len(scrapes) == 1
    assert accepted(await port.scrape()) == 80


async def test_both_text_formats_show_the_same_sums(open_port):
    """Neither format has a sample twice or a family in two parts, which its parser would refuse."""
    port = await open_port(2)
    await port.send(10)
    plain, openmetrics = await port.scrape(), await port.scrape(OPENMETRICS)
    assert accepted(plain) == accepted(openmetrics) == port.sent
    assert plain.keys() == openmetrics.keys()
    assert plain["router_event_seconds_count",] == 0


async def test_each_process_has_its_own_figures(open_port):
    """Memory, CPU, files and start time are of one process each, the supervisor's too."""
    port = await open_port(2)

    async def all_are_heard_of():
        return (await port.scrape())["router_port_processes", ("state", "answered")] == 2

    await until(all_are_heard_of)
    samples = await port.scrape()
    for name in ("process_resident_memory_bytes", "process_cpu_seconds_total", "process_open_fds"):
        found = of_processes(samples, name)
        assert found.keys() == {"web", "web.1", "web.2"}
        assert all(value > 0 for value in found.values())
    starts = of_processes(samples, "process_start_time_seconds")
    assert starts["web"] < min(starts["web.1"], starts["web.2"])


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM], ids=["killed", "told to stop"])
async def test_what_a_process_counted_survives_it(open_port, number):
    """Nothing that was shown falls, and the process that takes its place adds to it; an orderly end loses nothing."""
    port = await open_port(3)
    for line in port.process.find("process.started"):
        await port.send(12)
        if number == signal.SIGKILL:
            await port.scrape()
        restarted = len(port.process.find("process.restarted"))
        os.kill(line["pid"], number)
        while len(port.process.find("process.restarted")) == restarted:
            await port.scrape_of_live_process()
        assert accepted(await port.scrape()) == port.sent
        await port.process.started(4 + restarted)
    await port.send(12)
    samples = await port.scrape()
    assert accepted(samples) == port.sent
    assert of_processes(samples, "process_open_fds").keys() == {"web", "web.1", "web.2", "web.3"}


async def test_what_was_counted_since_the_last_scrape_is_all_that_a_kill_loses(open_port):
    """The sums never fall, and go on from there."""
    port = await open_port(3)
    await port.send(30)
    await port.scrape()
    await port.send(30)
    for line in port.process.find("process.started"):
        os.kill(line["pid"], signal.SIGKILL)
    await port.process.started(6)
    assert 30 <= accepted(await port.scrape()) <= 60
    left = port.sent - accepted(port.shown)
    await port.send(10)
    assert accepted(await port.scrape()) == port.sent - left


async def test_a_process_that_hangs_does_not_hang_the_scrapes(open_port):
    """Its last known counts are shown, and the present ones once it goes on."""
    port = await open_port(3)
    await port.send(30)
    await port.scrape()
    stopped = port.process.find("process.started")[0]["pid"]
    os.kill(stopped, signal.SIGSTOP)
    try:
        for _ in range(5):
            samples = await port.scrape_of_live_process()
            assert accepted(samples) == port.sent
            assert samples["router_port_processes", ("state", "silent")] == 1
            assert samples["router_port_processes", ("state", "answered")] == 2
            assert len(of_processes(samples, "process_open_fds")) == 4
    finally:
        os.kill(stopped, signal.SIGCONT)

    async def is_back():
        return (await port.scrape())["router_port_processes", ("state", "answered")] == 3

    await until(is_back)
    await port.send(9)
    assert accepted(await port.scrape()) == port.sent


async def test_the_spools_of_all_processes_add_up(open_port):
    """While Redis is away each process has a spool of its own."""
    port = await open_port(2, REDIS_URL="redis://127.0.0.1:9")
    await port.send(20)
    for _ in range(10):
        samples = await port.scrape()
        assert samples["router_spool_entries", ("journal", "own")] == port.sent
