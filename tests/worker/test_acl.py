"""The Redis user that SECURITY.md advises: its few rights suffice for the processes."""

import re

import pytest

from router.agents.effects import Effects, Ticket
from router.core.keys import COMMANDER, Keys, Target
from router.core.refused import Bounds, Refused
from router.streams.client.connection import RedisError, connect
from router.streams.consuming.groups import ensure_group
from router.streams.delivery import Delivery, StreamRef
from router.streams.store.append import Appender
from router.streams.store.inspect import update_gauges
from router.streams.store.quarantine import keep, list_kept
from router.streams.store.subject_order import UnnamedOrder
from tests.core.builders import CONVERSATION
from tests.support.accounts import ACCOUNT
from tests.support.source import ROOT
from tests.support.waiting import scaled
from tests.worker.floor_place import Place
from tests.worker.harness import WorkerHarness

ADVISED = re.search(r"^    ACL SETUSER (.+)$", (ROOT / "SECURITY.md").read_text(encoding="utf-8"), re.MULTILINE)
REFUSED = Refused(
    "messaging", "signature", "d", 403, 1_767_787_200_000_000, "POST", b"/w", (), "AC1", b"x", is_whole=True
)


@pytest.fixture
async def limited(redis, redis_url):
    """A connection as the advised user, which is deleted afterwards."""
    await redis.execute_command("ACL", "SETUSER", *ADVISED[1].replace("PASSWORD", "a-long-one").split())
    url = redis_url.replace("redis://", "redis://router:a-long-one@")
    client = connect(url, timeout=scaled(20))
    yield client, url
    await client.aclose()
    await redis.execute_command("ACL", "DELUSER", "router")


async def test_the_advised_user_can_do_everything_the_processes_do(harness, limited):
    """The advised user may append, consume, publish, count and quarantine."""
    client, url = limited
    inner = WorkerHarness(client, url, harness.sandbox)
    inner.resolver = inner.make_resolver()
    await Appender(client, inner.keys).check()
    async with inner.consuming():
        await inner.append(inner.sms())
        await inner.finished()
    assert await inner.types() == ["joined"]
    await update_gauges(client, inner.keys)
    await keep(client, inner.keys, REFUSED, Bounds(10, 1000, 60))
    assert [kept.refused.body async for kept in list_kept(client, inner.keys)] == [b"x"]
    await inner.close()


async def test_the_advised_user_can_hand_conversations_over(limited):
    """The advised user may write and take commands, keep the desk and the timers, and begin the steps of a person."""
    client, _ = limited
    place = Place(client, Keys(partitions=2))
    home = place.keys.partition_of(CONVERSATION)
    await place.announce()
    other = StreamRef(1 - home, place.keys.commands(1 - home))
    await ensure_group(client, other.key, COMMANDER)
    await place.send("agent.available", agent="dana", life=5)
    await place.send("handoff.request", partition=1 - home, conversation=CONVERSATION, reason="x")  # it is passed on
    await place.send("handoff.request", partition=home, conversation=CONVERSATION, reason="x")
    (made,) = await place.told(Target.HUMAN_AGENT, "offer.made")
    await place.send("offer.accept", partition=home, offer=made.data.offer.id, agent="dana")
    ticket = Ticket(ACCOUNT, CONVERSATION, 1)
    assert await Effects(client, place.keys, COMMANDER).of(home, "c").once("say", said, ticket) == "sent"
    order = UnnamedOrder(client, place.keys, COMMANDER, lambda _: CONVERSATION)
    assert not await order.is_behind(Delivery(other, "9-9", {}), "one")
    await place.later(5)
    assert [one.data.because for one in await place.told(Target.HUMAN_AGENT, "holder.changed")] == [
        "accepted",
        "presence-lapsed",
    ]


async def said(_):
    return "sent"


async def test_the_advised_user_can_do_no_more(limited):
    """The advised user has no access to other keys, nor to commands that harm a server."""
    client, _ = limited
    for command in (
        ("GET", "other"),
        ("FLUSHALL",),
        ("CONFIG", "SET", "maxmemory", "1"),
        ("KEYS", "*"),
        ("ACL", "LIST"),
    ):
        with pytest.raises(RedisError, match=r"(?i)permission"):
            await client.execute_command(*command)
