"""The processes of `dev`: each is started after those that it needs, and waited for until it is up."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from router.core.keys import RESOLVER, Keys
from router.dev.environment import classic_switches, for_children
from router.process.supervisor import Supervisor, python_command
from router.process.terminal import show
from router.settings.environment import child_environment
from router.simulator.http import is_up
from router.streams.client.connection import Redis, RedisError
from router.streams.store.inspect import has_consumer

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from router.dev.environment import DevOptions

#: Seconds in which each process must be up.
START_TIMEOUT: Final = 60.0
_MODULES: Final = {
    "web": ("router", "receive"),
    "worker": ("router", "work"),
}


class StartError(Exception):
    """A process did not start."""


class HandlerProcess(NamedTuple):
    """A handler of the table, which this package does not import: its name, its group and its target."""

    name: str
    group: str
    target: str


async def start_all(
    options: DevOptions,
    supervisor: Supervisor,
    redis: Redis,
    environment: dict[str, str],
    keys: Keys,
    handlers: Sequence[HandlerProcess],
    *,
    memory: Path,
) -> None:
    """Start the processes, each after those that it needs, and wait until they are up.

    `memory` is the file of the sandbox, as an absolute path.
    """
    port = environment["ROUTER_URL"].rpartition(":")[2]
    children = child_environment(environment | for_children(options) | {"PORT": port})
    callback = f"{environment['PUBLIC_BASE_URL']}/webhooks/conversations"
    sandbox_port = environment["TWILIO_CONVERSATIONS_URL"].rpartition(":")[2]
    options_of_sandbox = ["--port", sandbox_port, "--callback-url", callback, "--memory", str(memory)]
    options_of_sandbox += classic_switches(environment)
    await supervisor.start("sandbox", python_command("router", "sandbox", *options_of_sandbox), children)
    await _until_up("sandbox", supervisor, lambda: is_up(f"{environment['TWILIO_CONVERSATIONS_URL']}/healthz"))
    modules = _MODULES | {handler.group: ("handlers", handler.name) for handler in handlers}
    for name, (module, argument) in modules.items():
        await supervisor.start(name, python_command(module, argument), children)
    console_port = environment["ROUTER_CONSOLE_URL"].rpartition(":")[2]
    await supervisor.start("console", python_command("router", "console", "--port", console_port), children)
    await _until_up("web", supervisor, lambda: is_up(f"{environment['ROUTER_URL']}/readyz"))
    for name, group, stream in (
        ("worker", RESOLVER, keys.inbound(0)),
        *((handler.group, handler.group, keys.participants(0, handler.target)) for handler in handlers),
    ):
        await _until_up(name, supervisor, lambda group=group, stream=stream: has_consumer(redis, keys, stream, group))
    await _until_up("console", supervisor, lambda: is_up(f"{environment['ROUTER_CONSOLE_URL']}/healthz"))


async def find_handlers(environment: dict[str, str]) -> list[HandlerProcess]:
    """Ask the consumers' package for its table, which may have rows of the user's."""
    process = await asyncio.create_subprocess_exec(
        *python_command("handlers", "--list"),
        env=child_environment(environment),
        stdout=asyncio.subprocess.PIPE,
    )
    output, _ = await process.communicate()
    if process.returncode:
        raise StartError("the table of handlers (handlers/app.py) cannot be read")
    return [HandlerProcess(*line.split()) for line in output.decode().splitlines()]


async def _until_up(name: str, supervisor: Supervisor, is_ready: Any) -> None:
    try:
        async with asyncio.timeout(START_TIMEOUT):
            while not await _probe(is_ready):
                if supervisor.failure:
                    raise StartError(supervisor.failure)
                await asyncio.sleep(0.05)
    except TimeoutError as error:
        raise StartError(f"{name} is not up after {START_TIMEOUT:.0f} s") from error
    show(f"{name} ", end="")


async def _probe(is_ready: Any) -> bool:
    try:
        return bool(await is_ready())
    except (RedisError, OSError):
        return False
