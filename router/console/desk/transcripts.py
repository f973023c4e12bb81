"""Reads what the API has of a conversation, v2 or classic: all pages of its participants and of what was said.

Several pages that show one conversation share one reading, and nothing is read again before the conversation has
changed or FRESH seconds have passed; so an open page costs the API nothing while nothing happens.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from router.core.classic.members import is_classic
from router.core.errors import ApiError
from router.core.ledger.transcript import (
    TranscriptLine,
    TranscriptMember,
    classic_lines_of,
    classic_members_of,
    lines_of,
    members_of,
)
from router.tasks import end

if TYPE_CHECKING:
    from collections.abc import Callable

    from router.console.desk.news import Conversation
    from router.process.apis import Apis

#: Seconds after which a reading is repeated although no entry has told a change: texts of ours make none.
FRESH: Final = 3.0
#: Conversations whose latest reading is kept.
MAX_KEPT: Final = 200
#: Items of each page of the v2 and of the classic API.
_PAGE: Final = 1000
_CLASSIC_PAGE: Final = 100


@dataclass(frozen=True, slots=True)
class ApiReading:
    """The answer of the API: members and lines with addresses as they are, or why it could not be asked."""

    members: tuple[TranscriptMember, ...] = ()
    lines: tuple[TranscriptLine, ...] = ()
    problem: str = ""


@dataclass(slots=True)
class _Kept:
    reading: ApiReading
    changes: int
    at: float


class Transcripts:
    """The readings of one console. `clock` returns seconds of any origin."""

    def __init__(self, apis: Apis, *, clock: Callable[[], float]) -> None:
        self._apis = apis
        self._clock = clock
        self._kept: OrderedDict[Conversation, _Kept] = OrderedDict()
        self._tasks: dict[tuple[Conversation, int], asyncio.Task[ApiReading]] = {}

    async def read(self, conversation: Conversation, changes: int) -> ApiReading:
        """Return the transcript that the API has; `changes` is the number of known changes of the conversation."""
        kept = self._kept.get(conversation)
        if kept is not None and kept.changes == changes and self._clock() - kept.at < FRESH:
            return kept.reading
        key = (conversation, changes)
        task = self._tasks.get(key)
        if task is None:
            task = self._tasks[key] = asyncio.create_task(self._read(conversation, changes))
            task.add_done_callback(lambda _: self._tasks.pop(key, None))
        return await asyncio.shield(task)

    def forget(self, conversation: Conversation) -> None:
        """Have a conversation read again: somebody has just said something in it."""
        self._kept.pop(conversation, None)

    async def close(self) -> None:
        """End the readings that are under way."""
        await end(*self._tasks.values())

    async def _read(self, conversation: Conversation, changes: int) -> ApiReading:
        begun = self._clock()
        try:
            reading = await self._ask(*conversation)
        except ApiError as error:
            return ApiReading(problem=_describe(error))
        kept = self._kept[conversation] = _Kept(reading, changes, begun)
        self._kept.move_to_end(conversation)
        # nobody reads it after that, and `erase` does not reach it here
        asyncio.get_running_loop().call_later(FRESH, self._drop, conversation, kept)
        if len(self._kept) > MAX_KEPT:
            self._kept.popitem(last=False)
        return reading

    def _drop(self, conversation: Conversation, kept: _Kept) -> None:
        if self._kept.get(conversation) is kept:
            del self._kept[conversation]

    async def _ask(self, account_id: str, conversation_id: str) -> ApiReading:
        api = self._apis.of(account_id)
        if is_classic(conversation_id):
            service = api.account.classic_service_sid
            listed = await api.classic.list_participants(conversation_id, service_sid=service, page_size=_CLASSIC_PAGE)
            messages = [
                one
                async for one in api.classic.list_messages(
                    conversation_id, newest_first=False, service_sid=service, page_size=_CLASSIC_PAGE
                )
            ]
            members = classic_members_of(listed)
            return ApiReading(tuple(members), tuple(classic_lines_of(messages, members)))
        participants = await api.v2.list_participants(conversation_id, page_size=_PAGE)
        said = [one async for one in api.v2.list_communications(conversation_id, page_size=_PAGE)]
        members = members_of(participants)
        return ApiReading(tuple(members), tuple(lines_of(said, members)))


def _describe(error: ApiError) -> str:
    """Return the words about an API that has not answered; nothing of its text, which may name a customer."""
    if error.status:
        return f"The API has answered with status {error.status}. What is shown is what the router knows."
    return "The API does not answer. What is shown is what the router knows."
