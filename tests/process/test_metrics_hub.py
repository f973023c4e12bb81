"""The sockets between a supervisor and its processes, through which their metrics are added up."""

from __future__ import annotations

import asyncio

import pytest

from router import metrics
from router.process import metrics_hub
from router.process.metrics_hub import MetricsHub, MetricsLink
from tests.support.waiting import scaled, until


@pytest.fixture
async def hub(monkeypatch):
    """A hub with more patience than a loaded machine needs; a test about silence sets its own."""
    monkeypatch.setattr(metrics_hub, "PATIENCE", scaled(20))
    monkeypatch.setattr(metrics_hub, "PATIENCE_WITH_HUB", scaled(60))
    async with MetricsHub("web") as hub:
        yield hub


@pytest.fixture
async def join(hub):
    """A function that connects one more process with the hub; all are in this one, and have its counts."""
    links = []

    async def join_one(name="web.1", refresh=lambda: None):
        links.append(await MetricsLink.open(hub.connect(name).detach(), refresh))
        await until(lambda: len(hub._links) == len(links) and all(map(hub._total.knows, hub._links)))
        return links[-1]

    yield join_one
    for link in links:
        await link.close()
    metrics.forget_gauges()


def value_of(samples, name, **labels):
    (found,) = [one.value for one in samples if one.name == name and dict(one.labels) == labels]
    return found


def processes(state):
    """Return how many processes were in a state at the last scrape."""
    return metrics.REGISTRY.get_sample_value("router_port_processes", {"state": state})


async def test_the_sum_is_over_all_processes_and_the_supervisor(join):
    """Each has counted the same here, so that the sum is a multiple of it."""
    metrics.count("router_attempts", "hub", "failed", by=5)
    first, second = await join("web.1"), await join("web.2")
    for link in (first, second):
        assert value_of(await link.collect(), "router_attempts_total", group="hub", result="failed") == 15


async def test_gauges_are_set_before_they_are_sent(join):
    """At every question: a spool changes without anybody's setting a gauge."""
    entries = iter(range(100, 1000))
    asking = await join("web.1")
    await join("web.2", refresh=lambda: metrics.gauge("router_spool_entries", "asked", value=next(entries)))
    before = value_of(await asking.collect(), "router_spool_entries", journal="asked")
    assert value_of(await asking.collect(), "router_spool_entries", journal="asked") > before


async def test_a_process_that_hangs_is_waited_for_once(hub, join, monkeypatch):
    """Its last known values count, and as long as it does not answer it is asked nothing more."""
    monkeypatch.setattr(metrics_hub, "PATIENCE", 0.05)
    asking, hanging = await join("web.1"), await join("web.2")
    asked = []
    monkeypatch.setattr(hanging, "_send_values", asked.append)
    for _ in range(5):
        samples = await asking.collect()
        assert processes("silent") == 1
        assert value_of(samples, "process_open_fds", process="web.2") > 0
    assert len(asked) == 1
    monkeypatch.undo()
    hanging._send_values(asked[0])

    async def is_back():
        return await asking.collect() and processes("silent") == 0

    await until(is_back)


async def test_a_process_that_starts_is_not_waited_for(hub, join, monkeypatch):
    """It is asked once it is up; nothing has been heard of it before."""
    monkeypatch.setattr(metrics_hub, "PATIENCE", 3600)
    asking = await join("web.1")
    with hub.connect("web.2"):
        await asking.collect()
    assert (processes("answered"), processes("silent")) == (1, 0)


async def test_a_process_that_dies_while_it_is_asked_is_not_waited_for(hub, join, monkeypatch):
    """The end of its socket is noticed at once."""
    monkeypatch.setattr(metrics_hub, "PATIENCE", 3600)
    monkeypatch.setattr(metrics_hub, "PATIENCE_WITH_HUB", 3600)
    asking, dying = await join("web.1"), await join("web.2")
    monkeypatch.setattr(dying, "_send_values", lambda _: dying._link.abort())
    samples = await asking.collect()
    assert (processes("answered"), processes("silent")) == (1, 0)
    assert value_of(samples, "process_cpu_seconds_total", process="web.2") > 0
    assert [one for one in samples if ("process", "web.2") in one.labels and not one.is_cumulative] == []


async def test_a_supervisor_that_is_gone_or_silent_is_an_error(hub, join, monkeypatch):
    """The counts of one process alone would look like a reset."""
    link = await join()
    monkeypatch.setattr(metrics_hub, "PATIENCE_WITH_HUB", 0.05)
    monkeypatch.setattr(hub, "_answer", lambda *_: asyncio.sleep(0))
    with pytest.raises(TimeoutError):
        await link.collect()
    await hub.__aexit__()
    for _ in range(2):
        with pytest.raises(ConnectionError):
            await link.collect()


async def test_values_of_any_size_and_any_text_arrive(join):
    """A label may hold any text that JSON can carry, and there may be megabytes of them."""
    for number in range(20_000):
        metrics.count("router_api_calls", "GET", f'\n"{number} é\U0001f600\x00', "200")
    samples = await (await join()).collect()
    found = {dict(one.labels)["route"] for one in samples if one.name == "router_api_calls_total"}
    assert {f'\n"{number} é\U0001f600\x00' for number in range(20_000)} <= found
    metrics._counts["router_api_calls"].clear()
