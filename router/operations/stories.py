"""The search for a story: by MessageSid, CallSid, conversation, participant, event id, idempotency key or address.

It merges the lists of stories with the journal of each conversation (offers, acceptances) and with the present state of
events that are not finished. An event that left no line yet is found by its claim. Times are in µs since 1970.
"""

from __future__ import annotations

import re
from itertools import chain
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from pydantic import ValidationError

from router.core.addresses import mask
from router.core.errors import QueryError
from router.core.ids import SID_DIGITS
from router.core.printable import masked_key
from router.core.routing.journal import read_line as read_journal_line
from router.core.stories import (
    StageName,
    Story,
    StoryStage,
    address_forms,
    digest_address,
    event_id,
    is_event_id,
    name_of,
    name_of_conversation,
    name_of_event,
    read_line,
)
from router.operations.unfinished import Unfinished
from router.process.stories import make_story_index
from router.streams.client.connection import load_script
from router.streams.store.story_index import StoryReader

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from router.core.routing.journal import JournalLine
    from router.core.stories import StoryLine
    from router.settings.model import Settings
    from router.streams.client.connection import Redis
    from router.streams.store.story_index import FoundList

#: Microseconds before and after `around` in which an event belongs to what was asked for.
AROUND: Final = 15 * 60 * 1_000_000
#: Events and stages of a story; without a time the latest ones.
MOST_EVENTS: Final = 50
MOST_STAGES: Final = 500
#: Conversations whose journals are read.
MOST_CONVERSATIONS: Final = 20
#: Ids of which the whole conversation is the story; of all others the events that they name.
_WHOLE: Final = re.compile(f"conv_(conversation|participant)_|(CH|MB){SID_DIGITS}$")
#: What people write for "everything".
_WILDCARDS: Final = "*?%_ "
#: What stands for the middle of an address in logs, lists and lines of `dev`.
_MASK: Final = "***"
_ORDER: Final = {name: number for number, name in enumerate(StageName)}
#: The stages of a journal's line, by the beginning of what happened.
#: What the journal says of offers: the stage, and the words about who was asked.
_JOURNAL: Final = {
    "offer.made": (StageName.OFFERED, "offered to {}"),
    "offer.ended (accepted)": (StageName.ACCEPTED, "accepted by {}"),
    "offer.ended (declined)": (StageName.OFFERED, "declined by {}"),
    "offer.ended (expired)": (StageName.OFFERED, "not answered in time by {}"),
    "offer.ended (withdrawn)": (StageName.OFFERED, "not open to {} any more"),
    "handoff.failed (ai-agent)": (StageName.OFFERED, "accepted by nobody in time, so the AI agent goes on"),
    "handoff.failed (message)": (StageName.OFFERED, "accepted by nobody in time, which the customer was told"),
    "handoff.failed (wait)": (StageName.OFFERED, "accepted by nobody in time, so the customer waits on"),
}


class _Found(NamedTuple):
    """Lines, and the conversations (account, id) of the lists that they are in."""

    lines: list[StoryLine]
    conversations: list[tuple[str, str]]


class StorySearch:
    """Finds stories in all partitions of a namespace."""

    def __init__(self, redis: Redis, settings: Settings) -> None:
        self._redis = redis
        self._keys = settings.keys
        self._accounts = [account.sid for account in settings.accounts]
        self._secrets = settings.story_secrets
        self._reader = StoryReader(redis, make_story_index(settings, redis), life=settings.story_ttl)
        self._unfinished = Unfinished(redis, settings.keys, self._accounts)

    async def find(self, query: str, *, around: int | None = None) -> Story:
        """Return the story of what `query` names; `around` (µs since 1970) is the time of interest, None: the latest.

        A query that names nothing known gives a story that is not `found`. Raises QueryError for an empty query, one
        of wildcards or a masked address, and RedisError or OSError if Redis cannot be read.
        """
        name = query.strip()
        if not name.strip(_WILDCARDS):
            raise QueryError("name a MessageSid, CallSid, conversation, participant, event id, key or address")
        if _MASK in name:
            raise QueryError(f"{name} is masked: name the whole address, or an id that stands beside it")
        now: int = await load_script("time").run(self._redis, [self._keys.inbound(0)], [])
        forms = [] if is_event_id(name) or _WHOLE.match(name) else address_forms(name)
        found, subject = await self._find_named(name, now, around), name
        if not found.lines and forms and (customer := await self._find_customer(forms, now, around)).lines:
            found, subject = customer, mask(forms[0])
        lines = _events_around(found.lines, around)
        own = await self._own_lists(lines, now, around)
        lines = list(dict.fromkeys([*lines, *own]))
        stages = list(chain.from_iterable(line.stages for line in lines))
        stages += await self._journals(found.conversations, stages)
        stages += await self._unfinished.describe(lines)
        stages += await self._unfinished.find_untaken(lines)
        return Story(found=bool(stages), subject=masked_key(subject), stages=_in_order(stages, around))

    async def _find_named(self, name: str, now: int, around: int | None) -> _Found:
        """Return the lines of an id or a key: of the whole conversation, or of the events that are meant."""
        if _WHOLE.match(name):
            lists = [name_of_conversation(account, name) for account in self._accounts]
            return _gather(await self._reader.find(now=now, lists=lists, pointers=[name_of(name)], around=around))
        keys = self._unfinished.keys_of(name)
        events, shown = {name} if is_event_id(name) else set(map(event_id, keys)), masked_key(name)
        own = sorted(map(name_of_event, events))
        found = await self._reader.find(now=now, lists=own, pointers=[*own, name_of(name)], around=around)
        named = _gather(found, lambda line: line.event in events or line.resource == shown)
        if is_event_id(name):
            return named if named.lines else _with(named, await self._unfinished.find_event(name))
        return _with(named, await self._unfinished.find_claimed(keys))

    async def _find_customer(self, forms: Sequence[str], now: int, around: int | None) -> _Found:
        pointers = [digest_address(secret, form) for secret in self._secrets for form in forms]
        found = _gather(await self._reader.find(now=now, pointers=pointers, around=around))
        return _with(found, await self._unfinished.find_customer(forms))

    async def _own_lists(self, lines: Sequence[StoryLine], now: int, around: int | None) -> list[StoryLine]:
        """Return the lines of events from before their conversation was known: spooled, waiting, duplicates."""
        names = {name_of_event(line.event) for line in lines}
        events = {line.event for line in lines}
        found = await self._reader.find(now=now, lists=names, around=around)
        return _gather(found, lambda line: line.event in events).lines

    async def _journals(
        self, conversations: Sequence[tuple[str, str]], known: Sequence[StoryStage]
    ) -> list[StoryStage]:
        """Return the offers and acceptances of conversations since the first of the known stages."""
        since = min((stage.at for stage in known), default=0)
        stages = []
        for account, conversation in conversations[:MOST_CONVERSATIONS]:
            rows: Any = await self._redis.lrange(self._keys.journal(account, conversation), 0, -1)
            asked = ""
            for row in rows:
                try:
                    line = read_journal_line(row)
                except ValidationError:
                    continue
                found, asked = _of_journal(line, conversation, asked)
                stages += found if line.at * 1000 >= since else []
        return stages


