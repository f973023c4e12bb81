"""A deployment in which any process may be stopped between any two steps.

Receiver, worker and both consumers are real processes, each behind relays of its own to Redis and to the API; the
sandbox is the API. Nothing is restarted by itself: a test waits for the end of a process and starts its successor.
Webhooks are sent as Twilio sends them, again and again until they are answered 200.
"""

from __future__ import annotations

import itertools
import signal
from collections import Counter
from contextlib import AsyncExitStack, asynccontextmanager
from functools import partial
from typing import TYPE_CHECKING, Any, Self

import aiohttp
import orjson

from router.core.keys import Keys
from router.simulator.mail import MailSender
from router.simulator.mail_keys import make_key, public_text
from router.streams.client.connection import connect
from router.streams.client.embedded import free_port
from tests.harness.deployment import Deployment
from tests.harness.processes import ProcessHandle, start_process
from tests.harness.sandbox import running_sandbox
from tests.harness.settings import COMMANDS, make_environment, quick_recovery, write_config
from tests.support.accounts import AGENT, BASE_URL, TOKEN
from tests.support.floors import disagreements
from tests.support.keys import problems_of
from tests.support.relay import HTTP, REDIS, Breakpoint, Relay
from tests.support.waiting import scaled, until
from tests.support.wire import script_files

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from router.simulator.messages import SimulatedWebhook

GREETING = "Hello there"
#: Offers and requests outlast a kill and a new start, however slow; tests/worker/test_floor.py lets them expire.
PATIENT_QUEUE = """
[[queue]]
name = "default"
ring = 3600
patience = 7200
"""
COMMANDS_STREAM = Keys().commands(0)


class RelayedProcess(ProcessHandle):
    """A process and its relays to Redis and to the API."""

    def __init__(self, handle: ProcessHandle, redis: Relay, api: Relay) -> None:
        super().__init__(handle.process, handle.output)
        self.redis, self.api = redis, api
        for relay in (redis, api):
            relay.send_signal = self.send_signal

    def break_at(self, point: Breakpoint) -> Breakpoint:
        """Set a breakpoint in the relay that its step passes."""
        (self.api if "/" in point.step else self.redis).breakpoint = point
        return point

    def resume(self, point: Breakpoint) -> None:
        """Let the process go on from a breakpoint that stopped it."""
        self.send_signal(signal.SIGCONT)
        point.resumed.set()

    async def was_killed(self) -> bool:
        """Wait for its end, and tell whether SIGKILL was the cause."""
        return await self.wait() == -signal.SIGKILL


