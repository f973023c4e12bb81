"""Error codes of the classic API that decide the exception instead of the HTTP status.

The statuses of several codes are known from reports only. So a code that means "it exists" is a ConflictError with any
4xx status, and one that means "changed concurrently" is an UnavailableError, because trying again helps.
https://www.twilio.com/docs/api/errors
"""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, Final

import orjson

from router.core.classic.resources import ALREADY_THERE, BOUND_ELSEWHERE, CONCURRENT, SAME_GROUP, find_conversation_sid
from router.core.errors import ApiError, ConflictError, UnavailableError
from router.core.lenient_json import load_json

if TYPE_CHECKING:
    from collections.abc import Iterator

_EXISTS: Final = ALREADY_THERE | {BOUND_ELSEWHERE, SAME_GROUP}
_NAMES_ANOTHER: Final = frozenset({BOUND_ELSEWHERE, SAME_GROUP})


@contextmanager
def classic_errors() -> Iterator[None]:
    """Replace an error of the transport by the exception of its classic code."""
    try:
        yield
    except ApiError as error:
        better = refine(error)
        if better is error:
            raise
        raise better from error


def refine(error: ApiError) -> ApiError:
    """Return the exception of an error's code, or `error` itself if the code says no more than the status."""
    if isinstance(error, UnavailableError):
        return error
    if error.code in CONCURRENT:
        return _copy(error, UnavailableError)
    if error.code not in _EXISTS:
        return error
    if error.code in _NAMES_ANOTHER and error.conflicting_id is None:
        return _copy(error, ConflictError, find_conversation_sid(_message(error)))
    return error if isinstance(error, ConflictError) else _copy(error, ConflictError)


def _copy(error: ApiError, error_class: type[ApiError], conflicting_id: str | None = None) -> ApiError:
    return error_class(
        str(error),
        status=error.status,
        code=error.code,
        conflicting_id=conflicting_id or error.conflicting_id,
        retry_after=error.retry_after,
        body=error.body,
    )


def _message(error: ApiError) -> str:
    """Return the API's message: from the body, of which more is kept than of the exception's text."""
    try:
        data = load_json(orjson.loads, error.body)
    except orjson.JSONDecodeError:
        return str(error)
    message = data.get("message") if isinstance(data, dict) else None
    return message if isinstance(message, str) else str(error)
