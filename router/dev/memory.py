"""The memory of `dev` over a restart: Redis and the sandbox remember the same conversations, or forget them together.

One without the other would show conversations that the API does not know any more, or hide those that it has. So the
sandbox keeps its conversations in a file: beside the data of the embedded Redis, with which it is deleted, or in the
state directory under the name of an external one. `choose_memory` finds out whether the two belong together. The data
of an external Redis is never deleted here: it may be somebody else's.
"""

from __future__ import annotations

import shutil
from enum import Enum
from hashlib import sha256
from typing import TYPE_CHECKING, Final

from router.core.errors import SettingsError
from router.process.terminal import CommandFailedError
from router.sandbox.memory_file import can_read
from router.streams.client.embedded import SERVER_LOG

if TYPE_CHECKING:
    from pathlib import Path

#: The folders of the state directory that hold what happened: data of the embedded Redis, and events of an outage.
REDIS_FOLDER: Final = "redis"
SPOOL_FOLDER: Final = "spool"
_FILE: Final = "sandbox-memory"
#: What the embedded server leaves in its folder: another server's data is not ours to delete.
_DATA: Final = ("appendonlydir", SERVER_LOG)


class Keep(Enum):
    """Whether a start keeps what was: `TOGETHER` unless only one of the two would remember it."""

    TOGETHER = "together"
    FRESH = "fresh"
    ALL = "all"


def choose_embedded(state_dir: Path, account_sid: str, keep: Keep) -> tuple[Path, str]:
    """Return the sandbox's file for the embedded Redis, and what is to be said about it; deletes what is forgotten."""
    redis = state_dir.absolute() / REDIS_FOLDER
    path, has_data = redis / _FILE, all((redis / name).exists() for name in _DATA)
    is_together = can_read(path, account_sid)
    if has_data and keep is not Keep.ALL and (keep is Keep.FRESH or not is_together):
        for folder in (redis, state_dir / SPOOL_FOLDER):
            shutil.rmtree(folder, ignore_errors=True)
        why = "as asked" if keep is Keep.FRESH else "since the sandbox does not know it any more (--keep keeps it)"
        return path, f"the data of earlier runs is forgotten, {why}"
    if has_data:
        return path, "goes on with the data of earlier runs (--fresh forgets it)"
    path.unlink(missing_ok=True)  # Redis was emptied by hand
    return path, ""


def choose_external(
    state_dir: Path, account_sid: str, keep: Keep, *, url: str, namespace: str, has_data: bool
) -> tuple[Path, str]:
    """Return the sandbox's file for an external Redis, and what is to be said about it.

    Raises SettingsError for --fresh, and CommandFailedError if Redis has data that this sandbox does not know.
    """
    other = "set ROUTER_NAMESPACE to another name, or empty it yourself"
    if keep is Keep.FRESH:
        raise SettingsError([f"--fresh: forgets the data of an embedded Redis only; for the one of REDIS_URL {other}"])
    name = sha256(f"{url} {namespace}".encode()).hexdigest()[:16]
    path = state_dir.absolute() / f"{_FILE}-{name}"
    if not has_data:
        path.unlink(missing_ok=True)
        return path, ""
    if can_read(path, account_sid):
        return path, "goes on with the data of earlier runs"
    if keep is Keep.ALL:
        return path, "goes on with data that the sandbox does not know"
    raise CommandFailedError(
        f"Redis (REDIS_URL) has data under the namespace {namespace} that the sandbox of {state_dir} does not know:"
        f" {other}; --keep goes on all the same"
    )
