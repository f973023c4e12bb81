"""A whole deployment in which any process may be stopped between any two steps.

Receiver, worker and both consumers are real processes, each behind relays of its own to Redis and to the API; the
sandbox is the API. Nothing is restarted by itself: a test sees who dies, and starts who comes after. Webhooks are sent
as Twilio sends them, again and again until there is a 200.
"""

from __future__ import annotations

import itertools
import shutil
import signal
from collections import Counter
from contextlib import AsyncExitStack, asynccontextmanager
from functools import partial
from typing import TYPE_CHECKING, Any, Self

import aiohttp
import orjson
from aiohttp import web

from router.core.keys import RESOLVER, Keys, Target
from router.sandbox import DEFAULT_CONFIGURATION_ID, SandboxOptions, create_app
from router.simulator.mail import MailSender
from router.simulator.mail_keys import make_key, public_text
from router.streams.client.connection import connect
from router.streams.client.embedded import free_port
from tests.harness.fork_server import ForkServer
from tests.support.accounts import ACCOUNT, TOKEN
from tests.support.keys import problems_of
from tests.support.relay import HTTP, REDIS, Relay, Trap
from tests.support.source import ROOT
from tests.support.waiting import until
from tests.support.wire import script_files

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from router.simulator.messages import SimulatedWebhook
    from tests.harness.processes import ProcessHandle

KEY, SECRET = "SK00000000000000000000000000000001", "made-up-api-secret"
BASE = "https://hooks.example.com"
OURS, DESK, AGENT = "+15557650000", "+15557650002", "+15557650009"
MAILBOX = "support@example.com"
GREETING = "Hello there"
ROLES = {
    "receiver": ("router", "receive"),
    "worker": ("router", "work"),
    "ai_agent": ("handlers", "ai_agent"),
    "human_agent": ("handlers", "human_agent"),
}
#: Each group with the stream that it reads, in the order in which events pass them.
GROUPS = (
    (Keys().inbound(0), RESOLVER),
    (Keys().participants(0, Target.AI_AGENT), "ai-agent"),
    (Keys().participants(0, Target.HUMAN_AGENT), "human-agent"),
)
ROSTER = '[[agent]]\nidentity = "dana"\nname = "Dana"\ncapacity = 1000\n'


class Member:
    """One process and its relays."""

    def __init__(self, process: ProcessHandle, redis: Relay, api: Relay) -> None:
        self.process, self.redis, self.api = process, redis, api

    def set(self, trap: Trap) -> Trap:
        """Set a trap where the step passes."""
        (self.api if "/" in trap.step else self.redis).trap = trap
        return trap

    def resume(self, trap: Trap) -> None:
        """Let it go on where it was stopped."""
        self.process.send_signal(signal.SIGCONT)
        trap.resumed.set()

    async def died(self) -> bool:
        """Wait for its end, and tell whether it was killed."""
        return await self.process.wait() == -signal.SIGKILL


