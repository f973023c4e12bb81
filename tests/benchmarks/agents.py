"""Customers per second whom one AI agent joins and greets, beside an agent written by hand that may answer twice.

Every entry is `participant.joined` of a new customer who is alone in the conversation: each agent lists the
participants, joins, and sends a text, with as many requests at once. The agent has a core to itself; the API is the
lean one (lean_api.py), on the generator's core, once without latency and once with 100 ms.
"""

from __future__ import annotations

import time
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import aiohttp
import orjson

from router.core.entries import (
    EntryAddress,
    EntryCause,
    EntryConversation,
    EntryParticipant,
    EntryParticipantAddress,
    JoinedData,
    draft_entry,
)
from router.core.keys import Keys, Target
from router.core.timestamps import to_text
from router.streams.consuming.groups import ensure_group
from tests.benchmarks.customers import start_api
from tests.benchmarks.filled_stream import Stream
from tests.benchmarks.frame import BenchmarkError, Column, Contender, Figure, Measurement, Sample, Scale
from tests.benchmarks.handwritten_agent import TEXT
from tests.benchmarks.lean_api import ANSWERS, CONFIGURATION, COUNTS
from tests.benchmarks.processes import cpu_seconds, running_processes, settings_of
from tests.harness.settings import COMMANDS
from tests.support.accounts import ACCOUNT, OURS

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Sequence

    from router.streams.client.connection import Redis
    from tests.benchmarks.processes import Child, Processes

#: Entries for each second of a turn, about as many as an agent answers in one.
PACE: Final = 600
_CHUNK: Final = 1_000


@dataclass(frozen=True, slots=True)
class Case:
    """One agent with its API: seconds of a response, and whether it is the one written by hand."""

    label: str
    latency: float = 0.0
    is_by_hand: bool = False


CASES: Final = {
    "ours": Case("ai_agent, API answers at once"),
    "by_hand": Case("written by hand, API answers at once", is_by_hand=True),
    "ours_late": Case("ai_agent, API answers after 100 ms", 0.1),
    "by_hand_late": Case("written by hand, API answers after 100 ms", 0.1, is_by_hand=True),
}


def entry_fields(namespace: str, number: int) -> dict[str, str]:
    """Return the fields of the entry of a customer, by number, as the worker writes it."""
    digits, now = f"1555{number:07d}", time.time_ns() // 1000
    conversation, participant = f"conv_conversation_{digits:0>26}", f"conv_participant_0{digits:0>25}"
    sid, at = f"SM{number:032x}", to_text(now)
    data = JoinedData(
        target=Target.AI_AGENT,
        reason="default",
        account_id=ACCOUNT,
        conversation=EntryConversation(id=conversation, configuration_id=CONFIGURATION, status="ACTIVE"),
        cause=EntryCause(
            source="messaging",
            event_type="message.received",
            resource_id=sid,
            idempotency_key=f"{ACCOUNT}:messaging:{sid}",
            received_at=at,
        ),
        channel="SMS",
        address=f"+{digits}",
        recipient=EntryAddress(channel="SMS", address=OURS),
        participant=EntryParticipant(
            id=participant,
            conversation_id=conversation,
            account_id=ACCOUNT,
            type="CUSTOMER",
            addresses=(EntryParticipantAddress(channel="SMS", address=f"+{digits}", channel_id=sid),),
            created_at=at,
            updated_at=at,
        ),
        origin="found",
    )
    written = data.model_dump(mode="json")
    draft = draft_entry(data.type, written, namespace=namespace, subject=participant, distinction="1", occurred_at=now)
    return draft.to_fields()


async def prepare_entries(stream: Stream, keys: Keys, first: int, count: int) -> None:
    """Write the entries of `count` customers from number `first` on to the draft of a participants stream."""
    draft = f"{stream.name}:draft"
    await ensure_group(stream.redis, draft, stream.group)
    for start in range(first, first + count, _CHUNK):
        pipeline = stream.redis.pipeline(transaction=False)
        for number in range(start, min(start + _CHUNK, first + count)):
            fields: Any = entry_fields(keys.namespace, number)
            pipeline.xadd(draft, fields)
        await pipeline.execute()