def _gather(found: Iterable[FoundList], is_wanted: Callable[[StoryLine], bool] = lambda _: True) -> _Found:
    """Return the wanted lines of lists, and what people sent in their conversations afterwards."""
    lines: dict[StoryLine, None] = {}
    conversations: dict[tuple[str, str], None] = {}
    for one in found:
        read = [line for body in one.lines if (line := read_line(body)) is not None]
        wanted = [line for line in read if is_wanted(line)]
        since = min((line.stages[0].at for line in wanted), default=0)
        lines |= dict.fromkeys(line for line in read if is_wanted(line) or (wanted and _is_sent(line, since)))
        if wanted and one.conversation:
            conversations[one.account, one.conversation] = None
    return _Found(list(lines), list(conversations))


def _is_sent(line: StoryLine, since: int) -> bool:
    """Return whether a line is about what a command sent after a time: it has no webhook's resource."""
    return not line.resource and line.stages[0].stage is StageName.SENT and line.stages[0].at >= since


def _with(found: _Found, unfinished: Iterable[StoryLine]) -> _Found:
    """Add what is known of events that have no settled line yet."""
    settled = {line.event for line in found.lines if any(one.stage is StageName.RESOLVED for one in line.stages)}
    return _Found([*found.lines, *(line for line in unfinished if line.event not in settled)], found.conversations)


def _events_around(lines: Sequence[StoryLine], around: int | None) -> list[StoryLine]:
    """Return the lines of the events that have a stage around a time, or of the latest events."""
    latest: dict[str, int] = {}
    for line in lines:
        for stage in line.stages:
            if around is None or abs(stage.at - around) <= AROUND:
                latest[line.event] = max(stage.at, latest.get(line.event, 0))
    ranked = sorted(latest, key=lambda event: -latest[event] if around is None else abs(latest[event] - around))
    wanted = set(ranked[:MOST_EVENTS])
    return [line for line in lines if line.event in wanted]


def _of_journal(line: JournalLine, conversation: str, asked: str) -> tuple[list[StoryStage], str]:
    """Return the stages of a line, and who is asked after it; `asked` is who was asked before."""
    event = event_id(line.by) if line.by else ""
    stages = []
    for happened in line.happened:
        if happened == "offer.made":
            asked = line.chosen or line.agent or "somebody"
        if happened in _JOURNAL:
            name, words = _JOURNAL[happened]
            queue = f" in the queue '{line.need.queue}'" if line.need is not None else ""
            shown = f"{words.format(asked or line.agent)}{queue}, epoch {line.epoch}, conversation {conversation}"
            stages.append(StoryStage(line.at * 1000, name, "worker", event, shown))
    return stages, asked


def _in_order(stages: Iterable[StoryStage], around: int | None) -> tuple[StoryStage, ...]:
    """Return stages in order of time, the latest or those nearest to `around` of too many."""
    found = list(dict.fromkeys(stages))
    found.sort(key=lambda stage: -stage.at if around is None else abs(stage.at - around))
    return tuple(sorted(found[:MOST_STAGES], key=lambda stage: (stage.at, _ORDER[stage.stage])))
