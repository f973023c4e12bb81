"""Inactive and closed timers: minutes since the last communication, per channel, as the configuration sets them.

A conversation with several channels takes the shortest timeouts or (switch) the longest, where a channel without a
timeout keeps the conversation open. Timers restart with each communication, and when the API sets ACTIVE.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from router.core.resources import ConversationStatus

if TYPE_CHECKING:
    from router.sandbox.v2.records import ConversationRecord, ConversationSettings

MINUTE: Final = 60_000_000


def next_change(
    conversation: ConversationRecord, settings: ConversationSettings, choice: str
) -> tuple[int, ConversationStatus] | None:
    """Return the time (µs) of the next change by a timer, and the new status; None if no timer runs."""
    if conversation.is_closed:
        return None
    channels = conversation.traffic_channels or conversation.member_channels
    timeouts = [settings.timeouts.get(channel, (None, None)) for channel in channels]
    changes = []
    closed_after = _pick([closed for _, closed in timeouts], choice)
    inactive_after = _pick([inactive for inactive, _ in timeouts], choice)
    if closed_after is not None:
        changes.append((conversation.timers_started_at + closed_after * MINUTE, ConversationStatus.CLOSED))
    if inactive_after is not None and conversation.status == ConversationStatus.ACTIVE:
        changes.append((conversation.timers_started_at + inactive_after * MINUTE, ConversationStatus.INACTIVE))
    return min(changes, default=None)  # at equal times CLOSED, which sorts first


def _pick(minutes: list[int | None], choice: str) -> int | None:
    given = [each for each in minutes if each is not None]
    if choice == "longest":
        return max(given) if given and len(given) == len(minutes) else None
    return min(given, default=None)
