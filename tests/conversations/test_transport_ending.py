"""How calls end: reported once, whatever happened, and with the slot given back."""

import asyncio

import pytest

from router.conversations import ConversationsV2
from router.core.errors import NotFoundError, TransportError

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
    """A path that was given in full is generalized for the observer."""
    api.reply()
    await transport.request("GET", "/v1/Services/IS01/Conversations/CH01/Participants", query={"Address": "+1555"})
    assert calls[0].route == "/v1/Services/{}/Conversations/{}/Participants"
    assert api.seen[0].target == "/v1/Services/IS01/Conversations/CH01/Participants?Address=%2B1555"


async def test_cancelled_call(api, transport, calls):
    """A cancelled call gives its slot back and is reported."""
    api.hang()
    task = asyncio.create_task(transport.request("GET", PATH))
    while not api.seen:  # noqa: ASYNC110 # the server runs in this loop and shall have read the request
        await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert transport.limiter.in_flight == 0
    assert (calls[0].error, calls[0].status, calls[0].attempts) == ("CancelledError", 0, 1)


async def test_closed(api, connect):
    """After closing every call is an outage that was not sent, told at once."""
    async with connect(api.base_url) as transport:
        api.reply()
        await transport.request("GET", PATH)
    with pytest.raises(TransportError, match="closed") as caught:
        await transport.request("POST", PATH, body={})
    assert not caught.value.is_sent


async def test_closed_while_waiting(api, connect):
    """A call that is under way when the transport closes ends as an outage."""
    transport = connect(api.base_url)
    api.hang()
    task = asyncio.create_task(transport.request("GET", PATH))
    while not api.seen:  # noqa: ASYNC110 # the server runs in this loop and shall have read the request
        await asyncio.sleep(0)
    await transport.close()
    with pytest.raises(TransportError):
        await task
