"""The programs that ours are measured beside: two receivers, three consumers and an API, each a process of its own.

`bare` and `raw` do nothing but what nobody can leave out: they are the limit. `straightforward` is a receiver as the
documentation of its libraries would have it, `single` FastStream as its tutorial shows it. `pair` does a worker's work
for it (pair.py), and `api` answers both, ours and that (lean_api.py). Kept as plain as that on purpose; all run on
uvloop and none of them logs.
"""

from __future__ import annotations

import argparse
import asyncio
from typing import TYPE_CHECKING, Any, Final

from aiohttp import web

from router.process.loop import run, until_stopped
from router.streams.client.connection import connect
from tests.benchmarks import webhooks
from tests.benchmarks.lean_api import lean_api
from tests.benchmarks.pair import BATCH, BLOCK, CONSUMER, pair_worker

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
    """Do it as the libraries' own examples do: the SDK's validator, then a SET NX and an XADD for each request."""
    from redis.asyncio import Redis
    from twilio.request_validator import RequestValidator

    validator, redis = RequestValidator(webhooks.AUTH_TOKEN), Redis.from_url(arguments.redis)

    async def handle(request: web.Request) -> web.Response:
        form = await request.post()
        url = webhooks.PUBLIC_BASE_URL + request.path_qs
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
        await until_stopped()
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

    consuming = asyncio.create_task(consume())
    stopping = asyncio.create_task(until_stopped())
    try:
        await asyncio.wait({consuming, stopping}, return_when=asyncio.FIRST_COMPLETED)
        if consuming.done():
            consuming.result()  # it never ends but by an error
    finally:
        consuming.cancel()
        stopping.cancel()
        await asyncio.gather(consuming, stopping, return_exceptions=True)
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

    # The annotation is how FastStream knows what to pass; as text it could not be resolved in here.
    async def handle(message):
        await message.ack()

    handle.__annotations__ = {"message": RedisStreamMessage}
    broker.subscriber(stream=stream, ack_policy=AckPolicy.MANUAL)(handle)
    await broker.start()
    try:
        await until_stopped()
    finally:
        await broker.stop()
    return 0


RIVALS: Final = {
    "bare": bare,
    "straightforward": straightforward,
    "raw": raw,
    "single": single,
    "pair": pair_worker,
    "api": lean_api,
}


def main() -> int:
    """Run one of them until SIGTERM."""
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks.rivals", description=__doc__)
    parser.add_argument("rival", choices=RIVALS)
    parser.add_argument("--port", type=int, help="receivers and the API: listen there")
    parser.add_argument("--redis", help="URL of the server")
    parser.add_argument("--stream", help="consumers: read this")
    parser.add_argument("--group", help="consumers: as this group, which exists")
    parser.add_argument("--api", help="pair: URL of the API")
    parser.add_argument("--latency", type=float, default=0.0, help="API: seconds until it answers")
    parser.add_argument("--has-all", action="store_true", help="API: every customer has a conversation already")
    arguments = parser.parse_args()
    return run(RIVALS[arguments.rival](arguments))


if __name__ == "__main__":
    raise SystemExit(main())
