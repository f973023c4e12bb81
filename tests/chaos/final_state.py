"""The state after a round, read from Redis, from the sandbox and from the logs."""

from __future__ import annotations

import asyncio
from collections import Counter
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import TYPE_CHECKING, Any, Final

import orjson

from router.core.addresses import Address
from router.core.keys import Keys, Target
from router.streams.client.connection import connect
from router.streams.store.inspect import all_streams, read_stream
from tests.support.floors import disagreements, read_desk
from tests.support.waiting import scaled

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    from router.streams.client.connection import Redis
    from tests.chaos.deployment import ChaosDeployment
    from tests.harness.sandbox import SandboxClient

#: Requests to the sandbox at the same time.
_AT_ONCE: Final = 16


@dataclass(frozen=True, slots=True)
class Inbound:
    """An entry of the inbound stream; `at` is when Redis took it, in seconds since 1970."""

    place: int
    at: float
    source: str
    key: str
    subject: str
    body: bytes


@dataclass(frozen=True, slots=True)
class FloorNews:
    """What an entry tells of a holder: the `name` of the request or offer, the person asked, `how` it ended or why.

    `before` and `after` are holders: the target, and after a blank the person.
    """

    name: str = ""
    agent: str = ""
    how: str = ""
    before: str = ""
    after: str = ""


@dataclass(frozen=True, slots=True)
class Published:
    """An entry of a participants stream; `owner` is the key of its address, `message` the text or Message-ID in it.

    `at` is when it was written, in seconds since 1970.
    """

    place: int
    id: str
    type: str
    target: str
    conversation: str
    participant: str = ""
    channel: str = ""
    owner: str = ""
    message: str = ""
    cause: str = ""
    at: float = 0.0
    epoch: int = 0
    floor: FloorNews = FloorNews()


@dataclass(frozen=True, slots=True)
class Member:
    """A participant in the sandbox, of v2 or classic."""

    id: str
    conversation: str
    kind: str
    channel: str
    key: str


@dataclass(frozen=True, slots=True)
class Line:
    """A log line of a role: `start` counts the role's processes, `place` the lines of each."""

    role: str
    start: int
    place: int
    at: float
    fields: dict[str, Any]

    @property
    def event(self) -> str:
        """Its name."""
        return self.fields["event"]


@dataclass
class FinalState:
    """Everything; `texts` are the communications in the sandbox, as (conversation, text)."""

    inbound: list[Inbound] = field(default_factory=list)
    published: list[Published] = field(default_factory=list)
    members: list[Member] = field(default_factory=list)
    closed: set[str] = field(default_factory=set)
    texts: list[tuple[str, str]] = field(default_factory=list)
    lines: list[Line] = field(default_factory=list)
    waiting: dict[str, int] = field(default_factory=dict)
    dead_letters: list[str] = field(default_factory=list)
    #: The number of conversations of each person, and where the desk and the ledgers disagree.
    loads: dict[str, int] = field(default_factory=dict)
    desk: list[str] = field(default_factory=list)
    callbacks: dict[str, int] = field(default_factory=dict)


async def is_idle(deployment: ChaosDeployment, redis: Redis) -> bool:
    """Tell whether no process has anything left to do."""
    if any((await _waiting(deployment, redis)).values()):
        return False
    desk = await read_desk(redis, Keys())
    if desk.waiting or desk.asked or await disagreements(redis, Keys()):
        return False
    return not (await _callbacks(deployment))["pending"]


async def _callbacks(deployment: ChaosDeployment) -> Counter[str]:
    """Count the callbacks of all accounts by what became of them."""
    found: Counter[str] = Counter()
    for sandbox in deployment.sandboxes:
        found.update(await sandbox.ask("GET", "/sandbox/callbacks"))
    return found


async def _waiting(deployment: ChaosDeployment, redis: Redis) -> dict[str, int]:
    """Count what still waits, by place."""
    found: dict[str, int] = {}
    for key in all_streams(Keys()):
        for group in (await read_stream(redis, Keys(), key)).groups:
            found[f"pending in {key}"] = group.pending
            found[f"parked in {key}"] = group.parked
            found[f"not read in {key}"] = 1 if group.lag is None else group.lag
    return found | {f"spool of {url}": await deployment.spooled(url) for url in deployment.receivers}


