"""Gathered commands: in a shared pipeline each caller gets its own results or error."""

import asyncio

import pytest
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import ResponseError

from router.core.keys import RESOLVER
from router.streams.client import gathering as module
from router.streams.client.connection import connect, load_script
from router.streams.client.gathering import make_gathering_client
from tests.support.waiting import deadline, until

pytestmark = pytest.mark.real


@pytest.fixture
def sent(monkeypatch):
    """The number of commands of each pipeline that was sent."""
    sizes, execute = [], module.Pipeline.execute

    async def counted(self, raise_on_error=True):  # noqa: FBT002 - redis-py's signature
        if type(self) is module.Pipeline:
            sizes.append(len(self.command_stack))
        return await execute(self, raise_on_error)

    monkeypatch.setattr(module.Pipeline, "execute", counted)
    return sizes


async def test_concurrent_commands_share_a_pipeline(redis, keys, sent):
    """A hundred tasks, one pipeline; each gets its own result."""
    shared, names = make_gathering_client(redis), [keys.seen(0, str(number)) for number in range(100)]
    await asyncio.gather(*[shared.set(name, number, ex=60) for number, name in enumerate(names)])
    assert await asyncio.gather(*[shared.get(name) for name in names]) == [b"%d" % number for number in range(100)]
    assert sent == [100, 100]


async def test_commands_of_one_pipeline_stay_together_and_in_order(redis, keys):
    """The commands of two callers do not mix: the entries that one of them appends are in a row."""
    shared, stream = make_gathering_client(redis), keys.inbound(0)

    async def append(mark):
        pipeline = shared.pipeline(transaction=False)
        for number in range(5):
            pipeline.xadd(stream, {"who": f"{mark}{number}"})
        return await pipeline.execute()

    await asyncio.gather(append("a"), append("b"))
    rows = [fields[b"who"].decode() for _, fields in await redis.xrange(stream)]
    assert rows == [f"{mark}{number}" for mark in "ab" for number in range(5)]


async def test_an_error_concerns_its_caller_only(redis, keys):
    """A refused command fails alone; in a pipeline its error is a result, or raised if asked for."""
    shared, text = make_gathering_client(redis), keys.seen(0, "text")
    await redis.set(text, "x", ex=60)
    wrong, right = await asyncio.gather(shared.llen(text), shared.get(text), return_exceptions=True)
    assert isinstance(wrong, ResponseError)
    assert right == b"x"
    pipeline = shared.pipeline(transaction=False)
    pipeline.llen(text).get(text)
    results = await pipeline.execute(raise_on_error=False)
    assert (type(results[0]), results[1]) == (ResponseError, b"x")
    pipeline.llen(text).get(text)
    with pytest.raises(ResponseError, match="WRONGTYPE"):
        await pipeline.execute()
    assert await pipeline.execute() == [], "commands that were sent are not sent again"


async def test_a_script_that_the_server_has_forgotten_is_loaded(redis, keys):
    """NOSCRIPT is an exception as usual, after which the text of the script is sent."""
    await redis.script_flush()
    shared = make_gathering_client(redis)
    names = [keys.inbound(0), keys.parked(keys.inbound(0), RESOLVER, "order")]
    assert await load_script("unfinished").run(shared, names, [RESOLVER, "1-1"]) == []


async def test_a_server_that_is_down_is_an_error_for_every_caller(redis):
    """Each gets an exception object of its own."""
    nowhere = connect("redis://127.0.0.1:1")
    shared = make_gathering_client(nowhere)
    errors = await asyncio.gather(shared.get("a"), shared.get("b"), return_exceptions=True)
    assert [type(error) for error in errors] == [RedisConnectionError] * 2
    assert errors[0] is not errors[1]
    await nowhere.aclose()


async def test_a_canceled_caller_does_not_disturb_the_others(redis, keys):
    """Its command may have run; the others get their results."""
    shared, name = make_gathering_client(redis), keys.seen(0, "one")
    leaving = asyncio.create_task(shared.set(name, "1", ex=60))
    staying = asyncio.create_task(shared.get(name))
    await asyncio.sleep(0)
    leaving.cancel()
    assert await staying == b"1"
    with pytest.raises(asyncio.CancelledError):
        await leaving


async def test_pipelines_are_bounded(redis, keys, sent, monkeypatch):
    """One caller's commands are never divided, and apart from that no pipeline exceeds its bound."""
    monkeypatch.setattr(module, "MAX_COMMANDS", 10)
    shared, name = make_gathering_client(redis), keys.seen(0, "n")

    async def count(number):
        pipeline = shared.pipeline(transaction=False)
        for _ in range(number):
            pipeline.incr(name)
        pipeline.expire(name, 60)
        return await pipeline.execute()

    results = await asyncio.gather(count(5), count(3), count(5), count(30))
    assert [len(result) for result in results] == [6, 4, 6, 31]
    assert sorted(sent) == [6, 10, 31]
    assert int(await redis.get(name)) == 43


async def test_a_transaction_is_sent_alone(redis, keys, sent):
    """All of it or nothing, as without gathering."""
    pipeline = make_gathering_client(redis).pipeline(transaction=True)
    pipeline.set(keys.seen(0, "t"), "1", ex=60)
    assert await pipeline.execute() == [True]
    assert sent == [1]


async def test_a_command_that_arrives_as_all_pipelines_end_is_sent(redis, keys, monkeypatch):
    """Two pipelines are answered in one iteration of the loop, and a caller sends its next command at once."""
    gate, execute, waiting = asyncio.Event(), module.Pipeline.execute, []

    async def held(self, raise_on_error=True):  # noqa: FBT002 - redis-py's signature
        answers = await execute(self, raise_on_error)
        if type(self) is module.Pipeline:
            waiting.append(self)
            await gate.wait()
        return answers

    monkeypatch.setattr(module.Pipeline, "execute", held)
    shared, name = make_gathering_client(redis), keys.seen(0, "n")

    async def ask_twice():
        await shared.get(name)
        return await shared.get(name)

    first = asyncio.create_task(ask_twice())
    await until(lambda: len(waiting) == 1)
    second = asyncio.create_task(shared.get(name))
    await until(lambda: len(waiting) == module.PIPELINES)
    gate.set()
    async with deadline(5):
        assert await asyncio.gather(first, second) == [None, None]
