"""Appending: once per key however many copies arrive, durable or an error, and cheap for many at once."""

from __future__ import annotations

import asyncio

import pytest
from redis.exceptions import ReadOnlyError, ResponseError

from router.core.errors import NotDurableError
from router.core.keys import Keys, checksum
from router.streams.client.connection import run_all
from router.streams.store import append
from router.streams.store.append import Appender, InboundFields, is_outage
from tests.support.accounts import ACCOUNT
from tests.support.waiting import deadline, scaled, until

pytestmark = pytest.mark.real


def make_fields(key="k1", **changes):
    fields = {
        "source": "messaging",
        "account_id": ACCOUNT,
        "key": key,
        "subject": "SMS|+14155550101",
        "received_at": 1_767_787_200_000_000,
        "body": b"Body=hi",
        "ttl": 86_400,
    }
    return InboundFields(**(fields | changes))


@pytest.fixture
def appender(redis, keys):
    return Appender(redis, keys)


@pytest.fixture
def pipelines(monkeypatch):
    """The number of events in each pipeline."""
    sizes = []

    async def counting(redis, script, calls, *more):
        sizes.append(sum(len(keys) - 1 for keys, _ in calls) // 3)  # a fence, and three keys of each event
        return await run_all(redis, script, calls, *more)

    monkeypatch.setattr(append, "run_all", counting)
    return sizes


async def test_a_new_webhook_is_in_the_stream_unchanged(appender, redis, keys):
    """Every field is as it was given, the body byte by byte."""
    body = bytes(range(256))
    assert await appender.append(make_fields(body=body)) is True
    [(_, fields)] = await redis.xrange(keys.inbound(0))
    assert fields == {
        b"format": b"2",
        b"source": b"messaging",
        b"account": ACCOUNT.encode(),
        b"key": b"k1",
        b"subject": b"SMS|+14155550101",
        b"received_at": b"1767787200000000",
        b"body": body,
    }


async def test_a_duplicate_returns_false_and_adds_nothing(appender, redis, keys):
    """Whatever else differs in a second webhook with the same key, the stream keeps the first."""
    assert await appender.append(make_fields(body=b"first")) is True
    assert await appender.append(make_fields(body=b"second", subject="other")) is False
    [(_, fields)] = await redis.xrange(keys.inbound(0))
    assert fields[b"body"] == b"first"


async def test_the_claim_names_its_entry_and_expires(appender, redis, keys):
    """The claim of a key holds its entry's id and its subject's checksum, and lives as long as its source asks."""
    await appender.append(make_fields(ttl=1234))
    [(entry_id, _)] = await redis.xrange(keys.inbound(0))
    assert await redis.get(keys.seen(0, "k1")) == b"%s %d" % (entry_id, checksum(make_fields().subject))
    assert 1230 <= await redis.ttl(keys.seen(0, "k1")) <= 1234


async def test_a_function_takes_the_outcome_that_append_would_return_or_raise(appender, redis, keys):
    """Each entry's function is called once: with True, with False for a duplicate, or with the error."""
    outcomes = []
    await redis.set(keys.seen(0, "k2"), "1-1 0", ex=60)
    for key in ("k1", "k1", "k2"):
        appender.append_soon(make_fields(key), outcomes.append)
    await appender.close()
    await redis.set(keys.inbound(0), "no stream", px=60_000)
    appender.append_soon(make_fields("k3"), outcomes.append)
    await appender.close()
    *usual, error = outcomes
    assert usual == [True, False, False]
    assert isinstance(error, NotDurableError)
    assert "WRONGTYPE" in str(error)


async def test_ten_thousand_copies_at_once_are_one_entry(appender, redis, keys):
    """Of 10,000 concurrent copies exactly one is new, and all get an answer."""
    answers = await asyncio.gather(*[appender.append(make_fields()) for _ in range(10_000)])
    assert (answers.count(True), answers.count(False)) == (1, 9_999)
    assert await redis.xlen(keys.inbound(0)) == 1


async def test_copies_at_two_receivers_are_one_entry(appender, clients, redis_url, redis, keys):
    """Two processes that receive the same webhooks concurrently append each once between them."""
    other = Appender(clients(redis_url), keys)
    calls = [one.append(make_fields(f"k{number % 50}")) for number in range(1_000) for one in (appender, other)]
    answers = await asyncio.gather(*calls)
    assert answers.count(True) == await redis.xlen(keys.inbound(0)) == 50


async def test_concurrent_webhooks_share_pipelines(appender, pipelines, monkeypatch):
    """Waiting webhooks are sent together, at most MAX_BATCH at once: a thousand take a handful of round trips."""
    monkeypatch.setattr(append, "MAX_BATCH", 400)
    assert all(await asyncio.gather(*[appender.append(make_fields(f"k{number}")) for number in range(1_000)]))
    assert pipelines == [400, 300, 150, 75, 37, 32, 6]


async def test_callers_and_redis_work_at_the_same_time(appender, pipelines):
    """Callers that append again and again, as many as two pipelines hold, never all wait for one of them."""

    async def call(number):
        for turn in range(20):
            assert await appender.append(make_fields(f"k{number}-{turn}"))

    await asyncio.gather(*[call(number) for number in range(2 * append.MIN_BATCH)])
    assert max(pipelines) == append.MIN_BATCH
    assert sum(pipelines) == 20 * 2 * append.MIN_BATCH


@pytest.mark.parametrize(
    ("late", "sizes"), [(append.GATHERING_ITERATIONS - 1, [2]), (append.GATHERING_ITERATIONS + 3, [1, 1])]
)
async def test_a_webhook_that_arrives_a_few_iterations_later_shares_the_pipeline(appender, pipelines, late, sizes):
    """The first of several webhooks waits a few iterations of the event loop for the others, and no longer."""
    first = asyncio.create_task(appender.append(make_fields("k1")))
    for _ in range(late):
        await asyncio.sleep(0)
    second = asyncio.create_task(appender.append(make_fields("k2")))
    assert await asyncio.gather(first, second) == [True, True]
    assert pipelines == sizes


async def test_pipelines_are_bounded_in_bytes(appender, pipelines, monkeypatch):
    """A body that alone exceeds the bound is sent by itself."""
    monkeypatch.setattr(append, "MAX_BATCH_BYTES", 1_000)
    sizes = [400, 400, 400, 5_000, 10, *[300] * 4]
    calls = [appender.append(make_fields(f"k{number}", body=b"x" * size)) for number, size in enumerate(sizes)]
    assert all(await asyncio.gather(*calls))
    assert pipelines == [2, 1, 1, 4, 1]


async def test_waiting_bodies_are_bounded_in_bytes(appender, redis, keys, monkeypatch):
    """Beyond the bound webhooks are refused as in an outage; afterwards there is room again."""
    monkeypatch.setattr(append, "MAX_WAITING_BYTES", 1_000)
    calls = [appender.append(make_fields(f"k{number}", body=b"x" * 300)) for number in range(5)]
    answers = await asyncio.gather(*calls, return_exceptions=True)
    assert answers[:3] == [True] * 3
    assert all(isinstance(answer, NotDurableError) and is_outage(answer) for answer in answers[3:])
    assert await appender.append(make_fields("large", body=b"x" * 5_000)) is True
    assert await redis.xlen(keys.inbound(0)) == 4


async def test_a_lone_webhook_is_a_pipeline_of_its_own(appender, pipelines):
    """It does not wait for others."""
    await appender.append(make_fields())
    assert pipelines == [1]


async def test_each_partition_has_its_own_stream_and_claims(redis):
    """An entry and its claim lie in the partition of its subject."""
    keys = Keys(partitions=4)
    appender = Appender(redis, keys)
    subjects = [f"SMS|+1415555{number:04}" for number in range(40)]
    await asyncio.gather(*[appender.append(make_fields(subject, subject=subject)) for subject in subjects])
    for partition in range(4):
        rows = await redis.xrange(keys.inbound(partition))
        wanted = {subject for subject in subjects if keys.partition_of(subject) == partition}
        assert {fields[b"subject"].decode() for _, fields in rows} == wanted
        assert await redis.exists(*[keys.seen(partition, subject) for subject in wanted]) == len(wanted)


async def test_a_server_that_has_forgotten_the_script_gets_it_again(appender, redis, keys):
    """After SCRIPT FLUSH (a restart, a failover) nothing fails and nothing is appended twice."""
    await appender.append(make_fields("k1"))
    await redis.script_flush()
    assert await asyncio.gather(*[appender.append(make_fields(f"k{number % 3}")) for number in range(6)]) == [
        True,
        False,
        True,
        False,
        False,
        False,
    ]
    assert await redis.xlen(keys.inbound(0)) == 3


async def test_a_key_is_not_claimed_if_the_entry_cannot_be_added(appender, redis, keys):
    """A stream key of another type is an error, and no claim is made: only a durable entry is marked as seen."""
    await redis.set(keys.inbound(0), "no stream", px=60_000)
    with pytest.raises(NotDurableError, match="WRONGTYPE"):
        await appender.append(make_fields())
    assert not await redis.exists(keys.seen(0, "k1"))
    await redis.delete(keys.inbound(0))
    assert await appender.append(make_fields()) is True


async def test_a_bad_key_concerns_its_event_only(appender, redis, keys):
    """Events of one run of the script fail independently, and no event is claimed that is not in the stream."""
    await redis.set(keys.inbound(0), "no stream", px=60_000)
    answers = await asyncio.gather(*[appender.append(make_fields(f"k{n}")) for n in range(3)], return_exceptions=True)
    assert [str(answer).partition(" ")[0] for answer in answers] == ["ResponseError:"] * 3
    assert not await redis.exists(*[keys.seen(0, f"k{number}") for number in range(3)])
    await redis.delete(keys.inbound(0))
    await redis.hset(keys.latest(0, ACCOUNT, "odd"), "no", "string")
    calls = [appender.append(make_fields(f"k{n}", subject="odd" if n == 1 else f"s{n}")) for n in range(3)]
    first, odd, last = await asyncio.gather(*calls, return_exceptions=True)
    assert first is last is True
    assert isinstance(odd, NotDurableError)
    assert isinstance(odd.__cause__, ResponseError)
    assert not is_outage(odd)
    await redis.delete(keys.latest(0, ACCOUNT, "odd"))
    assert await appender.append(make_fields("k1", subject="odd")) is True


async def test_events_of_several_runs_get_their_own_answers(appender, redis, keys):
    """New ones and duplicates, with aliases and without, in the order of arrival."""
    names = [f"k{number % 200}" for number in range(300)]
    calls = [
        appender.append(make_fields(name, aliases=(f"other-{name}",) * (number % 2)))
        for number, name in enumerate(names)
    ]
    assert await asyncio.gather(*calls) == [True] * 200 + [False] * 100
    assert [row[b"key"].decode() for _, row in await redis.xrange(keys.inbound(0))] == names[:200]


async def test_one_bad_partition_does_not_disturb_the_others(redis):
    """In a shared pipeline each webhook gets its own answer."""
    keys = Keys(partitions=2)
    appender = Appender(redis, keys)
    subjects = {keys.partition_of(name): name for name in ("a", "b", "c", "d", "e", "f")}
    await redis.set(keys.inbound(0), "no stream", px=60_000)
    answers = await asyncio.gather(
        *[appender.append(make_fields(f"k{number}", subject=subjects[number])) for number in (0, 1)],
        return_exceptions=True,
    )
    assert isinstance(answers[0], NotDurableError)
    assert answers[1] is True


async def test_text_that_cannot_be_encoded_fails_alone(appender):
    """A subject with a lone surrogate fails its own webhook; neighbors and successors are appended."""
    answers = await asyncio.gather(
        appender.append(make_fields("k1")),
        appender.append(make_fields("k2", subject="\ud800")),
        appender.append(make_fields("k3")),
        return_exceptions=True,
    )
    assert answers[0] is answers[2] is True
    assert isinstance(answers[1], UnicodeEncodeError)
    assert await appender.append(make_fields("k4")) is True


async def test_a_check_leaves_nothing(redis, keys):
    """Redis takes entries of all partitions, and has no key more afterwards."""
    await Appender(redis, Keys(keys.namespace, partitions=3)).check()
    assert not await redis.keys()


@pytest.mark.parametrize(
    ("setting", "wrong", "right", "word"),
    [("maxmemory", "1", "0", "OutOfMemory"), ("min-replicas-to-write", "1", "0", "NOREPLICAS")],
)
async def test_a_check_fails_as_an_entry_would(own_server, clients, keys, setting, wrong, right, word):
    """A Redis that answers PING but takes no writes is an outage for both, and is over for both."""
    redis = clients(own_server.url)
    appender = Appender(redis, keys)
    for attempt in (appender.check, lambda: appender.append(make_fields())):
        await redis.config_set(setting, wrong)
        with pytest.raises(NotDurableError, match=word) as refused:
            await attempt()
        assert is_outage(refused.value)
        await redis.config_set(setting, right)
        await attempt()


async def test_a_check_fails_without_the_right_number_of_partitions(redis, keys):
    """It is not known yet, or is another one by now."""
    appender = Appender(redis, keys)
    appender.hold()
    with pytest.raises(NotDurableError, match="not known yet"):
        await appender.check()
    appender.use(keys)
    await redis.set(keys.fence(0), 2)
    with pytest.raises(NotDurableError, match="FENCED"):
        await appender.check()
    await redis.delete(keys.fence(0))
    await appender.check()


async def test_without_redis_nothing_is_durable(clients, keys):
    """A refused connection is a NotDurableError with its cause."""
    appender = Appender(clients("redis://127.0.0.1:1/0"), keys)
    with pytest.raises(NotDurableError) as caught:
        await appender.append(make_fields())
    assert isinstance(caught.value.__cause__, Exception)
    await appender.close()


async def test_a_webhook_repeated_after_a_stall_is_one_entry(own_server, clients, keys):
    """A server that hangs is a NotDurableError within the timeouts; the same webhook later makes no second entry."""
    redis = clients(own_server.url, timeout=scaled(0.3))
    appender = Appender(redis, keys)
    await appender.append(make_fields("before"))
    own_server.stall()
    with pytest.raises(NotDurableError):
        async with deadline(0.3 * 2 + 1):
            await appender.append(make_fields("k1"))
    own_server.resume()
    await appender.append(make_fields("k1"))
    keys_seen = [fields[b"key"] for _, fields in await redis.xrange(keys.inbound(0))]
    assert keys_seen == [b"before", b"k1"]


async def test_webhooks_behind_a_stalled_pipeline_fail_with_it(own_server, clients, keys, monkeypatch):
    """A stall costs each webhook one round of timeouts, not one per pipeline before its own."""
    monkeypatch.setattr(append, "MAX_BATCH", 2)
    appender = Appender(clients(own_server.url, timeout=scaled(0.3)), keys)
    await appender.append(make_fields("before"))
    own_server.stall()
    async with deadline(0.3 * 2 + 1):
        calls = [appender.append(make_fields(f"k{number}")) for number in range(20)]
        answers = await asyncio.gather(*calls, return_exceptions=True)
    assert all(isinstance(answer, NotDurableError) for answer in answers)
    own_server.resume()
    answers = await asyncio.gather(*[appender.append(make_fields(f"k{number}")) for number in range(20)])
    assert answers.count(True) >= 18  # the first pipeline may have been taken after all


async def test_a_killed_server_loses_no_answered_webhook(own_server, clients, keys):
    """After kill -9 and a restart answered webhooks are there; the rest is appended, once, when it is repeated."""
    redis = clients(own_server.url, timeout=scaled(1))
    appender = Appender(redis, keys)
    names = [f"k{number}" for number in range(400)]
    calls = [asyncio.create_task(appender.append(make_fields(name))) for name in names]
    await until(lambda: any(call.done() for call in calls))
    own_server.kill()
    answers = await asyncio.gather(*calls, return_exceptions=True)
    with pytest.raises(NotDurableError):
        await appender.append(make_fields("refused"))
    await own_server.start()
    durable = {fields[b"key"].decode() for _, fields in await redis.xrange(keys.inbound(0))}
    assert {name for name, answer in zip(names, answers, strict=True) if answer is True} <= durable
    await asyncio.gather(*[appender.append(make_fields(name)) for name in names])
    assert sorted(fields[b"key"].decode() for _, fields in await redis.xrange(keys.inbound(0))) == sorted(names)


async def test_a_canceled_caller_does_not_disturb_the_others(appender, redis, keys):
    """They get their answers; its own entry may be there."""
    calls = [asyncio.create_task(appender.append(make_fields(f"k{number}"))) for number in range(10)]
    await asyncio.sleep(0)
    calls[4].cancel()
    answers = await asyncio.gather(*calls, return_exceptions=True)
    assert [answer for index, answer in enumerate(answers) if index != 4] == [True] * 9
    assert isinstance(answers[4], asyncio.CancelledError)
    await appender.close()
    assert await redis.xlen(keys.inbound(0)) == 10


async def test_too_many_waiting_webhooks_are_refused_at_once(appender, monkeypatch):
    """Beyond MAX_WAITING a webhook is refused; those that wait are appended."""
    monkeypatch.setattr(append, "MAX_WAITING", 3)
    calls = [asyncio.create_task(appender.append(make_fields(f"k{number}"))) for number in range(5)]
    answers = await asyncio.gather(*calls, return_exceptions=True)
    assert answers[:3] == [True] * 3
    assert all(isinstance(answer, NotDurableError) for answer in answers[3:])
    assert await appender.append(make_fields("k9")) is True


async def test_close_waits_for_every_append(appender, redis, keys):
    """After it every append that had begun is answered; closing an idle appender returns at once."""
    await appender.close()
    calls = [asyncio.create_task(appender.append(make_fields(f"k{number}"))) for number in range(1_200)]
    await asyncio.sleep(0)
    await appender.close()
    assert await redis.xlen(keys.inbound(0)) == 1_200
    assert all(await asyncio.gather(*calls))


async def test_a_canceled_flush_answers_every_caller(appender, monkeypatch):
    """If it is canceled in the middle of a pipeline, its callers and those that wait get an error."""

    async def hang(*_):
        await asyncio.Event().wait()

    with monkeypatch.context() as patch:
        patch.setattr(append, "run_all", hang)
        patch.setattr(append, "MAX_BATCH", 2)
        calls = [asyncio.create_task(appender.append(make_fields(f"k{number}"))) for number in range(5)]
        await until(lambda: len(appender._waiting) == 3)
        appender._flusher.cancel()
        answers = await asyncio.gather(*calls, return_exceptions=True)
    assert [str(answer) for answer in answers] == ["NotDurableError: the append was cut off"] * 5
    assert await appender.append(make_fields("k1")) is True


async def test_patience_bounds_the_time_of_a_pipeline(own_server, clients, keys):
    """However long the client's timeouts are, callers get an answer within it; a repeat makes no second entry."""
    redis = clients(own_server.url, timeout=3_600)
    appender = Appender(redis, keys, patience=scaled(0.3))
    await appender.append(make_fields("before"))
    own_server.stall()
    with pytest.raises(NotDurableError, match="TimeoutError") as caught:
        async with deadline(1.3):
            await appender.append(make_fields("k1"))
    assert is_outage(caught.value)
    own_server.resume()
    await until(redis.ping)
    await Appender(redis, keys).append(make_fields("k1"))
    assert [fields[b"key"] for _, fields in await redis.xrange(keys.inbound(0))] == [b"before", b"k1"]


@pytest.mark.parametrize(
    ("cause", "expected"),
    [
        (None, True),
        (TimeoutError(), True),
        (ConnectionRefusedError(), True),
        (ReadOnlyError("You can't write against a read only replica."), True),
        (ResponseError("NOREPLICAS Not enough good replicas to write."), True),
        (ResponseError("MISCONF Redis is configured to save RDB snapshots"), True),
        (ResponseError("WRONGTYPE Operation against a key holding the wrong kind of value"), False),
        (ResponseError("ERR too many results to unpack"), False),
    ],
    ids=str,
)
def test_an_outage_is_a_failure_that_may_pass(cause, expected):
    """An error that would be the same at every retry of the entry is not one."""
    error = NotDurableError("no")
    error.__cause__ = cause
    assert is_outage(error) is expected
