"""The desk of one console: everything that its pages share, made once and running beside them."""

from __future__ import annotations

import asyncio
import time
from contextlib import asynccontextmanager, suppress
from typing import TYPE_CHECKING, Final

from router.console.desk.news import TRANSCRIPT, DeskNews
from router.console.desk.presence import PagePresence
from router.console.desk.reading import DeskReader
from router.console.desk.sending import CommandSender
from router.console.desk.transcripts import Transcripts
from router.core.entries import SOURCE_PREFIX
from router.process.apis import make_replication
from router.streams.client.clock import RedisClock
from router.streams.client.connection import RedisError
from router.streams.store.person_marks import PersonMarks
from router.tasks import end, finish

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from router.console.desk.news import Conversation
    from router.console.hub import Hub
    from router.core.routing.team import Team
    from router.process.apis import Apis
    from router.settings.model import Settings
    from router.streams.client.connection import Redis

#: Seconds to tell at the end that everybody's pages are gone.
_LAST_WORD: Final = 1.0


class DeskRoom:
    """The parts of the desk. `team` are the people and queues as the files had them at the start."""

    def __init__(self, redis: Redis, settings: Settings, *, hub: Hub, apis: Apis, team: Team) -> None:
        keys = settings.keys
        self._redis = redis
        self._clock = RedisClock(keys.inbound(0))  # deadlines are times of Redis
        source = f"{SOURCE_PREFIX}{keys.namespace}/console"
        self.team = team
        self.sealer = settings.sealer
        self.accounts = tuple(account.sid for account in settings.accounts)
        self.marks = PersonMarks(redis, keys)
        replication = make_replication(settings)
        self.sender = CommandSender(redis, keys, source=source, sealer=settings.sealer, replication=replication)
        self.news = DeskNews(hub, redis, keys, self.sender, settings.sealer, clock=self._clock)
        self.presence = PagePresence(redis, keys, self.marks, source=source, clock=time.monotonic)
        self.transcripts = Transcripts(apis, clock=time.monotonic)
        self.reader = DeskReader(
            redis,
            settings,
            team=team,
            news=self.news,
            marks=self.marks,
            transcripts=self.transcripts,
            clock=self._clock,
        )

    def note_said(self, conversation: Conversation) -> None:
        """Have the pages of a conversation read it again: a person has just done something in it."""
        self.transcripts.forget(conversation)
        self.news.ring_conversation(conversation, TRANSCRIPT)

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Take the news and renew presence while the block runs."""
        tasks = [
            asyncio.create_task(self.news.run(), name="desk news"),
            asyncio.create_task(self.presence.run(), name="presence"),
            asyncio.create_task(self._clock.run(self._redis), name="clock"),
        ]
        try:
            yield
        finally:
            await end(*tasks)
            with suppress(RedisError, OSError):
                await finish(self.presence.tell_due(is_last=True), _LAST_WORD)
            await self.sender.close()
            await self.transcripts.close()
