"""The baselines, the lean API and the open-loop generator do what they are described to do."""

from __future__ import annotations

import asyncio
import time

import pytest
from aiohttp import ClientSession, web

from router.core.entries import JoinedData, read_entry
from tests.benchmarks import open_loop, webhooks
from tests.benchmarks.agents import entry_fields
from tests.benchmarks.handwritten_agent import HandwrittenAgent
from tests.benchmarks.lean_api import ANSWERS, CONFIGURATION, COUNTS, LeanApi
from tests.harness.sandbox import running_sandbox
from tests.support.accounts import OURS
from tests.support.waiting import until

CUSTOMER = "+15550000017"
BODY = {
    "configurationId": CONFIGURATION,
    "participants": [
        {"type": "CUSTOMER", "addresses": [{"channel": "SMS", "address": CUSTOMER, "channelId": "SM1"}]},
        {"type": "AI_AGENT", "addresses": [{"channel": "SMS", "address": OURS}]},
    ],
}


def shape(value):
    """Return the names and types of a JSON value."""
    if isinstance(value, dict):
        return {name: shape(one) for name, one in value.items() if name not in {"displayName", "description"}}
    if isinstance(value, list):
        return sorted((shape(one) for one in value), key=str)
    return type(value).__name__


async def converse(session, url):
    """Create a conversation twice, and list its participants."""
    async with session.post(f"{url}/v2/Conversations", json=BODY) as answer:
        created = answer.status, await answer.json()
    conversation_id = created[1]["id"]
    async with session.post(f"{url}/v2/Conversations", json=BODY) as answer:
        assert answer.headers["X-Conflicting-Resource-Id"] == conversation_id
        conflict = answer.status
    async with session.get(f"{url}/v2/Conversations/{conversation_id}/Participants?pageSize=1000") as answer:
        listed = answer.status, await answer.json()
    return created, conflict, listed


@pytest.fixture
async def lean():
    runners = []

    async def start(api):
        runner = web.ServerRunner(web.Server(api.handle))
        await runner.setup()
        runners.append(runner)
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        return f"http://127.0.0.1:{runner.addresses[0][1]}"

    async with ClientSession() as session:
        yield session, start
    for runner in runners:
        await runner.cleanup()


async def test_the_lean_api_answers_as_the_sandbox_does(lean):
    """Both create, conflict with the same id in the same header, and list, with the same fields everywhere."""
    session, start = lean
    async with (
        running_sandbox() as sandbox,
        ClientSession(headers={"Authorization": webhooks.BASIC}) as authorized,
    ):
        wanted = await converse(authorized, sandbox.url)
    found = await converse(session, await start(LeanApi()))
    assert shape(list(found)) == shape(list(wanted))
    assert (found[0][0], found[1], found[2][0]) == (wanted[0][0], wanted[1], wanted[2][0]) == (201, 409, 200)
    addresses = [
        sorted(one["addresses"][0]["address"] for one in pair[2][1]["participants"]) for pair in (found, wanted)
    ]
    assert addresses[0] == addresses[1] == sorted([CUSTOMER, OURS])


async def test_the_lean_api_can_have_all_customers_and_counts_requests(lean):
    """With all customers, the first POST is a conflict too; a request for the count does not count."""
    session, start = lean
    url = await start(LeanApi(has_all=True))
    async with session.post(f"{url}/v2/Conversations", json=BODY) as answer:
        assert answer.status == 409
    async with session.get(f"{url}/v2/Configurations/none") as answer:
        assert answer.status == 404
    for _ in range(2):
        async with session.get(url + COUNTS) as answer:
            assert await answer.json() == {"total": 2}


JOINING = {"type": "AI_AGENT", "name": "AI agent", "addresses": [{"channel": "SMS", "address": OURS}]}


