"""Commands of the project, run to their end as a person runs them."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
from typing import TYPE_CHECKING

from tests.support.source import ROOT
from tests.support.waiting import deadline

if TYPE_CHECKING:
    from collections.abc import Mapping


async def run_command(*arguments: str, environment: Mapping[str, str | None]) -> tuple[int | None, str]:
    """Run `python -m router ARGUMENTS`; returns its status, and its standard output and error together.

    It inherits this process's environment, changed by `environment`; None removes a variable.
    """
    variables = {name: value for name, value in {**os.environ, **environment}.items() if value is not None}
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "router",
        *arguments,
        cwd=ROOT,
        env=variables,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
    )
    async with deadline(60):
        output, _ = await process.communicate()
    return process.returncode, output.decode()
