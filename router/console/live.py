"""Server-sent events: sent as they come, until the reader is gone, its session has ended or the console stops."""

from __future__ import annotations

import asyncio
import socket
from contextlib import aclosing, suppress
from typing import TYPE_CHECKING, Final

from aiohttp_sse import EventSourceResponse, sse_response

from router.console.identity import identify
from router.console.roles import ConsoleError
from router.streams.client.connection import RedisError
from router.tasks import end

if TYPE_CHECKING:
    from collections.abc import Callable

    from aiohttp import web

    from router.console.answers import Answers
    from router.console.pages import Live, LiveEvent, Page
    from router.console.request import ConsoleRequest

#: Seconds between two looks whether the reader is there, between two at its session, and between two pings.
LOOK: Final = 1.0
SESSION_LOOK: Final = 15.0
PING: Final = 15.0


async def stream(
    request: ConsoleRequest, page: Page, live: Live, answers: Answers, stopping: asyncio.Event
) -> web.StreamResponse:
    """Send the events of a page."""
    _notice_death(request.raw.transport)
    async with sse_response(request.raw, ping_interval=PING) as response:
        tasks = [
            asyncio.create_task(_send(response, live, answers.fragments(request.raw, request.caller, page))),
            asyncio.create_task(_watch(request, live)),
            asyncio.create_task(stopping.wait()),
        ]
        try:
            done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
            with suppress(ConnectionError, TimeoutError):
                for task in done:
                    task.result()
        finally:
            await end(*tasks)
    return response


def _notice_death(transport: asyncio.Transport | None) -> None:
    """Have a connection end whose other side has vanished, if the system can: pings are lost on it without a word."""
    sock = transport.get_extra_info("socket") if transport is not None else None
    if sock is not None and hasattr(socket, "TCP_USER_TIMEOUT") and sock.family in {socket.AF_INET, socket.AF_INET6}:
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, int(PING * 2000))


async def _send(response: EventSourceResponse, live: Live, make: Callable[[LiveEvent], str]) -> None:
    async with aclosing(live.events) as events:  # at once: who is gone must not count as being there
        async for event in events:
            await response.send(make(event), id=event.event_id, event=event.name)


async def _watch(request: ConsoleRequest, live: Live) -> None:
    """Return once the reader is gone, is another one, or has another role; an outage of Redis ends nothing."""
    elapsed = 0.0
    while True:
        await asyncio.sleep(LOOK)
        transport = request.raw.transport
        if transport is None or transport.is_closing():
            return
        elapsed += LOOK
        if elapsed < SESSION_LOOK:
            continue
        elapsed = 0.0
        try:
            caller = await identify(request.raw, request.ports, renew=live.keeps_session)
        except ConsoleError:
            return
        except (RedisError, OSError):
            continue
        if caller is None or (caller.user, caller.role) != (request.user, request.role):
            return  # another role may see less of the same page: its reader connects anew
