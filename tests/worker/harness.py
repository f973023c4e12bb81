"""A harness for the worker: a real Redis, a sandbox within this process, and a clock that tests move.

`settle` is the worker without its consumer: webhooks are settled as StreamConsumer does it, in a batch first, then one
by one, but at once and in the task of the test, so that it sees each result. Tests of waiting and of crashes use real
consumers (`consuming`) and processes.
"""

from __future__ import annotations

import time
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

from router.conversations import Transport
from router.core.accounts import Account
from router.core.entries import CommunicationData, Entry, HandoffData, read_entry
from router.core.events import SourceName
from router.core.keys import RESOLVER, Keys, Target
from router.core.signing.form import NO_FORM, parse_form
from router.inbound.email.inbound_parse import MailReader
from router.inbound.sources import FORM, SOURCES
from router.inbound.webhook import Webhook
from router.process.apis import Apis
from router.settings.load import load
from router.settings.policy_file import read_policy
from router.simulator.messages import SimulatedWebhook, callback, message
from router.streams.client.clock import RedisClock
from router.streams.consuming.groups import ensure_group
from router.streams.delivery import Delivery, Done, Later, StreamRef
from router.streams.store.append import Appender, InboundFields
from router.streams.store.ledgers import Store
from router.streams.store.turns import TurnStore
from router.worker.app import Resolver, make_consumer
from router.worker.work import report
from tests.harness.deployment import count_unfinished
from tests.harness.settings import make_environment, quick_recovery
from tests.support.accounts import ACCOUNT, CONFIGURATION, CUSTOMER, KEY, OURS, SECRET
from tests.support.policies import PLAIN
from tests.support.waiting import until

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from router.inbound.email.mail import ReceivedMail
    from router.streams.client.connection import Redis
    from router.streams.delivery import Verdict
    from router.streams.store.recent import Recent
    from tests.harness.sandbox import Sandbox

CREATE = "POST /v2/Conversations"
LIST = "GET /v2/Conversations/{conversation}/Participants"


class Clock:
    """The real time in µs since 1970, plus the seconds by which a test has advanced it."""

    def __init__(self) -> None:
        self.passed = 0

    def __call__(self) -> int:
        return time.time_ns() // 1000 + self.passed

    def advance(self, seconds: float) -> None:
        self.passed += int(seconds * 1_000_000)


