"""The end of calls: every one is reported once and releases its slot."""

import asyncio

import pytest

from router.conversations import ConversationsV2
from router.core.errors import NotFoundError, TransportError
from tests.support.waiting import until

PATH = "/v2/Conversations"


async def test_calls_are_reported(api, transport, calls):
    """Every finished call is reported once, with its route and without ids."""
    client = ConversationsV2(transport)
    api.reply(503, seconds=2.0).reply(200, {"id": "conv_conversation_1"}).reply(404)
    await client.fetch_conversation("conv_conversation_1")
    with pytest.raises(NotFoundError):
        await client.fetch_participant("conv_conversation_1", "conv_participant_1")
    found, missing = calls
    assert (found.method, found.route) == ("GET", "/v2/Conversations/{conversation_id}")
    assert (found.status, found.attempts, found.error) == (200, 2, None)
    assert found.seconds == pytest.approx(2.25)
    assert (missing.status, missing.attempts, missing.error) == (404, 1, "NotFoundError")
    assert "_1" not in repr(calls)


async def test_plain_path_is_reported_without_ids(api, transport, calls):
    """A path that was given in full is reported without its ids."""
    api.reply()
    await transport.request("GET", "/v1/Services/IS01/Conversations/CH01/Participants", query={"Address": "+1555"})
    assert calls[0].route == "/v1/Services/{}/Conversations/{}/Participants"
    assert api.seen[0].target == "/v1/Services/IS01/Conversations/CH01/Participants?Address=%2B1555"


async def test_cancelled_call(api, transport, calls):
    """A cancelled call releases its slot and is reported."""
    api.hang()
    task = asyncio.create_task(transport.request("GET", PATH))
    await until(lambda: api.seen)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert transport.limiter.in_flight == 0
    assert (calls[0].error, calls[0].status, calls[0].attempts) == ("CancelledError", 0, 1)


async def test_call_after_closing(api, connect):
    """A call after closing fails at once with a TransportError, and was not sent."""
    async with connect(api.base_url) as transport:
        api.reply()
        await transport.request("GET", PATH)
    with pytest.raises(TransportError, match="closed") as caught:
        await transport.request("POST", PATH, body={})
    assert not caught.value.is_sent


async def test_closing_during_a_call(api, connect):
    """A call in progress ends with a TransportError when the transport is closed."""
    transport = connect(api.base_url)
    api.hang()
    task = asyncio.create_task(transport.request("GET", PATH))
    await until(lambda: api.seen)
    await transport.close()
    with pytest.raises(TransportError):
        await task
