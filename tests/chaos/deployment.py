"""The real processes of a round: Redis with its append-only file, the sandbox, and all that is killed.

Every role is kept running as a supervisor would do it: a process that ends is started again, after the pause that its
kill asks for, or after RESTART_DELAY where it ended by itself (a process that cannot reach Redis at its start logs it
and ends). Each role has a directory of its own, with a log for each start; a receiver's spool is there too, so that its
next start finds it.
"""

from __future__ import annotations

import asyncio
import resource
import signal
import time
from contextlib import suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final, Self

import aiohttp
import orjson

from router.inbound.classic.parser import EVENT_TYPES
from router.simulator.http import is_up
from router.simulator.mail import MailSender
from router.simulator.mail_keys import make_key, public_text
from router.streams.client.embedded import free_port
from router.tasks import end
from tests.chaos.schedule import ROLES
from tests.harness.processes import start_process
from tests.harness.redis_server import RedisServer
from tests.harness.sandbox import SandboxClient
from tests.harness.settings import make_environment, write_config
from tests.support.accounts import ACCOUNT, CONFIGURATION, OTHER_ACCOUNT, OTHER_TOKEN, SECRET, SERVICE, TOKEN
from tests.support.waiting import scaled, until

if TYPE_CHECKING:
    from pathlib import Path

    from router.simulator.messages import SimulatedWebhook
    from tests.chaos.timeline import Timeline
    from tests.harness.processes import ProcessHandle

RECEIVER_ROLES: Final = ("web-1", "web-2")
HUMAN_AGENTS: Final = ("ada", "ben", "cem")
#: The queue of a round: who misses an offer is asked again, and nobody gives up.
QUEUE: Final = """
[[queue]]
name = "default"
ring = 5
patience = 86400
fallback = "wait"
"""
#: Seconds until a process is started again that ended by itself.
RESTART_DELAY: Final = 0.5
#: Seconds, scaled, that everything may take to come up, and a process to end.
PATIENCE: Final = 60.0
#: Crashes after which an entry counts as their cause. The default of 5 is for processes that crash for a reason: where
#: one is killed every few seconds, an entry may be in progress in three of them by chance.
MAX_CRASHES: Final = 20
#: The secrets that no log line may show.
SECRETS: Final = (TOKEN, SECRET, OTHER_TOKEN)
TOKENS: Final = {ACCOUNT: TOKEN, OTHER_ACCOUNT: OTHER_TOKEN}
_ACCOUNTS: Final = f"""
[[account]]
sid = "{OTHER_ACCOUNT}"
auth_token_env = "OTHER_TOKEN"
configuration_id = "{CONFIGURATION}"
conversations_url = "{{url}}"
"""


@dataclass(frozen=True, slots=True)
class ProcessEnd:
    """A process that ended before it was told to stop; `is_kill` if this run killed it.

    `at` is in seconds since 1970; `last_line` is the last line of its log.
    """

    role: str
    pid: int
    at: float
    status: int
    is_kill: bool
    is_redis_away: bool
    last_line: str = ""


@dataclass(frozen=True, slots=True)
class RedisOutage:
    """A time, in seconds since 1970, in which Redis did not answer, or not reliably."""

    begun: float
    ended: float
    is_kill: bool


@dataclass
class RestartedProcess:
    """Keeps one role running."""

    role: str
    directory: Path
    environment: dict[str, str]
    deployment: ChaosDeployment
    running: ProcessHandle | None = None
    #: Seconds until the next start, once a kill was sent.
    down: float | None = None
    is_stopping: bool = False

    async def keep(self) -> None:
        """Start it again and again until it is stopped."""
        while not self.is_stopping:
            self.running = running = await start_process(self.directory, *ROLES[self.role], **self.environment)
            status = await running.process.wait()
            if self.is_stopping:
                return
            is_kill, pause = self.down is not None, RESTART_DELAY if self.down is None else self.down
            self.running, self.down = None, None
            self.deployment.note_end(self.role, running, status, is_kill=is_kill)
            await self.deployment.timeline.pause(pause)

    def kill(self, down: float) -> bool:
        """Send SIGKILL, with a restart `down` seconds later; returns False if it does not run at this moment."""
        if self.running is None or self.down is not None or not self.running.send_signal(signal.SIGKILL):
            return False
        self.down = down
        return True

    async def fill_disk(self) -> ProcessHandle:
        """Let no file of the process grow any more, as on a full disk, once it is up; returns it."""
        await until(lambda: self.running is not None, PATIENCE)
        process = self.running
        await process.started()
        resource.prlimit(process.pid, resource.RLIMIT_FSIZE, (0, resource.RLIM_INFINITY))
        return process

    async def stop(self) -> int:
        """Send SIGTERM once it is up, and return its exit status."""
        await until(lambda: self.running is not None, PATIENCE)
        await self.running.started()
        self.is_stopping = True
        return await self.running.stop(limit=PATIENCE)


