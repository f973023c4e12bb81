"""Fault injection: what the caller sees, and whether the request had its effect."""

from __future__ import annotations

import asyncio

import aiohttp
import pytest

from router.sandbox.middlewares import COUNTS
from tests.sandbox.harness import opening, pair
from tests.support.waiting import until

CONVERSATIONS = "/v2/Conversations"


async def arm(sandbox, **fault):
    answer = await sandbox.post("/sandbox/faults", {"method": "POST", "route": CONVERSATIONS} | fault)
    assert answer.status == 201, answer.raw


async def count(sandbox):
    return len((await sandbox.get(CONVERSATIONS)).body["conversations"])


@pytest.mark.parametrize(("when", "effect"), [("before", 0), ("after", 1)])
async def test_a_status(sandbox, when, effect):
    """A status is answered in the API's shape, with Retry-After, before the effect or after it."""
    await arm(sandbox, status=503, retryAfter=7, when=when, times=1)
    answer = await sandbox.post(CONVERSATIONS, opening(*pair()))
    assert (answer.status, answer.headers["Retry-After"], answer.body["status"]) == (503, "7", 503)
    assert await count(sandbox) == effect
    assert (await sandbox.post(CONVERSATIONS, opening(*pair()))).status == (409 if effect else 201)


@pytest.mark.parametrize(("when", "effect"), [("before", 0), ("after", 1)])
async def test_a_reset(sandbox, when, effect):
    """The connection is cut before the effect or after it."""
    await arm(sandbox, reset=True, when=when, times=1)
    with pytest.raises(aiohttp.ClientConnectionError):
        await sandbox.post(CONVERSATIONS, opening(*pair()))
    assert await count(sandbox) == effect


@pytest.mark.parametrize(("body", "raw"), [("broken", b'{"id": "conv_'), ("empty", b"")])
async def test_a_body_that_cannot_be_read(sandbox, body, raw):
    """The effect happens, its answer cannot be read."""
    await arm(sandbox, body=body, times=1)
    answer = await sandbox.post(CONVERSATIONS, opening(*pair()))
    assert (answer.status, answer.raw) == (201, raw)
    assert await count(sandbox) == 1


async def test_latency(sandbox):
    """A late answer is a right one."""
    await arm(sandbox, latencySeconds=0.05)
    began = asyncio.get_running_loop().time()
    assert (await sandbox.post(CONVERSATIONS, opening(*pair()))).status == 201
    assert asyncio.get_running_loop().time() - began >= 0.05


async def test_latency_of_a_caller_who_gives_up(sandbox):
    """A request that was sent has its effect, though nobody waits for the answer any more."""
    await arm(sandbox, latencySeconds=0.2, times=1)
    call = asyncio.create_task(sandbox.post(CONVERSATIONS, opening(*pair())))
    await until(lambda: sandbox.app[COUNTS].total() == 1)
    call.cancel()
    await until(lambda: len(sandbox.state.conversations) == 1)


async def test_hanging_until_cleared(sandbox):
    """A hanging request has no effect; clearing the faults lets it go without an answer."""
    await arm(sandbox, hang=True)
    hanging = asyncio.create_task(sandbox.post(CONVERSATIONS, opening(*pair())))
    await until(lambda: sandbox.state.conversations is not None and _counted(sandbox))
    assert not hanging.done()
    assert (await sandbox.call("DELETE", "/sandbox/faults")).status == 204
    with pytest.raises(aiohttp.ClientConnectionError):
        await hanging
    assert await count(sandbox) == 0


async def test_hanging_until_the_caller_gives_up(sandbox):
    """The caller's own timeout ends it."""
    await arm(sandbox, hang=True)
    with pytest.raises(TimeoutError):
        await sandbox.post(CONVERSATIONS, opening(*pair()), timeout=aiohttp.ClientTimeout(total=0.05))


async def test_the_end_lets_hanging_requests_go(start):
    """A sandbox with a hanging request ends at once."""
    sandbox = await start()
    await arm(sandbox, hang=True)
    hanging = asyncio.create_task(sandbox.post(CONVERSATIONS, opening(*pair())))
    await until(lambda: _counted(sandbox))
    await sandbox.app.shutdown()
    with pytest.raises(aiohttp.ClientConnectionError):
        await hanging


async def test_times_and_templates(sandbox):
    """A fault counts down, and matches by method and route template only."""
    await arm(sandbox, status=500, times=2)
    await arm(sandbox, method="*", route="/v2/Conversations/{conversation}", status=429)
    assert [each["left"] for each in (await sandbox.get("/sandbox/faults")).body["faults"]] == [2, None]
    assert (await sandbox.get(CONVERSATIONS)).status == 200
    statuses = [(await sandbox.post(CONVERSATIONS, opening(*pair()))).status for _ in range(3)]
    assert statuses == [500, 500, 201]
    assert (await sandbox.get(f"{CONVERSATIONS}/x")).status == 429
    assert (await sandbox.get(f"{CONVERSATIONS}/x/Participants")).status == 404


@pytest.mark.parametrize(("probability", "status"), [(0.0, 200), (1.0, 500)])
async def test_probability(sandbox, probability, status):
    """A fault of probability 0 never happens, one of 1 always; `*` matches every route of the API, no other."""
    await arm(sandbox, method="*", route="*", status=500, probability=probability)
    assert (await sandbox.get(CONVERSATIONS)).status == status
    assert (await sandbox.get("/sandbox/options")).status == 200


@pytest.mark.parametrize("fault", [{"status": 200}, {"times": 0}, {"probability": 2}, {"body": "odd"}])
async def test_faults_that_cannot_be(sandbox, fault):
    """A fault that cannot be meant is a 400."""
    assert (await sandbox.post("/sandbox/faults", fault)).status == 400


def _counted(sandbox):
    from router.sandbox.middlewares import COUNTS

    return sandbox.app[COUNTS][f"POST {CONVERSATIONS}"] == 1


@pytest.mark.parametrize(("change", "count"), [("removal", 1), ("addition", 3)])
async def test_somebody_else_changes_it_meanwhile(sandbox, change, count):
    """A conversation is another one right after it was read, once, and the answer is that of before."""
    conversation = await sandbox.open()
    path = f"/v2/Conversations/{conversation['id']}/Participants"
    await sandbox.post("/sandbox/faults", {"method": "GET", "churn": change, "times": 1})
    assert len((await sandbox.get(path)).body["participants"]) == 2
    assert len((await sandbox.get(path)).body["participants"]) == count


async def test_nothing_changes_where_nothing_can(sandbox):
    """A request about no conversation, or about one that has closed, changes none."""
    conversation = await sandbox.open()
    await sandbox.patch(f"/v2/Conversations/{conversation['id']}", {"status": "CLOSED"})
    await sandbox.post("/sandbox/faults", {"churn": "removal"})
    path = f"/v2/Conversations/{conversation['id']}/Participants"
    for _ in range(2):
        assert (await sandbox.get("/v2/Conversations")).status == 200
        assert len((await sandbox.get(path)).body["participants"]) == 2
