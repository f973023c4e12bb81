"""The counts and the newest entries of many streams at once."""

import pytest
from redis.exceptions import ClusterDownError, ResponseError

from router.streams.client.connection import RedisError
from router.streams.store.overview import StreamCounts, count_streams, read_newest

pytestmark = pytest.mark.real


async def test_each_stream_has_its_counts_and_entries(redis):
    """In the order of the names; what is no stream, or does not exist, has none."""
    await redis.xadd("one", {"n": "1"}, id="1-0")
    await redis.xadd("one", {"n": "2"}, id="2-0")
    await redis.xgroup_create("one", "a", id="0")
    await redis.xgroup_create("one", "b", id="1-0")
    await redis.xreadgroup("a", "me", {"one": ">"}, count=1)
    await redis.set("other", "x")
    await redis.expire("one", 60)
    await redis.expire("other", 60)
    counts = await count_streams(redis, ["none", "one", "other"])
    assert counts == [StreamCounts(), StreamCounts(2, 2), StreamCounts()]
    newest = await read_newest(redis, ["none", "one", "other"], 1)
    assert newest == [[], [(b"2-0", {b"n": b"2"})], []]


async def test_an_outage_is_no_empty_stream(own_server, clients):
    """The caller says that Redis is away."""
    client = clients(own_server.url, timeout=1)
    own_server.kill()
    for read in (count_streams(client, ["one"]), read_newest(client, ["one"], 1)):
        with pytest.raises((RedisError, OSError)):
            await read


@pytest.mark.parametrize("read", [lambda one: count_streams(one, ["a"]), lambda one: read_newest(one, ["a"], 1)])
async def test_a_server_that_is_busy_has_no_empty_streams(redis, monkeypatch, read):
    """A count of zero would be the loss of all entries, and the next one a sudden flood of them."""
    for reply in (ResponseError("BUSY Redis is busy running a script."), ClusterDownError("CLUSTERDOWN it is down")):

        async def execute(_, reply=reply, **__):
            return [reply] * 2

        monkeypatch.setattr("redis.asyncio.client.Pipeline.execute", execute)
        with pytest.raises(ResponseError, match=str(reply)):
            await read(redis)
