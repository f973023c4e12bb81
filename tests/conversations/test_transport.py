"""A call with its retries: which calls are repeated, how long they wait, and what they return."""

import asyncio
from email.utils import formatdate

import orjson
import pytest
from aiohttp import web

from router.conversations import Transport
from router.conversations.limiter import MAX_HOLD
from router.core.errors import (
    AuthenticationError,
    ConflictError,
    NotFoundError,
    RateLimitError,
    RequestError,
    ServerError,
    TransportError,
    UnavailableError,
)

PATH = "/v2/Conversations"
LIMITED = {"code": 20429, "message": "slow down", "status": 429}


@pytest.mark.parametrize("method", ["GET", "PUT", "PATCH"])
@pytest.mark.parametrize("status", [500, 502, 503, 429])
async def test_repeatable_methods(api, transport, time, method, status):
    """Reads and replacements are repeated after a 5xx or 429."""
    api.reply(status).reply(status).reply(200, {"id": "x"})
    answer = await transport.request(method, PATH)
    assert answer.data == {"id": "x"}
    assert len(api.seen) == 3
    assert time.slept == [0.25, 0.5]


@pytest.mark.parametrize("status", [500, 502, 503])
async def test_post_that_may_have_had_an_effect(api, transport, time, status):
    """A POST that got a 5xx is sent exactly once, even with Retry-After."""
    api.reply(status, headers={"Retry-After": "1"})
    with pytest.raises(ServerError) as caught:
        await transport.request("POST", PATH, body={})
    assert (caught.value.status, caught.value.retry_after) == (status, 1)
    assert len(api.seen) == 1
    assert time.slept == []


async def test_post_that_got_a_429(api, transport, time):
    """A POST that got a 429 is repeated after Retry-After, with the same body."""
    api.reply(429, LIMITED, headers={"Retry-After": "3"}).reply(201, {"id": "x"})
    answer = await transport.request("POST", PATH, body={"a": 1})
    assert answer.status == 201
    assert [each.body for each in api.seen] == [{"a": 1}, {"a": 1}]
    assert time.slept == [3.25]


async def test_post_that_is_declared_repeatable(api, transport):
    """The caller can declare a POST repeatable, and a PUT not repeatable."""
    api.reply(500).reply(201, {"id": "x"}).reply(500)
    assert (await transport.request("POST", PATH, body={}, is_repeatable=True)).status == 201
    with pytest.raises(ServerError):
        await transport.request("PUT", PATH, body={}, is_repeatable=False)
    assert len(api.seen) == 3


async def test_retry_after_as_a_date(api, transport, time):
    """Retry-After may be a date, relative to the Date of the response."""
    headers = {"Date": formatdate(5000, usegmt=True), "Retry-After": formatdate(5007, usegmt=True)}
    api.reply(429, LIMITED, headers=headers).reply(200)
    await transport.request("GET", PATH)
    assert time.slept == [7.25]


async def test_retry_after_past_the_deadline(api, transport, time):
    """A wait past the deadline is not begun."""
    api.reply(429, LIMITED, headers={"Retry-After": "61"})
    with pytest.raises(RateLimitError) as caught:
        await transport.request("GET", PATH)
    assert (caught.value.retry_after, caught.value.code) == (61, 20429)
    assert time.slept == []


async def test_a_429_holds_back_other_calls_for_seconds(api, transport, time):
    """The Retry-After of one customer's call holds back the calls of others for MAX_HOLD seconds only."""
    api.reply(429, LIMITED, headers={"Retry-After": "100"}).reply(201, times=2)
    with pytest.raises(RateLimitError) as caught:
        await transport.request("GET", PATH)
    assert caught.value.retry_after == 100
    await transport.request("POST", PATH, body={})
    await transport.request("POST", PATH, body={})
    assert time.slept == [MAX_HOLD]
    assert len(api.seen) == 3