async def collect(deployment: ChaosDeployment) -> FinalState:
    """Read everything but the logs, while the deployment still runs."""
    redis, keys = connect(deployment.redis.url, timeout=scaled(20)), Keys()
    found = FinalState(waiting=await _waiting(deployment, redis), callbacks=dict(await _callbacks(deployment)))
    rows = await redis.xrange(keys.inbound(0))
    found.inbound = [_inbound(place, entry_id, fields) for place, (entry_id, fields) in enumerate(rows)]
    for target in Target:
        rows = await redis.xrange(keys.participants(0, target))
        found.published += [
            replace(_published(place, target, orjson.loads(fields[b"event"])), at=_seconds(entry_id))
            for place, (entry_id, fields) in enumerate(rows)
        ]
    for _, fields in await redis.xrange(keys.dead_letters(0)):
        found.dead_letters.append(repr({name.decode(): value[:300] for name, value in fields.items()}))
    found.waiting["quarantined"] = await redis.xlen(keys.quarantine())
    found.loads = (await read_desk(redis, keys)).loads
    found.desk = await disagreements(redis, keys)
    await redis.aclose()
    for sandbox in deployment.sandboxes:
        await _read_sandbox(sandbox, found)
    await _read_classic(deployment, found)
    return found


def _inbound(place: int, entry_id: bytes, fields: dict[bytes, bytes]) -> Inbound:
    names = [fields[name].decode() for name in (b"source", b"key", b"subject")]
    return Inbound(place, _seconds(entry_id), *names, fields[b"body"])


def _seconds(entry_id: bytes) -> float:
    return int(entry_id.partition(b"-")[0]) / 1000


def _published(place: int, target: str, event: dict[str, Any]) -> Published:
    data, conversation = event["data"], event["data"]["conversation"]["id"]
    common = {"place": place, "id": event["id"], "type": event["type"], "target": target, "conversation": conversation}
    common |= {"epoch": data["epoch"], "cause": data["cause"]["idempotency_key"]}
    if "channel" not in data:
        return Published(**common, floor=_floor(event["type"], data))
    communication = data.get("communication")
    is_mail = data["channel"] == "EMAIL"
    return Published(
        **common,
        participant=data["participant"]["id"],
        channel=data["channel"],
        owner=Address(data["channel"], data["address"]).key,
        message="" if communication is None else communication["channel_id" if is_mail else "text"] or "",
    )


def _floor(kind: str, data: dict[str, Any]) -> FloorNews:
    match kind:
        case "handoff.requested" | "handoff.failed":
            return FloorNews(data["request"]["id"], how=data.get("fallback", ""))
        case "offer.made" | "offer.ended":
            return FloorNews(data["offer"]["id"], data["agent"]["identity"], data.get("how", ""))
        case "holder.changed":
            return FloorNews(how=data["because"], before=_holder(data["from"]), after=_holder(data["to"]))
    return FloorNews()


def _holder(shown: dict[str, Any]) -> str:
    return f"{shown['target']} {shown['agent'] or ''}".strip()


async def _read_sandbox(sandbox: SandboxClient, found: FinalState) -> None:
    """Read all v2 conversations of an account with their participants and communications."""
    conversations = await sandbox.conversations()
    for conversation in conversations:
        if conversation["status"] == "CLOSED":
            found.closed.add(conversation["id"])
        for one in conversation["participants"]:
            at = one["addresses"][0]
            key = Address(at["channel"], at["address"]).key
            found.members.append(Member(one["id"], conversation["id"], one["type"], at["channel"], key))
    slots = asyncio.Semaphore(_AT_ONCE)

    async def read(conversation_id: str) -> None:
        async with slots:
            found.texts += [(conversation_id, text) for text in await sandbox.texts(conversation_id)]

    await asyncio.gather(*[read(one["id"]) for one in conversations])


async def _read_classic(deployment: ChaosDeployment, found: FinalState) -> None:
    """Read all classic conversations with their participants and messages."""
    read = deployment.sandbox.list_classic
    for conversation in await read("/Conversations", "conversations"):
        sid = conversation["sid"]
        for one in await read(f"/Conversations/{sid}/Participants", "participants"):
            binding = one["messaging_binding"] or {}
            kind, value = ("CUSTOMER", binding["address"]) if binding.get("address") else ("AI_AGENT", one["identity"])
            channel = "SMS" if kind == "CUSTOMER" else "CHAT"
            found.members.append(Member(one["sid"], sid, kind, channel, Address(channel, value).key))
        for one in await read(f"/Conversations/{sid}/Messages", "messages"):
            found.texts.append((sid, one["body"] or ""))


def read_logs(directory: Path, roles: Iterable[str]) -> list[Line]:
    """Return every log line of all processes, in the order of each; a line cut off by a kill does not count."""
    lines = []
    for role in roles:
        for start, path in enumerate(sorted((directory / role).glob("*.log"))):
            for place, text in enumerate(path.read_text(encoding="utf-8", errors="replace").splitlines()):
                try:
                    fields = orjson.loads(text)
                    at = datetime.fromisoformat(fields["time"]).timestamp()
                except (orjson.JSONDecodeError, KeyError, TypeError):
                    continue
                lines.append(Line(role, start, place, at, fields))
    return lines