async def greet(session, url):
    """Create a conversation of a customer, let an agent join, and send a text."""
    body = BODY | {"participants": BODY["participants"][:1]}
    async with session.post(f"{url}/v2/Conversations", json=body) as answer:
        created = await answer.json()
    path, customer = f"{url}/v2/Conversations/{created['id']}", created["participants"][0]["id"]
    async with session.get(f"{path}/Participants") as answer:
        alone = await answer.json()
    async with session.post(f"{path}/Participants", json=JOINING) as answer:
        joined = answer.status, await answer.json()
    ends = {"from": {"participantId": joined[1]["id"]}, "to": [{"participantId": customer}]}
    action = {"type": "SEND_MESSAGE", "payload": ends | {"content": {"text": "Hello there"}}}
    async with session.post(f"{path}/Actions", json=action) as answer:
        sent = answer.status, await answer.json()
    async with session.get(f"{path}/Participants") as answer:
        return alone, joined, sent, await answer.json()


async def test_the_lean_api_lets_an_agent_join_and_answer_as_the_sandbox_does(lean):
    """The customer is alone until then; afterwards the API knows that one conversation got one message."""
    session, start = lean
    async with (
        running_sandbox() as sandbox,
        ClientSession(headers={"Authorization": webhooks.BASIC}) as authorized,
    ):
        wanted = await greet(authorized, sandbox.url)
    url = await start(LeanApi(is_alone=True))
    found = await greet(session, url)
    assert shape(list(found)) == shape(list(wanted))
    assert (len(found[0]["participants"]), found[1][0], found[2][0], len(found[3]["participants"])) == (1, 201, 202, 2)
    async with session.get(url + ANSWERS) as answer:
        assert await answer.json() == {"messages": 1, "conversations": 1}


async def test_an_agent_written_by_hand_answers_the_entries_of_the_benchmark(lean, redis):
    """Each customer gets one message, and each entry is acknowledged."""
    session, start = lean
    url, stream = await start(LeanApi(is_alone=True)), "router:{0}:participants:ai-agent"
    for number in range(3):
        await redis.xadd(stream, entry_fields("router", number))
    await redis.xgroup_create(stream, "ai-agent", "0")
    async with ClientSession(url) as api:
        agent = asyncio.create_task(HandwrittenAgent(redis, api, stream, "ai-agent").consume())
        await until(lambda: is_done(redis, stream))
        agent.cancel()
        await asyncio.gather(agent, return_exceptions=True)
    async with session.get(url + ANSWERS) as answer:
        assert await answer.json() == {"messages": 3, "conversations": 3}


async def is_done(redis, stream):
    (group,) = await redis.xinfo_groups(stream)
    return (group["entries-read"], group["pending"]) == (3, 0)


async def test_entries_of_the_benchmark_are_those_of_the_worker():
    """They are read by the model, and no two have one id."""
    found = [entry_fields("router", number) for number in range(3)]
    entries = [read_entry(one["event"]) for one in found]
    assert {type(one.data) for one in entries} == {JoinedData}
    assert len({one["id"] for one in found}) == 3


async def test_a_schedule_is_kept_while_responses_are_missing():
    """The server answers once all requests have come, so that a generator that waits for responses would hang."""
    requests = list(webhooks.requests(1, 8, webhooks.Senders(4)))
    arrived, all_here = [], asyncio.Event()

    async def answer_late(reader, writer):
        while head := await reader.read(65536):
            arrived.append(head)
            if len(arrived) == len(requests):
                all_here.set()
            await all_here.wait()
            status = b"503 Full" if head == requests[0] else b"200 OK"
            writer.write(b"HTTP/1.1 " + status + b"\r\nContent-Length: 0\r\n\r\n")
        writer.close()

    server = await asyncio.start_server(answer_late, "127.0.0.1", 0)
    sender = open_loop.Sender(requests, time.monotonic(), rate=1000.0)
    async with server:
        await asyncio.to_thread(sender.run, server.sockets[0].getsockname()[1])
    assert sorted(arrived) == sorted(requests)
    assert sender.refused == 1
    assert len(sender.late) == 8
    assert min(sender.late) >= 0  # no request is sent before its moment


def test_times_are_ranked():
    """The 99th of 100 values is the 99th percentile; a single value is median, percentile and maximum."""
    assert open_loop.spread([number / 1000 for number in range(100, 0, -1)]) == {
        "p50_ms": 51.0,
        "p99_ms": 100.0,
        "max_ms": 100.0,
    }
    assert open_loop.spread([0.5]) == {"p50_ms": 500.0, "p99_ms": 500.0, "max_ms": 500.0}
