"""Promise 1 with ROUTER_REDIS_WAIT: a write that the replicas have not confirmed is not durable, and fails."""

from __future__ import annotations

import asyncio

import pytest
from redis.exceptions import RedisError

from router.agents.effects import Doubt, Effects
from router.core.errors import NotDurableError
from router.core.keys import confirmation
from router.streams.client.scripts import NotReplicatedError, Replication
from router.streams.store.append import Appender, is_outage
from router.streams.store.ledgers import LedgerQuery, Store
from tests.harness.redis_topologies import PrimaryAndReplica, running
from tests.streams.store.test_append import make_fields
from tests.streams.store.test_ledgers import ACCOUNT, CONVERSATION, make_closed, make_ledger
from tests.support.waiting import scaled, until

PATIENT = Replication(1, scaled(1.5))
HASTY = Replication(1, 0.2)


@pytest.fixture(scope="module")
def pair(tmp_path_factory):
    """A primary and its replica."""
    with running(PrimaryAndReplica(tmp_path_factory.mktemp("pair"))) as pair:
        yield pair


@pytest.fixture
async def redis(pair, clients):
    """An empty primary."""
    await pair.primary.ask("FLUSHALL")
    return clients(pair.primary.url)


@pytest.fixture
async def stalled(pair, redis):
    """A replica that is connected, and hangs."""
    pair.replica.stall()
    yield pair.replica
    pair.replica.resume()


async def test_append_is_durable_once_the_replica_has_it(redis, keys):
    """A new event is appended and its duplicate is not, both with a result."""
    appender = Appender(redis, keys, replication=PATIENT)
    assert await appender.append(make_fields()) is True
    assert await appender.append(make_fields()) is False


async def test_append_without_confirmation_fails_and_is_a_duplicate_when_repeated(redis, keys, pair, stalled):
    """The primary alone is not enough; a repetition waits for the replica too, and the event is there once."""
    hasty = Appender(redis, keys, replication=HASTY)
    with pytest.raises(NotDurableError, match="ROUTER_REDIS_WAIT") as raised:
        await hasty.append(make_fields())
    assert is_outage(raised.value)
    stalled.resume()
    assert await Appender(redis, keys, replication=PATIENT).append(make_fields()) is False
    partition = keys.partition_of(make_fields().subject)
    async with pair.replica.client() as replica:
        assert await replica.xlen(keys.inbound(partition)) == 1


async def test_duplicate_is_not_confirmed_by_a_replica_that_lags(redis, keys, stalled, pair, clients):
    """WAIT counts replicas up to the last write of its connection, so a duplicate writes a key of its own first."""
    hasty = Appender(redis, keys, replication=HASTY)
    other = Appender(clients(pair.primary.url), keys, replication=HASTY)
    for appender in (hasty, other, hasty):
        with pytest.raises(NotDurableError):
            await appender.append(make_fields())


async def test_a_pipeline_waits_once(redis, keys):
    """There is one WAIT for each pipeline, not for each webhook; its key expires."""
    before = await waits(redis)
    appender = Appender(redis, keys, replication=PATIENT)
    await asyncio.gather(*[appender.append(make_fields(f"k{number}")) for number in range(500)])
    assert await waits(redis) - before <= 2
    partition = keys.partition_of(make_fields().subject)
    assert 0 < await redis.ttl(confirmation(keys.inbound(partition))) <= 60


async def test_without_the_setting_nothing_waits(redis, keys, stalled):
    """The append sends no further command."""
    before = await waits(redis)
    assert await Appender(redis, keys).append(make_fields()) is True
    assert await waits(redis) == before
    assert not [key async for key in redis.scan_iter("*confirmation*")]


async def waits(redis):
    return (await redis.info("commandstats")).get("cmdstat_wait", {"calls": 0})["calls"]


async def test_commit_counts_once_the_replica_has_it(redis, keys, stalled):
    """Until then the commit is an error, and so is a read, because its caller would acknowledge what may be undone."""
    store = Store(redis, keys, marker_ttl=3600, replication=HASTY)
    ledger = make_ledger(status="CLOSED")
    ledger.entries.append(make_closed("ai-agent"))
    query = LedgerQuery(ACCOUNT, CONVERSATION, ("status",))
    with pytest.raises(NotReplicatedError):
        await store.commit([ledger])
    assert not ledger.is_committed
    with pytest.raises(NotReplicatedError):
        await store.read_ledgers([query])
    (other,) = await store.read_ledgers([LedgerQuery(ACCOUNT, "conv_another", ("status",))])
    assert other.fields == {}
    stalled.resume()

    async def is_readable():
        try:
            return await store.read_ledgers([query])
        except RedisError:
            return None

    (found,) = await until(is_readable)
    assert found.fields == {"status": "CLOSED"}
    again = make_ledger("conv_another", status="ACTIVE")
    assert await Store(redis, keys, marker_ttl=3600, replication=PATIENT).commit([again]) == [True]


async def test_effect_does_not_begin_before_the_replica_has_its_mark(redis, keys, stalled):
    """An effect without a mark is not done; later it is done, in doubt whether it had been."""
    doubts = []

    async def do(doubt):
        doubts.append(doubt)
        return "done"

    effect = Effects(redis, keys, "g", HASTY).of(0, "e")
    with pytest.raises(NotReplicatedError):
        await effect.once("step", do)
    assert doubts == []
    stalled.resume()
    assert await Effects(redis, keys, "g", PATIENT).of(0, "e").once("step", do) == "done"
    assert isinstance(doubts[0], Doubt)
