"""Refusals: what the sandbox answers instead of a resource, in the three body shapes that the API's sources show.

Shape A is the OpenAPI description's, B the troubleshooting page's, C is RFC 9457. A program must get along with all
three, so one switch turns every error into either.
"""

from __future__ import annotations

from http import HTTPStatus
from typing import Any, Final

from router.core.errors import RouterError

BAD_REQUEST: Final = 20001
UNAUTHORIZED: Final = 20003

#: HTTP status to Twilio's code; a 409 carries 400 as its code, which is what a captured one did.
_CODES: Final = {400: BAD_REQUEST, 401: UNAUTHORIZED, 404: 20404, 405: 20004, 409: 400, 415: 20422, 429: 20429}


class RefusalError(RouterError):
    """An answer of the API other than 2xx: `status`, `code`, the `field` at fault and extra `headers`."""

    def __init__(
        self,
        status: int,
        message: str,
        *,
        code: int | None = None,
        field: str | None = None,
        headers: dict[str, str] | None = None,
    ) -> None:
        super().__init__(message)
        self.status = status
        self.message = message
        self.code = code or _CODES.get(status, 20000 + status)
        self.field = field
        self.headers = headers or {}


def invalid(field: str, problem: str) -> RefusalError:
    """Return the 400 for a field of the body or query that cannot be taken."""
    return RefusalError(400, f"{field}: {problem}", field=field)


def not_found(what: str, resource_id: str) -> RefusalError:
    """Return the 404 for an id that this account does not have."""
    return RefusalError(404, f"{what} {resource_id} was not found")


def conflict(message: str, resource_id: str) -> RefusalError:
    """Return the 409 that names the resource in the way, as the API does in a header."""
    return RefusalError(409, message, headers={"X-Conflicting-Resource-Id": resource_id})


def mapping_exists(conversation_id: str) -> RefusalError:
    """Return the 409 of a grouping collision; programs read the id out of this very text when the header is lost."""
    return conflict(f"Address mapping already exists on conversation {conversation_id}.", conversation_id)


def render(refusal: RefusalError, shape: str) -> dict[str, Any]:
    """Return the body of `refusal` in shape A, B or C; `auto` is A, and B for a 401."""
    if shape == "auto":
        shape = "B" if refusal.status == HTTPStatus.UNAUTHORIZED else "A"
    return _SHAPES[shape](refusal)


def _shape_a(refusal: RefusalError) -> dict[str, Any]:
    return {
        "code": refusal.code,
        "message": refusal.message,
        "more_info": _more_info(refusal),
        "status": refusal.status,
    }


def _shape_b(refusal: RefusalError) -> dict[str, Any]:
    return {
        "code": refusal.code,
        "httpStatusCode": refusal.status,
        "message": refusal.message,
        "userError": refusal.status < HTTPStatus.INTERNAL_SERVER_ERROR,
        "params": {"field": refusal.field} if refusal.field else {},
    }


def _shape_c(refusal: RefusalError) -> dict[str, Any]:
    pointer = "/" + refusal.field.replace(".", "/").replace("[", "/").replace("]", "") if refusal.field else None
    return {
        "type": _more_info(refusal),
        "title": HTTPStatus(refusal.status).phrase,
        "status": refusal.status,
        "code": refusal.code,
        "detail": refusal.message,
        "errors": [{"detail": refusal.message, "pointer": pointer}] if pointer else [],
    }


def _more_info(refusal: RefusalError) -> str:
    return f"https://www.twilio.com/docs/errors/{refusal.code}"


_SHAPES: Final = {"A": _shape_a, "B": _shape_b, "C": _shape_c}
