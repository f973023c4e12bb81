"""Commands of the project, run to their end as a person runs them."""

from __future__ import annotations

import os
import sys
import tempfile
from typing import TYPE_CHECKING

from tests.harness.fork_server import fork_process
from tests.support.waiting import deadline

if TYPE_CHECKING:
    from collections.abc import Mapping


async def run_command(*arguments: str, environment: Mapping[str, str | None]) -> tuple[int | None, str]:
    """Run `python -m router ARGUMENTS`; returns its status, and its standard output and error together.

    It inherits this process's environment, changed by `environment`; None removes a variable.
    """
    variables = {name: value for name, value in {**os.environ, **environment}.items() if value is not None}
    with tempfile.TemporaryFile() as output:
        process = await fork_process("router", *arguments, environment=variables, output=output, error=output)
        async with deadline(60):
            status = await process.wait()
        output.seek(0)
        text = output.read().decode()
    sys.stdout.write(text)  # pytest shows it if the test fails, and has its log lines checked
    return status, text
