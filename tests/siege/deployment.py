"""The real processes of a run: Redis, a sandbox for each account, receiver, workers and consumers, behind a gate.

Everything talks over loopback. The API misbehaves by faults of the sandbox, callbacks are late or lost by the gate, and
disks and readers of logs by what a process is started with. Nothing of the project is patched: what a run shortens, it
shortens by settings.
"""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack, asynccontextmanager
from functools import partial
from typing import TYPE_CHECKING, Any, Final

import aiohttp
import orjson

from router.core.keys import Keys
from router.simulator.http import is_up
from router.simulator.mail import MailSender
from router.simulator.mail_keys import make_key, public_text
from router.streams.client.connection import connect
from router.streams.client.embedded import free_port
from router.streams.store.inspect import has_consumer, read_stream
from router.tasks import end
from tests.harness.deployment import GROUPS, Deployment
from tests.harness.redis_server import RedisServer
from tests.harness.sandbox import SandboxClient
from tests.harness.settings import COMMANDS, make_environment, quick_recovery, write_config
from tests.siege.gate import Gate
from tests.siege.sizes import Size
from tests.siege.watcher import Watcher
from tests.support.accounts import ACCOUNT, CONFIGURATION, OTHER_ACCOUNT, OTHER_TOKEN, TOKEN
from tests.support.waiting import scaled, until

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
    from pathlib import Path

    from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePrivateKey

    from router.simulator.messages import SimulatedWebhook
    from tests.harness.processes import ProcessHandle

    #: Starts `python -m ARGUMENTS` with an environment (tests.harness.processes).
    Start = Callable[..., Awaitable[ProcessHandle]]

#: Seconds, scaled, within which processes are up and ended.
PATIENCE: Final = 60.0
#: Seconds in which Twilio waits for an answer: a webhook that has none by then is lost.
TWILIO_WAITS: Final = 15.0
_ACCOUNTS: Final = f"""
[[account]]
sid = "{OTHER_ACCOUNT}"
auth_token_env = "OTHER_TOKEN"
configuration_id = "{CONFIGURATION}"
conversations_url = "{{url}}"
"""


