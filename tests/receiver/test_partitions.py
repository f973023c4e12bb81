"""The number of partitions in a receiver: unknown while Redis is down, and changed while it runs."""

from __future__ import annotations

import aiohttp
import pytest
from yarl import URL

from router.core.keys import Keys
from router.streams.repartition.mover import Mover
from router.streams.store.partitions import Layout, Phase
from tests.harness.processes import start_process
from tests.harness.settings import make_environment
from tests.receiver.samples import signed, sms
from tests.support.waiting import until

pytestmark = [pytest.mark.processes, pytest.mark.promise(1)]
FOUR = Keys(partitions=4)


@pytest.fixture
async def launch(tmp_path, own_server):
    """Return a function that starts a receiver; all are killed with the test."""
    running = []

    async def start(**changes):
        environment = make_environment(own_server.url, "http://127.0.0.1:1", PORT="0", **changes)
        process = await start_process(tmp_path, "router", "receive", **environment)
        running.append(process)
        return process

    yield start
    for process in running:
        await process.kill()


async def send(process, number):
    """Send a message; returns the status of the answer."""
    request = signed(sms(number))
    url = URL(f"http://127.0.0.1:{process.find('process.started')[0]['port']}{request.path}", encoded=True)
    async with (
        aiohttp.ClientSession() as session,
        session.post(url, data=request.body, headers=request.headers()) as answer,
    ):
        return answer.status


async def count(redis, keys):
    return sum([await redis.xlen(keys.inbound(partition)) for partition in range(keys.partitions)])


async def test_a_wrong_setting_that_turns_out_late_ends_the_receiver_and_loses_nothing(launch, own_server, clients):
    """While Redis is down it spools; then it appends nothing with the wrong number, and a right one has the events."""
    redis = clients(own_server.url)
    await redis.set(Keys().layout(), "1")
    own_server.kill()
    wrong = await launch(ROUTER_PARTITIONS="4")
    await wrong.started()
    assert [await send(wrong, number) for number in range(3)] == [200] * 3
    await own_server.start()
    assert await wrong.wait() == 1
    assert "ROUTER_PARTITIONS is 4, but the data in Redis has 1" in wrong.find("process.failed")[0]["reason"]
    assert await count(redis, FOUR) == 0
    right = await launch()
    await right.started()
    await until(lambda: is_there(redis, Keys(), 3))


async def is_there(redis, keys, number):
    return await count(redis, keys) == number


async def test_a_receiver_goes_on_with_the_new_number(launch, own_server, clients):
    """Webhooks during the move are answered 200; afterwards all are in the streams of their partitions."""
    redis = clients(own_server.url)
    process = await launch()
    await process.started()
    assert await send(process, 0) == 200
    await redis.set(Keys().layout(), Layout(1, 4, Phase.STOPPING, "x").text)
    assert await send(process, 1) == 200
    await redis.set(Keys().fence(0), "closed x")
    assert [await send(process, number) for number in range(2, 20)] == [200] * 18
    assert await count(redis, Keys()) == 2
    await Mover(redis, Keys(), patience=0, say=lambda *_: None).move(4)
    assert [await send(process, number) for number in range(20, 30)] == [200] * 10
    await until(lambda: is_there(redis, FOUR, 30))
    for partition in range(4):
        for _, fields in await redis.xrange(FOUR.inbound(partition)):
            assert FOUR.partition_of(fields[b"subject"].decode()) == partition
    (line,) = process.find("partitions.changed")
    assert (line["partitions"], line["setting"]) == (4, 1)
    assert await process.stop() == 0
