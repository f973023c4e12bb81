"""An external Redis is asked before anything starts."""

from __future__ import annotations

import pytest

from router.core.keys import Keys
from router.dev.external import ask_external
from router.process.terminal import CommandFailedError
from router.streams.client import servers
from router.streams.store.partitions import ensure_partitions

pytestmark = pytest.mark.real


async def test_a_server_that_can_be_used_says_whether_it_has_data(redis, redis_url):
    """Data is what a namespace has had a start for."""
    assert await ask_external(redis_url, Keys()) is False
    await ensure_partitions(redis, Keys())
    assert await ask_external(redis_url, Keys()) is True
    assert await ask_external(redis_url, Keys("other")) is False


async def test_a_server_that_does_not_answer_is_one_line():
    """Nothing listens there."""
    with pytest.raises(CommandFailedError, match=r"^Redis \(REDIS_URL\) cannot be used: .*; is it running"):
        await ask_external("redis://127.0.0.1:1/0", Keys())


async def test_an_old_server_is_refused(redis_url, monkeypatch):
    """The version that is needed is named."""
    monkeypatch.setattr(servers, "OLDEST_REDIS", (99, 0))
    with pytest.raises(CommandFailedError, match=r"is too old"):
        await ask_external(redis_url, Keys())


async def test_a_server_that_takes_no_writes_is_refused(own_server, clients):
    """A replica answers everything, and refuses each write."""
    client = clients(own_server.url)
    await client.replicaof("127.0.0.1", 1)
    with pytest.raises(CommandFailedError, match=r"takes no writes: .*read only replica"):
        await ask_external(own_server.url, Keys())


@pytest.mark.parametrize(("url", "why"), [("user:wrong@", "cannot be used"), ("limited:secret@", None)])
async def test_a_user_who_may_not_ask_for_the_version(own_server, clients, url, why):
    """A wrong password is an error; who may work but not look (INFO) is let in."""
    client = clients(own_server.url)
    rules = ["ON", ">secret", "~*", "&*", "+@all", "-info", "-config"]
    await client.execute_command("ACL", "SETUSER", "limited", *rules)
    asking = ask_external(own_server.url.replace("redis://", f"redis://{url}"), Keys())
    if why is None:
        assert await asking is False
    else:
        with pytest.raises(CommandFailedError, match=why):
            await asking


async def test_another_number_of_partitions_is_left_to_the_check_of_it(redis, redis_url):
    """That names the setting, and what to do."""
    await redis.set(Keys().fence(0), 2, ex=60)
    assert await ask_external(redis_url, Keys()) is False
