"""A small harness for a consumer: a real Redis, a sandbox of the API on a loopback port, and entries made by hand."""

from __future__ import annotations

import base64
import inspect
import itertools
import time
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import orjson

from handlers.ai_agent import AiAgent
from handlers.consume import Consumption
from handlers.effects import Effects
from handlers.handler import Handler
from handlers.joiners import Joiners
from handlers.joining import Joiner
from handlers.replies import make_greeting
from router.conversations import ClassicConversations, ConversationsV2, Transport
from router.core.accounts import Account
from router.core.entries import (
    ClosedData,
    CommunicationData,
    Entry,
    EntryAddress,
    EntryCause,
    EntryCommunication,
    EntryConversation,
    JoinedData,
    LeftData,
    UpdatedData,
    show_participant,
)
from router.core.errors import AuthenticationError
from router.core.keys import Keys
from router.core.resources import Conversation, NewParticipant, Participant, ParticipantAddress
from router.process.apis import Api
from router.streams.delivery import Delivery, StreamRef
from router.streams.store.ledgers import Store
from tests.support.accounts import ACCOUNT, CONFIGURATION, KEY, OURS, SECRET
from tests.support.entries import fields_of, make_entry

if TYPE_CHECKING:
    import aiohttp

    from router.streams.client.connection import Redis

BASIC = {"Authorization": "Basic " + base64.b64encode(f"{KEY}:{SECRET}".encode()).decode()}
#: The sandbox runs on the real clock, and so do the entries.
NOW = time.time_ns() // 1000
DATA = {data.type: data for data in (JoinedData, UpdatedData, LeftData, CommunicationData, ClosedData)}

_numbers = itertools.count(1)


def number() -> str:
    """A customer's number that no other conversation has."""
    return f"+1555{next(_numbers):07d}"


def seat(kind: str | None, address: str, channel: str = "SMS", **more: Any) -> NewParticipant:
    """A participant to create, with one address."""
    return NewParticipant(type=kind, addresses=(ParticipantAddress(channel=channel, address=address),), **more)


def make(
    data: type, conversation: str, participant: Participant | None = None, *, at: int = NOW, **fields: Any
) -> Entry:
    """An entry of a type about a participant of a conversation."""
    common = {
        "target": "ai-agent",
        "reason": "default",
        "account_id": ACCOUNT,
        "conversation": EntryConversation(id=conversation),
        "cause": EntryCause(source="messaging", event_type="message", idempotency_key="k", received_at="now"),
    }
    if participant is not None:
        common["participant"] = show_participant(participant, account_id=ACCOUNT, conversation_id=conversation)
        common["channel"] = participant.addresses[0].channel
        common["address"] = participant.addresses[0].address
    if data is JoinedData:
        common["origin"] = "created"
    if data is CommunicationData:
        common["communication"] = EntryCommunication(text="hi")
    subject = participant.id if participant else conversation
    distinction = f"{at}.{fields.get('distinction', '')}"
    return make_entry(data(**(common | fields)), subject=subject, distinction=distinction, occurred_at=at)


def delivery_of(entry: Entry | bytes, entry_id: str = "1-0") -> Delivery:
    """A delivery of an entry, or of the bytes that shall pass for one."""
    event = entry if isinstance(entry, bytes) else fields_of(entry)["event"].encode()
    return Delivery(StreamRef(0, "router:{0}:participants:ai-agent"), entry_id, {b"type": b"x", b"event": event})


@dataclass(frozen=True)
class OneApi:
    """The API of the tests' account, through a client that they choose, and of no other account."""

    client: ConversationsV2
    classic: ClassicConversations | None = None

    def of(self, account_id: str) -> Api:
        if account_id != ACCOUNT:
            raise AuthenticationError(f"account {account_id} is not configured in this process")
        transport: Any = getattr(self.client, "_transport", None)
        return Api(Account(ACCOUNT), self.client, self.classic or ClassicConversations(transport))


