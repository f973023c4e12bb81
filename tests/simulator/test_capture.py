"""Messages that the sandbox is asked to capture: what the report says if it does not."""

from __future__ import annotations

from aiohttp import web
from aiohttp.test_utils import TestServer

from router.simulator.capture import capture_message

MESSAGE = {"channel": "SMS", "from": "+15551230001", "to": "+15557650000", "body": "hi", "resourceId": "SM1"}


def environment_of(url):
    return {"TWILIO_CONVERSATIONS_URL": url, "TWILIO_API_KEY": "SK1", "TWILIO_API_SECRET": "made-up"}


async def test_a_refusal_is_reported_with_its_status():
    """An API that fails, as a sandbox does that was told to, is named with what it answered."""

    async def fail(_):
        raise web.HTTPTooManyRequests

    app = web.Application()
    app.router.add_route("*", "/{path:.*}", fail)
    async with TestServer(app) as server:
        url = str(server.make_url("")).rstrip("/")
        report = await capture_message(environment_of(url), MESSAGE)
    assert report == f"no sandbox captured the message: {url} answered 429"


async def test_nobody_who_answers_is_reported():
    """Nothing listens there: the report says so, and nothing fails."""
    report = await capture_message(environment_of("http://127.0.0.1:1"), MESSAGE)
    assert report is not None
    assert report.startswith("no sandbox captured the message: ")


async def test_without_a_sandbox_there_is_no_report():
    """The settings name none."""
    assert await capture_message({}, MESSAGE) is None
