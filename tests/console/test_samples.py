"""Samples of the streams, from which the page draws curves."""

import pytest

from router.console import samples as samples_module
from router.console.samples import StreamSamples
from router.core.keys import Keys
from tests.support.waiting import until

pytestmark = pytest.mark.real


class Clock:
    """A clock that the test sets (µs)."""

    now = 1_767_787_200_000_000

    def __call__(self):
        return self.now


@pytest.fixture
def clock():
    return Clock()


def curve(columns, kind):
    return next(one for one in columns["streams"] if one["kind"] == kind)


async def test_rates_and_lags_are_sampled_over_all_partitions(redis, clock):
    """The rate is of entries added between two samples, the lag what groups have not read by then."""
    keys = Keys(partitions=2)
    samples = StreamSamples(redis, keys, clock=clock)
    await redis.xgroup_create(keys.inbound(0), "resolver", id="0", mkstream=True)
    await samples.take()
    for partition in (0, 1, 1):
        await redis.xadd(keys.inbound(partition), {"a": "b"})
    clock.now += 5_000_000
    await samples.take()
    await redis.xreadgroup("resolver", "me", {keys.inbound(0): ">"})
    clock.now += 5_000_000
    await samples.take()
    columns = samples.columns()
    assert columns["at"] == [1_767_787_205.0, 1_767_787_210.0]
    assert curve(columns, "inbound") == {"kind": "inbound", "rate": [0.6, 0.0], "lag": [1, 0]}
    assert curve(columns, "participants:ai-agent")["rate"] == [0.0, 0.0]


async def test_a_stream_that_was_lost_has_no_negative_rate(redis, clock):
    """After FLUSHALL the count begins again; a key of another type is no stream."""
    samples = StreamSamples(redis, Keys(), clock=clock)
    await redis.xadd(Keys().inbound(0), {"a": "b"})
    await samples.take()
    await redis.flushall()
    await redis.set(Keys().commands(0), "x", ex=60)
    clock.now += 5_000_000
    await samples.take()
    assert curve(samples.columns(), "inbound")["rate"] == [0.0]


async def test_samples_are_bounded_and_outlive_an_outage(own_server, clients, clock, monkeypatch):
    """While Redis is away there are none; it goes on by itself."""
    monkeypatch.setattr(samples_module, "INTERVAL", 0.01)
    monkeypatch.setattr(samples_module, "MOST", 3)
    samples = StreamSamples(clients(own_server.url, timeout=1), Keys(), clock=clock)
    async with samples_module.sampling(samples):
        await until(lambda: len(samples.columns()["at"]) == 2)
        own_server.kill()
        await own_server.start()
        clock.now += 7_000_000
        await until(lambda: samples.columns()["at"][0] == clock.now / 1e6)
    assert len(samples.columns()["at"]) == 2


async def test_the_page_gets_the_samples_as_data(visitors, ports):
    """As many rates and lags as times, for each stream."""
    from router.console.roles import Role

    await ports.samples.take()
    await ports.samples.take()
    visitor = await visitors(Role.VIEWER)
    status, headers, text = await visitor.get("/streams/samples", headers={"Accept": "application/json"})
    assert (status, headers["Content-Type"]) == (200, "application/json; charset=utf-8")
    assert '"kind":"inbound"' in text
