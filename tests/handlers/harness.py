"""The harness of the consumers' tests: a real Redis, a sandbox of the API on a loopback port, and entries."""

from __future__ import annotations

import inspect
import itertools
import time
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from handlers.ai_agent import AiAgent
from handlers.consume import Consumption
from handlers.handler import Handler
from handlers.human_agent import HumanAgents
from handlers.replies import make_greeting
from router.agents.effects import Effects
from router.agents.joiners import Joiners
from router.agents.joining import V2Joiner
from router.agents.people import PersonActions
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
    HolderChangedData,
    JoinedData,
    TurnData,
    show_participant,
)
from router.core.errors import AuthenticationError
from router.core.keys import Keys
from router.core.resources import Conversation, NewParticipant, Participant, ParticipantAddress
from router.core.routing.team import Team, TeamMember
from router.process.apis import Api
from router.streams.delivery import Delivery, Done, StreamRef
from router.streams.store.ledgers import Store
from tests.support.accounts import ACCOUNT, CONFIGURATION, KEY, OURS, SECRET
from tests.support.entries import fields_of, make_entry

if TYPE_CHECKING:
    from router.streams.client.connection import Redis
    from tests.harness.sandbox import Sandbox

#: Entries have the real time, because the sandbox runs on the real clock.
NOW = time.time_ns() // 1000
#: The text that the AI agent sends.
HELLO = "Hello, how can we help?"
#: People of the roster, each with capacity for one conversation, and the participant of one.
DANA, ELI = TeamMember("dana", "Dana", 1), TeamMember("eli", "Eli", 1)
DANA_JOINED = [("HUMAN_AGENT", "dana", "Dana")]

_numbers = itertools.count(1)


def number() -> str:
    """Return a new number for a customer."""
    return f"+1555{next(_numbers):07d}"


def participant(kind: str | None, address: str, channel: str = "SMS", **more: Any) -> NewParticipant:
    """Return a participant to create, with one address."""
    return NewParticipant(type=kind, addresses=(ParticipantAddress(channel=channel, address=address),), **more)


def make(
    data: type, conversation: str, participant: Participant | None = None, *, at: int = NOW, **fields: Any
) -> Entry:
    """Return an entry about a conversation, or about a participant of it."""
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
    if data is HolderChangedData:
        common |= {"target": "human-agent", "from": {"target": "human-agent"}, "because": "accepted", "epoch": 1}
        common.pop("channel", None), common.pop("address", None)
    if data is CommunicationData:
        common["communication"] = EntryCommunication(text="hi")
    if data is TurnData:
        common["communications"] = (EntryCommunication(text="hi"), EntryCommunication(text="there"))
    subject = participant.id if participant else conversation
    distinction = f"{at}.{fields.get('distinction', '')}"
    return make_entry(data(**(common | fields)), subject=subject, distinction=distinction, occurred_at=at)


def delivery_of(entry: Entry | bytes, entry_id: str = "1-0") -> Delivery:
    """Return a delivery of an entry, or of arbitrary bytes in its place."""
    event = entry if isinstance(entry, bytes) else fields_of(entry)["event"].encode()
    return Delivery(StreamRef(0, "router:{0}:participants:ai-agent"), entry_id, {b"type": b"x", b"event": event})


@dataclass(frozen=True)
class OneApi:
    """Apis with the tests' account only, through the given client."""

    client: ConversationsV2
    classic: ClassicConversations | None = None

    def of(self, account_id: str) -> Api:
        if account_id != ACCOUNT:
            raise AuthenticationError(f"account {account_id} is not configured in this process")
        transport: Any = getattr(self.client, "_transport", None)
        return Api(Account(ACCOUNT), self.client, self.classic or ClassicConversations(transport))


