"""Operations of the control plane: a write that is answered 202 takes effect at once, and is reported as done later.

The same `Idempotency-Key` gets the operation of the first request, and the write has no second effect.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

from router.sandbox.bodies import json_response
from router.sandbox.errors import invalid
from router.sandbox.middlewares import STATE
from router.sandbox.state import KEEP_OPERATIONS

if TYPE_CHECKING:
    from collections.abc import Callable

    from aiohttp import web

    from router.sandbox.v2.records import OperationRecord

OPERATIONS: Final = "/v2/ControlPlane/Operations"
_UUID: Final = re.compile(r"[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}")


def once(request: web.Request, write: Callable[[], OperationRecord]) -> web.Response:
    """Return the 202 of `write`, or that of the first request with this `Idempotency-Key`.

    Raises RefusalError (400) for a key that is not a UUID, and what `write` raises.
    """
    state, key = request.app[STATE], request.headers.get("Idempotency-Key")
    if key is not None and not _UUID.fullmatch(key):
        raise invalid("Idempotency-Key", "is not a UUID")
    known = state.operations.get(state.repeated_writes.get((key or "").lower(), ""))
    operation = known or write()
    if key is not None:
        state.repeated_writes[key.lower()] = operation.id
        if len(state.repeated_writes) > KEEP_OPERATIONS:
            state.repeated_writes.popitem(last=False)
    url = status_url(request, operation)
    headers = {"Operation-Id": operation.id, "Retry-After": "5", "Location": url}
    # times are null, since npm's client reads absent ones as now
    wire = {"statusUrl": url, "related": operation.related, "createdAt": None, "updatedAt": None}
    return json_response(wire, 202, headers)


def status_url(request: web.Request, operation: OperationRecord) -> str:
    """Return the URL of an operation."""
    return f"{request.scheme}://{request.host}{OPERATIONS}/{operation.id}"
