"""`python -m router dev`: the sandbox and all processes of the Procfile on this machine, on embedded defaults.

Redis is REDIS_URL or an embedded server. Each process can be killed, and is started again. Once all are up, dev.env is
written for other programs, sample events are played, and every entry that arrives is printed until Ctrl-C.
"""

from __future__ import annotations

import asyncio
import fcntl
import os
import secrets
import sys
from contextlib import AsyncExitStack, contextmanager, suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import orjson

from router.core.errors import SettingsError
from router.core.events import SourceName
from router.core.keys import RESOLVER, Keys
from router.dev.demo import Demo
from router.inbound.classic.parser import EVENT_TYPES, PRE_ACTIONS
from router.inbound.sources import SOURCES
from router.process.loop import until_stopped_or
from router.process.output import set_up_log
from router.process.supervisor import Supervisor, python_command
from router.process.terminal import complain, show
from router.sandbox import DEFAULT_CONFIGURATION_ID
from router.settings.accounts_file import NO_FILE
from router.settings.check_files import check_files
from router.settings.environment import child_environment, own_environment, read_dotenv
from router.settings.load import load
from router.settings.team_file import load_team
from router.simulator.http import is_up
from router.simulator.mail_keys import make_key, public_text, read_key, write_key
from router.streams.client.connection import Redis, RedisError, connect
from router.streams.client.embedded import ServerStartError, free_port, is_free, start_embedded
from router.streams.store.inspect import has_consumer
from router.streams.store.partitions import ensure_partitions
from router.tasks import end

if TYPE_CHECKING:
    import argparse
    from collections.abc import Iterator, Sequence
    from pathlib import Path

RECEIVER_PORT: Final = 8080
SANDBOX_PORT: Final = 8081
#: Seconds in which each process must be up.
START_TIMEOUT: Final = 60.0
GREETING: Final = "Hello! You have reached the AI agent of the demo. How can I help?"
#: The relay URL in the answers to calls; nothing connects to it.
RELAY: Final = "wss://agent.example.com/relay"
_MODULES: Final = {
    "web": ("router", "receive"),
    "worker": ("router", "work"),
}


class HandlerProcess(NamedTuple):
    """A handler of the table, which this package does not import: its name, its group and its target."""

    name: str
    group: str
    target: str


@dataclass(frozen=True, slots=True)
class DevOptions:
    """The options of `dev`."""

    port: int | None
    sandbox_port: int | None
    redis_url: str | None
    state_dir: Path
    has_demo: bool = True
    is_once: bool = False


async def run_dev(arguments: argparse.Namespace) -> int:
    """Run everything until Ctrl-C, or with `--once` until the demo is over; returns 0, or 1 if something failed."""
    options = DevOptions(
        port=arguments.port,
        sandbox_port=arguments.sandbox_port,
        redis_url=arguments.redis_url,
        state_dir=arguments.state_dir,
        has_demo=not arguments.no_demo,
        is_once=arguments.once,
    )
    set_up_log(process="dev", log_format="text", level="warning")
    options.state_dir.mkdir(parents=True, exist_ok=True)
    (options.state_dir / "log").mkdir(exist_ok=True)
    async with AsyncExitStack() as stack:
        stack.enter_context(_locked(options.state_dir))
        try:
            return await until_stopped_or(_run(options, stack)) or 0
        except ServerStartError as error:
            complain("", str(error))
            return 1
        except _StartError as error:
            complain("", f"{error}; the logs are in {options.state_dir / 'log'}")
            for path in sorted((options.state_dir / "log").glob("*.log")):
                _show_last_lines(path)
            return 1


def _show_last_lines(path: Path) -> None:
    """Print the last output of a process, without its log lines: a traceback or a list of wrong settings."""
    last = path.read_text(encoding="utf-8", errors="replace").splitlines()[-5:]
    for line in dict.fromkeys(line for line in last if not line.startswith("{")):
        complain(f"  {path.stem}: {line}")


@contextmanager
def _locked(state_dir: Path) -> Iterator[None]:
    """Hold the lock of the state directory: two servers would corrupt its append-only file."""
    with (state_dir / "lock").open("w", encoding="ascii") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            raise SettingsError([f"--state-dir: another dev is running in {state_dir}"]) from error
        yield


class _StartError(Exception):
    """A process did not start."""


async def _run(options: DevOptions, stack: AsyncExitStack) -> int:
    environment = _make_environment(options)
    check_files(load(environment=child_environment(environment | {"REDIS_URL": ""})))  # raises before anything starts
    show("starting: ", end="")
    environment["REDIS_URL"] = await _start_redis(options, stack)
    settings = load(environment=child_environment(environment))
    supervisor = await stack.enter_async_context(
        Supervisor(grace=settings.grace + 2, log_dir=options.state_dir / "log")
    )
    redis = connect(environment["REDIS_URL"])
    stack.push_async_callback(redis.aclose)
    with suppress(RedisError, OSError):  # an outage is found by the processes
        await ensure_partitions(redis, settings.keys)  # once, before each process is refused
    handlers = await _find_handlers(environment)
    await _start_all(options, supervisor, redis, environment, settings.keys, handlers)
    _write_dev_env(options.state_dir / "dev.env", environment)
    show("", *_describe(environment, options))
    logs = [options.state_dir / "log" / f"{name}.log" for name in ("worker", *(one.group for one in handlers))]
    demo = Demo(environment, redis, settings.keys, team=load_team(settings.config_dir), logs=logs)
    return await _follow(options, supervisor, demo)


