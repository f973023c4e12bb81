"""News for the desk: what the entries of the participants streams mean for the pages of which people.

All pages share one subscription to the console's hub. A page has a `Bell`, which collects the names of what has changed
for it; so a page that is slow, or a burst of messages, costs one update. Which person has a conversation is known from
the pages that were shown and from `holder.changed`. An entry that is not one of ours changes nothing.

Texts and names are dropped from memory after a time: `erase` does not reach them here (docs/privacy.md).
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict, deque
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

import orjson

from router.console.hub import Arrival, StreamKind
from router.core.entries import CommunicationData, OfferMadeData
from router.core.keys import Target
from router.core.ledger.transcript import PublishedMessage, message_of
from router.core.routing.command_answers import answer_of
from router.core.stored_fields import open_stored
from router.logs import describe, log
from router.streams.client.connection import RedisError
from router.tasks import end

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from router.console.desk.sending import CommandSender, SentCommand
    from router.console.hub import Hub, News
    from router.core.keys import Keys
    from router.core.routing.command_answers import CommandAnswer
    from router.core.sealing import Sealer
    from router.streams.client.connection import Redis

#: What a page can be told: the lists of the desk, the transcript, a new offer, a late answer, the connection to Redis.
LISTS: Final = "lists"
TRANSCRIPT: Final = "transcript"
OFFER: Final = "offer"
ANSWER: Final = "answer"
CONNECTION: Final = "connection"
#: Conversations of which the latest messages are remembered, and messages of each.
MAX_CONVERSATIONS: Final = 1_000
MAX_MESSAGES: Final = 30
#: Seconds for which the text of a message is kept: until the API lists it, and over a short outage of the API.
TEXTS_KEPT: Final = 900
#: Seconds for which the name of a customer is kept after the last entry that had it.
NAMES_KEPT: Final = 86_400
#: Seconds for which a late answer is told to each of its pages that connects, which may still be loading, and how many
#: are.
_LOADING: Final = 60
_MAX_LATE: Final = 1_000
#: Seconds between two rounds that drop what is older.
_FORGET: Final = 60.0
#: Characters of a name that are shown.
MAX_NAME: Final = 100
#: Conversations of which the person is remembered who has them.
MAX_HOLDERS: Final = 20_000
#: Entries of each partition that are read again at the start.
_READ_AGAIN: Final = 300
#: Seconds between two attempts to do that.
_AGAIN: Final = 1.0

#: A conversation: its account and its id.
Conversation = tuple[str, str]


@dataclass(slots=True)
class RecentMessages:
    """The customer's name and latest messages in a conversation, each with when its entry was written (µs).

    `arrivals` have when each message came and its id, also of those whose text is dropped.
    """

    name: str = ""
    named_at: int = 0
    messages: deque[tuple[int, PublishedMessage]] = field(default_factory=lambda: deque(maxlen=MAX_MESSAGES))
    arrivals: deque[tuple[int, str]] = field(default_factory=lambda: deque(maxlen=MAX_MESSAGES))

    @property
    def latest(self) -> int:
        """When the last message came (µs since 1970), 0 without any."""
        return self.arrivals[-1][0] if self.arrivals else 0

    def count_after(self, mark: int) -> int:
        """Return how many messages came after `mark` (µs)."""
        return sum(at > mark for at, _ in self.arrivals)

    def take(self, at: int, message: PublishedMessage) -> None:
        """Note a message once."""
        if all(known != message.id for _, known in self.arrivals):
            self.arrivals.append((at, message.id))
            self.messages.append((at, message))

    def forget_old(self, now: int) -> None:
        """Drop the texts and the name whose time is over at `now` (µs)."""
        while self.messages and self.messages[0][0] < now - TEXTS_KEPT * 1_000_000:
            self.messages.popleft()
        if self.named_at < now - NAMES_KEPT * 1_000_000:
            self.name = ""


class Bell:
    """The changes for one connected page of a person; `conversation` is the one that it shows."""

    def __init__(self, identity: str, conversation: Conversation | None) -> None:
        self.identity = identity
        self.conversation = conversation
        self.late: list[dict[str, Any]] = []
        self._names: set[str] = set()
        self._rung = asyncio.Event()

    def ring(self, *names: str) -> None:
        """Note that something has changed; never waits."""
        self._names.update(names)
        self._rung.set()

    async def wait(self) -> set[str]:
        """Wait until something has changed, and return the names of it."""
        await self._rung.wait()
        self._rung.clear()
        names, self._names = self._names, set()
        return names


class DeskNews:
    """The news for the pages of one console. `clock` returns µs since 1970."""

    def __init__(
        self, hub: Hub, redis: Redis, keys: Keys, sender: CommandSender, sealer: Sealer, *, clock: Callable[[], int]
    ) -> None:
        self._hub = hub
        self._redis = redis
        self._keys = keys
        self._sender = sender
        self._sealer = sealer
        self._clock = clock
        sender.on_send, sender.on_late = self._forget_late, self._tell_late
        self._bells: set[Bell] = set()
        self._holders: OrderedDict[Conversation, str] = OrderedDict()
        self._recent: OrderedDict[Conversation, RecentMessages] = OrderedDict()
        self._changes: OrderedDict[Conversation, int] = OrderedDict()
        self._recently_late: deque[tuple[int, SentCommand, CommandAnswer]] = deque(maxlen=_MAX_LATE)

    @contextmanager
    def listen(self, identity: str, conversation: Conversation | None = None) -> Iterator[Bell]:
        """Have a bell rung for a page while the block runs."""
        bell = Bell(identity, conversation)
        self._bells.add(bell)
        self._tell_again(bell)
        try:
            yield bell
        finally:
            self._bells.discard(bell)

    def recent(self, conversation: Conversation) -> RecentMessages:
        """Return the latest messages of a conversation, as far as this console knows them."""
        return self._recent.get(conversation) or RecentMessages()

    def changes_of(self, conversation: Conversation) -> int:
        """Return a number that rises with each entry about a conversation."""
        return self._changes.get(conversation, 0)

    def note_holder(self, conversation: Conversation, identity: str | None) -> None:
        """Note which person has a conversation; None: no person of the roster."""
        self._holders.pop(conversation, None)
        if identity is not None:
            self._holders[conversation] = identity
            if len(self._holders) > MAX_HOLDERS:
                self._holders.popitem(last=False)

    def ring_person(self, identity: str, *names: str) -> None:
        """Tell all pages of a person."""
        for bell in self._bells:
            if bell.identity == identity:
                bell.ring(*names)

    def ring_conversation(self, conversation: Conversation, *names: str) -> None:
        """Tell all pages that show a conversation."""
        for bell in self._bells:
            if bell.conversation == conversation:
                bell.ring(*names)

    def _tell_late(self, late: SentCommand, answer: CommandAnswer) -> None:
        """Tell a late answer to the pages of a person that show its conversation or no conversation at all.

        The transcript is read again: no entry tells of a text that was sent.
        """
        if late.conversation is not None:
            self._note_change(late.conversation)
            self.ring_conversation(late.conversation, TRANSCRIPT)
        for bell in self._bells:
            if bell.identity == late.user and bell.conversation in {None, late.conversation}:
                self._tell(bell, late, answer)
        self._recently_late.append((self._clock(), late, answer))

    def _tell_again(self, bell: Bell) -> None:
        """Tell a page what was answered between its making and its connection.

        Others have been told already: the page that it replaces is connected until then.
        """
        oldest = self._clock() - _LOADING * 1_000_000
        while self._recently_late and self._recently_late[0][0] < oldest:
            self._recently_late.popleft()
        for _, late, answer in self._recently_late:
            if late.user == bell.identity and late.page == bell.conversation:
                self._tell(bell, late, answer)

    def _forget_late(self, sent: SentCommand) -> None:
        """Forget the late answers for a page from which something else is sent: one would be taken for its answer."""
        for one in tuple(self._recently_late):
            if (one[1].user, one[1].page) == (sent.user, sent.page):
                self._recently_late.remove(one)

    def _tell(self, bell: Bell, late: SentCommand, answer: CommandAnswer) -> None:
        bell.late.append(
            {
                "kind": late.kind,
                "answer": answer.to_json(),
                "conversation": late.conversation[1] if late.conversation else None,
                "name": self.recent(late.conversation).name if late.conversation else "",
                "is_elsewhere": bell.conversation is None,
            }
        )
        bell.ring(ANSWER)

    def _note_change(self, conversation: Conversation) -> None:
        self._changes[conversation] = self._changes.get(conversation, 0) + 1
        self._changes.move_to_end(conversation)
        if len(self._changes) > MAX_HOLDERS:
            self._changes.popitem(last=False)

    async def run(self) -> None:
        """Take the news, and forget what is old, until canceled."""
        forgetting = asyncio.create_task(self._keep_forgetting())
        try:
            async with self._hub.subscribe(lambda one: one.kind is StreamKind.PARTICIPANTS) as news:
                await self._read_again()
                async for one in news:
                    self.take(one)
        finally:
            await end(forgetting)

    async def _keep_forgetting(self) -> None:
        while True:
            await asyncio.sleep(_FORGET)
            self.forget_old()

    def forget_old(self) -> None:
        """Drop the texts and names whose time is over; unread messages still count."""
        now = self._clock()
        for recent in self._recent.values():
            recent.forget_old(now)

    def take(self, news: News) -> None:
        """Take one piece of news, which may be anything."""
        if isinstance(news, Arrival):
            self._take_entry(news)
            return
        for bell in self._bells:  # entries were missed, or Redis is away or back
            bell.ring(CONNECTION, *((LISTS, TRANSCRIPT) if self._hub.is_up else ()))

    def _take_entry(self, arrival: Arrival) -> None:
        try:
            document = orjson.loads(arrival.fields.get(b"event", b""))
            data = document["data"]
            conversation = (str(data["account_id"]), str(data["conversation"]["id"]))
            self._note(arrival.entry_id, document, conversation)
            people = _people_of(document)
            asked = data["agent"]["identity"] if document["type"] == OfferMadeData.type else None
        except (ValueError, LookupError, TypeError, AttributeError):
            return  # not an entry of ours: the operations pages show it
        if (answered := answer_of(document)) is not None:
            self._sender.take(*answered)
        self._note_change(conversation)
        self.ring_conversation(conversation, TRANSCRIPT, LISTS)
        holder = self._holders.get(conversation)
        for identity in people | ({holder} if holder is not None else set()):
            self.ring_person(identity, LISTS)
        if asked is not None:
            self.ring_person(asked, OFFER)

    def _note(self, entry_id: str, document: dict[str, Any], conversation: Conversation) -> None:
        """Note what an entry says of its conversation: a message, a name, a new holder."""
        data, kind = document["data"], document["type"]
        if kind == "holder.changed":
            to = data["to"]
            self.note_holder(conversation, to["agent"] if to["target"] == Target.HUMAN_AGENT else None)
        message = message_of(document) if kind == CommunicationData.type else None
        name = data.get("profile_name") or (data.get("participant") or {}).get("name")
        if message is None and not name:
            return
        recent = self._recent.setdefault(conversation, RecentMessages())
        self._recent.move_to_end(conversation)
        at = int(entry_id.partition("-")[0]) * 1000
        if isinstance(name, str):
            recent.name, recent.named_at = name[:MAX_NAME], at
        if message is not None:
            recent.take(at, message)
        if len(self._recent) > MAX_CONVERSATIONS:
            self._recent.popitem(last=False)

    async def _read_again(self) -> None:
        """Read the latest messages, from before this console was started."""
        while True:
            try:
                pipeline = self._redis.pipeline(transaction=False)
                for partition in range(self._keys.partitions):
                    pipeline.xrevrange(self._keys.participants(partition, Target.HUMAN_AGENT), count=_READ_AGAIN)
                found: list[Any] = await pipeline.execute()
                break
            except (RedisError, OSError) as error:
                log("console.waiting", level="warning", reason=describe(error))
                await asyncio.sleep(_AGAIN)
        for rows in found:
            for entry_id, fields in reversed(rows):
                opened, _ = open_stored(fields, self._sealer)
                self._take_entry(Arrival(StreamKind.PARTICIPANTS, "", entry_id.decode(), opened))
        self.forget_old()


def _people_of(document: dict[str, Any]) -> set[str]:
    """Return the people of the roster whom an entry names."""
    data = document["data"]
    ends = [data.get("from"), data.get("to"), data.get("agent"), data.get("request"), data.get("command")]
    names: set[Any] = set()
    for one in filter(None, ends):
        names |= {one.get("agent"), one.get("identity"), one.get("asked_by")}
        inner = one.get("data")
        if isinstance(inner, dict):
            names.add(inner.get("agent"))
    return {name for name in names if isinstance(name, str)}
