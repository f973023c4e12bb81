"""`python -m router dev` with forked processes (tests.harness.fork_server), for tests of something else than its start.

They do not notice when `dev` is killed: the fork server is their parent.
"""

from __future__ import annotations

import asyncio
import sys
from typing import TYPE_CHECKING, Any

from router.__main__ import main
from router.settings.environment import SUPERVISOR
from tests.harness.fork_server import fork_process

if TYPE_CHECKING:
    from collections.abc import Mapping

_start = asyncio.create_subprocess_exec


async def _fork(
    *command: str, env: Mapping[str, str] | None = None, stdout: Any = None, stderr: Any = None, **more: Any
) -> Any:
    if env is None or stdout == asyncio.subprocess.PIPE or "-m" not in command:
        return await _start(*command, env=env, stdout=stdout, stderr=stderr, **more)
    module, *arguments = command[command.index("-m") + 1 :]
    environment = {name: value for name, value in env.items() if name != SUPERVISOR}
    return await fork_process(
        module, *arguments, environment=environment, output=stdout or sys.stdout, error=stderr or sys.stderr
    )


if __name__ == "__main__":
    asyncio.create_subprocess_exec = _fork
    sys.exit(main())