@dataclass
class HandlerHarness:
    """Everything that a handler needs, and a look at what it did."""

    redis: Redis
    url: str
    session: aiohttp.ClientSession
    client: ConversationsV2
    keys: Keys = field(default_factory=Keys)

    @property
    def store(self) -> Store:
        return Store(self.redis, self.keys, marker_ttl=3600)

    @property
    def joiner(self) -> Joiner:
        return Joiner(self.client, self.store)

    @property
    def apis(self) -> OneApi:
        return OneApi(self.client)

    @property
    def joiners(self) -> Joiners:
        return Joiners(self.apis, self.store)

    def effects(self, group: str = "ai-agent") -> Effects:
        return Effects(self.redis, self.keys, group)

    async def open(self, *others: NewParticipant, channel: str = "SMS", address: str | None = None) -> Open:
        """Open a conversation with a customer, and with others."""
        customer = seat("CUSTOMER", address or number(), channel)
        made = await self.client.create_conversation(CONFIGURATION, [customer, *others])
        there = {one.type: one for one in made.participants or ()}
        return Open(made, there["CUSTOMER"])

    async def participants(self, conversation: str) -> list[tuple[str | None, str, str | None]]:
        """(type, first address, name) of all, sorted."""
        found = await self.client.list_participants(conversation)
        return sorted((one.type, one.addresses[0].address, one.name) for one in found)

    async def types(self, conversation: str) -> list[str | None]:
        return [kind for kind, _, _ in await self.participants(conversation)]

    async def texts(self, conversation: str) -> list[str]:
        """What has been said, once the sandbox has completed every action."""
        found = self.client.list_communications(conversation)
        return [(one.content or {})["text"] async for one in found]

    async def fault(self, method: str, route: str, **fields: Any) -> None:
        """Let something go wrong with the next request that matches."""
        body = {"method": method, "route": f"/v2/Conversations/{{conversation}}{route}", "times": 1} | fields
        async with self.session.post(f"{self.url}/sandbox/faults", json=body, headers=BASIC) as answer:
            assert answer.status < 300, await answer.text()

    async def switch(self, **switches: Any) -> None:
        async with self.session.patch(f"{self.url}/sandbox/options", json=switches, headers=BASIC) as answer:
            assert answer.status == 200, await answer.text()

    async def remove(self, conversation: str, participant: str) -> None:
        """Let Twilio remove a participant."""
        url = f"{self.url}/sandbox/participants/{conversation}/{participant}/remove"
        async with self.session.post(url, headers=BASIC) as answer:
            assert answer.status == 200, await answer.text()

    async def close(self, conversation: str) -> None:
        await self.client.patch_conversation(conversation, status="CLOSED")

    def ai_agent(self, text: str = "", *, effects: Effects | None = None, **options: Any) -> Consumption:
        """The AI agent with a greeting, as a consumer would run it."""
        given = {"apis": self.apis, "joiners": self.joiners, "reply": make_greeting(text), "settle": 0.0}
        agent = AiAgent(**(given | options))
        return Consumption("ai_agent", Handler(agent.reactions), effects or self.effects())


@dataclass(frozen=True)
class Open:
    """A conversation and its customer."""

    conversation: Conversation
    customer: Participant

    @property
    def id(self) -> str:
        return self.conversation.id

    def entry(self, data: type = JoinedData, *, recipient: str | None = OURS, **fields: Any) -> Entry:
        """An entry about the customer (or the conversation), with our side's address on their channel."""
        if data is ClosedData:
            return make(data, self.id, **fields)
        channel = self.customer.addresses[0].channel
        ours = EntryAddress(channel=channel, address=recipient) if recipient else None
        return make(data, self.id, self.customer, recipient=ours, **fields)

    def with_customer(self, participant: Participant) -> Open:
        return replace(self, customer=participant)


class CrashError(Exception):
    """The process dies here."""


class Fate:
    """Lets the process die before or after the n-th call to the outside."""

    def __init__(self, at: int, *, after: bool) -> None:
        self.at, self.after, self.calls = at, after, 0

    async def meet(self, call: Any) -> Any:
        self.calls += 1
        if self.calls == self.at and not self.after:
            raise CrashError
        answer = await call()
        if self.calls == self.at:
            raise CrashError
        return answer


class Mortal:
    """A client (of the API or of Redis) whose calls are counted by a Fate."""

    _COMMANDS = frozenset({"evalsha", "eval", "hget", "sadd"})

    def __init__(self, target: Any, fate: Fate) -> None:
        self._target, self._fate = target, fate

    def __getattr__(self, name: str) -> Any:
        found = getattr(self._target, name)
        if not inspect.iscoroutinefunction(found) and name not in self._COMMANDS:
            return found

        async def call(*args: Any, **kwargs: Any) -> Any:
            return await self._fate.meet(lambda: found(*args, **kwargs))

        return call


def dying(harness: HandlerHarness, at: int, *, after: bool) -> HandlerHarness:
    """The same harness, in a process that dies at its n-th call."""
    fate = Fate(at, after=after)
    return replace(harness, redis=Mortal(harness.redis, fate), client=Mortal(harness.client, fate))


def make_transport(url: str, **options: Any) -> Transport:
    return Transport(url, KEY, SECRET, **({"retries": 0, "timeout": 5.0} | options))


def parse_lines(text: str) -> list[dict[str, Any]]:
    return [orjson.loads(line) for line in text.splitlines()]