async def test_calls_that_a_hold_keeps_past_their_deadline(api, time, connect):
    """They fail at once, and nothing is sent."""
    transport = connect(api.base_url, deadline=MAX_HOLD)
    api.reply(429, LIMITED, headers={"Retry-After": "100"})
    with pytest.raises(RateLimitError, match="HTTP 429"):
        await transport.request("GET", PATH)
    with pytest.raises(RateLimitError, match="held back") as caught:
        await transport.request("POST", PATH, body={})
    assert caught.value.retry_after == MAX_HOLD
    assert (len(api.seen), time.slept) == (1, [])


async def test_cap_falls_on_429(api, transport):
    """A 429 halves the cap, and successes raise it."""
    api.reply(429, LIMITED).reply(200, times=60)
    for _ in range(33):
        await transport.request("GET", PATH)
    assert transport.limiter.window.cap == 33


async def test_server_error_keeps_the_cap(api, connect):
    """A 5xx does not change the cap."""
    transport = connect(api.base_url, retries=0)
    api.reply(500)
    with pytest.raises(ServerError):
        await transport.request("GET", PATH)
    assert transport.limiter.window.cap == 64


async def test_retries_end(api, transport, time):
    """After four retries the last error is raised."""
    api.reply(503, {"message": "away"}, times=9)
    with pytest.raises(ServerError, match="away"):
        await transport.request("GET", PATH)
    assert len(api.seen) == 5
    assert time.slept == [0.25, 0.5, 1.0, 2.0]


async def test_deadline_over_attempts(api, transport, time):
    """No retry begins after the deadline."""
    api.reply(500, seconds=29.0, times=9)
    started = time.now
    with pytest.raises(ServerError):
        await transport.request("GET", PATH)
    assert len(api.seen) == 3
    assert time.slept == [0.25, 0.5]
    assert time.now - started < 60 + 29


async def test_deadline_passed_while_sleeping(api, time, connect):
    """A call whose wait took longer than planned fails at its deadline."""

    async def oversleep(seconds):
        await time.sleep(seconds + 100)

    transport = connect(api.base_url, sleep=oversleep)
    api.reply(429, LIMITED)
    with pytest.raises(TransportError, match="deadline has passed") as caught:
        await transport.request("POST", PATH, body={})
    assert not caught.value.is_sent
    assert len(api.seen) == 1


async def test_is_sent_over_all_attempts(connect):
    """A call that got a 5xx and then a refused connection may have had an effect."""

    async def fail(reader, writer):
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 500 Oops\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
        await writer.drain()
        writer.close()

    server = await asyncio.start_server(fail, "127.0.0.1", 0)

    async def close_server(_seconds):
        server.close()

    transport = connect(f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}", sleep=close_server)
    with pytest.raises(TransportError, match="ClientConnectorError") as caught:
        await transport.request("PUT", PATH)
    assert caught.value.is_sent


@pytest.mark.parametrize("status", [500, 503, 423])
async def test_an_outage_of_one_resource_holds_back_no_other_call(api, transport, time, status):
    """Only a 429 is about the account: the Retry-After of another status is for the call that got it."""
    api.reply(status, headers={"Retry-After": "90"}).reply(200)
    with pytest.raises(UnavailableError) as caught:
        await transport.request("POST", PATH, body={})
    assert caught.value.retry_after == 90
    await transport.request("GET", PATH)
    assert time.slept == []


@pytest.mark.parametrize(
    ("status", "error_class"),
    [
        (400, RequestError),
        (401, AuthenticationError),
        (403, AuthenticationError),
        (404, NotFoundError),
        (409, ConflictError),
    ],
)
@pytest.mark.parametrize("method", ["GET", "POST"])
async def test_refusals_are_not_repeated(api, transport, method, status, error_class):
    """A request that the API refuses is sent once."""
    api.reply(status, {"code": 1, "message": "no"})
    with pytest.raises(error_class):
        await transport.request(method, PATH)
    assert len(api.seen) == 1


