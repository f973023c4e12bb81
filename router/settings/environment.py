"""The environment of this process and of its children; nothing else in the project reads it."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path


#: Not a setting: the supervisor passes its pid to the processes that it starts.
SUPERVISOR: Final = "ROUTER_SUPERVISOR"
#: Not a setting either: the descriptor of the socket that connects such a process with its supervisor, if one does.
SUPERVISOR_SOCKET: Final = "ROUTER_SUPERVISOR_SOCKET"


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
    """Return a copy of this process' environment."""
    return dict(os.environ)
