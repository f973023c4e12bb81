"""The environment of this process and of those that it starts."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path


#: No setting: the supervisor tells the processes that it starts who it is.
SUPERVISOR: Final = "ROUTER_SUPERVISOR"


def child_environment(values: Mapping[str, str]) -> dict[str, str]:
    """Return this process' environment with `values` in it, for a process that is started with them."""
    return {**os.environ, **values}


def supervisor_pid() -> int | None:
    """Return the process that started this one and without which it shall not live on, where there is one."""
    value = os.environ.get(SUPERVISOR, "")
    return int(value) if value.isdecimal() else None


def read_dotenv(path: Path) -> dict[str, str]:
    """Return the variables of a dotenv file as `dev` writes it; empty where there is none."""
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except OSError:
        return {}
    pairs = (line.partition("=")[::2] for line in lines if "=" in line and not line.lstrip().startswith("#"))
    return {name.strip(): value.strip() for name, value in pairs}


def own_environment() -> dict[str, str]:
    """Return this process' environment."""
    return dict(os.environ)
