"""Fault injection: chosen requests are delayed, refused or cut off, before or after they had their effect.

A fault matches a method, a route template (`*` matches all) and a text that occurs in the request, for the next
`times` requests, with a `probability`, or both; the first fault that matches is applied. A hanging request ends when
faults are cleared, when its caller disconnects, or when the sandbox ends; it never has an effect.
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

from router.core.addresses import Channel
from router.core.resources import ParticipantAddress, ParticipantType
from router.sandbox.bodies import MAX_COUNT, MAX_SECONDS, Body
from router.sandbox.errors import RefusalError
from router.sandbox.v2.membership import ParticipantDraft, insert
from router.sandbox.v2.participants import remove_participant

if TYPE_CHECKING:
    import random
    from collections.abc import Awaitable, Callable

    from router.sandbox.state import SandboxState

#: Seconds between two checks that the caller of a hanging request is still connected.
_CALLER_CHECK: Final = 0.5
_NO_LINGER: Final = struct.pack("ii", 1, 0)


class Fault(Body):
    """The body of POST /sandbox/faults.

    `containing` is a text in the URL or the body of the request: with an address the API fails for one customer, with
    `"EMAIL"` for one channel. `status` and `reset` come before the effect or after it (`when`). A broken or empty
    `body` replaces the response to a request that had its effect. `latencySeconds` delays all of these. `churn` changes
    the conversation right after a request about it (a page of its participants, say): it removes the participant that
    the list shows first, or adds an agent.
    """

    method: str = "*"
    route: str = "*"
    containing: str = ""
    status: int | None = Field(default=None, ge=400, le=599)
    retry_after: int | None = Field(default=None, ge=0, le=MAX_COUNT)
    latency_seconds: float = Field(default=0.0, ge=0.0, le=MAX_SECONDS)
    hang: bool = False
    reset: bool = False
    when: Literal["before", "after"] = "before"
    body: Literal["broken", "empty"] | None = None
    churn: Literal["removal", "addition"] | None = None
    times: int | None = Field(default=None, ge=1, le=MAX_COUNT)
    probability: float = Field(default=1.0, ge=0.0, le=1.0)


@dataclass(slots=True)
class _ArmedFault:
    fault: Fault
    left: int | None
    applied: int = 0


class Faults:
    """The armed faults."""

    def __init__(self, entropy: random.Random) -> None:
        self._entropy = entropy
        self._armed: list[_ArmedFault] = []
        self._released = asyncio.Event()

    @property
    def is_armed(self) -> bool:
        """Whether any fault may match a request."""
        return bool(self._armed)

    def arm(self, fault: Fault) -> None:
        """Apply `fault` to requests from now on."""
        self._armed.append(_ArmedFault(fault, fault.times))

    def clear(self, containing: str | None = None) -> None:
        """Disarm all faults, or those of a text, and end hanging requests."""
        self._armed = [] if containing is None else [one for one in self._armed if one.fault.containing != containing]
        self._released.set()
        self._released = asyncio.Event()

    def to_wire(self) -> list[dict[str, object]]:
        """Return the armed faults, with the requests `left` for each (null: no limit) and those it was `applied` to."""
        return [
            each.fault.model_dump(mode="json", by_alias=True) | {"left": each.left, "applied": each.applied}
            for each in self._armed
        ]

    def take(self, method: str, route: str, text: str = "") -> Fault | None:
        """Return the fault for a request with this `text`, its URL and its body, and count it down."""
        for armed in self._armed:
            fault = armed.fault
            if fault.method.upper() not in {"*", method} or fault.route not in {"*", route}:
                continue
            if fault.containing not in text:
                continue
            if fault.probability < 1.0 and self._entropy.random() >= fault.probability:
                continue
            armed.applied += 1
            if armed.left is not None:
                armed.left -= 1
                if not armed.left:
                    self._armed.remove(armed)
            return fault
        return None

    async def hang(self, request: web.Request) -> None:
        """Wait until faults are cleared or the caller disconnects."""
        released = self._released
        while not released.is_set() and request.transport is not None and not request.transport.is_closing():
            with suppress(TimeoutError):
                await asyncio.wait_for(released.wait(), _CALLER_CHECK)


async def apply_fault(
    faults: Faults, fault: Fault, request: web.Request, handle: Callable[[], Awaitable[web.StreamResponse]]
) -> web.StreamResponse:
    """Apply `fault` to a request that `handle` would respond to; raises RefusalError for a status."""
    if fault.latency_seconds:
        await asyncio.sleep(fault.latency_seconds)
    if fault.hang:
        await faults.hang(request)
        return _reset(request)
    if fault.when == "before":
        if fault.reset:
            return _reset(request)
        _refuse(fault)
    response = await handle()
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


def churn(state: SandboxState, conversation_id: str, change: Literal["removal", "addition"]) -> None:
    """Change an open conversation as Twilio can: remove the participant that its list shows first, or add an agent."""
    conversation = state.conversations.get(conversation_id)
    if conversation is None or conversation.is_closed:
        return
    if change == "addition":
        address = f"churn-{len(conversation.participants)}-{state.entropy.getrandbits(32):08x}"
        addresses = (ParticipantAddress(channel=Channel.CHAT, address=address),)
        draft = ParticipantDraft(ParticipantType.HUMAN_AGENT, None, None, addresses)
        (participant,) = insert(state, conversation, [draft])
        state.emit(conversation, "PARTICIPANT_ADDED", state.participant_wire(participant), by_api=False)
    elif conversation.participants.ordered:
        first = -1 if state.options.list_order == "descending" else 0
        remove_participant(state, conversation, conversation.participants.ordered[first])


def _refuse(fault: Fault) -> None:
    if fault.status is not None:
        headers = {} if fault.retry_after is None else {"Retry-After": str(fault.retry_after)}
        raise RefusalError(fault.status, "Fault injected", headers=headers)


def _reset(request: web.Request) -> web.StreamResponse:
    """Abort the connection, with a TCP reset where the platform allows; the returned response is never sent."""
    if request.transport is not None:
        raw = request.transport.get_extra_info("socket")
        with suppress(OSError, AttributeError, TypeError):
            raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _NO_LINGER)
        request.transport.abort()
    return web.Response()
