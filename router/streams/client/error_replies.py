"""Redis's errors: which ones describe a passing state of the server, not the command that was sent."""

from __future__ import annotations

from typing import Final

from redis.exceptions import (
    AskError,
    AuthenticationError,
    ClusterDownError,
    ConnectionError,  # noqa: A004 - redis-py's, and so is TimeoutError
    MasterDownError,
    NoPermissionError,
    NoScriptError,
    OutOfMemoryError,
    ReadOnlyError,
    ResponseError,
    TimeoutError,  # noqa: A004
    TryAgainError,
)

#: Replies that end by themselves or by an operator's action, while the command stays the same.
_TEMPORARY: Final = (
    AskError,
    ClusterDownError,
    MasterDownError,
    NoPermissionError,
    NoScriptError,
    OutOfMemoryError,
    ReadOnlyError,
    TryAgainError,
)
#: The same, for replies without an exception class in redis-py. FENCED is our scripts' (streams.store.partitions).
_TEMPORARY_PREFIXES: Final = ("BUSY ", "FENCED ", "MISCONF ", "NOREPLICAS ", "UNBLOCKED ")


def is_temporary(error: ResponseError) -> bool:
    """Return whether the same command may succeed later; False for errors such as WRONGTYPE."""
    return isinstance(error, _TEMPORARY) or str(error).startswith(_TEMPORARY_PREFIXES)


def passes(error: Exception) -> bool:
    """Return whether an error is an outage of Redis, or a state that Redis leaves again: the same may succeed later."""
    if isinstance(error, ResponseError):
        return is_temporary(error)
    if isinstance(error, OSError):
        return error.filename is None  # else it is about a file of ours
    return isinstance(error, ConnectionError | TimeoutError) and not isinstance(error, AuthenticationError)


def is_refusal(error: Exception) -> bool:
    """Return whether the same is refused until an operator changes rights, a password, a key or a disk."""
    if isinstance(error, NoPermissionError | AuthenticationError):
        return True
    return isinstance(error, ResponseError | OSError) and not passes(error)
