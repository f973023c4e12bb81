"""Background calls: they use the same limits, delay no other call and are never repeated."""

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


async def test_asks_once_before_each_call(api, transport, background, asked):
    """Each background call asks before it is sent; other calls do not."""
    api.reply(200, {}).reply(200, {}).reply(200, {})
    await background.request("GET", PATH)
    await transport.request("GET", PATH)
    assert asked == [True]
    await background.request("GET", PATH)
    assert (len(asked), len(api.seen), len(api.connections)) == (2, 3, 1)


@pytest.mark.parametrize(("status", "error"), [(503, ServerError), (429, RateLimitError)])
async def test_background_call_is_not_repeated(api, transport, background, time, status, error):
    """A background call that fails is not repeated; the same call in the foreground is."""
    api.reply(status).reply(status).reply(200, {})
    with pytest.raises(error):
        await background.request("GET", PATH)
    assert (len(api.seen), time.slept) == (1, [])
    assert (await transport.request("GET", PATH)).status == 200


async def test_429_in_the_background(api, transport, background):
    """A 429 to a background call lowers the cap of all calls."""
    api.reply(429)
    cap = transport.limiter.window.cap
    with pytest.raises(RateLimitError):
        await background.request("GET", PATH)
    assert transport.limiter.window.cap == cap // 2


async def test_no_spare_after_a_429(api, transport, time):
    """For CALM seconds after a 429 there is no spare slot, whichever call got it."""
    api.reply(429).reply(200, {})
    await transport.request("GET", PATH)
    assert not transport.limiter.has_spare
    await time.sleep(CALM)
    assert transport.limiter.has_spare


async def test_no_spare_while_held(transport, time):
    """During a Retry-After there is no spare slot."""
    transport.limiter.hold(0.5)
    assert not transport.limiter.has_spare
    await time.sleep(0.5)
    assert transport.limiter.has_spare


@pytest.mark.parametrize(("slots", "taken"), [(8, 4), (2, 1), (1, 1)])
async def test_no_spare_while_half_of_the_slots_are_taken(api, connect, slots, taken):
    """Half of the slots are reserved for the foreground; with one slot, background calls wait until it is free."""
    transport = connect(api.base_url, max_in_flight=slots)
    api.hang(times=taken)
    calls = [asyncio.create_task(transport.request("GET", PATH)) for _ in range(taken)]
    while transport.limiter.in_flight < taken:
        assert transport.limiter.has_spare
        await asyncio.sleep(0)
    assert not transport.limiter.has_spare
    for call in calls:
        call.cancel()
    await asyncio.gather(*calls, return_exceptions=True)
    assert transport.limiter.has_spare