@pytest.mark.parametrize("raw", [b"", b"{", b"[]"], ids=["empty", "broken", "list"])
async def test_unreadable_success(api, transport, raw):
    """An unreadable 2xx is repeated for a read and raised at once for a POST."""
    api.reply(200, raw=raw).reply(200, {"id": "x"}).reply(201, raw=raw)
    assert (await transport.request("GET", PATH)).data == {"id": "x"}
    with pytest.raises(ServerError) as caught:
        await transport.request("POST", PATH, body={})
    assert caught.value.status == 201
    assert len(api.seen) == 3


async def test_response_headers(api, transport):
    """Headers of a response are case-insensitive, and its repr holds no data."""
    api.reply(202, {"id": "x", "name": "Ana"}, headers={"Operation-Id": "proc_job_1"})
    answer = await transport.request("POST", PATH, body={})
    assert answer.headers["operation-id"] == "proc_job_1"
    assert "Ana" not in repr(answer)


async def test_body_that_cannot_be_encoded(api, transport):
    """A value that JSON cannot carry is refused before anything is sent."""
    with pytest.raises(RequestError, match="cannot be written as JSON"):
        await transport.request("POST", PATH, body={"text": "\ud800"})
    assert api.seen == []


def test_transport_without_a_loop():
    """A transport can be made without an event loop and opens nothing until it is used."""
    assert Transport("https://conversations.twilio.com/v2/", "SK1", "x")._session._session is None


@pytest.mark.parametrize(
    "options",
    [{"timeout": 0}, {"deadline": 0}, {"retries": -1}, {"max_in_flight": 0}],
    ids=lambda options: next(iter(options)),
)
def test_impossible_options(options):
    """Options with which no call can succeed are refused."""
    with pytest.raises(ValueError, match="must be"):
        Transport("https://conversations.twilio.com", "SK1", "x", **options)


async def test_base_with_a_version(api, connect):
    """A base with a version and a slash has the same paths."""
    api.reply()
    await connect(f"{api.base_url}/v2/").request("GET", PATH)
    assert api.seen[0].target == PATH


async def test_many_concurrent_calls(api, connect):
    """Each of many concurrent calls gets its own response, and no more are in flight than allowed."""
    transport = connect(api.base_url, max_in_flight=5)
    in_flight, most = 0, 0

    async def serve(request):
        nonlocal in_flight, most
        in_flight += 1
        most = max(most, in_flight)
        await asyncio.sleep(0)
        in_flight -= 1
        return web.Response(body=orjson.dumps({"n": request.query["n"]}))

    api.otherwise = serve
    answers = await asyncio.gather(*(transport.request("GET", PATH, query={"n": str(n)}) for n in range(100)))
    assert [answer.data["n"] for answer in answers] == [str(n) for n in range(100)]
    assert most <= 5


async def test_the_apis_own_time_is_known_from_its_answers(api, transport, time):
    """By the Date of a prompt response, within a second, and carried on by our monotonic clock."""
    assert transport.server_time is None
    api.reply(200, {}, headers={"Date": formatdate(5000, usegmt=True)})
    await transport.request("GET", PATH)
    assert transport.server_time == 5000.5
    time.now += 61
    assert transport.server_time == 5061.5
    api.reply(200, {}, headers={"Date": "no date"})
    await transport.request("GET", PATH)
    assert transport.server_time is None


async def test_a_late_answer_does_not_tell_the_time(api, transport, time):
    """A response that took long may have been dated long ago."""
    api.reply(200, {}, headers={"Date": formatdate(5000, usegmt=True)})
    await transport.request("GET", PATH)

    async def late(_):
        time.now += 2
        return web.json_response({}, headers={"Date": formatdate(1000, usegmt=True)})

    api.steps.append(late)
    await transport.request("GET", PATH)
    assert transport.server_time == 5002.5
