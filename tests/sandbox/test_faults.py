"""Fault injection: the response that the caller gets, and whether the request had its effect."""

from __future__ import annotations

import asyncio

import aiohttp
import pytest

from router.sandbox.middlewares import COUNTS
from tests.sandbox.harness import opening, pair
from tests.support.accounts import CUSTOMER, OTHER_CUSTOMER
from tests.support.waiting import until

CONVERSATIONS = "/v2/Conversations"


async def arm(sandbox, **fault):
    answer = await sandbox.post("/sandbox/faults", {"method": "POST", "route": CONVERSATIONS} | fault)
    assert answer.status == 201, answer.raw


def is_counted(sandbox):
    """Whether the request that a fault holds has arrived."""
    return sandbox.app[COUNTS][f"POST {CONVERSATIONS}"] == 1


async def count(sandbox):
    return len((await sandbox.get(CONVERSATIONS)).body["conversations"])


@pytest.mark.parametrize(("when", "effect"), [("before", 0), ("after", 1)])
async def test_a_status(sandbox, when, effect):
    """A status has the API's error shape and Retry-After, and comes before the effect or after it."""
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
    """The request has its effect, but its response cannot be read."""
    await arm(sandbox, body=body, times=1)
    answer = await sandbox.post(CONVERSATIONS, opening(*pair()))
    assert (answer.status, answer.raw) == (201, raw)
    assert await count(sandbox) == 1


async def test_latency(sandbox):
    """A delayed response is otherwise the usual one."""
    await arm(sandbox, latencySeconds=0.05)
    began = asyncio.get_running_loop().time()
    assert (await sandbox.post(CONVERSATIONS, opening(*pair()))).status == 201
    assert asyncio.get_running_loop().time() - began >= 0.05


async def test_latency_beyond_the_callers_patience(sandbox):
    """A request that was sent has its effect, even if its caller has disconnected."""
    await arm(sandbox, latencySeconds=0.2, times=1)
    call = asyncio.create_task(sandbox.post(CONVERSATIONS, opening(*pair())))
    await until(lambda: is_counted(sandbox))
    call.cancel()
    await until(lambda: len(sandbox.state.conversations) == 1)


async def test_hanging_until_cleared(sandbox):
    """A hanging request has no effect; clearing the faults ends it without a response."""
    await arm(sandbox, hang=True)
    hanging = asyncio.create_task(sandbox.post(CONVERSATIONS, opening(*pair())))
    await until(lambda: is_counted(sandbox))
    assert not hanging.done()
    assert (await sandbox.call("DELETE", "/sandbox/faults")).status == 204
    with pytest.raises(aiohttp.ClientConnectionError):
        await hanging
    assert await count(sandbox) == 0


async def test_hanging_until_the_caller_disconnects(sandbox):
    """The caller's own timeout ends a hanging request."""
    await arm(sandbox, hang=True)
    with pytest.raises(TimeoutError):
        await sandbox.post(CONVERSATIONS, opening(*pair()), timeout=aiohttp.ClientTimeout(total=0.05))


async def test_the_end_of_the_sandbox_ends_hanging_requests(start):
    """A sandbox with a hanging request ends at once."""
    sandbox = await start()
    await arm(sandbox, hang=True)
    hanging = asyncio.create_task(sandbox.post(CONVERSATIONS, opening(*pair())))
    await until(lambda: is_counted(sandbox))
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


async def test_a_text_in_the_request(sandbox):
    """A fault with a text hits requests with that text in their URL or body, such as those about one customer."""
    await arm(sandbox, method="*", route="*", containing=CUSTOMER, status=500)
    ours, theirs = opening(*pair()), opening(*pair(customer=OTHER_CUSTOMER))
    assert (await sandbox.post(CONVERSATIONS, ours)).status == 500
    assert (await sandbox.post(CONVERSATIONS, theirs)).status == 201
    assert (await sandbox.get(CONVERSATIONS, params={"channelId": CUSTOMER})).status == 500
    await arm(sandbox, status=429)
    assert [each["applied"] for each in (await sandbox.get("/sandbox/faults")).body["faults"]] == [2, 0]
    assert (await sandbox.call("DELETE", "/sandbox/faults", params={"containing": CUSTOMER})).status == 204
    assert (await sandbox.post(CONVERSATIONS, ours)).status == 429


@pytest.mark.parametrize(("probability", "status"), [(0.0, 200), (1.0, 500)])
async def test_probability(sandbox, probability, status):
    """Probability 0 never applies a fault, 1 always; `*` matches every route of the public API, and no other."""
    await arm(sandbox, method="*", route="*", status=500, probability=probability)
    assert (await sandbox.get(CONVERSATIONS)).status == status
    assert (await sandbox.get("/sandbox/options")).status == 200


@pytest.mark.parametrize("fault", [{"status": 200}, {"times": 0}, {"probability": 2}, {"body": "odd"}])
async def test_invalid_faults(sandbox, fault):
    """An invalid fault is a 400."""
    assert (await sandbox.post("/sandbox/faults", fault)).status == 400


@pytest.mark.parametrize(("change", "count"), [("removal", 1), ("addition", 3)])
async def test_churn(sandbox, change, count):
    """A conversation changes once, right after it was read; the response is that of before."""
    conversation = await sandbox.open()
    path = f"/v2/Conversations/{conversation['id']}/Participants"
    await sandbox.post("/sandbox/faults", {"method": "GET", "churn": change, "times": 1})
    assert len((await sandbox.get(path)).body["participants"]) == 2
    assert len((await sandbox.get(path)).body["participants"]) == count


async def test_churn_without_an_open_conversation(sandbox):
    """A request about no conversation, or about a closed one, changes nothing."""
    conversation = await sandbox.open()
    await sandbox.patch(f"/v2/Conversations/{conversation['id']}", {"status": "CLOSED"})
    await sandbox.post("/sandbox/faults", {"churn": "removal"})
    path = f"/v2/Conversations/{conversation['id']}/Participants"
    for _ in range(2):
        assert (await sandbox.get("/v2/Conversations")).status == 200
        assert len((await sandbox.get(path)).body["participants"]) == 2
