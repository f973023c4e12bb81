"""One customer on every channel at once: all webhooks of all sources, each three times, in random order.

The result is the one that the grouping type requires: its number of conversations, and for each channel one participant
and one `participant.joined`. Receiver, two workers and Redis are real; the sandbox sends status callbacks. To add a
channel, add a row to CHANNELS.
"""

from __future__ import annotations

from collections import Counter
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pytest

from router import logs
from router.core.addresses import Address
from router.receiver.app import create_app as create_receiver
from router.sandbox.v2.grouping import BY_ADDRESSES, BY_ADDRESSES_AND_CHANNEL, BY_PROFILE
from router.simulator.event_streams import streamed_callback, streamed_message
from router.simulator.mail import MailSender, mail
from router.simulator.mail_keys import make_key, public_text
from router.simulator.messages import SimulatedWebhook, message
from router.simulator.voice import call, call_sid
from tests.harness.deployment import count_unfinished
from tests.harness.sandbox import running_sandbox
from tests.harness.serving import serving
from tests.support.accounts import ACCOUNT, CONFIGURATION, CUSTOMER, MAILBOX, OURS, TOKEN, WRITER
from tests.support.waiting import until
from tests.support.webhook_shuffler import WebhookShuffler, WireWebhook
from tests.worker.harness import WorkerHarness

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    from router.simulator.http import Sender

pytestmark = pytest.mark.promise(2)

PROFILE = "mem_profile_00000000000000000000000001"
NOW = 1_767_787_200_000_000
TIMES = 3
SEEDS = range(4)


@dataclass(frozen=True)
class Channel:
    """The customer on one channel: both addresses, and the webhooks that Twilio sends.

    `capture` completes the request to the sandbox that captures the traffic. A call is always captured, because the
    response to its webhook asks for it.
    """

    customer: Address
    ours: Address
    webhooks: tuple[SimulatedWebhook, ...]
    capture: dict[str, Any]
    is_call: bool = False


def a_call() -> Channel:
    """A call, by its form webhook; the sandbox's callbacks name its conversation."""
    customer, ours = Address("VOICE", CUSTOMER), Address("VOICE", OURS)
    form = call(account_sid=ACCOUNT, sender=CUSTOMER, recipient=OURS, sid=call_sid(CUSTOMER, OURS))
    return Channel(customer, ours, (form,), {"body": None, "channelId": form.resource_id}, is_call=True)


def a_mail() -> Channel:
    """A mail, as Inbound Parse posts it."""
    customer, ours = Address("EMAIL", WRITER), Address("EMAIL", MAILBOX)
    form = mail(sender=WRITER, recipients=[MAILBOX], subject="hello", body="hello by mail")
    return Channel(customer, ours, (form,), {"body": "hello by mail", "resourceId": form.resource_id})


def a_message(kind: str, channel: str, prefix: str = "") -> Channel:
    """A message, by its form webhook and by Event Streams."""
    customer, ours = Address(channel, prefix + CUSTOMER), Address(channel, prefix + OURS)
    form = message(kind, account_sid=ACCOUNT, sender=customer.value, recipient=ours.value, body=f"hello by {kind}")
    event = streamed_message(form, event_id=f"EZ{form.resource_id[2:]}", now=NOW)
    said = {"body": "hello", "resourceId": form.resource_id}
    return Channel(customer, ours, (form, event), said)


CHANNELS = (
    a_message("sms", "SMS"),
    a_message("whatsapp", "WHATSAPP", "whatsapp:"),
    a_message("rcs", "RCS", "rcs:"),
    a_call(),
    a_mail(),
)
#: Whether the traffic is also captured, and with which participant types; each capture has status callbacks too.
CAPTURES: dict[str, dict[str, str] | None] = {
    "not-captured": None,
    "captured": {},
    "captured-unknown": {"customerType": "UNKNOWN", "agentType": "UNKNOWN"},
}

#: The key that channels of the same conversation share, by grouping type.
GROUPS: dict[str, Callable[[Channel], object]] = {
    BY_ADDRESSES_AND_CHANNEL: lambda one: (one.customer.key, one.ours.canonical),
    BY_ADDRESSES: lambda one: (one.customer.canonical, one.ours.canonical),
    BY_PROFILE: lambda one: PROFILE,
}


@dataclass
class Deployment:
    """The running parts."""

    harness: WorkerHarness
    shuffler: WebhookShuffler
    sender: Sender

    def send(self, webhook: SimulatedWebhook) -> None:
        self.shuffler.add(WireWebhook(*self.sender.sign(webhook)))

    def capture(self, channel: Channel, types: dict[str, str]) -> None:
        """Let the sandbox capture the traffic, at a random moment."""
        ends = {"channel": channel.customer.channel, "from": channel.customer.value, "to": channel.ours.value}

        async def act() -> None:
            await self.harness.api("POST", "/sandbox/capture", ends | channel.capture | types)

        self.shuffler.add_action(act)

    async def is_done(self) -> bool:
        """Tell whether nothing is in flight, and nothing more can come: no delivery, callback or entry is left."""
        delivered = self.shuffler.answers.total()
        unfinished = await count_unfinished(self.harness.redis, self.harness.inbound.key)
        callbacks = await self.harness.api("GET", "/sandbox/callbacks")
        is_working = unfinished or callbacks["pending"]
        return not is_working and self.shuffler.is_empty and self.shuffler.answers.total() == delivered


