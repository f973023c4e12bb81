"""What is there after a round: read from Redis, from the sandbox and from the logs, and judged by nobody here."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from datetime import datetime
from typing import TYPE_CHECKING, Any, Final

import orjson

from router.core.addresses import Address
from router.core.keys import Keys, Target
from router.streams.client.connection import connect
from router.streams.store.inspect import all_streams, read_stream

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    from router.streams.client.connection import Redis
    from tests.chaos.site import Site

#: Requests to the sandbox at once.
_AT_ONCE: Final = 16
_PAGE: Final = "1000"


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
class Published:
    """An entry of a participants stream. `owner` is the key of its address, `word` what names what was said."""

    place: int
    id: str
    type: str
    target: str
    conversation: str
    participant: str = ""
    channel: str = ""
    owner: str = ""
    word: str = ""
    cause: str = ""


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
    """A log line, with the role, the process (a number: how often the role had been started before) and its place."""

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
class Findings:
    """Everything; texts are what was said in the sandbox, (conversation, author's participant id, text)."""

    inbound: list[Inbound] = field(default_factory=list)
    published: list[Published] = field(default_factory=list)
    members: list[Member] = field(default_factory=list)
    closed: set[str] = field(default_factory=set)
    texts: list[tuple[str, str]] = field(default_factory=list)
    lines: list[Line] = field(default_factory=list)
    waiting: dict[str, int] = field(default_factory=dict)
    letters: list[str] = field(default_factory=list)
    roster: dict[str, dict[str, Any]] = field(default_factory=dict)
    load: dict[str, int] = field(default_factory=dict)
    callbacks: dict[str, int] = field(default_factory=dict)


async def is_quiet(site: Site, redis: Redis) -> bool:
    """Tell whether nobody has anything left to do."""
    if any((await _waiting(site, redis)).values()):
        return False
    callbacks = await site.ask("GET", "/sandbox/callbacks")
    return not callbacks["pending"]


async def _waiting(site: Site, redis: Redis) -> dict[str, int]:
    """Return what still waits somewhere, by where."""
    found: dict[str, int] = {}
    for key in all_streams(Keys()):
        for group in (await read_stream(redis, key)).groups:
            found[f"pending in {key}"] = group.pending
            found[f"not read in {key}"] = 1 if group.lag is None else group.lag
    for url in site.receivers:
        async with site.session.get(f"{url}/readyz") as answer:
            found[f"spool of {url}"] = (await answer.json())["spool"]["entries"]
    return found


async def collect(site: Site) -> Findings:
    """Read everything while it still runs, the logs excepted."""
    redis, keys = connect(site.redis.url), Keys()
    found = Findings(waiting=await _waiting(site, redis), callbacks=await site.ask("GET", "/sandbox/callbacks"))
    rows = await redis.xrange(keys.inbound(0))
    found.inbound = [_inbound(place, entry_id, fields) for place, (entry_id, fields) in enumerate(rows)]
    for target in Target:
        rows = await redis.xrange(keys.participants(0, target))
        found.published += [
            _published(place, target, orjson.loads(fields[b"event"])) for place, (_, fields) in enumerate(rows)
        ]
    for _, fields in await redis.xrange(keys.dead_letters(0)):
        found.letters.append(repr({name.decode(): value[:300] for name, value in fields.items()}))
    found.waiting["quarantined"] = await redis.xlen(keys.quarantine())
    books = await redis.hgetall(keys.roster("conversations"))
    found.roster = {name.decode().partition("|")[2]: orjson.loads(record) for name, record in books.items()}
    found.load = {name.decode(): int(count) for name, count in (await redis.hgetall(keys.roster("load"))).items()}
    await redis.aclose()
    await _read_sandbox(site, found)
    await _read_classic(site, found)
    return found


def _inbound(place: int, entry_id: bytes, fields: dict[bytes, bytes]) -> Inbound:
    texts = [fields[name].decode() for name in (b"source", b"key", b"subject")]
    return Inbound(place, int(entry_id.partition(b"-")[0]) / 1000, *texts, fields[b"body"])


def _published(place: int, target: str, event: dict[str, Any]) -> Published:
    data, conversation = event["data"], event["data"]["conversation"]["id"]
    common = {"place": place, "id": event["id"], "type": event["type"], "target": target, "conversation": conversation}
    if "participant" not in data:
        return Published(**common, cause=data["cause"]["idempotency_key"])
    said = data.get("communication")
    is_mail = data["channel"] == "EMAIL"
    return Published(
        **common,
        participant=data["participant"]["id"],
        channel=data["channel"],
        owner=Address(data["channel"], data["address"]).key,
        word="" if said is None else (said["channel_id"] if is_mail else said["text"]) or "",
        cause=data["cause"]["idempotency_key"],
    )


async def _read_sandbox(site: Site, found: Findings) -> None:
    """Read all conversations of v2, who is in them, and what was said."""
    conversations = await _pages(site, "/v2/Conversations", "conversations")
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
            for one in await _pages(site, f"/v2/Conversations/{conversation_id}/Communications", "communications"):
                found.texts.append((conversation_id, one["content"]["text"]))

    await asyncio.gather(*[read(one["id"]) for one in conversations])


async def _pages(site: Site, path: str, name: str) -> list[dict[str, Any]]:
    rows, token = [], None
    while True:
        page = await site.ask("GET", path, pageSize=_PAGE, **({"pageToken": token} if token else {}))
        rows += page[name]
        token = page["meta"].get("nextToken")
        if not token:
            return rows


async def _read_classic(site: Site, found: Findings) -> None:
    """Read all classic conversations in the same way."""
    for conversation in await _classic_pages(site, "/v1/Conversations", "conversations"):
        sid = conversation["sid"]
        for one in await _classic_pages(site, f"/v1/Conversations/{sid}/Participants", "participants"):
            binding = one["messaging_binding"] or {}
            kind, value = ("CUSTOMER", binding["address"]) if binding.get("address") else ("AI_AGENT", one["identity"])
            channel = "SMS" if kind == "CUSTOMER" else "CHAT"
            found.members.append(Member(one["sid"], sid, kind, channel, Address(channel, value).key))
        for one in await _classic_pages(site, f"/v1/Conversations/{sid}/Messages", "messages"):
            found.texts.append((sid, one["body"] or ""))


async def _classic_pages(site: Site, path: str, name: str) -> list[dict[str, Any]]:
    rows, page = [], await site.ask("GET", path, PageSize="100")
    while True:
        rows += page[name]
        url = page["meta"].get("next_page_url")
        if not url:
            return rows
        page = await site.ask("GET", "/v1/" + url.partition("/v1/")[2])


def read_logs(directory: Path, roles: Iterable[str]) -> list[Line]:
    """Return every log line of all processes, in the order of each; a line that a kill has cut off is none."""
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