class Siege(Deployment):
    """A running deployment; `processes` are those that were started, by name.

    `sandboxes` has one for each account, in the order of their SIDs; `sandbox` is the first. `unanswered` counts
    webhooks without an answer in time, and those that were answered with anything but 2xx.
    """

    def __init__(
        self,
        directory: Path,
        start: Start,
        stack: AsyncExitStack,
        *,
        server: RedisServer,
        keys: Keys,
        sandboxes: Sequence[SandboxClient],
        environment: dict[str, str],
        receiver_url: str,
    ) -> None:
        super().__init__(connect(server.url, timeout=scaled(30)), sandboxes[0], keys)
        stack.push_async_callback(self.redis.aclose)
        self.directory, self.start_process, self.server = directory, start, server
        self.sandboxes, self.environment, self.receiver_url = sandboxes, environment, receiver_url
        self.processes: dict[str, ProcessHandle] = {}
        self.unanswered = 0
        self.watcher: Watcher
        self.gate: Gate
        self._senders: dict[str, MailSender] = {}
        self._session: aiohttp.ClientSession

    async def start(self, name: str, *arguments: str, **changes: str) -> ProcessHandle:
        """Start a process of the project and return once it is up; `name` begins with that of its command."""
        command = COMMANDS[name.partition("-")[0]]
        handle = await self.start_process(*command, *arguments, **(self.environment | changes))
        self.processes[name] = handle
        await handle.started()
        if name.startswith("receiver"):
            await self.until_ready()
        return handle

    async def stop(self, name: str) -> int:
        """Send SIGTERM, and return the exit status."""
        return await self.processes.pop(name).stop(limit=PATIENCE)

    async def kill_all(self) -> None:
        """End all processes that still run."""
        running = [one for one in self.processes.values() if one.returncode is None]
        await asyncio.gather(*[one.kill() for one in running])

    async def until_ready(self, name: str = "receiver") -> bool:
        """Wait until the receiver can store webhooks, or a worker reads; returns False if it has ended."""
        handle = self.processes[name]

        async def is_ready() -> bool:
            if name.startswith("receiver"):
                return await is_up(f"{self.receiver_url}/readyz")
            return await has_consumer(self.redis, self.keys, *GROUPS[0])

        async def is_settled() -> bool:
            return handle.returncode is not None or await is_ready()

        await until(is_settled, PATIENCE)
        return handle.returncode is None

    async def count_unfinished(self) -> int:
        """Count the entries that are unread, pending or parked in any group; without a group they do not count."""
        count = 0
        for stream in (*self.inbound_streams, *self.participants_streams):
            for group in (await read_stream(self.redis, self.keys, stream)).groups:
                count += group.pending + group.parked + (1 if group.lag is None else group.lag)
        return count

    async def until_idle(self, *_: str) -> None:
        """Wait until every group has finished with all entries."""

        async def is_idle() -> bool:
            return not await self.count_unfinished()

        await until(is_idle, PATIENCE)

    async def until_settled(self) -> None:
        """Wait until no callback is on its way and nothing is left to do."""

        async def is_settled() -> bool:
            pending = [(await one.ask("GET", "/sandbox/callbacks"))["pending"] for one in self.sandboxes]
            return not any(pending) and not self.gate.pending and not await self.count_unfinished()

        await until(is_settled, PATIENCE)

    async def post(self, webhook: SimulatedWebhook, account: str = ACCOUNT) -> int | None:
        """Send a webhook as Twilio does, once; returns the status, None without an answer within Twilio's patience."""
        path, headers, body = self._senders[account].sign(webhook)
        try:
            async with self._session.post(self.receiver_url + path, data=body, headers=headers) as answer:
                await answer.read()
                status = answer.status
        except (aiohttp.ClientError, TimeoutError, OSError):
            self.unanswered += 1
            return None
        self.unanswered += not 200 <= status < 300
        return status

    async def fault(self, sandbox: int = 0, **fault: Any) -> None:
        """Make requests fail from now on (router/sandbox/faults.py)."""
        await self.sandboxes[sandbox].ask("POST", "/sandbox/faults", {"method": "*", "route": "*"} | fault)

    async def clear_faults(self) -> None:
        """End all faults."""
        for sandbox in self.sandboxes:
            await sandbox.ask("DELETE", "/sandbox/faults")

    async def faults_applied(self, sandbox: int = 0) -> int:
        """Count the requests that the present faults have hit."""
        answer = await self.sandboxes[sandbox].ask("GET", "/sandbox/faults")
        return sum(one["applied"] for one in answer["faults"])

    async def metric(self, url: str, name: str) -> float | None:
        """Return the sum of a metric over its labels, from a `/metrics`; None if it has none of this name."""
        async with self._session.get(f"{url}/metrics", headers={"Accept-Encoding": "identity"}) as answer:
            lines = (await answer.text()).splitlines()
        found = [line for line in lines if line.startswith((f"{name} ", f"{name}{{"))]
        return sum(float(line.rpartition(" ")[2]) for line in found) if found else None

    @asynccontextmanager
    async def _open(self, public_port: int, key: Any) -> AsyncIterator[None]:
        """Open what this program itself uses: sessions, the gate and the watcher."""
        public_url = f"http://127.0.0.1:{public_port}"
        for account, token in ((ACCOUNT, TOKEN), (OTHER_ACCOUNT, OTHER_TOKEN)):
            self._senders[account] = MailSender(
                receiver_url=public_url, public_base_url=public_url, auth_token=token, private_key=key
            )
        self.gate, self.watcher = Gate(self.receiver_url), Watcher(self.server.url)
        connector = aiohttp.TCPConnector(limit=0)
        limit = aiohttp.ClientTimeout(total=TWILIO_WAITS)
        async with (
            aiohttp.ClientSession(connector=connector, timeout=limit, auto_decompress=False) as self._session,
            self.gate.open(public_port),
        ):
            following = asyncio.create_task(self.watcher.follow())
            try:
                yield
            finally:
                await end(following)


