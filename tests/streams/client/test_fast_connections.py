"""Fast connections: they write and read exactly as redis-py does."""

from __future__ import annotations

import pytest
from redis.asyncio import Connection, Redis
from redis.asyncio.connection import AbstractConnection
from redis.exceptions import (
    BusyLoadingError,
    DataError,
    ResponseError,
    TimeoutError,  # noqa: A004 - redis-py's
)
from redis.exceptions import ConnectionError as RedisConnectionError

from router.streams.client.connection import connect
from router.streams.client.fast_connections import pack
from tests.support.waiting import scaled

COMMANDS = [
    ("PING",),
    ("SCRIPT LOAD", "return 1"),
    (b"CLIENT INFO",),
    ("SET", "käse", b"\x00\xff\r\n"),
    ("EVALSHA", "0" * 40, 2, "{0}:a", "{0}:b", -7, 1.5, 10**18, ""),
    ("XADD", "s", "*", b"body", b"x" * 70_000),
]


@pytest.mark.parametrize("command", COMMANDS, ids=[str(command[0]) for command in COMMANDS])
def test_a_command_is_packed_as_redis_py_packs_it(command):
    """Two-word names become two words, numbers are written out, text is UTF-8, bytes stay as they are."""
    assert pack(command) == b"".join(Connection().pack_command(*command))


@pytest.mark.parametrize("argument", [None, True, ["a"], object()], ids=["none", "bool", "list", "object"])
def test_arguments_that_redis_py_refuses_are_refused(argument):
    """A value of another type is an error, not text that happens to describe it."""
    with pytest.raises(DataError):
        Connection().pack_command("SET", "a", argument)
    with pytest.raises(DataError):
        pack(("SET", "a", argument))


def test_text_that_cannot_be_encoded_is_the_callers_error():
    """As with redis-py, a lone surrogate cannot be sent."""
    for send in (Connection().pack_command, lambda *command: pack(command)):
        with pytest.raises(UnicodeEncodeError):
            send("SET", "a", "\ud800")


URLS = [
    "redis://h:1/0",
    "rediss://h:1/0",
    "unix:///run/redis.sock",
    "redis+sentinel://h:1,i:1/main",
    "rediss+sentinel://h:1/main",
]


@pytest.mark.parametrize("url", URLS)
async def test_every_kind_of_connection_packs_with_hiredis(url):
    """In every deployment; apart from that the connections are redis-py's."""
    redis = connect(url)
    made = redis.connection_pool.connection_class
    assert made.pack_command is not AbstractConnection.pack_command
    assert redis.connection_pool.make_connection().pack_commands([("GET", "a"), ("PING",)]) == [
        pack(("GET", "a")) + pack(("PING",))
    ]
    await redis.aclose()


@pytest.mark.real
async def test_arguments_of_every_kind_survive_a_pipeline(redis):
    """The server has the values that were written."""
    pipeline = redis.pipeline(transaction=False)
    pipeline.set("{0}:packed", b"\x00\xff")
    pipeline.append("{0}:packed", "ü")
    pipeline.append("{0}:packed", 12)
    pipeline.get("{0}:packed")
    pipeline.delete("{0}:packed")
    *_, value, deleted = await pipeline.execute()
    assert (value, deleted) == (b"\x00\xff\xc3\xbc12", 1)


@pytest.mark.real
async def test_replies_are_those_of_redis_py(redis, redis_url):
    """Values, nil, nested replies and errors: the first reply of a pipeline and those that arrived with it."""
    plain = Redis.from_url(redis_url)
    script = "return {1, {'a', false}, redis.error_reply('OOM no'), ''}"
    answers = []
    for client in (plain, redis):
        pipeline = client.pipeline(transaction=False)
        for _ in range(2):
            pipeline.set("{0}:read", b"x" * 100_000)
            pipeline.get("{0}:read")
            pipeline.incr("{0}:read")
            pipeline.get("{0}:not there")
            pipeline.eval(script, 0)
            pipeline.hgetall("{0}:read")
        pipeline.delete("{0}:read")
        answers.append([f"{answer!r}: {answer}" for answer in await pipeline.execute(raise_on_error=False)])
    await plain.aclose()
    assert answers[0] == answers[1]
    assert "OutOfMemoryError" in answers[0][4]
    assert "WRONGTYPE" in answers[0][5]


@pytest.mark.real
async def test_an_error_reply_that_ends_the_connection_closes_it(redis):
    """A server that is loading its data replies LOADING; the next command gets a new connection."""
    pool = redis.connection_pool
    connection = await pool.get_connection()
    connection._parser._reader.feed(b"$1\r\na\r\n-ERR odd\r\n-LOADING it loads\r\n$1\r\nb\r\n")
    assert await connection.read_response() == b"a"
    with pytest.raises(ResponseError, match="odd"):
        await connection.read_response()
    assert connection.is_connected
    with pytest.raises(BusyLoadingError):
        await connection.read_response()
    assert not connection.is_connected
    await pool.release(connection)
    assert await redis.ping()


