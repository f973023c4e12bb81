"""Redis's error replies: which ones describe a passing state of the server, not the command that was sent."""

from __future__ import annotations

from typing import Final

from redis.exceptions import (
    AskError,
    ClusterDownError,
    MasterDownError,
    NoPermissionError,
    NoScriptError,
    OutOfMemoryError,
    ReadOnlyError,
    ResponseError,
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
#: The same, for replies without an exception class in redis-py.
_TEMPORARY_PREFIXES: Final = ("BUSY ", "MISCONF ", "NOREPLICAS ", "UNBLOCKED ")


def is_temporary(error: ResponseError) -> bool:
    """Return whether the same command may succeed later; False for errors such as WRONGTYPE."""
    return isinstance(error, _TEMPORARY) or str(error).startswith(_TEMPORARY_PREFIXES)
