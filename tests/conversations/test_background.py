"""Calls that can wait: through the same limits, never in anybody's way, never repeated."""

import asyncio

import pytest

from router.conversations.limiter import CALM
from router.core.errors import RateLimitError, ServerError

PATH = "/v2/Conversations"


@pytest.fixture
def asked():
    return []


@pytest.fixture
def background(transport, asked):
    async def ask(limiter):
        asked.append(limiter.has_spare)

    return transport.in_background(ask)


async def test_asks_first_and_once_per_call(api, transport, background, asked):
    """Each call of the background asks before it goes out; the calls of others do not."""
    api.reply(200, {}).reply(200, {}).reply(200, {})
    await background.request("GET", PATH)
    await transport.request("GET", PATH)
    assert asked == [True]
    await background.request("GET", PATH)
    assert (len(asked), len(api.seen), len(api.connections)) == (2, 3, 1)


@pytest.mark.parametrize(("status", "error"), [(503, ServerError), (429, RateLimitError)])
async def test_is_not_repeated(api, transport, background, time, status, error):
    """What fails in the background fails at once; the same call of real work is repeated as ever."""
    api.reply(status).reply(status).reply(200, {})
    with pytest.raises(error):
        await background.request("GET", PATH)
    assert (len(api.seen), time.slept) == (1, [])
    assert (await transport.request("GET", PATH)).status == 200


async def test_counts_for_all(api, transport, background):
    """A 429 in the background lowers the cap of all."""
    api.reply(429)
    cap = transport.limiter.window.cap
    with pytest.raises(RateLimitError):
        await background.request("GET", PATH)
    assert transport.limiter.window.cap == cap // 2


async def test_no_spare_after_a_429(api, transport, time):
    """For CALM seconds after a 429, whoever met it, there is nothing to spare, however free the slots are."""
    api.reply(429).reply(200, {})
    await transport.request("GET", PATH)
    assert not transport.limiter.has_spare
    await time.sleep(CALM)
    assert transport.limiter.has_spare


async def test_no_spare_while_held(transport, time):
    """A Retry-After holds the background as well."""
    transport.limiter.hold(5)
    assert not transport.limiter.has_spare
    await time.sleep(5)
    assert transport.limiter.has_spare


@pytest.mark.parametrize(("slots", "taken"), [(8, 4), (2, 1), (1, 1)])
async def test_no_spare_while_half_of_the_slots_are_taken(api, connect, slots, taken):
    """The other half is left to real work; with one slot the background waits until it is free."""
    transport = connect(api.base_url, max_in_flight=slots)
    api.hang()
    for _ in range(taken - 1):
        api.hang()
    calls = [asyncio.create_task(transport.request("GET", PATH)) for _ in range(taken)]
    while transport.limiter.in_flight < taken:
        assert transport.limiter.has_spare
        await asyncio.sleep(0)
    assert not transport.limiter.has_spare
    for call in calls:
        call.cancel()
    await asyncio.gather(*calls, return_exceptions=True)
    assert transport.limiter.has_spare