async def skewed_clock(harness: WorkerHarness, ahead: float) -> RedisClock:
    """Return the clock of a process whose host is so many seconds ahead of Redis."""
    clock = RedisClock(harness.inbound.key, wall=lambda: time.time_ns() // 1000 + int(ahead * 1_000_000))
    await clock.measure(harness.redis)
    return clock


def read_mails(webhook: SimulatedWebhook) -> tuple[ReceivedMail, ...]:
    """Return the mails of a webhook, as the receiver reads them."""
    reader = MailReader(webhook.content_type)
    reader.feed(webhook.body)
    return reader.finish()


class WorkerHarness:
    """A worker's Redis and API, the webhooks that come in, and the entries that it publishes."""

    def __init__(self, redis: Redis, redis_url: str, sandbox: Sandbox) -> None:
        self.redis, self.redis_url, self.sandbox = redis, redis_url, sandbox
        self.url, self.api = sandbox.url, sandbox.ask
        self.fault, self.clear_faults = sandbox.fault, sandbox.clear_faults
        self.conversations, self.participants = sandbox.conversations, sandbox.participants
        self.keys = Keys()
        self.clock: Any = Clock()
        self.inbound = StreamRef(0, self.keys.inbound(0))
        self.policy = PLAIN
        self.api_timeout = 5.0
        self._appender = Appender(redis, self.keys)
        self._transports: list[Transport] = []
        self._seen = "0"
        self._number = 0
        self.resolver: Resolver
        self.last: list[Verdict] = []

    # --- components ----------------------------------------------------------------------------------------------

    def make_apis(self, *, account: str = ACCOUNT, **options: Any) -> Apis:
        """Return the API clients of another worker; `options` go to the transport."""
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
        """Return the resolver of another worker, which shares only Redis and the API; `options` go to it."""
        rules = read_policy(policy or self.policy)
        kind = TurnStore if rules.has_bursts else Store
        return Resolver(
            store=kind(self.redis, self.keys, marker_ttl=3600, recent=recent, clock=self.clock),
            apis=apis or self.make_apis(retries=retries),
            policy=rules,
            route_ttl=60,
            always_own=own,
            clock=self.clock,
            **options,
        )

    async def close(self) -> None:
        for transport in self._transports:
            await transport.close()

    # --- webhooks ------------------------------------------------------------------------------------------------

    def sms(
        self, sender: str = CUSTOMER, to: str = OURS, *, kind: str = "sms", sid: str | None = None, body: str = "hi"
    ) -> SimulatedWebhook:
        """Return a message, a new one each time unless it has a `sid`."""
        self._number += 1
        sid = sid or f"SM{self._number:032x}"
        return message(kind, account_sid=ACCOUNT, sender=sender, recipient=to, body=body, sid=sid)

    def whatsapp(self, sender: str, **params: str) -> SimulatedWebhook:
        """Return a new message over WhatsApp with further parameters."""
        self._number += 1
        ends = {"account_sid": ACCOUNT, "sender": sender, "recipient": OURS}
        return message("whatsapp", **ends, body="hi", sid=f"SM{self._number:032x}", **params)

    async def receive(self, *webhooks: SimulatedWebhook) -> list[Delivery]:
        """Append webhooks as the receiver does; returns their deliveries."""
        for webhook in webhooks:
            await self.append(webhook)
        return await self.deliveries()

    async def append(self, webhook: SimulatedWebhook, *, behind: float = 0.0) -> None:
        """Append a webhook as a receiver does whose clock is so many seconds behind."""
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
                    received_at=self.clock() - int(behind * 1_000_000),
                    body=piece.body,
                    ttl=600,
                    aliases=identity.aliases,
                    shared=piece.shared,
                )
            )

    async def deliveries(self) -> list[Delivery]:
        """Return the deliveries that were appended since the last call."""
        rows = await self.redis.xrange(self.inbound.key, min=f"({self._seen}")
        if rows:
            self._seen = rows[-1][0].decode()
        return [Delivery(self.inbound, entry_id.decode(), fields) for entry_id, fields in rows]

    async def settle(self, *webhooks: SimulatedWebhook, by: Resolver | None = None) -> list[Any]:
        """Receive and settle webhooks; returns the result of each, or its verdict if it has no result."""
        return await self.work(await self.receive(*webhooks), by=by)

    async def work(self, deliveries: list[Delivery], *, by: Resolver | None = None) -> list[Any]:
        resolver = by or self.resolver
        settled, left = await resolver.batches.settle(deliveries, is_busy=lambda _: False)
        for work in settled:
            report(work, resolver.rules.clock(), resolver.stories)
        results: dict[str, Any] = {work.delivery.entry_id: work.outcome.result for work in settled}
        for delivery in left:
            verdict = results[delivery.entry_id] = await resolver.singles.attempt(delivery)
            for command in verdict.along if isinstance(verdict, Done) else ():  # the consumer would send them now
                await self.redis.execute_command(*command)
        return [results[delivery.entry_id] for delivery in deliveries]

    async def finish(self, delivery: Delivery, *, by: Resolver | None = None) -> Any:
        """Work on a delivery until its verdict is no longer Later."""

        async def attempt() -> Any:
            (result,) = await self.work([delivery], by=by)
            return None if isinstance(result, Later) else result

        return await until(attempt)

    # --- Twilio's side -------------------------------------------------------------------------------------------

    async def calls(self) -> dict[str, int]:
        """Count the requests of the public API so far, by route; those of the test count too."""
        return dict((await self.api("GET", "/sandbox/requests"))["requests"])

    async def total(self) -> int:
        """Count the requests of the public API so far."""
        return sum((await self.calls()).values())

    async def capture(self, sender: str = CUSTOMER, to: str = OURS, **more: Any) -> dict[str, Any]:
        """Capture a message, as Twilio does by itself."""
        return await self.sandbox.capture(sender, to, **more)

    def callback(
        self, event_type: str, data: dict[str, Any], *, at: str | None = None, token: str | None = None
    ) -> Any:
        """Return the status callback about a resource as it is in the API; `at` is the time of the event."""
        self._number += 1
        timestamp = at or data.get("updatedAt") or data.get("createdAt")
        return callback(event_type, data, timestamp=timestamp, token=token or f"t{self._number}")

    # --- entries -------------------------------------------------------------------------------------------------

    async def entries(self, target: Target | None = None) -> list[Entry]:
        """Return the entries about participants and conversations, in order, for one target or for all.

        Those about communications and handoffs are left out.
        """
        others = CommunicationData | HandoffData
        return [entry for entry in await self.published(target) if not isinstance(entry.data, others)]

    async def communications(self) -> list[Entry]:
        """Return the communication.received entries, in order."""
        return [entry for entry in await self.published() if entry.type == CommunicationData.type]

    async def published(self, target: Target | None = None) -> list[Entry]:
        """Return all entries, in order."""
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
        changes = quick_recovery(ROUTER_RETRY_DELAY="0.02", **environment)
        return load(environment=make_environment(self.redis_url, self.url, **changes))

    @asynccontextmanager
    async def consuming(self, resolver: Resolver | None = None, **environment: str) -> AsyncIterator[Any]:
        """Run a real consumer while the block runs."""
        consumer = make_consumer(self.settings(**environment), self.redis, resolver or self.resolver)
        async with consumer.running():
            yield consumer

    async def finished(self, timeout: float = 30) -> None:  # noqa: ASYNC109 # a limit
        """Wait until no entry of the inbound stream is unread or pending."""

        async def is_idle() -> bool:
            return not await count_unfinished(self.redis, self.inbound.key)

        await until(is_idle, timeout)

    async def ensure_group(self) -> None:
        await ensure_group(self.redis, self.inbound.key, RESOLVER)