class Town:
    """Everything, and a look at what came of it."""

    def __init__(self, redis_url: str, directory: Path, sandbox: web.AppRunner, session: aiohttp.ClientSession) -> None:
        self.redis = connect(redis_url)
        self.members: dict[str, Member] = {}
        self.ended: list[int] = []
        self.port = free_port()
        self.numbers = itertools.count(1)
        self.mail_key = make_key()
        self._redis_address = ("127.0.0.1", int(redis_url.rpartition(":")[2].partition("/")[0]))
        self._sandbox_address: tuple[str, int] = sandbox.addresses[0]
        self._directory = directory
        self._session = session
        self._fork_server = ForkServer(directory)
        self._stack = AsyncExitStack()

    # --- processes -----------------------------------------------------------------------------------------------

    async def __aenter__(self) -> Self:
        await self.redis.flushall()
        for path in script_files():
            await self.redis.script_load(path.read_text(encoding="utf-8"))
        shutil.copytree(ROOT / "config", self._directory / "config")
        (self._directory / "config/roster.toml").write_text(ROSTER)
        await self._stack.enter_async_context(self._fork_server)
        for role in ROLES:
            await self.start(role)
        return self

    async def __aexit__(self, *_: object) -> None:
        for member in self.members.values():
            self.ended.append(await member.process.stop())
        await self._stack.aclose()
        immortal = await problems_of(self.redis)
        await self.redis.flushall()
        await self.redis.aclose()
        assert set(self.ended) == {0}
        assert immortal == []

    async def start(self, role: str, trap: Trap | None = None, **settings: str) -> Member:
        """Start another process of a role, which takes the place of the one before; a trap may await it."""
        member = self.members[role] = await self.launch(*ROLES[role], trap=trap, **settings)
        if trap is None:
            await member.process.started()
        return member

    async def launch(self, *arguments: str, trap: Trap | None = None, **settings: str) -> Member:
        """Start a process of any kind with relays of its own."""
        redis = await self._stack.enter_async_context(Relay(self._redis_address, REDIS).running())
        api = await self._stack.enter_async_context(Relay(self._sandbox_address, HTTP).running())
        environment = self._environment(redis.port, api.port) | settings
        process = await self._fork_server.start(*arguments, **environment)
        member = Member(process, redis, api)
        for relay in (redis, api):
            relay.victim = process.process.send_signal
        if trap is not None:
            member.set(trap)
        return member

    async def recover(self) -> None:
        """Undo what a test that failed has left behind, so that it fails alone."""
        for role, member in [*self.members.items()]:
            for relay in (member.redis, member.api):
                if relay.trap is not None and member.process.returncode is None:
                    member.resume(relay.trap)
                relay.trap = None
                relay.mend()
            if member.process.returncode is not None:
                await self.start(role)

    @asynccontextmanager
    async def door(self, member: Member) -> AsyncIterator[Relay]:
        """A relay between callers and the receiver, which stops `member`."""
        async with Relay(("127.0.0.1", self.port), HTTP).running() as relay:
            relay.victim = member.process.send_signal
            yield relay

    def _environment(self, redis: int, api: int) -> dict[str, str]:
        return {
            "REDIS_URL": f"redis://127.0.0.1:{redis}/0",
            "TWILIO_CONVERSATIONS_URL": f"http://127.0.0.1:{api}",
            "TWILIO_ACCOUNT_SID": ACCOUNT,
            "TWILIO_AUTH_TOKEN": TOKEN,
            "TWILIO_API_KEY": KEY,
            "TWILIO_API_SECRET": SECRET,
            "TWILIO_CONVERSATION_CONFIGURATION_ID": DEFAULT_CONFIGURATION_ID,
            "PUBLIC_BASE_URL": BASE,
            "PORT": str(self.port),
            "ROUTER_HOST": "127.0.0.1",
            "ROUTER_CONFIG_DIR": str(self._directory / "config"),
            "ROUTER_EMAIL_PUBLIC_KEYS": public_text(self.mail_key),
            "ROUTER_VOICE_RELAY_URL": "wss://agent.example.com/relay",
            "ROUTER_AI_AGENT_ADDRESS": AGENT,
            "ROUTER_AI_AGENT_GREETING": GREETING,
            "ROUTER_HEARTBEAT_TTL": "0.8",
            "ROUTER_RETRY_DELAY": "0.05",
            "ROUTER_GRACE": "5",
        }

    # --- Twilio's side -------------------------------------------------------------------------------------------

    async def deliver(self, *webhooks: SimulatedWebhook, port: int = 0) -> None:
        """Send each until it is answered 200, as Twilio does where it is asked to."""
        sender = MailSender(
            receiver_url=f"http://127.0.0.1:{port or self.port}",
            public_base_url=BASE,
            auth_token=TOKEN,
            private_key=self.mail_key,
        )

        async def is_taken(webhook: SimulatedWebhook) -> bool:
            try:
                status, _ = await sender.send(webhook)
            except aiohttp.ClientError:
                return False
            assert status in {200, 503}
            return status == 200

        async with sender:
            for webhook in webhooks:
                await until(partial(is_taken, webhook), timeout=20)

    async def api(self, method: str, path: str, body: Any = None) -> Any:
        """Call the API as somebody else than our processes."""
        url = "http://{}:{}".format(*self._sandbox_address)
        headers = {"Authorization": aiohttp.encode_basic_auth(KEY, SECRET)}
        async with self._session.request(method, url + path, json=body, headers=headers) as answer:
            assert answer.status < 300, await answer.text()
            return await answer.json()

    async def conversations(self) -> list[dict[str, Any]]:
        return (await self.api("GET", "/v2/Conversations?pageSize=1000"))["conversations"]

    # --- what came of it -----------------------------------------------------------------------------------------

    async def settled(self) -> None:
        """Return once every group has read everything, and nothing is pending."""

        async def is_settled() -> bool:
            for stream, group in GROUPS:
                rows: Any = await self.redis.xinfo_groups(stream)
                if not [row for row in rows if row["name"] == group.encode() and not row["pending"] + row["lag"]]:
                    return False
            return True

        await until(is_settled, timeout=30)

    async def entries(self, address: str, conversations: set[str]) -> Counter[str]:
        """How many entries of each type there are about a customer, or about conversations as such."""
        found: Counter[str] = Counter()
        for stream, _ in GROUPS[1:]:
            for _, fields in await self.redis.xrange(stream):
                data = orjson.loads(fields[b"event"])["data"]
                if data.get("address") == address or (
                    "address" not in data and data["conversation"]["id"] in conversations
                ):
                    found[fields[b"type"].decode()] += 1
        return found

    async def taken(self, text: str) -> int:
        """How many inbound entries are about somebody."""
        rows: Any = await self.redis.xrange(Keys().inbound(0))
        return sum(text.encode() in fields.get(b"body", b"") for _, fields in rows)

    async def letters(self) -> int:
        return await self.redis.xlen(Keys().dead_letters(0))

    async def books(self) -> tuple[int, int]:
        """How many conversations people have by each of the two books: as many in the one as in the other."""
        loads: Any = await self.redis.hvals(Keys().roster("load"))
        return sum(map(int, loads)), await self.redis.hlen(Keys().roster("conversations"))

    async def let_pass(self, seconds: int) -> None:
        """Let every step of an effect that was begun and not finished be so much older."""
        async for key in self.redis.scan_iter("*:effect:*"):
            for step, state in (await self.redis.hgetall(key)).items():
                if state[:1] in b"bu":
                    await self.redis.hset(key, step, b"%c%d" % (state[0], int(state[1:]) - seconds * 1000))


@asynccontextmanager
async def building(redis_url: str, directory: Path) -> AsyncIterator[Town]:
    """A town while the block runs; afterwards everybody has ended cleanly and no key is left that never expires."""
    options = SandboxOptions(account_sid=ACCOUNT, auth_token=TOKEN, api_key=KEY, api_secret=SECRET)
    sandbox = web.AppRunner(create_app(options), access_log=None, shutdown_timeout=1)
    await sandbox.setup()
    try:
        await web.TCPSite(sandbox, "127.0.0.1", 0).start()
        async with aiohttp.ClientSession() as session, Town(redis_url, directory, sandbox, session) as town:
            yield town
    finally:
        await sandbox.cleanup()