class RelayedDeployment(Deployment):
    """`processes` has the current process of each role; an async context manager that ends all of them."""

    def __init__(self, redis_url: str, directory: Path) -> None:
        self._redis_url, self._directory = redis_url, directory
        self.processes: dict[str, RelayedProcess] = {}
        self.port = free_port()
        self.numbers = itertools.count(1)
        self.mail_key = make_key()
        self._stack = AsyncExitStack()

    async def __aenter__(self) -> Self:
        sandbox = await self._stack.enter_async_context(running_sandbox())
        super().__init__(connect(self._redis_url, timeout=scaled(20)), sandbox)
        self._stack.push_async_callback(self.redis.aclose)
        await self.redis.flushall()
        for path in script_files():
            await self.redis.script_load(path.read_text(encoding="utf-8"))
        self._config = write_config(self._directory, "dana", rules=PATIENT_QUEUE)
        for role in COMMANDS:
            await self.start(role)
        return self

    async def __aexit__(self, *_: object) -> None:
        """Stop all processes, which must end cleanly and leave no key that should expire and does not."""
        try:
            statuses = [await process.stop() for process in self.processes.values()]
            problems = await problems_of(self.redis)
            await self.redis.flushall()
            assert set(statuses) == {0}
            assert problems == []
        finally:
            await self._stack.aclose()

    async def start(self, role: str, point: Breakpoint | None = None, **settings: str) -> RelayedProcess:
        """Start a process, which takes the place of the role's last one; wait until it is up, or is to be stopped."""
        process = self.processes[role] = await self.launch(*COMMANDS[role], point=point, **settings)
        if point is None:
            await process.started()
        return process

    async def launch(self, *arguments: str, point: Breakpoint | None = None, **settings: str) -> RelayedProcess:
        """Start `python -m ARGUMENTS` with relays of its own."""
        redis = await self._stack.enter_async_context(Relay(self._redis_url, REDIS).running())
        api = await self._stack.enter_async_context(Relay(self.sandbox.url, HTTP).running())
        environment = self._environment(redis.port, api.port) | settings
        handle = await start_process(self._directory, *arguments, **environment)
        process = RelayedProcess(handle, redis, api)
        if point is not None:
            process.break_at(point)
        return process

    async def recover(self) -> None:
        """Undo what a failed test has left behind, so that later tests do not fail as well."""
        self.sandbox.clear_faults()
        for role, process in [*self.processes.items()]:
            for relay in (process.redis, process.api):
                if relay.breakpoint is not None:
                    process.resume(relay.breakpoint)
                relay.breakpoint = None
                relay.reconnect()
            if process.returncode is not None:
                await self.start(role)

    @asynccontextmanager
    async def relay_to_receiver(self) -> AsyncIterator[Relay]:
        """A relay between the callers and the receiver, which can stop the receiver."""
        async with Relay(f"http://127.0.0.1:{self.port}", HTTP).running() as relay:
            relay.send_signal = self.processes["receiver"].send_signal
            yield relay

    def _environment(self, redis_port: int, api_port: int) -> dict[str, str]:
        return make_environment(
            f"redis://127.0.0.1:{redis_port}/0",
            f"http://127.0.0.1:{api_port}",
            PORT=str(self.port),
            ROUTER_CONFIG_DIR=str(self._config),
            ROUTER_EMAIL_PUBLIC_KEYS=public_text(self.mail_key),
            ROUTER_VOICE_RELAY_URL="wss://agent.example.com/relay",
            ROUTER_AI_AGENT_ADDRESS=AGENT,
            ROUTER_AI_AGENT_GREETING=GREETING,
            **quick_recovery(ROUTER_HEARTBEAT_TTL=f"{min(scaled(0.8), 4):.1f}"),
        )

    async def deliver(self, *webhooks: SimulatedWebhook, port: int = 0) -> None:
        """Send each webhook until it is answered 200, as Twilio does where it is asked to retry."""
        sender = MailSender(
            receiver_url=f"http://127.0.0.1:{port or self.port}",
            public_base_url=BASE_URL,
            auth_token=TOKEN,
            private_key=self.mail_key,
        )

        async def is_accepted(webhook: SimulatedWebhook) -> bool:
            try:
                status, _ = await sender.send(webhook)
            except aiohttp.ClientError:
                return False
            assert status in {200, 503}
            return status == 200

        async with sender:
            for webhook in webhooks:
                await until(partial(is_accepted, webhook))

    async def count_entries(self, address: str, conversations: set[str]) -> Counter[str]:
        """Count the published entries about a customer, or about conversations as such, by type."""
        return Counter(
            event["type"]
            for event in await self.published()
            if event["data"].get("address") == address
            or ("address" not in event["data"] and event["data"]["conversation"]["id"] in conversations)
        )

    async def count_inbound(self, text: str) -> int:
        """Count the inbound entries whose body contains a text."""
        rows: Any = await self.redis.xrange(self.keys.inbound(0))
        return sum(text.encode() in fields.get(b"body", b"") for _, fields in rows)

    async def is_idle(self, *streams: str) -> bool:
        """Tell whether every group of these streams, or of all, has finished with all entries; commands included."""
        return await super().is_idle(*(streams or (*self.inbound_streams, *self.participants_streams, COMMANDS_STREAM)))

    async def command(self, kind: str, command_id: str, **data: Any) -> None:
        """Write a command as any program does."""
        document = {"specversion": "1.0", "id": command_id, "source": "/test", "type": f"command.{kind}", "data": data}
        fields = {"type": kind, "id": command_id, "command": orjson.dumps(document)}
        await self.redis.xadd(COMMANDS_STREAM, fields)

    async def does_desk_agree(self) -> bool:
        """Tell whether the desk says of everybody what the ledgers say."""
        return not await disagreements(self.redis, self.keys)

    async def age_effects(self, seconds: int) -> None:
        """Make every effect that was begun and not finished so many seconds older."""
        async for key in self.redis.scan_iter("*:effect:*"):
            for step, state in (await self.redis.hgetall(key)).items():
                if state[:1] in b"bu":
                    await self.redis.hset(key, step, b"%c%d" % (state[0], int(state[1:]) - seconds * 1000))
