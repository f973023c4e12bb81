"""Twilio's Agent Connect against `python -m router dev`: it starts, hears a simulated SMS, and answers.

    python -m tests.interop.agent_connect

Once alone (only Agent Connect hears of the message) and once beside the router's worker and consumers; each time the
conversation must have one CUSTOMER, one agent, and one answer of Agent Connect. Installs the SDK into a temporary
environment; not part of the suite.
"""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
import tempfile
import venv
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import aiohttp

from tests.harness.commands import run_command
from tests.harness.dev import running_dev
from tests.harness.sandbox import SandboxClient
from tests.support.waiting import until

if TYPE_CHECKING:
    from collections.abc import Iterator

PACKAGE = "twilio-agent-connect==2.5.0"
OURS = "+15557650000"
ANSWER = "Agent Connect heard: "
_AGENT = Path(__file__).with_name("agent_connect_agent.py")


@contextmanager
def running_agent(python: Path, environment: dict[str, str]) -> Iterator[str]:
    """Run the agent while the block runs; yields the URL of its webhook."""
    command = [str(python), str(_AGENT), environment["TWILIO_CONVERSATIONS_URL"], "0"]
    with subprocess.Popen(command, env=os.environ | environment, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            line = next((line for line in process.stdout if line.startswith("ready ")), None)
            if line is None:
                raise SystemExit("Agent Connect did not start: see its output above")
            yield line.split()[1]
        finally:
            process.terminate()


async def check(client: SandboxClient, customer: str) -> None:
    """Wait for the answer; exits if it is not the only one, or a participant is there twice."""

    async def find() -> dict | None:
        for one in await client.conversations():
            addresses = [each["address"] for person in one["participants"] for each in person["addresses"]]
            if customer in addresses and any(ANSWER in text for text in await client.texts(one["id"])):
                return one
        return None

    conversation = await until(find)
    texts = await client.texts(conversation["id"])
    people = sorted((one["type"], one["addresses"][0]["address"]) for one in conversation["participants"])
    sys.stdout.write(f"{customer}: {people}, {texts}\n")
    if len(people) != 2 or [kind for kind, _ in people][1] != "CUSTOMER" or [a for _, a in people] != [OURS, customer]:
        raise SystemExit("a participant is missing or there twice")
    if sum(text.startswith(ANSWER) for text in texts) != 1:
        raise SystemExit("Agent Connect did not answer once")


async def drive(environment: dict[str, str], webhook: str) -> None:
    """Send a message to Agent Connect alone, then one to both."""
    path = f"/sandbox/configurations/{environment['TWILIO_CONVERSATION_CONFIGURATION_ID']}"
    callbacks = [{"url": webhook}, {"url": f"{environment['PUBLIC_BASE_URL']}/webhooks/conversations"}]
    authorization = aiohttp.encode_basic_auth(environment["TWILIO_API_KEY"], environment["TWILIO_API_SECRET"])
    async with aiohttp.ClientSession() as session:
        client = SandboxClient(environment["TWILIO_CONVERSATIONS_URL"], session, authorization=authorization)
        await client.ask("PATCH", path, {"statusCallbacks": callbacks[:1]})
        await client.capture("+15551230001", OURS, body="alone")
        await check(client, "+15551230001")
        await client.ask("PATCH", path, {"statusCallbacks": callbacks})
        status, output = await run_command(
            "simulate", "sms", "--from", "+15551230002", "--to", OURS, "--body", "both", environment=environment
        )
        if status or output.count("participant.joined") != 1:
            raise SystemExit(f"the router did not announce the customer once:\n{output}")
        await check(client, "+15551230002")


def main() -> None:
    """Install Agent Connect and run both."""
    with tempfile.TemporaryDirectory() as folder:
        venv.create(Path(folder) / "venv", with_pip=True)
        python = Path(folder) / "venv" / "bin" / "python"
        subprocess.run([python, "-m", "pip", "install", "--quiet", PACKAGE], check=True)
        state = Path(folder) / "state"
        state.mkdir()
        with running_dev(state) as environment, running_agent(python, environment) as webhook:
            asyncio.run(drive(environment, webhook))
    sys.stdout.write(f"{PACKAGE}: answered alone and beside the router\n")


if __name__ == "__main__":
    sys.exit(main())
