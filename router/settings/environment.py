"""The environment of this process and of its children; nothing else in the project reads it."""

from __future__ import annotations

import os
from contextlib import contextmanager
from contextvars import ContextVar
from pathlib import Path
from typing import TYPE_CHECKING, Final

from router.core.errors import SettingsError

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping


#: Not a setting: the supervisor passes its pid to the processes that it starts.
SUPERVISOR: Final = "ROUTER_SUPERVISOR"
#: Not a setting either: the descriptor of the socket that connects such a process with its supervisor, if one does.
SUPERVISOR_SOCKET: Final = "ROUTER_SUPERVISOR_SOCKET"

#: The variable without which a command looks for a running `dev`.
REDIS_URL: Final = "REDIS_URL"
#: The folder in which `dev` runs unless it is told another one, and the file of its variables there.
STATE_DIR: Final = Path(".state")
DEV_FILE: Final = "dev.env"
#: The variables of a running `dev` while a command uses them; a variable of this process wins.
_BORROWED: Final[ContextVar[Mapping[str, str]]] = ContextVar("borrowed", default={})  # noqa: B039 - never changed


@contextmanager
def running_dev(state_dir: Path | None = None) -> Iterator[Path | None]:
    """Use the variables of a `dev` within the block if this process has no REDIS_URL; yields their file, None if not.

    Variables of this process win, unless a `state_dir` names the `dev`: then that has to be there (SettingsError).
    """
    path = (state_dir or STATE_DIR) / DEV_FILE
    is_set = {name for name, value in os.environ.items() if value.strip()} if state_dir is None else set()
    found = {} if REDIS_URL in is_set else read_dotenv(path)
    if not found.get(REDIS_URL):
        if state_dir is not None:
            raise SettingsError([f"--state-dir: there is no {path}: no dev has been started there"])
        yield None
        return
    token = _BORROWED.set({name: value for name, value in found.items() if name not in is_set})
    try:
        yield path
    finally:
        _BORROWED.reset(token)


def is_borrowed() -> bool:
    """Return whether the variables of a running `dev` are in use."""
    return bool(_BORROWED.get())


def child_environment(values: Mapping[str, str]) -> dict[str, str]:
    """Return this process' environment with `values` added, for a child process."""
    return {**own_environment(), **values}


def supervisor_pid() -> int | None:
    """Return the pid of the supervisor, with which this process ends, or None without one."""
    value = os.environ.get(SUPERVISOR, "")
    return int(value) if value.isdecimal() else None


def supervisor_socket() -> int | None:
    """Return the descriptor of the socket to the supervisor, or None without one."""
    value = os.environ.get(SUPERVISOR_SOCKET, "")
    return int(value) if value.isdecimal() else None


def read_dotenv(path: Path) -> dict[str, str]:
    """Return the variables of a dotenv file as `dev` writes it; empty if there is none."""
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except OSError:
        return {}
    pairs = (line.partition("=")[::2] for line in lines if "=" in line and not line.lstrip().startswith("#"))
    return {name.strip(): value.strip() for name, value in pairs}


def own_environment() -> dict[str, str]:
    """Return a copy of this process' environment, with the variables of a running `dev` where those are in use."""
    return dict(os.environ) | dict(_BORROWED.get())


def allows_colors() -> bool:
    """Return whether the user wants colors where there is a terminal: NO_COLOR (https://no-color.org) is not set."""
    return not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"
