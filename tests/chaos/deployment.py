"""The real processes of a round: Redis with its append-only file, the sandbox, and all that is killed.

Every role is kept running as a supervisor would: whatever ends is started again, after the pause that its kill asks
for, or after RESTART seconds where it ended by itself (a worker that is started while Redis is away says so and ends).
Each has a directory of its own, with a log for each start; a receiver's spool is there too, and the next start of the
same receiver finds it.
"""

from __future__ import annotations

import asyncio
import shutil
import signal
import time
from contextlib import suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final, Self

import aiohttp
import orjson

from router.inbound.classic.parser import EVENT_TYPES
from router.sandbox import DEFAULT_CONFIGURATION_ID
from router.simulator.http import is_up
from router.simulator.mail import MailSender
from router.simulator.mail_keys import make_key, public_text
from router.streams.client.embedded import free_port
from tests.chaos.schedule import ROLES
from tests.chaos.stories import ACCOUNT
from tests.harness.processes import start_process
from tests.harness.redis_server import RedisServer
from tests.support.source import ROOT
from tests.support.waiting import until

if TYPE_CHECKING:
    from pathlib import Path

    from tests.chaos.timeline import Timeline
    from tests.harness.processes import ProcessHandle

TOKEN, KEY, SECRET = "c4a05" + "0" * 27, "SK0000000000000000000000000000c405", "made-up-api-secret"
CLASSIC_SERVICE: Final = "IS0000000000000000000000000000c405"
RECEIVER_ROLES: Final = ("web-1", "web-2")
PEOPLE: Final = ("ada", "ben", "cem")
#: Seconds until a process is started again that ended by itself.
RESTART: Final = 0.5
#: Seconds that everything may take to come up, and a process to end.
PATIENCE: Final = 60.0
#: Deaths after which an entry counts as their cause. The default of 5 is for processes that die of something: killed
#: every few seconds, an innocent entry may well be on trial three times.
MOST_DEATHS: Final = 20
#: Everything that must not be in a log line.
SECRETS: Final = (TOKEN, SECRET)


@dataclass(frozen=True, slots=True)
class End:
    """A process that ended in the storm: killed by us or by itself; times in seconds since 1970."""

    role: str
    pid: int
    at: float
    status: int
    is_kill: bool
    is_redis_away: bool


@dataclass(frozen=True, slots=True)
class Away:
    """A time in which Redis did not answer, or not reliably."""

    begun: float
    ended: float
    is_kill: bool


@dataclass
class Keeper:
    """Keeps one role running."""

    role: str
    directory: Path
    environment: dict[str, str]
    site: Site
    running: ProcessHandle | None = None
    down: float | None = None
    is_ending: bool = False

    async def keep(self) -> None:
        """Start it again and again until the end."""
        while not self.is_ending:
            self.running = await start_process(self.directory, *ROLES[self.role], **self.environment)
            status = await self.running.process.wait()
            if self.is_ending:
                return
            is_kill, pause = self.down is not None, RESTART if self.down is None else self.down
            ended = End(self.role, self.running.pid, time.time(), status, is_kill, self.site.is_redis_away)
            self.site.ends.append(ended)
            self.running, self.down = None, None
            await self.site.timeline.pause(pause)

    def kill(self, down: float) -> bool:
        """Kill it with SIGKILL; False if it is down just now."""
        if self.running is None or self.down is not None:
            return False
        self.down = down
        self.running.process.kill()
        return True

    async def end(self) -> int:
        """Tell it to stop, once it is up, and return its exit status."""
        await until(lambda: self.running is not None, PATIENCE)
        await self.running.started()
        self.is_ending = True
        return await self.running.stop(signal.SIGTERM, limit=PATIENCE)