class AgentBench:
    """Gives the entries of new customers to one agent."""

    def __init__(self, stream: Stream, keys: Keys, agent: Child, api: str, session: aiohttp.ClientSession) -> None:
        self._stream = stream
        self._keys = keys
        self._agent = agent
        self._api = api
        self._session = session
        self._seen = 0

    async def is_reading(self) -> bool:
        """Tell whether an agent of ours reads."""
        return await self._stream.has_reader(self._keys)

    async def take_turn(self, seconds: float) -> Sample:
        """Let the agent greet new customers; raises BenchmarkError unless each got one message."""
        count = max(50, int(PACE * seconds))
        await prepare_entries(self._stream, self._keys, self._seen, count)
        self._seen += count
        asked, answered, used = await self._ask(COUNTS), await self._ask(ANSWERS), cpu_seconds(self._agent.pid)
        begun = time.perf_counter()
        await self._stream.release()
        await self._stream.until_acknowledged([self._agent], count)
        elapsed, now = time.perf_counter() - begun, cpu_seconds(self._agent.pid)
        calls = (await self._ask(COUNTS))["total"] - asked["total"]
        found = {name: number - answered[name] for name, number in (await self._ask(ANSWERS)).items()}
        if found != {"messages": count, "conversations": count}:
            raise BenchmarkError(f"{self._agent.name}: of {count} customers: {found}")
        sample = {"events": float(count), "per_second": count / elapsed, "calls": calls / count}
        if used is not None and now is not None:
            sample["cpu_us"] = (now - used) / count * 1_000_000
            sample["busy"] = (now - used) / elapsed * 100
        return sample

    async def _ask(self, path: str) -> dict[str, int]:
        async with self._session.get(self._api + path) as response:
            found: dict[str, int] = orjson.loads(await response.read())
            return found


@asynccontextmanager
async def opened(_: Scale) -> AsyncIterator[Sequence[Contender]]:
    """Start Redis, and an agent with its API for each case."""
    async with running_processes() as (server, redis, processes), aiohttp.ClientSession() as session:
        benches = {name: await _open(name, case, processes, redis, server.url, session) for name, case in CASES.items()}
        for name, bench in benches.items():
            if not CASES[name].is_by_hand:
                await processes.until("the agents read", bench.is_reading)
        yield [Contender(name, CASES[name].label, bench.take_turn) for name, bench in benches.items()]


async def _open(
    name: str, case: Case, processes: Processes, redis: Redis, redis_url: str, session: aiohttp.ClientSession
) -> AgentBench:
    keys = Keys(name.replace("_", "-"))
    stream = Stream(redis, keys.participants(0, Target.AI_AGENT), str(Target.AI_AGENT))
    await stream.create()
    api = await start_api(processes, f"api-{name}", case.latency, is_alone=True)
    if case.is_by_hand:
        arguments = ("--redis", redis_url, "--api", api, "--stream", stream.name, "--group", stream.group)
        agent = await processes.start(name, "-m", "tests.benchmarks.baselines", "agent", *arguments)
    else:
        environment = settings_of(redis_url, api, keys.namespace) | {"ROUTER_AI_AGENT_GREETING": TEXT}
        agent = await processes.start(name, "-m", *COMMANDS["ai_agent"], environment=environment)
    return AgentBench(stream, keys, agent, api, session)


AGENTS: Final = Measurement(
    name="agents",
    title="AI agent: new customers joined and answered, from a filled stream",
    columns=(
        Column("per_second", "customers/s"),
        Column("cpu_us", "CPU us/customer", 1),
        Column("busy", "busy %"),
        Column("calls", "API calls each", 1),
        Column("events", "customers a turn"),
    ),
    figures=(
        Figure("ours_over_hand", "customers/s, ours / by hand", "per_second", "ours", "by_hand", at_least=1.2),
        Figure("cpu_over_hand", "CPU, ours / by hand", "cpu_us", "ours", "by_hand"),
        Figure(
            *("late_over_hand", "customers/s, ours / by hand, at 100 ms", "per_second", "ours_late", "by_hand_late"),
            at_least=1.0,
        ),
    ),
    opened=opened,
)
