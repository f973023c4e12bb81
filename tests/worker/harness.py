"""A small harness for the worker: real Redis, a sandbox on a loopback port, a real client, and a clock that tests move.

`settle` is the worker without its processes: what goes in is settled as StreamConsumer would, batch first, then one by
one, but at once and in this task, so that a test sees each verdict. What needs waiting or dying uses real consumers.
"""

from __future__ import annotations

import time
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import aiohttp
from aiohttp import web

from router.conversations import Transport
from router.core.accounts import Account
from router.core.entries import CommunicationData, Entry, read_entry
from router.core.events import SourceName
from router.core.keys import RESOLVER, Keys, Target
from router.core.signing.form import NO_FORM, parse_form
from router.inbound.email.inbound_parse import MailReader
from router.inbound.sources import FORM, SOURCES
from router.inbound.webhook import Webhook
from router.process.apis import Apis
from router.sandbox import SandboxOptions
from router.sandbox.faults import Fault
from router.sandbox.middlewares import FAULTS
from router.settings.load import load
from router.settings.policy_file import read_policy
from router.simulator.messages import SimulatedWebhook, callback, message
from router.streams.consuming.groups import ensure_group
from router.streams.delivery import Delivery, Later, StreamRef
from router.streams.store.append import Appender, InboundFields
from router.streams.store.ledgers import Store
from router.worker.app import Resolver, make_consumer
from router.worker.work import report
from tests.support.accounts import ACCOUNT, CONFIGURATION, CUSTOMER, KEY, OURS, SECRET, TOKEN
from tests.support.policies import PLAIN
from tests.support.waiting import until

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from router.inbound.email.mail import ReceivedMail
    from router.streams.client.connection import Redis
    from router.streams.delivery import Verdict
    from router.streams.store.recent import Recent

CREATE = "POST /v2/Conversations"
LIST = "GET /v2/Conversations/{conversation}/Participants"


class Clock:
    """µs since 1970: the real time, and what a test lets pass."""

    def __init__(self) -> None:
        self.passed = 0

    def __call__(self) -> int:
        return time.time_ns() // 1000 + self.passed

    def advance(self, seconds: float) -> None:
        self.passed += int(seconds * 1_000_000)


def read_mails(webhook: SimulatedWebhook) -> tuple[ReceivedMail, ...]:
    """What the door of mails makes of a mail."""
    reader = MailReader(webhook.content_type)
    reader.feed(webhook.body)
    return reader.finish()


def options(**switches: Any) -> SandboxOptions:
    who = {"account_sid": ACCOUNT, "auth_token": TOKEN, "api_key": KEY, "api_secret": SECRET}
    return SandboxOptions(**(who | switches))