@pytest.mark.real
async def test_an_incomplete_reply_is_waited_for_until_the_timeout(own_server, clients):
    """A reply that has only partly arrived has the connection's timeout."""
    redis = clients(own_server.url, timeout=scaled(0.2))
    connection = await redis.connection_pool.get_connection()
    connection._parser._reader.feed(b"$5\r\nab")
    with pytest.raises(TimeoutError):
        await connection.read_response()
    await redis.connection_pool.release(connection)


@pytest.mark.real
async def test_replies_of_a_pipeline_are_converted_as_redis_py_does(redis, redis_url):
    """Of commands whose reply redis-py converts, is asked not to decode, or may leave empty."""
    plain, answers = Redis.from_url(redis_url), []
    for client in (plain, redis):
        pipeline = client.pipeline(transaction=False)
        pipeline.hset("{0}:hash", mapping={"a": "1"})
        pipeline.hgetall("{0}:hash")
        pipeline.dump("{0}:hash")
        pipeline.mget(["{0}:none", "{0}:hash"])
        pipeline.expire("{0}:hash", 60)
        pipeline.zadd("{0}:set", {"a": 1})
        pipeline.zrange("{0}:set", 0, -1, withscores=True)
        pipeline.delete("{0}:hash", "{0}:set")
        answers.append(await pipeline.execute())
        pipeline.script_exists("0" * 40)
        pipeline.set("{0}:text", "x", ex=60)
        pipeline.llen("{0}:text")
        with pytest.raises(ResponseError, match=r"Command # 3 .* of pipeline caused error"):
            await pipeline.execute()
        answers.append([await client.getdel("{0}:text")])
    await plain.aclose()
    assert answers[:2] == answers[2:]
    assert answers[0][1] == {b"a": b"1"}


@pytest.mark.real
async def test_an_error_reply_that_ends_the_connection_ends_the_pipeline(redis):
    """Whether it is the first reply or has arrived with others: it is raised, and the connection is closed."""
    pool = redis.connection_pool
    for replies in (b"-LOADING it loads\r\n$1\r\na\r\n", b"$1\r\na\r\n-LOADING it loads\r\n$1\r\nb\r\n"):
        connection = await pool.get_connection()
        connection._parser._reader.feed(replies)
        with pytest.raises(BusyLoadingError):
            await connection.read_replies(2)
        assert not connection.is_connected
        await pool.release(connection)
    assert await redis.ping()


@pytest.mark.real
async def test_no_more_replies_are_read_than_commands_were_sent(redis):
    """What has arrived beyond them stays where it is, and an error is in the place of its reply."""
    connection = await redis.connection_pool.get_connection()
    connection._parser._reader.feed(b"$1\r\na\r\n-ERR odd\r\n$1\r\nb\r\n")
    first, odd = await connection.read_replies(2)
    assert (first, type(odd), str(odd)) == (b"a", ResponseError, "odd")
    assert await connection.read_replies(0) == []
    assert await connection.read_replies(1) == [b"b"]
    await redis.connection_pool.release(connection)


@pytest.mark.real
async def test_more_than_the_transport_takes_at_once_is_waited_for(own_server, clients):
    """They have the connection's timeout, after which it is closed; with a server that reads they all arrive."""
    redis = clients(own_server.url, timeout=scaled(2))
    connection = await redis.connection_pool.get_connection()
    large = b"x" * 50_000_000  # more than the buffers of both sockets take
    await connection.send_packed_command(connection.pack_commands([("APPEND", "{0}:large", large)]))
    assert await connection.read_response() == len(large)
    own_server.stall()
    with pytest.raises(TimeoutError, match="writing"):
        await connection.send_packed_command(connection.pack_commands([("APPEND", "{0}:large", large)]))
    assert not connection.is_connected
    own_server.resume()
    await redis.connection_pool.release(connection)
    assert await redis.ping()


@pytest.mark.real
async def test_a_command_on_a_connection_that_was_lost_is_an_error(redis):
    """It is not sent into the void, and the next one gets a new connection."""
    connection = await redis.connection_pool.get_connection()
    connection._writer.transport.abort()

    async def ask():
        await connection.send_packed_command(connection.pack_commands([("PING",)]))
        await connection.read_response()

    with pytest.raises(RedisConnectionError):
        await ask()
    assert not connection.is_connected
    await redis.connection_pool.release(connection)
    assert await redis.ping()