@dataclass
class ChaosDeployment:
    """Everything that runs, for one round; an async context manager that ends whatever it started."""

    directory: Path
    timeline: Timeline
    fsync: str = "always"
    balancer_port: int = field(default_factory=free_port)
    sandbox_port: int = field(default_factory=free_port)
    other_sandbox_port: int = field(default_factory=free_port)
    receiver_ports: tuple[int, ...] = field(default_factory=lambda: tuple(free_port() for _ in RECEIVER_ROLES))
    ends: list[ProcessEnd] = field(default_factory=list)
    redis_outages: list[RedisOutage] = field(default_factory=list)
    is_redis_away: bool = False

    def __post_init__(self) -> None:
        self.key = make_key()
        self.sandbox_url = f"http://127.0.0.1:{self.sandbox_port}"
        self.public_url = f"http://127.0.0.1:{self.balancer_port}"
        self.receivers = [f"http://127.0.0.1:{port}" for port in self.receiver_ports]
        self._senders = {
            account: MailSender(
                receiver_url=self.public_url, public_base_url=self.public_url, auth_token=token, private_key=self.key
            )
            for account, token in TOKENS.items()
        }
        self.sandboxes: list[SandboxClient] = []
        self._sandbox_processes: list[ProcessHandle] = []
        self.processes: dict[str, RestartedProcess] = {}
        self._tasks: list[asyncio.Task[None]] = []

    async def __aenter__(self) -> Self:
        """Start everything, and return once it works."""
        self.redis = RedisServer(self.directory, fsync=self.fsync)
        self.environment = self._make_environment()
        self._session = aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=scaled(10)))
        try:
            await self.redis.start()
            for account, port in ((ACCOUNT, self.sandbox_port), (OTHER_ACCOUNT, self.other_sandbox_port)):
                await self._start_sandbox(account, port)
            self.processes = {role: self._make_process(role) for role in ROLES}
            self._tasks = [asyncio.create_task(one.keep(), name=role) for role, one in self.processes.items()]
            for url in self.receivers:
                await until(lambda url=url: is_up(f"{url}/readyz"), PATIENCE)
            for one in self.processes.values():
                await until(lambda one=one: one.running, PATIENCE)
                await one.running.started()
        except BaseException:
            await self.__aexit__()
            raise
        return self

    async def __aexit__(self, *_: object) -> None:
        """End what still runs."""
        await end(*self._tasks)
        for one in self.processes.values():
            if one.running is not None:
                await one.running.kill()
        await self._session.close()
        for process in self._sandbox_processes:
            await process.kill()
        self.redis.kill()

    @property
    def sandbox(self) -> SandboxClient:
        """The API of the first account, which nearly everything happens in."""
        return self.sandboxes[0]

    def sign(self, webhook: SimulatedWebhook) -> tuple[str, dict[str, str], bytes]:
        """Sign a webhook as the account that it is about; returns path, headers and body."""
        account = OTHER_ACCOUNT if OTHER_ACCOUNT.encode() in webhook.body else ACCOUNT
        return self._senders[account].sign(webhook)

    def _make_process(self, role: str) -> RestartedProcess:
        environment = dict(self.environment)
        if role in RECEIVER_ROLES:
            environment["PORT"] = str(self.receiver_ports[RECEIVER_ROLES.index(role)])
        return RestartedProcess(role, _made(self.directory / role), environment, self)

    def _make_environment(self) -> dict[str, str]:
        config = write_config(self.directory, *HUMAN_AGENTS, rules=QUEUE)
        accounts = _ACCOUNTS.format(url=f"http://127.0.0.1:{self.other_sandbox_port}")
        (config / "accounts.toml").write_text(accounts, encoding="utf-8")
        return make_environment(
            self.redis.url,
            self.sandbox_url,
            PUBLIC_BASE_URL=self.public_url,
            TWILIO_CLASSIC_SERVICE_SID=SERVICE,
            ROUTER_CONFIG_DIR=str(config),
            OTHER_TOKEN=OTHER_TOKEN,
            ROUTER_EMAIL_PUBLIC_KEYS=public_text(self.key),
            ROUTER_VOICE_RELAY_URL="wss://agent.example.com/relay",
            ROUTER_AI_AGENT_REPLY="tests.chaos.replies:answer",
            ROUTER_API_TIMEOUT="5",
            ROUTER_MAX_DELIVERIES=str(MAX_CRASHES),
            PYTHONUNBUFFERED="1",
        )

    async def _start_sandbox(self, account: str, port: int) -> None:
        """Start it with long timeouts: an event that Twilio gave up delivering would have no 2xx to account for."""
        switches = {
            "classic_post_webhook_url": f"{self.public_url}/webhooks/conversations-classic",
            "classic_webhook_filters": list(EVENT_TYPES),
            "classic_webhook_timeout_seconds": PATIENCE,
            "callback_timeout_seconds": PATIENCE,
        }
        identity = {"TWILIO_ACCOUNT_SID": account, "TWILIO_AUTH_TOKEN": TOKENS[account], "ROUTER_ACCOUNTS_FILE": "none"}
        self._sandbox_processes.append(
            await start_process(
                _made(self.directory / "sandbox"),
                *("router", "sandbox", "--port", str(port)),
                *("--callback-url", f"{self.public_url}/webhooks/conversations"),
                *(part for name, value in switches.items() for part in ("--set", f"{name}={to_json(value)}")),
                **(self.environment | identity),
            )
        )
        url = f"http://127.0.0.1:{port}"
        authorization = aiohttp.encode_basic_auth(account, TOKENS[account])
        self.sandboxes.append(SandboxClient(url, self._session, authorization=authorization))
        await until(lambda: is_up(f"{url}/healthz"), PATIENCE)

    def note_end(self, role: str, process: ProcessHandle, status: int, *, is_kill: bool) -> None:
        """Record the end of a process; one that had ended by itself when it was to be killed counts as such."""
        lines = process.text.splitlines()
        self.ends.append(
            ProcessEnd(
                role=role,
                pid=process.pid,
                at=time.time(),
                status=status,
                is_kill=is_kill and status == -signal.SIGKILL,
                is_redis_away=self.is_redis_away,
                last_line=lines[-1] if lines else "",
            )
        )

    async def spooled(self, receiver: str) -> int:
        """Return the number of entries in the spool of a receiver."""
        async with self._session.get(f"{receiver}/readyz") as answer:
            return (await answer.json())["spool"]["entries"]

    async def interrupt_redis(self, *, is_kill: bool, seconds: float) -> None:
        """Kill Redis with SIGKILL and start it again, or stop it and let it go on, `seconds` later."""
        begun, self.is_redis_away = time.time(), True
        if is_kill:
            await asyncio.to_thread(self.redis.kill)
        else:
            self.redis.stall()
        await self.timeline.pause(seconds)
        if is_kill:
            await self.redis.start()
        else:
            self.redis.resume()
        self.is_redis_away = False
        self.redis_outages.append(RedisOutage(begun, time.time(), is_kill))

    async def stop_all(self) -> dict[str, int]:
        """Stop every process; returns the exit statuses by role."""
        statuses = await asyncio.gather(*[one.stop() for one in self.processes.values()])
        for sandbox in self.sandboxes:
            with suppress(aiohttp.ClientError, OSError):
                await sandbox.ask("DELETE", "/sandbox/faults")
        return dict(zip(self.processes, statuses, strict=True))


def to_json(value: object) -> str:
    """Return a value as the sandbox's command line takes it."""
    return orjson.dumps(value).decode()


def _made(directory: Path) -> Path:
    directory.mkdir(parents=True, exist_ok=True)
    return directory


def free_disk(process: ProcessHandle) -> None:
    """Let the files of a process grow again; nothing happens if it has ended."""
    with suppress(ProcessLookupError):
        resource.prlimit(process.pid, resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