class WorkerHarness:
    """What a test of the worker acts on and looks at."""

    def __init__(self, redis: Redis, redis_url: str, sandbox: web.AppRunner, session: aiohttp.ClientSession) -> None:
        self.redis, self.redis_url, self.sandbox, self.session = redis, redis_url, sandbox, session
        self.keys = Keys()
        self.clock = Clock()
        self.inbound = StreamRef(0, self.keys.inbound(0))
        self.policy = PLAIN
        self.api_timeout = 5.0
        self._appender = Appender(redis, self.keys)
        self._transports: list[Transport] = []
        self._seen = "0"
        self._number = 0
        self.resolver: Resolver
        self.last: list[Verdict] = []

    # --- the parts -----------------------------------------------------------------------------------------------

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.sandbox.addresses[0][1]}"

    def make_apis(self, *, account: str = ACCOUNT, **options: Any) -> Apis:
        """Another worker's clients of the API; `options` go to the transport."""
        given = {"timeout": self.api_timeout, "random": lambda: 0.01} | options
        transport = Transport(self.url, KEY, SECRET, **given)
        self._transports.append(transport)
        return Apis([(Account(account, configuration_id=CONFIGURATION), transport)])

    def make_resolver(
        self,
        *,
        policy: str | None = None,
        own: frozenset[str] = frozenset(),
        retries: int = 4,
        apis: Apis | None = None,
        recent: Recent | None = None,
        **options: Any,
    ) -> Resolver:
        """Another worker's resolver: nothing is shared but Redis and the API; `options` go to it."""
        return Resolver(
            store=Store(self.redis, self.keys, marker_ttl=3600, recent=recent),
            apis=apis or self.make_apis(retries=retries),
            policy=read_policy(policy or self.policy),
            route_ttl=60,
            always_own=own,
            clock=self.clock,
            **options,
        )

    async def close(self) -> None:
        for transport in self._transports:
            await transport.close()

    # --- what comes in -------------------------------------------------------------------------------------------

    def sms(
        self, sender: str = CUSTOMER, to: str = OURS, *, kind: str = "sms", sid: str | None = None
    ) -> SimulatedWebhook:
        """A message; another one each time, unless it has a `sid`."""
        self._number += 1
        sid = sid or f"SM{self._number:032x}"
        return message(kind, account_sid=ACCOUNT, sender=sender, recipient=to, body="hi", sid=sid)

    async def receive(self, *webhooks: SimulatedWebhook) -> list[Delivery]:
        """Append webhooks as the receiver does, and return their deliveries."""
        for webhook in webhooks:
            await self.append(webhook)
        return await self.deliveries()

    async def append(self, webhook: SimulatedWebhook) -> None:
        source = next(source for source in SOURCES.values() if source.path == webhook.path)
        form = parse_form(webhook.body) if source.content_type == FORM else NO_FORM
        mails = read_mails(webhook) if source.name == SourceName.EMAIL else ()
        for piece in source.split(Webhook(webhook.body, form, webhook.token, mails), ACCOUNT):
            identity = piece.identity
            await self._appender.append(
                InboundFields(
                    source=source.name,
                    account_id=identity.account_id,
                    key=identity.key,
                    subject=identity.subject,
                    received_at=self.clock(),
                    body=piece.body,
                    ttl=600,
                    aliases=identity.aliases,
                )
            )

    async def deliveries(self) -> list[Delivery]:
        """What was appended since the last look."""
        rows = await self.redis.xrange(self.inbound.key, min=f"({self._seen}")
        if rows:
            self._seen = rows[-1][0].decode()
        return [Delivery(self.inbound, entry_id.decode(), fields) for entry_id, fields in rows]

    async def settle(self, *webhooks: SimulatedWebhook, by: Resolver | None = None) -> list[Any]:
        """Let webhooks come in and be settled; returns the outcomes' results, or the verdict of what has none."""
        return await self.work(await self.receive(*webhooks), by=by)

    async def work(self, deliveries: list[Delivery], *, by: Resolver | None = None) -> list[Any]:
        resolver = by or self.resolver
        settled, left = await resolver.batches.settle(deliveries, is_busy=lambda _: False)
        for work in settled:
            report(work)
        results: dict[str, Any] = {work.delivery.entry_id: work.outcome.result for work in settled}
        for delivery in left:
            results[delivery.entry_id] = await resolver.singles.attempt(delivery)
        return [results[delivery.entry_id] for delivery in deliveries]

    async def finish(self, delivery: Delivery, *, by: Resolver | None = None) -> Any:
        """Work on one delivery until it no longer says Later."""

        async def attempt() -> Any:
            (result,) = await self.work([delivery], by=by)
            return None if isinstance(result, Later) else result

        return await until(attempt)

    # --- Twilio's side -------------------------------------------------------------------------------------------

    async def api(self, method: str, path: str, body: Any = None) -> Any:
        """A call of the sandbox that is not the worker's (but is counted like one under /v2)."""
        headers = {"Authorization": aiohttp.encode_basic_auth(KEY, SECRET)}
        async with self.session.request(method, self.url + path, json=body, headers=headers) as answer:
            assert answer.status < 300, await answer.text()
            return await answer.json() if answer.status != 204 else None

    async def calls(self) -> dict[str, int]:
        """Requests of the public API by route, so far."""
        return dict((await self.api("GET", "/sandbox/requests"))["requests"])

    async def total(self) -> int:
        return sum((await self.calls()).values())

    def fault(self, **fields: Any) -> None:
        """Arm a fault of the sandbox."""
        self.sandbox.app[FAULTS].arm(Fault(**fields))

    def clear_faults(self) -> None:
        self.sandbox.app[FAULTS].clear()

    async def conversations(self) -> list[dict[str, Any]]:
        return (await self.api("GET", "/v2/Conversations?pageSize=1000"))["conversations"]

    async def participants(self, conversation_id: str) -> list[dict[str, Any]]:
        path = f"/v2/Conversations/{conversation_id}/Participants?pageSize=1000"
        return (await self.api("GET", path))["participants"]

    async def capture(self, sender: str = CUSTOMER, to: str = OURS, **more: Any) -> dict[str, Any]:
        """Twilio captures a message by itself."""
        body = {"channel": "SMS", "from": sender, "to": to, "body": "hi"} | more
        return await self.api("POST", "/sandbox/capture", body)

    def callback(
        self, event_type: str, data: dict[str, Any], *, at: str | None = None, token: str | None = None
    ) -> Any:
        """The status callback that reports a resource as it is in the API; `at` is the event's own time."""
        self._number += 1
        timestamp = at or data.get("updatedAt") or data.get("createdAt")
        return callback(event_type, data, timestamp=timestamp, token=token or f"t{self._number}")

    # --- what comes out ------------------------------------------------------------------------------------------

    async def entries(self, target: Target | None = None) -> list[Entry]:
        """What was published of participants and conversations, in order, for one target or for all."""
        return [entry for entry in await self.published(target) if entry.type != CommunicationData.type]

    async def communications(self) -> list[Entry]:
        """What was published of what participants said, in order."""
        return [entry for entry in await self.published() if entry.type == CommunicationData.type]

    async def published(self, target: Target | None = None) -> list[Entry]:
        """All entries, in order."""
        rows = []
        for one in [target] if target else list(Target):
            rows += await self.redis.xrange(self.keys.participants(0, one))
        rows.sort(key=lambda row: tuple(int(part) for part in row[0].split(b"-")))
        return [read_entry(fields[b"event"]) for _, fields in rows]

    async def types(self) -> list[str]:
        return [entry.type.partition(".")[2] for entry in await self.entries()]

    async def dead_letters(self) -> list[dict[bytes, bytes]]:
        return [fields for _, fields in await self.redis.xrange(self.keys.dead_letters(0))]

    # --- the real consumer ---------------------------------------------------------------------------------------

    def settings(self, **environment: str) -> Any:
        given = {
            "REDIS_URL": self.redis_url,
            "TWILIO_ACCOUNT_SID": ACCOUNT,
            "TWILIO_AUTH_TOKEN": TOKEN,
            "TWILIO_API_KEY": KEY,
            "TWILIO_API_SECRET": SECRET,
            "TWILIO_CONVERSATIONS_URL": self.url,
            "TWILIO_CONVERSATION_CONFIGURATION_ID": CONFIGURATION,
            "PUBLIC_BASE_URL": "https://hooks.example.com",
            "ROUTER_HEARTBEAT_TTL": "1",
            "ROUTER_RETRY_DELAY": "0.02",
            "ROUTER_GRACE": "3",
        }
        return load(environment=given | environment)

    @asynccontextmanager
    async def consuming(self, resolver: Resolver | None = None, **environment: str) -> AsyncIterator[Any]:
        """A real consumer while the block runs."""
        consumer = make_consumer(self.settings(**environment), self.redis, resolver or self.resolver)
        async with consumer.running():
            yield consumer

    async def finished(self, timeout: float = 20) -> None:  # noqa: ASYNC109 # a limit
        """Wait until nothing of the inbound stream is unread or pending."""

        async def is_done() -> bool:
            rows: Any = await self.redis.xinfo_groups(self.inbound.key)
            return bool(rows) and all(row["pending"] == 0 and row["lag"] == 0 for row in rows)

        await until(is_done, timeout)

    async def ensure_group(self) -> None:
        await ensure_group(self.redis, self.inbound.key, RESOLVER)
