"""The programs that ours are compared with: two receivers, four consumers and an API, each a process of its own.

`bare` and `raw` do only what no program can leave out: they are the limit. `straightforward` is a receiver as in the
documentation of its libraries, `single` is FastStream as in its tutorial. `pair` is the worker for `straightforward`
(handwritten_worker.py), `agent` joins and answers (handwritten_agent.py), and `api` serves these as well as ours
(lean_api.py). They are this plain on purpose; all run on uvloop and none of them logs.
"""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING, Any, Final

from aiohttp import web

from router.process.loop import Stop, run, until_stopped_or
from router.streams.client.connection import connect
from tests.benchmarks import webhooks
from tests.benchmarks.handwritten_agent import handwritten_agent
from tests.benchmarks.handwritten_worker import BATCH, BLOCK, CONSUMER, handwritten_worker
from tests.benchmarks.lean_api import lean_api
from tests.support.accounts import BASE_URL, TOKEN

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

ANSWER: Final = b'<?xml version="1.0" encoding="UTF-8"?><Response/>'
_CLAIM_SECONDS: Final = 2 * 86_400


async def bare(arguments: argparse.Namespace) -> int:
    """Read the body, answer 200."""

    async def handle(request: web.Request) -> web.Response:
        await request.read()
        return web.Response(body=ANSWER, content_type="text/xml")

    return await _serve(handle, arguments.port)


async def straightforward(arguments: argparse.Namespace) -> int:
    """Do what the libraries' own examples do: the SDK's validator, then a SET NX and an XADD for each request."""
    from redis.asyncio import Redis
    from twilio.request_validator import RequestValidator

    validator, redis = RequestValidator(TOKEN), Redis.from_url(arguments.redis)

    async def handle(request: web.Request) -> web.Response:
        form = await request.post()
        url = BASE_URL + request.path_qs
        if not validator.validate(url, form, request.headers.get("X-Twilio-Signature", "")):
            return web.Response(status=403)
        fields: Any = dict(form)
        if await redis.set(f"seen:{fields['MessageSid']}", "1", nx=True, ex=_CLAIM_SECONDS):
            await redis.xadd("straightforward", fields)
        return web.Response(body=ANSWER, content_type="text/xml")

    try:
        return await _serve(handle, arguments.port)
    finally:
        await redis.aclose()


async def _serve(handle: Callable[[web.Request], Awaitable[web.StreamResponse]], port: int) -> int:
    app = web.Application()
    app.router.add_post(webhooks.PATH, handle)
    runner = web.AppRunner(app, access_log=None, handle_signals=False, shutdown_timeout=1)
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", port).start()
        await Stop().wait()
    finally:
        await runner.cleanup()
    return 0


async def raw(arguments: argparse.Namespace) -> int:
    """Read 100 entries, acknowledge them with one XACK, and so on."""
    redis = connect(arguments.redis)

    async def consume() -> None:
        streams: Any = {arguments.stream: ">"}
        while True:
            rows: Any = await redis.xreadgroup(arguments.group, CONSUMER, streams, count=BATCH, block=BLOCK)
            for _, entries in rows or ():
                await redis.xack(arguments.stream, arguments.group, *[entry_id for entry_id, _ in entries])

    try:
        await until_stopped_or(consume())
    finally:
        await redis.aclose()
    return 0


async def single(arguments: argparse.Namespace) -> int:
    """Have FastStream call a function for each entry, which acknowledges it and does nothing else."""
    from faststream import AckPolicy
    from faststream.redis import RedisBroker, RedisStreamMessage, StreamSub

    silent: Any = None
    broker = RedisBroker(arguments.redis, logger=silent)
    stream = StreamSub(
        arguments.stream, group=arguments.group, consumer=CONSUMER, max_records=BATCH, polling_interval=BLOCK
    )

    # FastStream reads the annotation; as text it could not be resolved here.
    async def handle(message):
        await message.ack()

    handle.__annotations__ = {"message": RedisStreamMessage}
    broker.subscriber(stream=stream, ack_policy=AckPolicy.MANUAL)(handle)
    await broker.start()
    try:
        await Stop().wait()
    finally:
        await broker.stop()
    return 0


BASELINES: Final = {
    "bare": bare,
    "straightforward": straightforward,
    "raw": raw,
    "single": single,
    "pair": handwritten_worker,
    "agent": handwritten_agent,
    "api": lean_api,
}


def main() -> int:
    """Run one of them until SIGTERM."""
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks.baselines", description=__doc__)
    parser.add_argument("baseline", choices=BASELINES)
    parser.add_argument("--port", type=int, help="receivers and the API: listen there")
    parser.add_argument("--redis", help="URL of the server")
    parser.add_argument("--stream", help="consumers: read this stream")
    parser.add_argument("--group", help="consumers: as a member of this group, which exists")
    parser.add_argument("--api", help="pair and agent: URL of the API")
    parser.add_argument("--latency", type=float, default=0.0, help="API: seconds until it answers")
    parser.add_argument("--has-all", action="store_true", help="API: every customer has a conversation already")
    parser.add_argument("--is-alone", action="store_true", help="API: a customer is alone until an agent joins")
    arguments = parser.parse_args()
    return run(BASELINES[arguments.baseline](arguments))


if __name__ == "__main__":
    raise SystemExit(main())
