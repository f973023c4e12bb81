"""News of the streams: who gets them, what happens to slow pages, and outages of Redis."""

import asyncio

import pytest

from router.console.hub import MOST_WAITING, PAGE, Arrival, Hub, Missed, RedisState, StreamKind, running
from router.core.keys import Keys, Target
from router.streams.client.connection import connect
from tests.support.waiting import scaled, until

KEYS = Keys(partitions=3)


@pytest.fixture
async def hub(redis):
    """A hub that runs."""
    hub = Hub(redis, KEYS)
    async with running(hub):
        yield hub


async def take(subscription, number=1):
    """Return the next news."""
    async with asyncio.timeout(scaled(10)):
        return [await subscription.get() for _ in range(number)]


async def reading(hub):
    """Wait until the hub knows where it begins."""
    await until(lambda: hub._position)


async def test_everybody_gets_what_arrives_from_now_on(hub, redis):
    """Each stream of each partition is followed; what was there before is not news."""
    await redis.xadd(KEYS.commands(0), {"id": "before"})
    streams = {
        KEYS.participants(0, Target.AI_AGENT): StreamKind.PARTICIPANTS,
        KEYS.participants(2, Target.HUMAN_AGENT): StreamKind.PARTICIPANTS,
        KEYS.commands(0): StreamKind.COMMANDS,
        KEYS.dead_letters(1): StreamKind.DEAD_LETTERS,
    }
    async with hub.subscribe() as first, hub.subscribe() as second:
        await reading(hub)
        for stream in streams:
            await redis.xadd(stream, {"id": "x", "event": b"\xff"})
        for subscription in (first, second):
            news = await take(subscription, 4)
            assert {one.stream: one.kind for one in news} == streams
            assert {one.fields[b"event"] for one in news} == {b"\xff"}


async def test_a_key_that_is_no_stream_hides_no_other(hub, redis):
    """Somebody's SET under the name of a stream: its neighbors are read, and Redis is not away."""
    await redis.set(KEYS.dead_letters(0), "text")
    async with hub.subscribe() as subscription:
        await reading(hub)
        for partition in (0, 1):
            await redis.xadd(KEYS.commands(partition), {"id": "1"})
        assert {one.stream for one in await take(subscription, 2)} == {KEYS.commands(0), KEYS.commands(1)}
        assert hub.is_up


async def test_a_page_gets_what_it_asked_for(hub, redis):
    """The filter sees every entry, and the page only what it accepts."""
    async with hub.subscribe(lambda one: one.kind is StreamKind.COMMANDS) as subscription:
        await reading(hub)
        await redis.xadd(KEYS.dead_letters(0), {"id": "1"})
        await redis.xadd(KEYS.commands(0), {"id": "2"})
        (news,) = await take(subscription)
        assert news.fields == {b"id": b"2"}


async def test_nothing_is_read_while_nobody_listens(hub, redis):
    """After the last page has gone, what arrives is not kept for the next one."""
    async with hub.subscribe():
        await reading(hub)
    await until(lambda: not hub._position)
    await redis.xadd(KEYS.commands(0), {"id": "1"})
    async with hub.subscribe() as subscription:
        await reading(hub)
        await redis.xadd(KEYS.commands(0), {"id": "2"})
        (news,) = await take(subscription)
        assert news.fields == {b"id": b"2"}


async def test_more_than_one_read_takes(hub, redis):
    """A burst comes in full and in order, as long as the page takes it."""
    number = PAGE * 2 + 1
    async with hub.subscribe() as subscription:
        await reading(hub)
        pipeline = redis.pipeline(transaction=False)
        for each in range(number):
            pipeline.xadd(KEYS.commands(0), {"id": each})
        await pipeline.execute()
        news = await take(subscription, number)
        assert [int(one.fields[b"id"]) for one in news] == list(range(number))


async def test_a_slow_page_loses_the_oldest_and_is_told(hub):
    """It gets the number of those that it has missed, and then the newest."""
    async with hub.subscribe() as subscription:
        for each in range(MOST_WAITING + 3):
            subscription.put(Arrival(StreamKind.COMMANDS, "s", str(each), {}))
        missed, oldest = await take(subscription, 2)
        assert missed == Missed(3)
        assert oldest.entry_id == "3"


class NodesDown:
    """A client like that of a Cluster: the commands for partitions in `down` fail, and the others are answered."""

    def __init__(self, redis):
        self._redis = redis
        self.down = set()

    def pipeline(self, **options):
        """A pipeline of the real client that forgets the answers of nodes which are down."""
        pipeline = self._redis.pipeline(**options)
        execute = pipeline.execute

        async def execute_in_part(**how):
            commands = [str(args) for args, _ in pipeline.command_stack]
            answers = await execute(**how)
            return [self._answer(args, answer) for args, answer in zip(commands, answers, strict=True)]

        pipeline.execute = execute_in_part
        return pipeline

    def _answer(self, command, answer):
        is_down = any(f"{{{partition}}}" in command for partition in self.down)
        return ConnectionError("the node is down") if is_down else answer


async def test_a_node_that_is_down_stops_no_other(redis):
    """The partitions of the others go on, Redis is said to be away, and afterwards nothing has been missed."""
    nodes = NodesDown(redis)
    hub = Hub(nodes, KEYS)
    async with running(hub), hub.subscribe() as subscription:
        await reading(hub)
        nodes.down = {1}
        assert await take(subscription) == [RedisState(is_up=False)]
        for partition in range(3):
            await redis.xadd(KEYS.commands(partition), {"id": "1"})
        assert {one.stream for one in await take(subscription, 2)} == {KEYS.commands(0), KEYS.commands(2)}
        nodes.down = set()
        news = await take(subscription, 2)
        assert RedisState(is_up=True) in news
        assert [one.stream for one in news if isinstance(one, Arrival)] == [KEYS.commands(1)]


async def test_a_node_that_is_down_at_first_holds_up_no_other(redis):
    """The streams that can be asked are followed at once, and the rest from when their node answers."""
    nodes = NodesDown(redis)
    nodes.down = {1}
    hub = Hub(nodes, KEYS)
    async with running(hub), hub.subscribe() as subscription:
        await reading(hub)
        assert await take(subscription) == [RedisState(is_up=False)]
        await redis.xadd(KEYS.commands(0), {"id": "1"})
        assert [one.stream for one in await take(subscription)] == [KEYS.commands(0)]
        nodes.down = set()
        assert await take(subscription) == [RedisState(is_up=True)]
        await redis.xadd(KEYS.commands(1), {"id": "2"})
        assert [one.stream for one in await take(subscription)] == [KEYS.commands(1)]


async def test_an_outage_of_redis_is_news(own_server):
    """Open pages hear that Redis is away, and that it is back; a page opened meanwhile hears it at once."""
    redis = connect(own_server.url, timeout=scaled(1))
    hub = Hub(redis, KEYS)
    try:
        async with running(hub), hub.subscribe() as subscription:
            await reading(hub)
            own_server.kill()
            assert await take(subscription) == [RedisState(is_up=False)]
            async with hub.subscribe() as late:
                assert await take(late) == [RedisState(is_up=False)]
            await own_server.start()
            assert await take(subscription) == [RedisState(is_up=True)]
            await redis.xadd(KEYS.commands(0), {"id": "1"})
            (news,) = await take(subscription)
            assert news.fields == {b"id": b"1"}
    finally:
        await redis.aclose()