@dataclass
class HandlerHarness:
    """Everything that a handler needs, and functions to see what it did."""

    redis: Redis
    sandbox: Sandbox
    client: ConversationsV2
    keys: Keys = field(default_factory=Keys)

    @property
    def store(self) -> Store:
        return Store(self.redis, self.keys, marker_ttl=3600)

    @property
    def joiner(self) -> V2Joiner:
        return V2Joiner(self.client, self.store, ACCOUNT)

    @property
    def apis(self) -> OneApi:
        return OneApi(self.client)

    @property
    def joiners(self) -> Joiners:
        return Joiners(self.apis, self.store)

    def effects(self, group: str = "ai-agent") -> Effects:
        return Effects(self.redis, self.keys, group)

    async def open(self, *others: NewParticipant, channel: str = "SMS", address: str | None = None) -> Open:
        """Create a conversation with a customer and others."""
        customer = participant("CUSTOMER", address or number(), channel)
        made = await self.client.create_conversation(CONFIGURATION, [customer, *others])
        there = {one.type: one for one in made.participants or ()}
        return Open(made, there["CUSTOMER"])

    async def participants(self, conversation: str) -> list[tuple[str | None, str, str | None]]:
        """Return (type, first address, name) of all participants, sorted."""
        found = await self.client.list_participants(conversation)
        return sorted((one.type, one.addresses[0].address, one.name) for one in found)

    async def our_participants(self, conversation: str) -> list[tuple[str | None, str, str | None]]:
        """Return those of `participants` that are not customers."""
        return [one for one in await self.participants(conversation) if one[0] != "CUSTOMER"]

    async def types(self, conversation: str) -> list[str | None]:
        return [kind for kind, _, _ in await self.participants(conversation)]

    async def texts(self, conversation: str) -> list[str]:
        """Return the texts of all communications; the sandbox adds one when its action is completed."""
        return await self.sandbox.texts(conversation)

    async def fault(self, method: str, route: str, *, version: str = "v2", **fields: Any) -> None:
        """Make the next request to a route below a conversation fail; `fields` are those of a Fault."""
        fault = {"method": method, "route": f"/{version}/Conversations/{{conversation}}{route}", "times": 1}
        await self.sandbox.ask("POST", "/sandbox/faults", fault | fields)

    async def switch(self, **switches: Any) -> None:
        """Set options of the sandbox."""
        await self.sandbox.ask("PATCH", "/sandbox/options", switches)

    async def remove(self, conversation: str, participant: str) -> None:
        """Remove a participant as Twilio does."""
        await self.sandbox.remove_participant(conversation, participant)

    async def close(self, conversation: str) -> None:
        await self.client.patch_conversation(conversation, status="CLOSED")

    def ai_agent(self, text: str = "", *, effects: Effects | None = None, **options: Any) -> Consumption:
        """Return an AI agent with a greeting, as a consumer runs it."""
        given = {"apis": self.apis, "joiners": self.joiners, "reply": make_greeting(text), "settle": 0.0}
        given["has_turns"] = self.store.has_turns
        agent = AiAgent(**(given | options))
        return Consumption("ai_agent", agent.handler, effects or self.effects())


@dataclass(frozen=True)
class Open:
    """A conversation and one of its customers."""

    conversation: Conversation
    customer: Participant

    @property
    def id(self) -> str:
        return self.conversation.id

    def entry(self, data: type = JoinedData, *, recipient: str | None = OURS, **fields: Any) -> Entry:
        """Return an entry about the customer or the conversation, with our side's address on the customer's channel."""
        if data is ClosedData:
            return make(data, self.id, **fields)
        if data is HolderChangedData:
            return make(data, self.id, self.customer, **fields)
        channel = self.customer.addresses[0].channel
        ours = EntryAddress(channel=channel, address=recipient) if recipient else None
        return make(data, self.id, self.customer, recipient=ours, **fields)

    def held_by(self, agent: str | None, target: str = "human-agent", **fields: Any) -> Entry:
        """Return the entry that tells who holds the conversation from now on."""
        return self.entry(HolderChangedData, to={"target": target, "agent": agent}, distinction=str(agent), **fields)

    def with_customer(self, participant: Participant) -> Open:
        return replace(self, customer=participant)


class HumanAgentProcess:
    """One process of the human agents."""

    def __init__(self, harness: HandlerHarness, *agents: TeamMember, joiners: Joiners | None = None) -> None:
        joiners = joiners or harness.joiners
        people = PersonActions(apis=harness.apis, joiners=joiners)
        team = Team({one.identity: one for one in agents or (DANA, ELI)})
        handler = Handler(HumanAgents(people=people, joiners=joiners, team=team).reactions)
        self.consumption = Consumption("human_agent", handler, harness.effects("human-agent"))

    async def handle(self, *entries: Entry) -> None:
        """Handle entries, which must all be done."""
        for entry in entries:
            assert isinstance(await self.consumption.attempt(delivery_of(entry)), Done)


class CrashError(Exception):
    """The process crashes here."""


class CrashPoint:
    """Raises CrashError before or after the n-th call."""

    def __init__(self, at: int, *, after: bool) -> None:
        self.at, self.after, self.calls = at, after, 0

    async def run(self, call: Any) -> Any:
        """Count and make a call."""
        self.calls += 1
        if self.calls == self.at and not self.after:
            raise CrashError
        answer = await call()
        if self.calls == self.at:
            raise CrashError
        return answer


class CrashingClient:
    """A client of the API or of Redis whose calls are counted by a CrashPoint."""

    _COMMANDS = frozenset({"evalsha", "eval", "hget", "hmget", "sadd", "xadd"})

    def __init__(self, target: Any, crash: CrashPoint) -> None:
        self._target, self._crash = target, crash

    def __getattr__(self, name: str) -> Any:
        found = getattr(self._target, name)
        if not inspect.iscoroutinefunction(found) and name not in self._COMMANDS:
            return found

        async def call(*args: Any, **kwargs: Any) -> Any:
            return await self._crash.run(lambda: found(*args, **kwargs))

        return call


def crashing(harness: HandlerHarness, at: int, *, after: bool) -> HandlerHarness:
    """Return the same harness, in a process that crashes at its n-th call."""
    crash = CrashPoint(at, after=after)
    return replace(harness, redis=CrashingClient(harness.redis, crash), client=CrashingClient(harness.client, crash))


def make_transport(url: str, **options: Any) -> Transport:
    return Transport(url, KEY, SECRET, **({"retries": 0, "timeout": 5.0} | options))
