"""`make api`: schemathesis compares the console's JSON with its OpenAPI document, by requests that it generates.

    python -m tests.console.generated_requests PATH_OF_ST [OPTIONS OF `st run`]

It runs against a `dev` of its own that plays its demo, with the token of an operator. Live pages are left out: they
do not end. So is signing in, which is not for programs and slows down whoever tries it often.
"""

from __future__ import annotations

import asyncio
import signal
import sys
import tempfile
from pathlib import Path
from typing import Any

import aiohttp

from router.settings.environment import read_dotenv
from tests.harness.dev import launch_dev
from tests.support.waiting import until

#: Checks that do not apply, and why.
EXCLUDED = {
    "ensure_resource_availability": "a POST to a list acts on many of its items, and makes none",
    "positive_data_acceptance": "what a well-formed request asks for may not exist, or not be possible now",
}


async def find_endless(url: str, token: str) -> list[str]:
    """Return the paths that schemathesis must leave out."""
    async with aiohttp.ClientSession(url, headers={"Authorization": f"Bearer {token}"}) as program:
        document = await (await program.get("/openapi.json")).json()
    return [path for path, methods in document["paths"].items() if any(map(is_left_out, methods.values()))]


def is_left_out(operation: dict[str, Any]) -> bool:
    """Return whether an operation is none for generated requests."""
    return "text/event-stream" in operation["responses"]["200"]["content"] or not operation["security"]


async def main(program: str, *options: str) -> int:
    """Run it; returns the exit status of schemathesis."""
    with tempfile.TemporaryDirectory() as folder:
        state = Path(folder)
        with (state / "out").open("w") as output:
            dev = launch_dev(state, output=output)
        try:
            await until(lambda: (state / "dev.env").exists() or dev.poll() is not None, timeout=60)
            environment = read_dotenv(state / "dev.env")
            url, token = environment["ROUTER_CONSOLE_URL"], environment["ROUTER_CONSOLE_TOKEN"]
            left_out = [part for path in await find_endless(url, token) for part in ("--exclude-path", path)]
            headers = ("-H", f"Authorization: Bearer {token}", "-H", "Accept: application/json")
            checks = ("--exclude-checks", ",".join(EXCLUDED))
            arguments = ["run", f"{url}/openapi.json", *headers, *left_out, *checks, *options]
            process = await asyncio.create_subprocess_exec(program, *arguments, cwd=state)
            return await process.wait()
        finally:
            dev.send_signal(signal.SIGINT)
            dev.wait(60)


if __name__ == "__main__":
    if len(sys.argv) == 1:
        sys.exit("usage: python -m tests.console.generated_requests PATH_OF_ST [OPTIONS]")
    sys.exit(asyncio.run(main(str(Path(sys.argv[1]).absolute()), *sys.argv[2:])))
