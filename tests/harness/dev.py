"""`python -m router dev` for tests: every process of the project, on an embedded Redis or one of the test's."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
from contextlib import contextmanager
from typing import IO, TYPE_CHECKING, Any

from router.settings.environment import read_dotenv
from tests.harness.fork_server import FORK_SERVER, find_fork_server
from tests.support.source import ROOT, SHIPPED
from tests.support.waiting import scaled, until

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

#: Options of `dev` for ports that nobody uses.
FREE_PORTS = ("--port", "0", "--sandbox-port", "0", "--console-port", "0")


def launch_dev(
    state: Path,
    *arguments: str,
    output: IO[Any] | int = subprocess.PIPE,
    module: str = "router",
    **changes: str,
) -> subprocess.Popen[str]:
    """Start `dev` on free ports with its state in a folder, without any setting of this process."""
    command = [sys.executable, "-m", module, "dev", "--state-dir", str(state), *FREE_PORTS]
    inherited = {name: value for name, value in os.environ.items() if not name.startswith(("TWILIO_", "ROUTER_"))}
    inherited.pop("REDIS_URL", None)
    inherited["ROUTER_CONFIG_DIR"] = str(SHIPPED)
    return subprocess.Popen(
        [*command, *arguments], cwd=ROOT, env=inherited | changes, stdout=output, stderr=subprocess.STDOUT, text=True
    )


def launch_forking_dev(
    state: Path, *arguments: str, output: IO[Any] | int = subprocess.PIPE, **changes: str
) -> subprocess.Popen[str]:
    """Start `dev` as `launch_dev` does, with processes that are forked instead of starting an interpreter each."""
    changes |= {FORK_SERVER: find_fork_server()}
    return launch_dev(state, *arguments, output=output, module="tests.harness.forking_dev", **changes)


@contextmanager
def running_dev(state: Path, *arguments: str, **changes: str) -> Iterator[dict[str, str]]:
    """Run `dev --no-demo` with forked processes while the block runs; it must end with status 0.

    Gives the variables of the dev.env that it wrote, and the folder of its configuration.
    """
    before = written_at(state)  # of a run before in the same folder
    with (state / "out").open("w") as output:
        process = launch_forking_dev(state, "--no-demo", *arguments, output=output, **changes)
    try:
        asyncio.run(until(lambda: written_at(state) not in {0, before} or process.poll() is not None, timeout=60))
        assert process.poll() is None, (state / "out").read_text()
        yield read_dotenv(state / "dev.env") | {"ROUTER_CONFIG_DIR": str(SHIPPED)}
    finally:
        process.terminate()
        assert process.wait(timeout=scaled(60)) == 0, (state / "out").read_text()


def written_at(state: Path) -> int:
    """Return when the dev.env of a folder was written (ns), 0 if there is none."""
    path = state / "dev.env"
    return path.stat().st_mtime_ns if path.exists() else 0
