"""The worker as a real process: killed, stopped, without its group, and together with real receivers."""

import asyncio
import os
import re
import shutil
import signal
from urllib.parse import parse_qsl

import aiohttp
import pytest
from yarl import URL

from router.core.keys import RESOLVER, progress
from router.sandbox.middlewares import FAULTS
from router.streams.client.embedded import free_port
from router.streams.store.parking import count_parked
from tests.harness.processes import start_process
from tests.harness.settings import make_environment, quick_recovery
from tests.receiver.samples import incoming_call, signed, sms
from tests.support.accounts import KEY, SECRET, TOKEN
from tests.support.policies import PLAIN
from tests.support.source import ROOT, SHIPPED
from tests.support.waiting import until

pytestmark = pytest.mark.processes
EVENTS = 1000


@pytest.fixture
async def launch(tmp_path, harness):
    """Return a function that starts `python -m router ...` beside the harness; every process ends with the test."""
    running = []
    settings = quick_recovery(ROUTER_RETRY_DELAY="1", ROUTER_GRACE="10")  # those two as in production
    environment = make_environment(harness.redis_url, harness.url, **settings)

    async def start(*arguments, **changes):
        process = await start_process(tmp_path, "router", *arguments, **(environment | changes))
        running.append(process)
        return process

    yield start
    for process in running:
        await process.kill()


async def enter_many(harness, number, first=0):
    """Append one message each of so many customers."""
    await harness.ensure_group()
    webhooks = [harness.sms(f"+1555{index:07d}") for index in range(first, first + number)]
    for index in range(0, number, 200):
        await asyncio.gather(*(harness.append(webhook) for webhook in webhooks[index : index + 200]))


async def published(harness, number):
    return len(await harness.entries()) >= number


async def assert_one_of_each(harness, number):
    """So many customers: as many conversations, participants and joined entries, and no dead letter."""
    entries = await harness.entries()
    assert [entry.type for entry in entries] == ["participant.joined"] * number
    assert len({entry.id for entry in entries}) == number
    assert len({entry.data.participant.id for entry in entries}) == number
    state = (await harness.api("GET", "/healthz"))["conversations"]
    assert state == number
    assert await harness.dead_letters() == []


