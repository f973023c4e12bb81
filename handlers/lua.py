"""The Lua scripts of the consumers: like router.streams, what must happen together is one script, and repeatable."""

from __future__ import annotations

from functools import cache
from importlib.resources import files

from router.streams.client.connection import Script


@cache
def load_script(name: str) -> Script:
    """Return the script `scripts/<name>.lua`."""
    return Script(files("handlers").joinpath("scripts", f"{name}.lua").read_text(encoding="utf-8"))
