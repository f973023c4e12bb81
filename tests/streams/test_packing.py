"""Commands packed with hiredis are those that the library packs itself, byte by byte."""

from __future__ import annotations

import pytest
from redis.asyncio import Connection
from redis.exceptions import DataError

from router.streams.connection import connect
from router.streams.packing import pack

COMMANDS = [
    ("PING",),
    ("SCRIPT LOAD", "return 1"),
    (b"CLIENT INFO",),
    ("SET", "käse", b"\x00\xff\r\n"),
    ("EVALSHA", "0" * 40, 2, "{0}:a", "{0}:b", -7, 1.5, 10**18, ""),
    ("XADD", "s", "*", b"body", b"x" * 70_000),
]


@pytest.mark.parametrize("command", COMMANDS, ids=[str(command[0]) for command in COMMANDS])
def test_a_command_is_packed_as_the_library_packs_it(command):
    """Names of two words are two words, numbers are written out, text is UTF-8, bytes are what they are."""
    assert pack(command) == b"".join(Connection().pack_command(*command))


@pytest.mark.parametrize("argument", [None, True, ["a"], object()], ids=["none", "bool", "list", "object"])
def test_what_the_library_refuses_is_refused(argument):
    """Nothing is sent that nobody meant."""
    with pytest.raises(DataError):
        Connection().pack_command("SET", "a", argument)
    with pytest.raises(DataError):
        pack(("SET", "a", argument))


def test_text_that_is_none_is_the_callers_error():
    """As with the library, half a pair of surrogates cannot be sent."""
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
async def test_every_kind_of_connection_packs_so(url):
    """However Redis is deployed, its connections write with hiredis and are otherwise the library's."""
    redis = connect(url)
    made = redis.connection_pool.connection_class
    assert made.pack_command is not made.__mro__[2].pack_command
    assert redis.connection_pool.make_connection().pack_commands([("GET", "a"), ("PING",)]) == [
        pack(("GET", "a")) + pack(("PING",))
    ]
    await redis.aclose()


@pytest.mark.real
async def test_a_pipeline_of_all_kinds_of_arguments_comes_back(redis):
    """What was written is what is read."""
    pipeline = redis.pipeline(transaction=False)
    pipeline.set("{0}:packed", b"\x00\xff")
    pipeline.append("{0}:packed", "ü")
    pipeline.append("{0}:packed", 12)
    pipeline.get("{0}:packed")
    pipeline.delete("{0}:packed")
    *_, value, deleted = await pipeline.execute()
    assert (value, deleted) == (b"\x00\xff\xc3\xbc12", 1)
