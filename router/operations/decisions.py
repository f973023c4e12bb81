"""The decisions about who holds a conversation, as its journal has them, and why nobody is asked while a request waits.

A conversation of a configured account is found at once by its id, and a participant by its story. A conversation of an
account that is no longer configured, and a participant without a story, take a search through all conversations.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from pydantic import ValidationError

from router.core.ledger.floor import holding_of
from router.core.ledger.marker import participant_field
from router.core.routing.journal import read_line
from router.core.stories import name_of
from router.operations.open_requests import read_waiting
from router.process.stories import make_story_index
from router.streams.client.connection import load_script
from router.streams.client.scanning import scan_keys
from router.streams.store.ledgers import Store
from router.streams.store.story_index import StoryReader

if TYPE_CHECKING:
    from collections.abc import Callable

    from router.core.ledger.ledger import Ledger
    from router.core.routing.holding import Holding
    from router.core.routing.journal import JournalLine
    from router.operations.open_requests import WaitingRequest
    from router.settings.model import Settings
    from router.streams.client.connection import Redis


@dataclass(frozen=True, slots=True)
class Decisions:
    """A conversation's ledger, its decisions, oldest first, and the request that waits, None if none does.

    `unreadable` lines of the journal are left out: another release has written them, or somebody by hand.
    """

    ledger: Ledger
    journal: tuple[JournalLine, ...]
    waiting: WaitingRequest | None
    unreadable: int = 0

    @property
    def holding(self) -> Holding | None:
        """Who holds it, None if nobody was announced in it."""
        return holding_of(self.ledger)

    def to_json(self) -> dict[str, Any]:
        """Return it for programs."""
        ledger, holding, waiting = self.ledger, self.holding, self.waiting
        data: dict[str, Any] = {
            "account": ledger.account_id,
            "conversation": ledger.conversation_id,
            "status": ledger.fields.get("status"),
            "target": ledger.fields.get("target"),
            "reason": ledger.fields.get("reason"),
            "epoch": ledger.epoch,
            "holder": holding.holder.model_dump(mode="json") if holding else None,
            "journal": [line.model_dump(mode="json") | {"others": line.reasons()[1]} for line in self.journal],
        }
        if waiting is not None:
            data["waiting"] = {
                "queue": waiting.queue,
                "skills": sorted(waiting.need.skills) if waiting.need else None,
                "is_open": waiting.need is not None,
                "chosen": waiting.chosen,
                "others": waiting.reasons,
            }
        return data


async def read_decisions(
    redis: Redis, settings: Settings, name: str, *, on_page: Callable[[int], None] = lambda _: None
) -> Decisions | None:
    """Return the decisions about a conversation, or about the newest one that a participant is in; None if unknown.

    `on_page` is called with the number of pages of conversations that were searched so far. Raises SettingsError if
    roster.toml or routing.toml has mistakes.
    """
    store = Store(redis, settings.keys, marker_ttl=settings.marker_ttl, sealer=settings.sealer)
    ledger = (
        await find_ledger(redis, store, settings, name)
        or await _search_stories(redis, store, settings, name)
        or await _search(redis, store, settings, name, on_page)
    )
    if ledger is None:
        return None
    journal, unreadable = await read_journal(redis, settings, ledger)
    waiting = await read_waiting(redis, settings, holding_of(ledger))
    return Decisions(ledger, journal, waiting, unreadable)


async def read_journal(redis: Redis, settings: Settings, ledger: Ledger) -> tuple[tuple[JournalLine, ...], int]:
    """Return the decisions about a conversation, oldest first, and how many lines cannot be read."""
    texts: Any = await redis.lrange(settings.keys.journal(ledger.account_id, ledger.conversation_id), 0, -1)
    lines = [_read(text) for text in texts]
    journal = tuple(line for line in lines if line is not None)
    return journal, len(lines) - len(journal)


def _read(text: bytes) -> JournalLine | None:
    try:
        return read_line(text)
    except ValidationError:
        return None


async def find_ledger(redis: Redis, store: Store, settings: Settings, name: str) -> Ledger | None:
    """Return the ledger of a conversation of a configured account by its id, None if there is none."""
    for account in settings.accounts:
        if await redis.exists(settings.keys.conversation(account.sid, name)):
            return await store.read_whole(account.sid, name)
    return None


async def _search_stories(redis: Redis, store: Store, settings: Settings, participant: str) -> Ledger | None:
    """Return the newest ledger that a participant is in among the conversations whose stories lead from it."""
    if not settings.story_ttl:
        return None
    now: int = await load_script("time").run(redis, [settings.keys.inbound(0)], [])
    reader = StoryReader(redis, make_story_index(settings, redis), life=settings.story_ttl)
    found = await reader.find(now=now, pointers=[name_of(participant)])
    names = {(one.account, one.conversation) for one in found if one.conversation}
    ledgers = [await store.read_whole(*name) for name in sorted(names)]
    candidates = [ledger for ledger in ledgers if participant_field(participant) in ledger.fields]
    return max(candidates, key=lambda ledger: ledger.revision, default=None)


async def _search(
    redis: Redis, store: Store, settings: Settings, name: str, on_page: Callable[[int], None]
) -> Ledger | None:
    """Return the ledger of a conversation, or of the one that a participant is in; the newest of several."""
    pages, candidates = 0, []
    async for page in scan_keys(redis, f"{settings.keys.namespace}:{{*}}:conversation:*"):
        pages += 1
        on_page(pages)
        for key in page:
            account_id, _, conversation_id = key.decode().partition(":conversation:")[2].partition(":")
            is_it = conversation_id == name
            if is_it or await redis.hexists(key.decode(), participant_field(name)):
                candidates.append(await store.read_whole(account_id, conversation_id))
    return max(candidates, key=lambda ledger: ledger.revision, default=None)