async def _follow(options: DevOptions, supervisor: Supervisor, demo: Demo) -> int:
    """Print arrivals while the demo plays and afterwards, until canceled or a process cannot be kept running."""
    await demo.prepare()
    following = asyncio.create_task(demo.follow())
    failing = asyncio.create_task(supervisor.failed())
    playing = asyncio.create_task(demo.play()) if options.has_demo or options.is_once else None
    ends = {failing, following}
    try:
        if playing is not None:
            await asyncio.wait({*ends, playing}, return_when=asyncio.FIRST_COMPLETED)
        if playing is not None and playing.done():
            has_arrived = playing.result()
            show(*demo.summary(_python()), unmasked=True)
            if options.is_once:
                return 0 if has_arrived and not failing.done() else 1
        await asyncio.wait(ends, return_when=asyncio.FIRST_COMPLETED)
        if following.done():
            following.result()  # raises: there is no terminal left, for one
        return 1
    finally:
        if failing.done():
            complain(supervisor.failure)
        await end(following, failing, *([playing] if playing else []))
        show("stopping")


def _python() -> str:
    """Return the path of this Python, relative to the working directory."""
    return os.path.relpath(sys.executable)


def _make_environment(options: DevOptions) -> dict[str, str]:
    """Return the variables of dev.env; credentials are kept from the last run, so that saved commands still work."""
    old = read_dotenv(options.state_dir / "dev.env")
    (options.state_dir / "dev.env").unlink(missing_ok=True)  # it exists only while everything is up
    port = _choose_port(options.port, RECEIVER_PORT, "--port")
    sandbox_port = _choose_port(options.sandbox_port, SANDBOX_PORT, "--sandbox-port", taken=port)
    url = f"http://127.0.0.1:{port}"
    return {
        "ROUTER_URL": url,
        "REDIS_URL": "",
        "TWILIO_CONVERSATIONS_URL": f"http://127.0.0.1:{sandbox_port}",
        "TWILIO_ACCOUNT_SID": old.get("TWILIO_ACCOUNT_SID") or f"AC{secrets.token_hex(16)}",
        "TWILIO_AUTH_TOKEN": old.get("TWILIO_AUTH_TOKEN") or secrets.token_hex(16),
        "TWILIO_API_KEY": old.get("TWILIO_API_KEY") or f"SK{secrets.token_hex(16)}",
        "TWILIO_API_SECRET": old.get("TWILIO_API_SECRET") or secrets.token_hex(16),
        "TWILIO_CONVERSATION_CONFIGURATION_ID": DEFAULT_CONFIGURATION_ID,
        "PUBLIC_BASE_URL": url,
        "ROUTER_NAMESPACE": own_environment().get("ROUTER_NAMESPACE", "router"),
        "ROUTER_PARTITIONS": own_environment().get("ROUTER_PARTITIONS", "1"),
        "ROUTER_ACCOUNTS_FILE": own_environment().get("ROUTER_ACCOUNTS_FILE", NO_FILE),  # the sandbox has one account
        "TWILIO_CLASSIC_SERVICE_SID": old.get("TWILIO_CLASSIC_SERVICE_SID") or f"IS{secrets.token_hex(16)}",
        **_mail_key(options.state_dir / "mail-key.pem"),
    }


def _mail_key(path: Path) -> dict[str, str]:
    """Return the key pair that signs mails: the public key for the receiver, the private key's file for `simulate`."""
    try:
        key = read_key(path)
    except (OSError, ValueError):  # the first run in this state directory
        key = make_key()
        write_key(path, key)
    return {"ROUTER_EMAIL_PUBLIC_KEYS": public_text(key), "ROUTER_EMAIL_PRIVATE_KEY_FILE": str(path.absolute())}


def _choose_port(wanted: int | None, default: int, option: str, *, taken: int = 0) -> int:
    if wanted:
        if not is_free(wanted):
            raise SettingsError([f"{option}: port {wanted} is in use"])
        return wanted
    return default if wanted is None and default != taken and is_free(default) else free_port()


async def _start_redis(options: DevOptions, stack: AsyncExitStack) -> str:
    url = options.redis_url or own_environment().get("REDIS_URL", "")
    if url:
        show("redis (external) ", end="")
        return url
    server = await start_embedded(options.state_dir / "redis")
    stack.push_async_callback(server.stop)
    show("redis (embedded) ", end="")
    return server.url


