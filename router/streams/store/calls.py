"""Facts about a call by its CallSid: its conversation and participant, and whether it is over.

A cache beside the ledgers that lives as long as a call may: losing it costs an API call, never an entry.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from router.core.calls import OVER, call_key
from router.core.resources import Participant
from router.core.values import Value

if TYPE_CHECKING:
    from router.core.keys import Keys
    from router.streams.client.connection import Redis

#: Seconds. A call lasts a day at most, and its status callbacks may be late.
LIFE: Final = 2 * 86_400
_CONVERSATION, _PARTICIPANT, _OVER = "conversation", "participant", "over"


class CallRecord(Value):
    """The facts known about one call; none at its beginning."""

    conversation_id: str | None = None
    participant: Participant | None = None
    is_over: bool = False


class CallStore:
    """The calls of one namespace."""

    def __init__(self, redis: Redis, keys: Keys) -> None:
        self._redis = redis
        self._keys = keys

    def use(self, keys: Keys) -> None:
        """Use these keys from now on: the number of partitions has changed."""
        self._keys = keys

    async def read(self, account_id: str, call_sid: str) -> CallRecord:
        """Read the facts about a call."""
        key = self._keys.call(account_id, call_sid)
        row: list[Any] = await self._redis.hmget(key, [_CONVERSATION, _PARTICIPANT, _OVER])
        conversation, participant, over = row
        return CallRecord(
            conversation.decode() if conversation else None,
            Participant.model_validate_json(participant) if participant else None,
            over is not None,
        )

    async def note_participant(
        self, account_id: str, call_sid: str, conversation_id: str, participant: Participant
    ) -> None:
        """Record the conversation and participant of a call."""
        text = participant.model_dump_json(by_alias=True, exclude_none=True)
        await self._write(account_id, call_sid, {_CONVERSATION: conversation_id, _PARTICIPANT: text})

    async def note_end(self, account_id: str, call_sid: str) -> None:
        """Record that a call is over, for events that still look for its conversation."""
        await self._write(account_id, call_sid, {_OVER: "1"})

    async def is_end_received(self, account_id: str, call_sid: str) -> bool:
        """Return whether the webhook of a call's end was received, even if no worker has handled it yet."""
        partition = self._keys.partition_of(call_sid)
        claims = [self._keys.seen(partition, call_key(account_id, call_sid, status)) for status in sorted(OVER)]
        return bool(await self._redis.exists(*claims))

    async def _write(self, account_id: str, call_sid: str, fields: dict[Any, Any]) -> None:
        key = self._keys.call(account_id, call_sid)
        pipeline = self._redis.pipeline(transaction=True)  # both or neither: the key must not stay without an expiry
        pipeline.hset(key, mapping=fields)
        pipeline.expire(key, LIFE)
        await pipeline.execute()