async def test_a_killed_worker_is_replaced_within_seconds(launch, harness):
    """After kill -9 amid a thousand events the survivor takes over; nothing is lost or doubled."""
    await enter_many(harness, EVENTS)
    victim = await launch("work", ROUTER_BATCH="50", ROUTER_WINDOW="50", ROUTER_API_CONCURRENCY="8")
    await until(lambda: published(harness, EVENTS // 4), 30)
    os.kill(victim.pid, signal.SIGKILL)
    await victim.wait()
    before = len(await harness.entries())
    pending = (await harness.redis.xpending(harness.inbound.key, RESOLVER))["pending"]
    assert before < EVENTS, "killed too late to prove anything"
    assert pending > 0
    survivor = await launch("work")
    await survivor.started()
    await harness.finished(20)
    await assert_one_of_each(harness, EVENTS)
    assert sum(line["entries"] for line in survivor.find("claimed")) >= pending


async def test_a_turn_outlives_the_worker_that_heard_it(launch, harness, tmp_path):
    """Killed between the commit and the end of the turn; of two others one publishes it, with what they heard."""
    config = shutil.copytree(SHIPPED, tmp_path / "config")
    config.joinpath("routing.toml").write_text(f"{PLAIN}[default.burst]\nquiet = 4\nmost = 60\n", encoding="utf-8")
    victim = await launch("work", ROUTER_CONFIG_DIR=str(config))
    await victim.started()
    await harness.append(harness.sms(body="hi"))
    await until(harness.communications, 30)
    os.kill(victim.pid, signal.SIGKILL)
    await victim.wait()
    assert [entry.type for entry in await harness.published()] == ["participant.joined", "communication.received"]
    survivors = [await launch("work", ROUTER_CONFIG_DIR=str(config)) for _ in range(2)]
    await survivors[0].started()
    await harness.append(harness.sms(body="are you there?"))

    async def turns():
        return [entry for entry in await harness.published() if entry.type == "turn.ready"]

    async def is_whole():
        return sum(len(turn.data.communications) for turn in await turns()) == 2

    await until(is_whole, 30)
    for survivor in survivors:
        await survivor.stop()
    said = [one.text for turn in await turns() for one in turn.data.communications]
    assert said == ["hi", "are you there?"]


async def test_hundreds_of_entries_in_flight_are_claimed_once(launch, harness):
    """The survivor claims all entries of a worker that was killed while its requests hung."""
    number = 200
    victim = await launch("work", ROUTER_API_CONCURRENCY=str(3 * number))  # one channel gets at most half
    await victim.started()
    await enter_many(harness, number)
    await harness.finished(60)  # a channel that is not proven would get fewer calls at once
    harness.fault(route="/v2/Conversations", method="POST", hang=True, times=number)
    await enter_many(harness, number, first=number)
    faults = harness.sandbox.app[FAULTS]
    await until(lambda: not any(fault["left"] for fault in faults.to_wire()), 30)
    survivor = await launch("work")
    await survivor.started()
    os.kill(victim.pid, signal.SIGKILL)
    await harness.finished(60)
    await assert_one_of_each(harness, 2 * number)
    await until(lambda: sum(line["entries"] for line in survivor.find("claimed")) == number)


async def test_sigterm_under_load_leaves_nothing_stranded(launch, harness):
    """After SIGTERM under load a worker ends with status 0, and a survivor has the rest at once."""
    await enter_many(harness, 400)
    stopped = await launch("work", ROUTER_BATCH="20", ROUTER_WINDOW="20", ROUTER_API_CONCURRENCY="4")
    await until(lambda: published(harness, 50), 30)
    assert await stopped.stop() == 0
    assert stopped.lines[-1]["event"] == "process.stopped"
    assert not [key async for key in harness.redis.scan_iter(f"{harness.keys.namespace}:*heartbeat*")]
    assert len(await harness.entries()) < 400, "stopped too late to prove anything"
    survivor = await launch("work")
    await harness.finished()
    await assert_one_of_each(harness, 400)
    assert await survivor.stop() == 0


async def test_sigterm_during_an_outage_leaves_entries_pending(launch, harness):
    """Entries that wait for the API at SIGTERM stay pending, and a survivor settles them."""
    harness.fault(status=503)
    await enter_many(harness, 5)
    stopped = await launch("work", ROUTER_GRACE="0.5")
    await until(lambda: stopped.find("event.waiting"), 20)
    assert await stopped.stop() == 0
    harness.clear_faults()
    survivor = await launch("work")
    await survivor.started()
    await harness.finished()
    await assert_one_of_each(harness, 5)


async def test_a_destroyed_group_is_created_again(launch, harness):
    """A worker whose group is destroyed creates it again and goes on, without repeating old events."""
    worker = await launch("work")
    await worker.started()
    await enter_many(harness, 2)
    await harness.finished()
    await harness.redis.xgroup_destroy(harness.inbound.key, RESOLVER)
    await until(lambda: worker.find("reading.resumed"), 20)
    await enter_many(harness, 3)
    await harness.finished()
    await assert_one_of_each(harness, 3)
    assert await worker.stop() == 0


async def close_all(harness):
    """Close every conversation, and let the worker know."""
    for conversation in await harness.conversations():
        closed = await harness.sandbox.close_conversation(conversation["id"])
        await harness.append(harness.callback("CONVERSATION_UPDATED", closed))


@pytest.mark.parametrize("is_stopped", [False, True], ids=["while it runs", "while it is stopped"])
async def test_a_destroyed_group_opens_no_closed_conversation_again(launch, harness, is_stopped):
    """What the group had finished does not come again, even though its conversations have closed since."""
    worker = await launch("work")
    await worker.started()
    await enter_many(harness, 5)
    await harness.finished()
    await close_all(harness)
    await harness.finished()
    if is_stopped:
        assert await worker.stop() == 0
    else:
        await until(lambda: is_noted(harness))
    await harness.redis.xgroup_destroy(harness.inbound.key, RESOLVER)
    worker = await launch("work") if is_stopped else worker
    await until(lambda: worker.find("group.created"), 20)
    await harness.append(harness.sms("+15559990001"))
    await harness.finished()
    types = sorted(entry.type for entry in await harness.entries())
    assert types == ["conversation.closed"] * 5 + ["participant.joined"] * 6
    assert (await harness.api("GET", "/healthz"))["conversations"] == 6


async def are_parked(harness, number):
    return await count_parked(harness.redis, harness.keys, harness.inbound.key, RESOLVER) == number


async def is_noted(harness):
    """Tell whether the last note of the group's progress is of the end of the stream."""
    newest = await harness.redis.xrevrange(harness.inbound.key, count=1)
    noted = await harness.redis.hmget(progress(harness.inbound.key, RESOLVER), "last", "pending")
    return noted == [newest[0][0], b""]


@pytest.mark.parametrize("is_parked", [False, True], ids=["pending", "parked"])
async def test_a_group_that_is_destroyed_while_entries_wait_continues_with_them(launch, harness, is_parked):
    """Events that wait for the API are done once it is back, exactly once, and finished ones do not come again."""
    worker = await launch("work")
    await worker.started()
    await enter_many(harness, 3)
    await harness.finished()
    await close_all(harness)
    await harness.finished()
    harness.fault(status=503)
    for number in range(5):
        await harness.append(harness.sms(f"+155599900{number:02}"))
    await until(lambda: len(worker.find("event.waiting")) == 5, 20)
    if is_parked:
        await until(lambda: are_parked(harness, 5), 30)
    await harness.redis.xgroup_destroy(harness.inbound.key, RESOLVER)
    await until(lambda: worker.find("reading.resumed"), 20)
    harness.clear_faults()
    await harness.finished()
    types = sorted(entry.type for entry in await harness.entries())
    assert types == ["conversation.closed"] * 3 + ["participant.joined"] * 8
    assert (await harness.api("GET", "/healthz"))["conversations"] == 8


async def test_a_stream_of_another_type_ends_the_worker(launch, harness):
    """A worker whose stream is another type ends with status 1; after the correction its successor works."""
    worker = await launch("work")
    await worker.started()
    await harness.redis.delete(harness.inbound.key)
    await harness.redis.set(harness.inbound.key, "no stream", ex=60)
    assert await worker.wait() == 1
    assert worker.find("reading.failed")
    assert worker.find("process.failed")
    await harness.redis.delete(harness.inbound.key)
    successor = await launch("work")
    await successor.started()
    await enter_many(harness, 3)
    await harness.finished()
    await assert_one_of_each(harness, 3)


async def test_two_hundred_duplicates_announce_one_participant(launch, harness):
    """Two hundred copies of a webhook, over two receivers and two workers, announce one participant."""
    ports = [free_port(), free_port()]
    processes = [await launch("receive", "--port", str(port)) for port in ports]
    processes += [await launch("work"), await launch("work")]
    for process in processes:
        await process.started()
    request = signed(sms())
    async with aiohttp.ClientSession() as session:

        async def post(number):
            url = URL(f"http://127.0.0.1:{ports[number % 2]}{request.path}", encoded=True)
            async with session.post(url, data=request.body, headers=request.headers()) as answer:
                return answer.status

        assert set(await asyncio.gather(*(post(number) for number in range(200)))) == {200}
    await harness.finished()
    await assert_one_of_each(harness, 1)
    assert await harness.redis.xlen(harness.inbound.key) == 1
    assert await asyncio.gather(*(process.stop() for process in processes)) == [0, 0, 0, 0]


@pytest.mark.parametrize(("receiving", "working"), [(-61, 0), (0, 61), (3600, -3600)])
async def test_hosts_may_disagree_about_the_time(launch, harness, receiving, working):
    """A call waits for its conversation whatever the clocks of receiver and worker say, and both show their skew."""
    port, metrics_port = free_port(), free_port()
    receiver = await launch("receive", "--port", str(port), **shifted(receiving))
    worker = await launch("work", ROUTER_METRICS_PORT=str(metrics_port), **shifted(working))
    for process in (receiver, worker):
        await process.started()
    request = signed(incoming_call())
    url = URL(f"http://127.0.0.1:{port}{request.path}", encoded=True)
    async with harness.sandbox.session.post(url, data=request.body, headers=request.headers()) as answer:
        assert answer.status == 200

    async def has_looked():
        return (await harness.calls()).get("GET /v2/Conversations", 0) >= 1

    await until(has_looked)
    sid = dict(parse_qsl(request.body.decode()))["CallSid"]
    await harness.capture(channel="VOICE", body=None, channelId=sid)
    await harness.finished()
    assert (await harness.types(), await harness.dead_letters()) == (["joined"], [])
    ((entry_id, fields),) = await harness.redis.xrange(harness.inbound.key)
    assert abs(int(fields[b"received_at"]) // 1000 - int(entry_id.split(b"-")[0])) < 30_000
    for process, shift in ((receiver, receiving), (worker, working)):
        assert [round(line["seconds"], -1) for line in process.find("clock.skewed")] == [round(shift, -1)][: abs(shift)]
    async with harness.sandbox.session.get(f"http://127.0.0.1:{metrics_port}/metrics") as answer:
        (shown,) = re.findall(r'^router_clock_skew_seconds\{against="redis"\} (\S+)', await answer.text(), re.MULTILINE)
    assert round(float(shown)) == working


def shifted(seconds):
    """Return the environment of a host whose clock is so many seconds ahead."""
    return {"PYTHONPATH": str(ROOT / "tests/support/shifted_clock"), "CLOCK_SHIFT": str(seconds)}


async def test_the_metrics_port_shows_the_counts(launch, harness):
    """With ROUTER_METRICS_PORT a worker serves its counts, which begin with 0."""
    port = free_port()
    worker = await launch("work", ROUTER_METRICS_PORT=str(port))
    await worker.started()
    async with harness.sandbox.session.get(f"http://127.0.0.1:{port}/metrics") as answer:
        before = await answer.text()
    assert 'router_events_total{result="joined",source="messaging"} 0.0' in before
    assert f'router_attempts_total{{group="{RESOLVER}",result="failed"}} 0.0' in before
    await enter_many(harness, 2)
    await harness.finished()
    async with harness.sandbox.session.get(f"http://127.0.0.1:{port}/metrics") as answer:
        text = await answer.text()
    assert 'router_events_total{result="joined",source="messaging"} 2.0' in text
    assert 'router_api_calls_total{method="POST",route="/v2/Conversations",status="201"} 2.0' in text
    assert await worker.stop() == 0


async def test_the_log_of_a_worker_has_no_secrets(launch, harness):
    """No log line of a worker has an address, a token or a secret."""
    worker = await launch("work")
    await worker.started()
    await enter_many(harness, 3)
    await harness.finished()
    assert await worker.stop() == 0
    for secret in ("+15550000", "15557650000", TOKEN, SECRET, KEY):
        assert secret not in worker.text


async def test_missing_settings_are_all_named(tmp_path):
    """Missing and invalid settings end the worker with status 2, all in one message."""
    process = await start_process(tmp_path, "router", "work", ROUTER_WINDOW="0")
    assert await process.wait() == 2
    for name in (
        "REDIS_URL",
        "TWILIO_ACCOUNT_SID",
        "TWILIO_AUTH_TOKEN",
        "TWILIO_CONVERSATION_CONFIGURATION_ID",
        "ROUTER_WINDOW",
    ):
        assert name in process.text
    assert "Traceback" not in process.text


@pytest.mark.parametrize("redis_away", [{}, {"REDIS_URL": "redis://127.0.0.1:1"}], ids=["Redis", "no Redis"])
async def test_an_invalid_policy_ends_the_worker(tmp_path, launch, redis_away):
    """A misspelled target ends the worker with status 2 and the line of routing.toml, before it waits for Redis."""
    (tmp_path / "routing.toml").write_text('[default]\ntarget = "ai-agnet"\n')
    process = await launch("work", ROUTER_CONFIG_DIR=str(tmp_path), **redis_away)
    assert await process.wait() == 2
    assert "routing.toml:2" in process.text
    assert "Traceback" not in process.text


@pytest.mark.parametrize("problem", ["no folder", "no routing.toml"])
async def test_a_missing_policy_ends_the_worker(tmp_path, launch, problem):
    """A missing configuration folder or routing.toml ends the worker with status 2."""
    folder = tmp_path / "nowhere" if problem == "no folder" else tmp_path
    process = await launch("work", ROUTER_CONFIG_DIR=str(folder))
    assert await process.wait() == 2
    assert "routing.toml" in process.text
    assert "Traceback" not in process.text
