"""The whole project within one process, on a Redis of the test: what tests of bounds fill, break and count."""

from __future__ import annotations

import contextlib
from collections import Counter
from typing import TYPE_CHECKING, Any, Self

import orjson
from aiohttp import web

from handlers.app import consuming
from router.core.keys import Target
from router.receiver.app import create_app as create_receiver
from router.sandbox import DEFAULT_CONFIGURATION_ID, SandboxOptions
from router.sandbox import create_app as create_sandbox
from router.sandbox.faults import Fault
from router.sandbox.middlewares import FAULTS
from router.settings.load import load
from router.simulator.http import NO_FAULT, Sender, SignatureFault
from router.simulator.messages import message
from router.streams.client.connection import connect
from router.worker.app import working
from tests.support.accounts import ACCOUNT, TOKEN
from tests.support.waiting import until

if TYPE_CHECKING:
    from pathlib import Path

    from router.simulator.messages import SimulatedWebhook
    from router.streams.client.connection import Redis
    from router.streams.consuming.consumer import StreamConsumer

BASE = "https://hooks.example.com"
KEY, SECRET = "SK00000000000000000000000000000001", "made-up-api-secret"
OURS = "+15557650000"
NUMBER = "+1557{:07d}"


class Site:
    """A receiver and a sandbox; `worker` and `handler` start the consumers. An async context manager."""

    redis: Redis

    def __init__(self, redis_url: str, directory: Path, **environment: str) -> None:
        self._environment = {
            "REDIS_URL": redis_url,
            "TWILIO_ACCOUNT_SID": ACCOUNT,
            "TWILIO_AUTH_TOKEN": TOKEN,
            "TWILIO_API_KEY": KEY,
            "TWILIO_API_SECRET": SECRET,
            "TWILIO_CONVERSATION_CONFIGURATION_ID": DEFAULT_CONFIGURATION_ID,
            "PUBLIC_BASE_URL": BASE,
            "ROUTER_SPOOL_DIR": str(directory / "spool"),
            "ROUTER_HEARTBEAT_TTL": "1",
            "ROUTER_RETRY_DELAY": "0.05",
            "ROUTER_GRACE": "3",
        } | environment
        self._stack = contextlib.AsyncExitStack()
        self._sent = 0

    async def __aenter__(self) -> Self:
        options = SandboxOptions(account_sid=ACCOUNT, auth_token=TOKEN, api_key=KEY, api_secret=SECRET)
        self.sandbox = await self._serve(create_sandbox(options))
        self._environment.setdefault("TWILIO_CONVERSATIONS_URL", _url(self.sandbox))
        self.settings = load(environment=self._environment)
        self.keys = self.settings.keys
        self.redis = connect(self.settings.redis)
        self._stack.push_async_callback(self.redis.aclose)
        self.receiver = await self._serve(create_receiver(self.settings))
        sender = Sender(receiver_url=_url(self.receiver), public_base_url=BASE, auth_token=TOKEN)
        self._sender = await self._stack.enter_async_context(sender)
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._stack.aclose()

    async def _serve(self, app: web.Application) -> web.AppRunner:
        runner = web.AppRunner(app, access_log=None, handle_signals=False, auto_decompress=False, shutdown_timeout=1)
        await runner.setup()
        self._stack.push_async_callback(runner.cleanup)
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        return runner

    async def worker(self) -> StreamConsumer:
        """Start a worker, which ends with the site."""
        return await self._stack.enter_async_context(working(self.settings))

    async def handler(self, name: str) -> StreamConsumer:
        """Start a consumer of the participants, which ends with the site."""
        return await self._stack.enter_async_context(consuming(name, self.settings))

    def slow(self, seconds: float, times: int) -> None:
        """Let the API take that long over so many conversations to be opened."""
        fault = Fault(method="POST", route="/v2/Conversations", latency_seconds=seconds, times=times)
        self.sandbox.app[FAULTS].arm(fault)

    async def send(self, *customers: int, text: str = "hello") -> list[int]:
        """Let customers write, each another message; returns the answers' statuses."""
        statuses = []
        for number in customers:
            self._sent += 1
            webhook = message(
                "sms",
                account_sid=ACCOUNT,
                sender=NUMBER.format(number),
                recipient=OURS,
                body=text,
                sid=f"SM{self._sent:032x}",
            )
            statuses.append(await self.post(webhook))
        return statuses

    async def post(self, webhook: SimulatedWebhook, fault: SignatureFault = NO_FAULT) -> int:
        """Send any webhook; returns the answer's status."""
        status, _ = await self._sender.send(webhook, fault)
        return status

    async def forge(self, number: int) -> int:
        """Send a webhook that nobody signed, each another."""
        webhook = message("sms", account_sid=ACCOUNT, sender=NUMBER.format(number), recipient=OURS, body="forged")
        return await self.post(webhook, SignatureFault(is_unsigned=True))

    async def events(self) -> list[dict[str, Any]]:
        """All entries of the participants streams."""
        found = []
        for target in Target:
            rows = await self.redis.xrange(self.keys.participants(0, target))
            found += [orjson.loads(fields[b"event"]) for _, fields in rows]
        return found

    async def joined(self) -> Counter[str]:
        """How often each customer was announced."""
        return Counter(one["data"]["address"] for one in await self.events() if one["type"] == "participant.joined")

    async def is_settled(self) -> bool:
        """Whether everything that came in has been worked on."""
        return await self._is_done(self.keys.inbound(0))

    async def is_consumed(self, target: str) -> bool:
        """Whether the consumers of a target have finished with all that was published for it."""
        return await self._is_done(self.keys.participants(0, target))

    async def _is_done(self, stream: str) -> bool:
        rows: Any = await self.redis.xinfo_groups(stream)
        return all(row["pending"] == 0 and row["lag"] == 0 for row in rows)

    async def settled(self, timeout: float = 30) -> None:  # noqa: ASYNC109 # a limit
        """Wait until it has."""
        await until(self.is_settled, timeout)


def _url(runner: web.AppRunner) -> str:
    return f"http://127.0.0.1:{runner.addresses[0][1]}"
