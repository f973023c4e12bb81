"""Refusals: responses of the API other than 2xx, in the three body shapes that its sources show.

Shape A is from the OpenAPI description, B from the troubleshooting page, C is RFC 9457. A client must read all three,
so one switch turns every error into any of them.
"""

from __future__ import annotations

from http import HTTPStatus
from typing import Any, Final

from router.core.errors import RouterError

BAD_REQUEST: Final = 20001
UNAUTHORIZED: Final = 20003

#: HTTP status to Twilio's code; a 409 has the code 400, as a recorded response of the live API had.
_CODES: Final = {400: BAD_REQUEST, 401: UNAUTHORIZED, 404: 20404, 405: 20004, 409: 400, 415: 20422, 429: 20429}


class RefusalError(RouterError):
    """A response of the API other than 2xx: `status`, `code`, the wrong `field` and extra `headers`."""

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
    """Return the 400 for a wrong field of the body or query."""
    return RefusalError(400, f"{field}: {problem}", field=field)


def not_found(resource: str, resource_id: str) -> RefusalError:
    """Return the 404 for an unknown id."""
    return RefusalError(404, f"{resource} {resource_id} was not found")


def conflict(message: str, resource_id: str) -> RefusalError:
    """Return a 409 whose header names the conflicting resource."""
    return RefusalError(409, message, headers={"X-Conflicting-Resource-Id": resource_id})


def mapping_exists(conversation_id: str) -> RefusalError:
    """Return the 409 of a grouping collision; clients read the id from this text where the header is missing."""
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