@asynccontextmanager
async def besieged(
    directory: Path,
    start: Start,
    size: Size,
    *,
    processes: Sequence[str] = ("receiver", "worker"),
    accounts: int = 1,
    **environment: str,
) -> AsyncIterator[Siege]:
    """Run a deployment with these processes in a new folder of `directory`; leaving the block ends all of it."""
    directory = directory / f"{free_port()}"
    directory.mkdir(parents=True)
    receiver_port, public_port, key = free_port(), free_port(), make_key()
    async with AsyncExitStack() as stack:
        server = RedisServer(directory, fsync="everysec")
        stack.callback(server.kill)
        await server.start()
        urls = [f"http://127.0.0.1:{free_port()}" for _ in range(accounts)]
        settings = _settings_of(directory, server.url, urls, (receiver_port, public_port), key, size)
        settings |= environment
        session = await stack.enter_async_context(aiohttp.ClientSession())
        sandboxes = [
            await _start_sandbox(start, stack, session, account, url, settings)
            for account, url in zip((ACCOUNT, OTHER_ACCOUNT), urls, strict=False)
        ]
        siege = Siege(
            directory,
            start,
            stack,
            server=server,
            keys=Keys(partitions=int(environment.get("ROUTER_PARTITIONS", "1"))),
            sandboxes=sandboxes,
            environment=settings,
            receiver_url=f"http://127.0.0.1:{receiver_port}",
        )
        await stack.enter_async_context(siege._open(public_port, key))
        stack.push_async_callback(siege.kill_all)
        for name in processes:
            await siege.start(name)
        yield siege


def _settings_of(
    directory: Path,
    redis_url: str,
    urls: Sequence[str],
    ports: tuple[int, int],
    key: EllipticCurvePrivateKey,
    size: Size,
) -> dict[str, str]:
    """Return the environment of all processes; `urls` are those of the accounts' sandboxes."""
    config = write_config(directory, "ada", "ben")
    for url in urls[1:]:
        (config / "accounts.toml").write_text(_ACCOUNTS.format(url=url), encoding="utf-8")
    settings = make_environment(
        redis_url,
        urls[0],
        PUBLIC_BASE_URL=f"http://127.0.0.1:{ports[1]}",
        PORT=str(ports[0]),
        ROUTER_CONFIG_DIR=str(config),
        ROUTER_EMAIL_PUBLIC_KEYS=public_text(key),
        ROUTER_AI_AGENT_REPLY="tests.chaos.replies:answer",
        ROUTER_SPOOL_DIR=str(directory / "spool"),
        OTHER_TOKEN=OTHER_TOKEN,
    )
    return quick_recovery(**settings) if size is Size.SHORT else settings


async def _start_sandbox(
    start: Start,
    stack: AsyncExitStack,
    session: aiohttp.ClientSession,
    account: str,
    url: str,
    settings: dict[str, str],
) -> SandboxClient:
    """Start the API of an account; its callbacks go to the public URL."""
    tokens = {ACCOUNT: TOKEN, OTHER_ACCOUNT: OTHER_TOKEN}
    own = settings | {"TWILIO_ACCOUNT_SID": account, "TWILIO_AUTH_TOKEN": tokens[account]}
    own["ROUTER_ACCOUNTS_FILE"] = "none"
    callbacks = f"{settings['PUBLIC_BASE_URL']}/webhooks/conversations"
    handle = await start(
        *("router", "sandbox", "--port", url.rpartition(":")[2], "--callback-url", callbacks),
        *("--set", f"callback_timeout_seconds={orjson.dumps(PATIENCE).decode()}"),
        **own,
    )
    stack.push_async_callback(handle.kill)
    await until(partial(_is_up_or_ended, handle, f"{url}/healthz"), PATIENCE)
    assert handle.returncode is None, handle.text
    authorization = aiohttp.encode_basic_auth(account, tokens[account])
    return SandboxClient(url, session, authorization=authorization)


async def _is_up_or_ended(handle: ProcessHandle, url: str) -> bool:
    return handle.returncode is not None or await is_up(url)
