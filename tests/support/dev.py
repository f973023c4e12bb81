"""A `dev` of a test's own: every process of the project, beside a server or a deployment of the test's."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
from contextlib import contextmanager
from typing import TYPE_CHECKING

from router.settings.environment import read_dotenv
from tests.support.waiting import until

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@contextmanager
def running_dev(state: Path, *arguments: str, **changes: str) -> Iterator[dict[str, str]]:
    """Run `dev --no-demo` with its state there; gives the dev.env that it wrote. It must end with status 0."""
    command = [sys.executable, "-m", "router", "dev", "--no-demo", "--port", "0", "--sandbox-port", "0", *arguments]
    inherited = {name: value for name, value in os.environ.items() if not name.startswith(("TWILIO_", "ROUTER_"))}
    inherited.pop("REDIS_URL", None)
    with (state / "out").open("wb") as out:
        environment = inherited | changes
        process = subprocess.Popen([*command, "--state-dir", str(state)], stdout=out, stderr=out, env=environment)
    try:
        asyncio.run(until(lambda: (state / "dev.env").exists() or process.poll() is not None, timeout=60))
        assert process.poll() is None, (state / "out").read_text()
        yield read_dotenv(state / "dev.env")
    finally:
        process.terminate()
        assert process.wait(timeout=60) == 0, (state / "out").read_text()
