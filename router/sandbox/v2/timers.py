"""Inactive and closed timers: minutes from the last communication, per channel, as the configuration says.

Conversations with several channels take the shortest timeouts, or (switch) the longest, where a channel without one
keeps the conversation open. Timers begin anew with each communication and when the API sets ACTIVE. One heap entry
per conversation: a later due time is found out when the earlier one comes up, so that traffic costs nothing.
"""

from __future__ import annotations

import heapq
from typing import TYPE_CHECKING, Final

from router.core.resources import ConversationStatus

if TYPE_CHECKING:
    from collections.abc import Iterator

    from router.sandbox.v2.records import ConversationRecord, ConversationSettings

MINUTE: Final = 60_000_000


class Timers:
    """When which conversation has to be looked at; knows no clock."""

    def __init__(self) -> None:
        self._heap: list[tuple[int, str]] = []

    def schedule(self, conversation: ConversationRecord, settings: ConversationSettings, choice: str) -> None:
        """Look at `conversation` when its next timer ends; earlier than planned only if that moved forward."""
        step = next_step(conversation, settings, choice)
        if step is not None and (conversation.timer_at is None or step[0] < conversation.timer_at):
            conversation.timer_at = step[0]
            heapq.heappush(self._heap, (step[0], conversation.id))

    def due(self, now: int) -> Iterator[tuple[int, str]]:
        """Yield and take out the (time, conversation id) entries that are due."""
        while self._heap and self._heap[0][0] <= now:
            yield heapq.heappop(self._heap)


def next_step(
    conversation: ConversationRecord, settings: ConversationSettings, choice: str
) -> tuple[int, ConversationStatus] | None:
    """Return when the conversation changes to what, or None while nothing makes it change."""
    if conversation.is_closed:
        return None
    channels = conversation.channels or conversation.member_channels
    timeouts = [settings.timeouts.get(channel, (None, None)) for channel in channels]
    steps = []
    closes = _pick([closed for _, closed in timeouts], choice)
    rests = _pick([inactive for inactive, _ in timeouts], choice)
    if closes is not None:
        steps.append((conversation.restarted + closes * MINUTE, ConversationStatus.CLOSED))
    if rests is not None and conversation.status == ConversationStatus.ACTIVE:
        steps.append((conversation.restarted + rests * MINUTE, ConversationStatus.INACTIVE))
    return min(steps, default=None)  # of two at one time CLOSED, which sorts first


def _pick(minutes: list[int | None], choice: str) -> int | None:
    given = [each for each in minutes if each is not None]
    if choice == "longest":
        return max(given) if given and len(given) == len(minutes) else None
    return min(given, default=None)
