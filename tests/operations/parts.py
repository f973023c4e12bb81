"""The parts of a deployment in this process, each started by a test when it wants to, and the search for stories."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import aiohttp
import orjson
from aiohttp import web
from yarl import URL

from handlers.app import consuming
from router.operations.stories import StorySearch
from router.receiver.app import LANE, create_app
from router.receiver.connections import connection_factory
from router.settings.load import load
from router.simulator.messages import message
from router.worker.app import working
from tests.harness.settings import make_environment, quick_recovery
from tests.receiver.samples import signed
from tests.support.accounts import ACCOUNT, AGENT, CUSTOMER, OURS, TOKEN
from tests.support.waiting import until

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Sequence
    from pathlib import Path

    from router.core.stories import Story
    from router.settings.model import Settings
    from router.simulator.messages import SimulatedWebhook
    from router.streams.client.connection import Redis
    from tests.harness.sandbox import Sandbox


def sms(number: int = 1, sender: str = CUSTOMER, kind: str = "sms") -> SimulatedWebhook:
    """Return a message of a customer; `sid_of` gives its id."""
    ends = {"account_sid": ACCOUNT, "sender": sender, "recipient": OURS}
    return message(kind, **ends, body="hello there", sid=sid_of(number))


def sid_of(number: int = 1) -> str:
    return f"SM{number:032x}"


class Parts:
    """Receiver, worker and consumers with the same settings; `sandbox` is the API."""

    def __init__(self, redis: Redis, redis_url: str, sandbox: Sandbox, state: Path) -> None:
        self.redis, self.redis_url, self.sandbox, self._state = redis, redis_url, sandbox, state
        self.changes: dict[str, str] = {}

    def settings(self, **changes: str) -> Settings:
        """Return the settings of all parts."""
        own = {
            "ROUTER_SPOOL_DIR": str(self._state / "spool"),
            "ROUTER_AI_AGENT_ADDRESS": AGENT,
            "ROUTER_AI_AGENT_GREETING": "Hello, how can we help?",
            "TWILIO_AUTH_TOKEN": TOKEN,
        }
        given = quick_recovery() | own | self.changes | changes
        return load(environment=make_environment(self.redis_url, self.sandbox.url, **given))

    @asynccontextmanager
    async def receiving(self, **changes: str) -> AsyncIterator[Callable[..., Any]]:
        """Run a receiver; yields a function that sends a webhook and returns the status."""
        settings = self.settings(**changes)
        runner = web.AppRunner(create_app(settings), access_log=None, handle_signals=False, shutdown_timeout=1)
        await runner.setup()
        lane = runner.app[LANE]
        factory = connection_factory(runner.server, asyncio.get_running_loop(), settings.max_connections, lane)
        listener = await asyncio.get_running_loop().create_server(factory, "127.0.0.1", 0)
        port = listener.sockets[0].getsockname()[1]
        try:
            async with aiohttp.ClientSession() as session:

                async def send(webhook: SimulatedWebhook, **more: Any) -> int:
                    request = signed(webhook, **more)
                    url = URL(f"http://127.0.0.1:{port}{request.path}", encoded=True)
                    async with session.post(url, data=request.body, headers=request.headers()) as answer:
                        return answer.status

                yield send
        finally:
            listener.close()
            await runner.cleanup()

    def working(self, **changes: str) -> Any:
        """Run a worker while the block runs."""
        return working(self.settings(**changes))

    def handling(self, name: str, **changes: str) -> Any:
        """Run a consumer while the block runs."""
        return consuming(name, self.settings(**changes))

    async def story(self, query: str, *, around: int | None = None, **changes: str) -> Story:
        """Search as the command and the page do."""
        return await StorySearch(self.redis, self.settings(**changes)).find(query, around=around)

    async def told(self, query: str, *names: str, **changes: str) -> Story:
        """Wait until the story of `query` has these stages, and return it."""
        found: list[Story] = []

        async def is_told() -> bool:
            found[:] = [await self.story(query, **changes)]
            return set(names) <= {str(stage.stage) for stage in found[0].stages}

        await until(is_told)
        return found[0]

    async def told_all(self, query: str, names: Sequence[str]) -> Story:
        """Wait until the story of `query` has these stages and no others, and return it."""
        found: list[Story] = []

        async def is_told() -> bool:
            found[:] = [await self.story(query)]
            return sorted(names_of(found[0])) == sorted(names)

        await until(is_told)
        return found[0]


def names_of(story: Story) -> list[str]:
    """Return the stages of a story in order; not that consumers which a test does not run are missing."""
    return [str(stage.stage) for stage in story.stages if not stage.detail.endswith("no consumer of it is alive")]


async def fail(_: object) -> str:
    """A reply of the AI agent that always fails."""
    raise ValueError("this reply fails")


async def command(parts: Parts, kind: str, command_id: str, **data: Any) -> None:
    """Send a command as a program does."""
    document = {"specversion": "1.0", "id": command_id, "type": f"command.{kind}", "source": "/test", "data": data}
    fields = {"type": kind, "id": command_id, "command": orjson.dumps(document)}
    await parts.redis.xadd(parts.settings().keys.commands(0), fields)
