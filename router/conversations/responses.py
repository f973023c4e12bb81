"""Responses of the API: a 2xx as a value, every other one as an exception of core.errors.

Three error bodies are documented: (A) code, message, more_info, status; (B) code, httpStatusCode, message, userError,
params; (C) RFC 9457 with code and errors. The HTTP status alone decides the exception's class, because `code` is not
reliable (a 409 has been seen with code 400). An exception's text never holds an address; its `body` is raw and cut to
2 KB.
https://www.twilio.com/docs/usage/twilios-response and https://www.rfc-editor.org/rfc/rfc9457
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING, Any, Final, NamedTuple, TypeVar

import orjson
from pydantic import ValidationError

from router.core.errors import (
    ApiError,
    AuthenticationError,
    ConflictError,
    NotFoundError,
    NotProcessedError,
    RateLimitError,
    RequestError,
    ServerError,
)
from router.core.ids import find_conversation_id
from router.core.lenient_json import load_json
from router.core.printable import masked
from router.core.resources import Resource

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

ModelT = TypeVar("ModelT", bound=Resource)

#: Bytes of a response that an exception keeps, and characters of the API's message in its text.
MAX_ERROR_BODY: Final = 2048
_MAX_MESSAGE: Final = 300
_MAX_RETRY_AFTER: Final = 86_400.0

#: The exception of a status. An event is at fault only for what its own content can cause: 400, 404, 409, 410, 413,
#: 414, 422 and 4xx that nobody knows. https://www.iana.org/assignments/http-status-codes
_CLASSES: Final[dict[int, type[ApiError]]] = {
    401: AuthenticationError,
    402: AuthenticationError,  # the account is suspended
    403: AuthenticationError,
    404: NotFoundError,
    407: AuthenticationError,  # a proxy in between
    408: ServerError,  # the request was not read in time; by what is unknown
    409: ConflictError,
    410: NotFoundError,
    429: RateLimitError,
    **dict.fromkeys((412, 420, 421, 423, 424, 425, 451), NotProcessedError),  # 451: not from this region
    **dict.fromkeys((405, 406, 411, 415, 417, 426, 428, 431), NotProcessedError),
    **dict.fromkeys((463, 494, 495, 496, 497), NotProcessedError),  # too many proxies or headers, certificates, TLS
    **dict.fromkeys((444, 460, 499), ServerError),  # a load balancer gave up
}
_CLIENT_ERRORS: Final = range(400, 500)
_NO_CONTENT: Final = 204
_RFC_9457: Final = frozenset({"type", "title", "status", "code"})
_SECONDS: Final = re.compile(r"\d+(\.\d+)?", re.ASCII)


@dataclass(frozen=True, slots=True)
class ApiResponse:
    """A 2xx response with its JSON object; header names are case-insensitive."""

    status: int
    headers: Mapping[str, str] = field(repr=False)
    data: dict[str, Any] = field(repr=False)


@dataclass(frozen=True, slots=True)
class RawResponse:
    """Any response as read; `route` is "METHOD /path/{template}", the only part of the request that errors name."""

    route: str
    status: int
    headers: Mapping[str, str]
    body: bytes


class ApiProblem(NamedTuple):
    """The code and the message of an error body, whichever shape it has."""

    code: int | None = None
    message: str = ""


def parse_problem(body: bytes) -> ApiProblem:
    """Read an error body of any of the three shapes; anything else (a proxy's page, nothing) is an empty problem."""
    try:
        data = load_json(orjson.loads, body)
    except orjson.JSONDecodeError:
        return ApiProblem()
    if not isinstance(data, dict):
        return ApiProblem()
    if data.keys() >= _RFC_9457:
        parts = [data["title"], data.get("detail"), *_details(data.get("errors"), "detail", "pointer")]
    else:
        parts = [data.get("message"), *_details([data.get("params")], "field")]
    return ApiProblem(_to_code(data.get("code")), "; ".join(str(part) for part in parts if part))


def _details(items: object, *names: str) -> list[str]:
    """Return the errors of single fields, at most three."""
    rows = [item for item in items if isinstance(item, dict)] if isinstance(items, list) else []
    texts = [" ".join(str(row[name]) for name in names if row.get(name)) for row in rows[:3]]
    return [text for text in texts if text]


def _to_code(value: object) -> int | None:
    if isinstance(value, str) and value.isascii() and value.isdigit() and len(value) <= 10:  # noqa: PLR2004 # int32
        return int(value)
    return value if isinstance(value, int) and not isinstance(value, bool) else None


def to_error(raw: RawResponse, *, now: float, hide: Callable[[str], str] = str) -> ApiError:
    """Return the exception for a response other than 2xx; `now` is wall clock seconds, `hide` removes credentials.

    A status that the API does not have (a redirect by something in between) is a ServerError: not the event's fault.
    """
    problem = parse_problem(raw.body)
    default = RequestError if raw.status in _CLIENT_ERRORS else ServerError
    error_class = _CLASSES.get(raw.status, default)
    code = "" if problem.code is None else f" (code {problem.code})"
    reason = masked(problem.message[: 2 * _MAX_MESSAGE], has_ids=False)[:_MAX_MESSAGE]
    text = hide(reason) or "no reason given"
    return error_class(
        f"{raw.route}: HTTP {raw.status}, {text}{code}",
        status=raw.status,
        code=problem.code,
        conflicting_id=_conflicting_id(raw, problem) if error_class is ConflictError else None,
        retry_after=parse_retry_after(raw.headers.get("Retry-After"), _server_time(raw) or now),
        body=_cut(raw.body, hide),
    )


def _conflicting_id(raw: RawResponse, problem: ApiProblem) -> str | None:
    header = raw.headers.get("X-Conflicting-Resource-Id", "").strip()
    return header or find_conversation_id(problem.message)


def _cut(body: bytes, hide: Callable[[str], str]) -> str:
    """Cut a body to its bound. Credentials are hidden first: a cut one would no longer be recognized."""
    return (
        hide(body[: 2 * MAX_ERROR_BODY].decode("utf-8", "replace")).encode()[:MAX_ERROR_BODY].decode("utf-8", "ignore")
    )


def parse_retry_after(value: str | None, now: float) -> float | None:
    """Return the seconds of a Retry-After header, at most a day; None if it is unreadable.

    It is a number of seconds or an HTTP date: https://www.rfc-editor.org/rfc/rfc9110#section-10.2.3
    """
    text = (value or "").strip()
    if _SECONDS.fullmatch(text):
        return min(float(text), _MAX_RETRY_AFTER)
    moment = parse_date(text)
    return None if moment is None else min(max(0.0, moment - now), _MAX_RETRY_AFTER)


def _server_time(raw: RawResponse) -> float | None:
    """Return the server's own time, because a date in Retry-After is relative to it and our clock may be wrong."""
    return parse_date(raw.headers.get("Date", ""))


def parse_date(text: str) -> float | None:
    """Return an HTTP date as seconds since 1970, None if it is none."""
    try:
        moment: datetime = parsedate_to_datetime(text)
        return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()
    except (ValueError, TypeError, IndexError, OverflowError):  # the standard parser raises all of these
        return None


def to_response(raw: RawResponse, *, hide: Callable[[str], str] = str) -> ApiResponse:
    """Return a 2xx as a value; a 204 has no body and gives an empty object.

    Raises ServerError for an empty or unreadable body: that is a failure of the API, not of the event.
    """
    if raw.status == _NO_CONTENT and not raw.body:
        return ApiResponse(raw.status, raw.headers, {})
    try:
        data = load_json(orjson.loads, raw.body)
    except orjson.JSONDecodeError:
        data = None
    if isinstance(data, dict):
        return ApiResponse(raw.status, raw.headers, data)
    kind = "an empty body" if not raw.body.strip() else "a body that is not a JSON object"
    text = f"{raw.route}: HTTP {raw.status} with {kind}"
    raise ServerError(text, status=raw.status, body=_cut(raw.body, hide))


def to_model(model: type[ModelT], data: Mapping[str, Any], *, route: str, status: int = 200) -> ModelT:
    """Return a resource; a null counts as a missing field. Raises ServerError naming the fields that do not fit."""
    try:
        return model.model_validate(data)
    except ValidationError as error:
        fields = ", ".join(".".join(map(str, each["loc"])) for each in error.errors(include_input=False)[:3])
    text = f"{route}: HTTP {status} with a body that is no {model.__name__} ({fields})"
    raise ServerError(text, status=status)  # outside the except: a ValidationError repeats its input
