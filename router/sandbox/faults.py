"""Fault injection: makes chosen requests late, wrong or unanswered, before or after they had their effect.

A fault matches a method and a route template (`*` matches all), for the next `times` requests, or with a
`probability`, or both; the first that matches is taken. Hanging requests are let go when faults are cleared, when the
caller gives up, or when the sandbox ends; they never have an effect.
"""

from __future__ import annotations

import asyncio
import socket
import struct
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Literal

from aiohttp import web
from pydantic import Field

from router.sandbox.errors import RefusalError
from router.sandbox.v2.bodies import Body

if TYPE_CHECKING:
    import random
    from collections.abc import Awaitable, Callable

#: How often a hanging request looks whether its caller is still there, in seconds.
_LOOK: Final = 0.5
_NO_LINGER: Final = struct.pack("ii", 1, 0)


class Fault(Body):
    """The body of POST /sandbox/faults.

    `status` and `reset` come before the effect or after it (`when`); a broken or empty `body` replaces the answer to
    a request that had its effect. `latencySeconds` delays whatever else happens. `churn` lets Twilio change a
    conversation right after a request about it, such as for a page of its participants: it takes out the one that
    the list shows first, or adds an agent.
    """

    method: str = "*"
    route: str = "*"
    status: int | None = Field(default=None, ge=400, le=599)
    retry_after: int | None = Field(default=None, ge=0)
    latency_seconds: float = Field(default=0.0, ge=0.0)
    hang: bool = False
    reset: bool = False
    when: Literal["before", "after"] = "before"
    body: Literal["broken", "empty"] | None = None
    churn: Literal["removal", "addition"] | None = None
    times: int | None = Field(default=None, ge=1)
    probability: float = Field(default=1.0, ge=0.0, le=1.0)


@dataclass(slots=True)
class _Armed:
    fault: Fault
    left: int | None


class Faults:
    """The faults that are armed."""

    def __init__(self, entropy: random.Random) -> None:
        self._entropy = entropy
        self._armed: list[_Armed] = []
        self._released = asyncio.Event()

    def arm(self, fault: Fault) -> None:
        """Let `fault` happen from now on."""
        self._armed.append(_Armed(fault, fault.times))

    def clear(self) -> None:
        """Disarm all and let hanging requests go."""
        self._armed.clear()
        self._released.set()
        self._released = asyncio.Event()

    def listing(self) -> list[dict[str, object]]:
        """Return the armed faults in wire form, with how many requests each is left for (null: no end)."""
        return [each.fault.model_dump(mode="json", by_alias=True) | {"left": each.left} for each in self._armed]

    def take(self, method: str, route: str) -> Fault | None:
        """Return the fault for a request and count it down."""
        for armed in self._armed:
            fault = armed.fault
            if fault.method.upper() not in {"*", method} or fault.route not in {"*", route}:
                continue
            if fault.probability < 1.0 and self._entropy.random() >= fault.probability:
                continue
            if armed.left is not None:
                armed.left -= 1
                if not armed.left:
                    self._armed.remove(armed)
            return fault
        return None

    async def hang(self, request: web.Request) -> None:
        """Wait until faults are cleared or the caller is gone."""
        released = self._released
        while not released.is_set() and request.transport is not None and not request.transport.is_closing():
            with suppress(TimeoutError):
                await asyncio.wait_for(released.wait(), _LOOK)


async def suffer(
    faults: Faults, fault: Fault, request: web.Request, answer: Callable[[], Awaitable[web.StreamResponse]]
) -> web.StreamResponse:
    """Let `fault` happen to a request that `answer` would answer; raises RefusalError for a status."""
    if fault.latency_seconds:
        await asyncio.sleep(fault.latency_seconds)
    if fault.hang:
        await faults.hang(request)
        return _reset(request)
    if fault.when == "before":
        if fault.reset:
            return _reset(request)
        _refuse(fault)
    response = await answer()
    if fault.reset:
        return _reset(request)
    _refuse(fault)
    if fault.body is None:
        return response
    return web.Response(
        status=response.status,
        body=b'{"id": "conv_' if fault.body == "broken" else b"",
        content_type="application/json",
    )


def _refuse(fault: Fault) -> None:
    if fault.status is not None:
        headers = {} if fault.retry_after is None else {"Retry-After": str(fault.retry_after)}
        raise RefusalError(fault.status, "Fault injected", headers=headers)


def _reset(request: web.Request) -> web.StreamResponse:
    """Cut the connection, where the platform allows with a TCP reset; what is returned reaches nobody."""
    if request.transport is not None:
        raw = request.transport.get_extra_info("socket")
        with suppress(OSError, AttributeError, TypeError):
            raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _NO_LINGER)
        request.transport.abort()
    return web.Response()