def switches_of(grouping: str, callback_url: str) -> dict[str, Any]:
    """Return the switches of a sandbox that groups in this way and knows the customer's profile."""
    configuration = {
        "id": CONFIGURATION,
        "displayName": "sandbox",
        "description": "one customer on all channels",
        "conversationGroupingType": grouping,
        "channelSettings": {},
        "statusCallbacks": [{"url": callback_url, "method": "POST"}],
    }
    return {"configurations": (configuration,), "profiles": {CUSTOMER: PROFILE, WRITER: PROFILE}}


@asynccontextmanager
async def running(redis: Any, redis_url: str, grouping: str, seed: int) -> AsyncIterator[Deployment]:
    """Run sandbox, shuffler, receiver and two workers while the block runs."""

    def follow_up(callback: WireWebhook) -> list[WireWebhook]:
        """Return the event of Event Streams about the resource of a status callback."""
        event = streamed_callback(SimulatedWebhook(callback.path, "", "", callback.body), account_sid=ACCOUNT)
        return [WireWebhook(*sender.sign(event))]

    shuffler = WebhookShuffler(seed=seed, times=TIMES, follow_up=follow_up)
    async with AsyncExitStack() as stack:
        await stack.enter_async_context(shuffler.running())
        key = make_key()
        sender = MailSender(receiver_url="", public_base_url=shuffler.url, auth_token=TOKEN, private_key=key)
        switches = switches_of(grouping, f"{shuffler.url}/webhooks/conversations")
        harness = WorkerHarness(redis, redis_url, await stack.enter_async_context(running_sandbox(**switches)))
        stack.push_async_callback(harness.close)
        settings = harness.settings(PUBLIC_BASE_URL=shuffler.url, ROUTER_EMAIL_PUBLIC_KEYS=public_text(key))
        shuffler.receiver_url = await stack.enter_async_context(serving(create_receiver(settings)))
        own = frozenset(channel.ours.key for channel in CHANNELS)  # as the configuration names them
        for resolver in (harness.make_resolver(own=own), harness.make_resolver(own=own)):
            await stack.enter_async_context(harness.consuming(resolver))
        yield Deployment(harness, shuffler, sender)


@pytest.fixture(autouse=True)
def quiet(monkeypatch):
    """Log errors only."""
    monkeypatch.setattr(logs._Output, "threshold", 40)


async def members(harness: WorkerHarness) -> dict[str, Counter]:
    """Return the customer's addresses in each conversation, by key; with the type before it if it is not CUSTOMER."""
    ours = {channel.ours.key for channel in CHANNELS}
    found = {}
    for conversation in await harness.conversations():
        counts: Counter = Counter()
        for one in await harness.participants(conversation["id"]):
            keys = {Address(at["channel"], at["address"]).key for at in one["addresses"]} - ours
            counts.update(key if one["type"] == "CUSTOMER" else f"{one['type']} {key}" for key in keys)
        found[conversation["id"]] = counts
    return found


def required(grouping: str) -> list[list[str]]:
    """Return the customer's addresses, by key, of each conversation that the grouping type requires."""
    groups: dict[object, list[str]] = {}
    for channel in CHANNELS:
        groups.setdefault(GROUPS[grouping](channel), []).append(channel.customer.key)
    return sorted(sorted(keys) for keys in groups.values())


@pytest.mark.parametrize("types", CAPTURES.values(), ids=CAPTURES)
@pytest.mark.parametrize("grouping", GROUPS)
@pytest.mark.parametrize("seed", SEEDS)
async def test_one_customer_on_every_channel_at_once(redis, redis_url, grouping, seed, types):
    """Each channel has one participant, announced once, in the conversation that the grouping type requires."""
    where = f"seed {seed}, {grouping}, {types}"
    async with running(redis, redis_url, grouping, seed) as deployment:
        for channel in CHANNELS:
            for webhook in channel.webhooks:
                deployment.send(webhook)
            if types is not None or channel.is_call:
                deployment.capture(channel, {} if channel.is_call else types or {})
        async with deployment.shuffler.delivering():
            await until(deployment.is_done, 30)
        harness = deployment.harness
        in_the_api, entries = await members(harness), await harness.published()
        letters = [fields[b"reason"] for fields in await harness.dead_letters()]
    said = [entry for entry in entries if entry.type == "communication.received"]
    assert set(deployment.shuffler.answers) == {200}, where
    assert not letters, f"{where}: {letters}"
    assert sorted(sorted(keys.elements()) for keys in in_the_api.values()) == required(grouping), where
    joined = Counter(
        (entry.data.conversation.id, Address(entry.data.channel, entry.data.address).key)
        for entry in entries
        if entry.type == "participant.joined"
    )
    assert joined == Counter({(each, key): 1 for each, keys in in_the_api.items() for key in keys}), where
    heard = Counter(Address(entry.data.channel, entry.data.address).key for entry in said)
    assert heard == Counter(channel.customer.key for channel in CHANNELS if not channel.is_call), where
    ended = [entry.type for entry in entries if entry.type in {"participant.left", "conversation.closed"}]
    assert not ended, where