@dataclass
class Site:
    """Everything that runs, for one round; an async context manager that ends whatever it started."""

    directory: Path
    timeline: Timeline
    fsync: str = "always"
    balancer_port: int = field(default_factory=free_port)
    sandbox_port: int = field(default_factory=free_port)
    receiver_ports: tuple[int, ...] = field(default_factory=lambda: tuple(free_port() for _ in RECEIVER_ROLES))
    ends: list[End] = field(default_factory=list)
    aways: list[Away] = field(default_factory=list)
    is_redis_away: bool = False

    def __post_init__(self) -> None:
        self.key = make_key()
        self.sandbox_url = f"http://127.0.0.1:{self.sandbox_port}"
        self.public_url = f"http://127.0.0.1:{self.balancer_port}"
        self.receivers = [f"http://127.0.0.1:{port}" for port in self.receiver_ports]
        self.sender = MailSender(
            receiver_url=self.public_url, public_base_url=self.public_url, auth_token=TOKEN, private_key=self.key
        )
        self._tasks: list[asyncio.Task[None]] = []

    async def __aenter__(self) -> Self:
        """Start everything, and return once it works."""
        self.redis = RedisServer(self.directory, fsync=self.fsync)
        self.environment = self._environment()
        self._write_roster()
        try:
            await self.redis.start()
            await self._start_sandbox()
            self.keepers = {role: self._keeper(role) for role in ROLES}
            self._tasks = [asyncio.create_task(keeper.keep(), name=role) for role, keeper in self.keepers.items()]
            for url in self.receivers:
                await until(lambda url=url: is_up(f"{url}/readyz"), PATIENCE)
            for keeper in self.keepers.values():
                await until(lambda keeper=keeper: keeper.running, PATIENCE)
                await keeper.running.started()
        except BaseException:
            await self.__aexit__()
            raise
        return self

    async def __aexit__(self, *_: object) -> None:
        """End what still runs."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        for keeper in getattr(self, "keepers", {}).values():
            if keeper.running is not None:
                await keeper.running.kill()
        if hasattr(self, "sandbox"):
            await self.session.close()
            await self.sandbox.kill()
        self.redis.kill()

    def _keeper(self, role: str) -> Keeper:
        environment = dict(self.environment)
        if role in RECEIVER_ROLES:
            environment["PORT"] = str(self.receiver_ports[RECEIVER_ROLES.index(role)])
        return Keeper(role, _made(self.directory / role), environment, self)

    def _environment(self) -> dict[str, str]:
        return {
            "REDIS_URL": self.redis.url,
            "PUBLIC_BASE_URL": self.public_url,
            "TWILIO_ACCOUNT_SID": ACCOUNT,
            "TWILIO_AUTH_TOKEN": TOKEN,
            "TWILIO_API_KEY": KEY,
            "TWILIO_API_SECRET": SECRET,
            "TWILIO_CONVERSATIONS_URL": self.sandbox_url,
            "TWILIO_CONVERSATION_CONFIGURATION_ID": DEFAULT_CONFIGURATION_ID,
            "TWILIO_CLASSIC_SERVICE_SID": CLASSIC_SERVICE,
            "ROUTER_HOST": "127.0.0.1",
            "ROUTER_CONFIG_DIR": str(self.directory / "config"),
            "ROUTER_ACCOUNTS_FILE": "none",
            "ROUTER_EMAIL_PUBLIC_KEYS": public_text(self.key),
            "ROUTER_VOICE_RELAY_URL": "wss://agent.example.com/relay",
            "ROUTER_AI_AGENT_REPLY": "tests.chaos.replies:answer",
            "ROUTER_API_TIMEOUT": "5",
            "ROUTER_MAX_DELIVERIES": str(MOST_DEATHS),
            "PYTHONUNBUFFERED": "1",
        }

    def _write_roster(self) -> None:
        """Use the project's configuration, with people who have room for everybody."""
        shutil.copytree(ROOT / "config", self.directory / "config")
        people = [f'[[agent]]\nidentity = "{name}"\nname = "{name}"\ncapacity = 10000\n' for name in PEOPLE]
        (self.directory / "config" / "roster.toml").write_text("\n".join(people), encoding="utf-8")

    async def _start_sandbox(self) -> None:
        """Start it with patience: what Twilio could not deliver within its own would be no event with a 2xx."""
        switches = {
            "classic_post_webhook_url": f"{self.public_url}/webhooks/conversations-classic",
            "classic_webhook_filters": list(EVENT_TYPES),
            "classic_webhook_timeout_seconds": PATIENCE,
            "callback_timeout_seconds": PATIENCE,
        }
        self.sandbox = await start_process(
            _made(self.directory / "sandbox"),
            *("router", "sandbox", "--port", str(self.sandbox_port)),
            *("--callback-url", f"{self.public_url}/webhooks/conversations"),
            *(part for name, value in switches.items() for part in ("--set", f"{name}={orjson.dumps(value).decode()}")),
            **self.environment,
        )
        headers = {"Authorization": aiohttp.encode_basic_auth(KEY, SECRET)}
        self.session = aiohttp.ClientSession(headers=headers, timeout=aiohttp.ClientTimeout(total=10))
        await until(lambda: is_up(f"{self.sandbox_url}/healthz"), PATIENCE)

    async def ask(self, method: str, path: str, body: Any = None, **query: str) -> Any:
        """Ask the sandbox; returns the JSON of a 2xx, None of an answer without. Raises aiohttp.ClientError."""
        async with self.session.request(
            method, self.sandbox_url + path, json=body, params=query, raise_for_status=True
        ) as answer:
            return orjson.loads(text) if (text := await answer.read()) else None

    async def take_redis_away(self, *, is_kill: bool, seconds: float) -> None:
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
        self.aways.append(Away(begun, time.time(), is_kill))

    async def end_all(self) -> dict[str, int]:
        """Tell everybody to stop; returns exit statuses."""
        statuses = await asyncio.gather(*[keeper.end() for keeper in self.keepers.values()])
        with suppress(aiohttp.ClientError, OSError):
            await self.ask("DELETE", "/sandbox/faults")
        return dict(zip(self.keepers, statuses, strict=True))


def _made(directory: Path) -> Path:
    directory.mkdir(parents=True, exist_ok=True)
    return directory