async def _start_all(
    options: DevOptions,
    supervisor: Supervisor,
    redis: Redis,
    environment: dict[str, str],
    keys: Keys,
    handlers: Sequence[HandlerProcess],
) -> None:
    """Start the processes, each after those that it needs, and wait until they are up."""
    port = environment["ROUTER_URL"].rpartition(":")[2]
    children = child_environment(environment | _for_children(options) | {"PORT": port})
    callback = f"{environment['PUBLIC_BASE_URL']}/webhooks/conversations"
    sandbox_port = environment["TWILIO_CONVERSATIONS_URL"].rpartition(":")[2]
    options_of_sandbox = ["--port", sandbox_port, "--callback-url", callback, *_classic_switches(environment)]
    await supervisor.start("sandbox", python_command("router", "sandbox", *options_of_sandbox), children)
    await _until_up("sandbox", supervisor, lambda: is_up(f"{environment['TWILIO_CONVERSATIONS_URL']}/healthz"))
    modules = _MODULES | {handler.group: ("handlers", handler.name) for handler in handlers}
    for name, (module, argument) in modules.items():
        await supervisor.start(name, python_command(module, argument), children)
    await _until_up("web", supervisor, lambda: is_up(f"{environment['ROUTER_URL']}/readyz"))
    for name, group, stream in (
        ("worker", RESOLVER, keys.inbound(0)),
        *((handler.group, handler.group, keys.participants(0, handler.target)) for handler in handlers),
    ):
        await _until_up(name, supervisor, lambda group=group, stream=stream: has_consumer(redis, keys, stream, group))


async def _find_handlers(environment: dict[str, str]) -> list[HandlerProcess]:
    """Ask the consumers' package for its table, which may have rows of the user's."""
    process = await asyncio.create_subprocess_exec(
        *python_command("handlers", "--list"),
        env=child_environment(environment),
        stdout=asyncio.subprocess.PIPE,
    )
    output, _ = await process.communicate()
    if process.returncode:
        raise _StartError("the table of handlers (handlers/app.py) cannot be read")
    return [HandlerProcess(*line.split()) for line in output.decode().splitlines()]


def _classic_switches(environment: dict[str, str]) -> list[str]:
    """Return the options with which the sandbox sends every webhook of classic conversations."""
    url = f"{environment['PUBLIC_BASE_URL']}{SOURCES[SourceName.CLASSIC].path}"
    filters = orjson.dumps([*EVENT_TYPES, *sorted(PRE_ACTIONS)]).decode()
    switches = {"pre_webhook_url": url, "post_webhook_url": url, "webhook_filters": filters}
    return [part for name, value in switches.items() for part in ("--set", f"classic_{name}={value}")]


def _for_children(options: DevOptions) -> dict[str, str]:
    """Return the variables that the processes need besides those of dev.env."""
    variables = {
        "ROUTER_HOST": "127.0.0.1",
        "ROUTER_LOG_FORMAT": "json",
        "PYTHONUNBUFFERED": "1",
        "ROUTER_METRICS_PORT": "0",
        "ROUTER_SPOOL_DIR": str(options.state_dir.absolute() / "spool"),
    }
    if options.has_demo and not own_environment().get("ROUTER_AI_AGENT_GREETING"):
        variables["ROUTER_AI_AGENT_GREETING"] = GREETING
    if not own_environment().get("ROUTER_VOICE_RELAY_URL"):
        variables["ROUTER_VOICE_RELAY_URL"] = RELAY
    return variables


async def _until_up(name: str, supervisor: Supervisor, is_ready: Any) -> None:
    try:
        async with asyncio.timeout(START_TIMEOUT):
            while not await _probe(is_ready):
                if supervisor.failure:
                    raise _StartError(supervisor.failure)
                await asyncio.sleep(0.05)
    except TimeoutError as error:
        raise _StartError(f"{name} is not up after {START_TIMEOUT:.0f} s") from error
    show(f"{name} ", end="")


async def _probe(is_ready: Any) -> bool:
    try:
        return bool(await is_ready())
    except (RedisError, OSError):
        return False


def _write_dev_env(path: Path, environment: dict[str, str]) -> None:
    """Write the file atomically: other programs wait for it to appear."""
    text = "".join(f"{name}={value}\n" for name, value in environment.items())
    draft = path.with_suffix(".tmp")
    draft.touch(mode=0o600)
    draft.write_text("# written by `python -m router dev`; the secrets open nothing but its sandbox\n" + text)
    draft.replace(path)


def _describe(environment: dict[str, str], options: DevOptions) -> list[str]:
    rows = (
        ("receiver", environment["ROUTER_URL"] + "/webhooks/..."),
        ("metrics", environment["ROUTER_URL"] + "/metrics"),
        ("sandbox", environment["TWILIO_CONVERSATIONS_URL"] + "/v2/Conversations"),
        ("redis", environment["REDIS_URL"]),
        ("settings", f"{options.state_dir / 'dev.env'} (for other programs), logs in {options.state_dir / 'log'}"),
    )
    return [f"  {name:<9} {value}" for name, value in rows]
