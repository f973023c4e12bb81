"""The pending entries that a consumer holds: acknowledged when done, counted when failed, given up as dead letters.

An entry leaves the group's pending list only after its attempt is done or its dead letter is written. Failures are
counted in the entry's delivery count, so that they survive a restart.
"""

from __future__ import annotations

import contextlib
import time
from typing import TYPE_CHECKING, Final

from router.core.stories import StageName
from router.core.timestamps import to_text
from router.logs import log
from router.streams.client.connection import RedisError, load_script
from router.streams.client.gathering import make_gathering_client
from router.streams.consuming.budget import Budget
from router.streams.consuming.groups import note_progress
from router.streams.consuming.poison_isolation import CrashCounts
from router.streams.store.dead_letters import give_up
from router.tasks import finish

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterable

    from redis.asyncio.client import Pipeline

    from router.core.keys import Keys
    from router.streams.client.connection import Redis
    from router.streams.consuming.groups import Heartbeat
    from router.streams.consuming.names import EntryNames
    from router.streams.consuming.story_notes import StoryNotes
    from router.streams.delivery import Delivery, StreamRef

#: Seconds beyond the grace in which a consumer leaves its groups, and the most that it takes in all.
LEAVING: Final = 0.5
LONGEST_LEAVING: Final = 2.0


class PendingEntries:
    """The pending entries of one consumer; `dead_letter_budget` is a share (router.streams.consuming.budget).

    `held` are the (stream, entry id) that the consumer works on. `on_result` is called with "dead" for
    a dead letter and "kept" each time that the budget keeps one. `before_dead` is awaited, with the
    reason, before each dead letter, and `on_dead` after it; if the first raises RedisError the entry is attempted
    again, the second must not raise. With `telling` the stories of entries are told.
    """

    def __init__(
        self,
        redis: Redis,
        keys: Keys,
        *,
        group: str,
        consumer: str,
        dead_letter_budget: float,
        on_result: Callable[[str], None],
        names: EntryNames,
        on_dead: Callable[[Delivery], Awaitable[None]] | None = None,
        before_dead: Callable[[Delivery, str], Awaitable[None]] | None = None,
        telling: StoryNotes | None = None,
    ) -> None:
        self.telling = telling
        self.held: set[tuple[str, str]] = set()
        self.crashes = CrashCounts(redis, keys, group=group, consumer=consumer)
        self._redis = redis
        self._gathering = make_gathering_client(redis)
        self._keys = keys
        self.group = group
        self._consumer = consumer
        self._budget = Budget(dead_letter_budget, group=group)
        self._on_result = on_result
        self._names = names
        self._on_dead = on_dead
        self._before_dead = before_dead

    def hold(self, deliveries: Iterable[Delivery]) -> None:
        """Note that the consumer works on these."""
        self.held.update((one.stream.key, one.entry_id) for one in deliveries)

    def release(self, deliveries: Iterable[Delivery]) -> None:
        """Note that the consumer no longer works on these."""
        self.held.difference_update((one.stream.key, one.entry_id) for one in deliveries)

    async def leave(self, heartbeat: Heartbeat, streams: Iterable[StreamRef], *, left: float) -> None:
        """Leave the group of each stream, within `left` seconds of the grace and LEAVING if Redis hangs.

        Entries that are still pending are noted as handed back to survivors; without a note they take over a dead one.
        """
        await finish(self._leave(heartbeat, streams), min(max(0.0, left) + LEAVING, LONGEST_LEAVING))

    async def _leave(self, heartbeat: Heartbeat, streams: Iterable[StreamRef]) -> None:
        await heartbeat.stop()
        if self.telling is not None:
            await self.telling.writer.close()
        for stream in streams:
            with contextlib.suppress(RedisError, OSError):
                await note_progress(self._redis, stream.key, self.group, every=0)
                if not await self.crashes.forget_consumer(stream, self._consumer):
                    await self.crashes.note_leaving(stream)

    async def acknowledge(self, deliveries: Iterable[Delivery], along: Iterable[tuple[str, ...]] = ()) -> None:
        """Acknowledge finished deliveries in one round trip; after a RedisError they may be repeated.

        The lines of stories go before, in the same round trip, and their failure is none of the acknowledgement. So do
        the commands `along`, whose failure is.
        """
        done = list(deliveries)
        pipeline = self._gathering.pipeline(transaction=False)
        stories = self.telling.writer if self.telling is not None else None
        batches = stories.take() if stories is not None else []
        first = stories.put(pipeline, batches) if stories is not None else 0
        pipeline.command_stack += [(command, {}) for command in along]
        self._put(pipeline, done)
        try:
            results = await pipeline.execute(raise_on_error=False)
        except (RedisError, OSError) as error:
            if stories is not None and batches:
                stories.lose(sum(batch.lines for batch in batches), error)
            raise
        if stories is not None:
            await stories.settle(batches, results[:first])
        for result in results[first:]:
            if isinstance(result, Exception):
                raise result
        self._budget.note_done(len(done))
        self.release(done)

    def _put(self, pipeline: Pipeline, done: Iterable[Delivery]) -> None:
        by_stream: dict[str, list[str]] = {}
        for delivery in done:
            by_stream.setdefault(delivery.stream.key, []).append(delivery.entry_id)
        for stream, ids in by_stream.items():
            pipeline.xack(stream, self.group, *ids)
        for delivery in done:
            if delivery.crashes:
                pipeline.hdel(self.crashes.key(delivery.stream), delivery.entry_id)

    def tell(self, delivery: Delivery, stage: StageName, detail: str) -> None:
        """Tell a stage of an entry's story, if stories are kept."""
        if self.telling is not None:
            self.telling.tell(delivery, self.group, stage, detail)

    async def count_failure(self, delivery: Delivery) -> int | None:
        """Raise the delivery count and return it; None if the entry belongs to another consumer by now."""
        return await self._redeliver(delivery, is_failure=True)

    async def reset_count(self, delivery: Delivery) -> None:
        """Set the delivery count back to one: what happened so far was not the entry's fault."""
        await self._redeliver(delivery, is_failure=False)

    async def _redeliver(self, delivery: Delivery, *, is_failure: bool) -> int | None:
        args = [self.group, self._consumer, delivery.entry_id, "1" if is_failure else "0"]
        count = await load_script("redeliver").run(self._redis, [delivery.stream.key], args)
        return None if count is None else int(count)

    async def give_up(self, delivery: Delivery, reason: str, *, deliveries: int, shown: str | None = None) -> bool:
        """Make a dead letter of an entry; returns False if the budget keeps it: then it is to be parked.

        `shown` replaces the reason in the log. An entry that belongs to another consumer by now is left alone.
        """
        if not self._budget.spend(is_kept=delivery.is_kept):
            self._on_result("kept")
            return False
        if self._before_dead is not None:
            await self._before_dead(delivery, shown or reason)
        facts = self._names.facts(delivery)
        is_ours = await give_up(
            self._redis,
            self._keys,
            delivery,
            group=self.group,
            consumer=self._consumer,
            reason=reason,
            deliveries=deliveries,
            failed_at=to_text(time.time_ns() // 1000),
            event_id=facts.get("event_id") or "",
        )
        if is_ours:
            await self.crashes.forget(delivery)
            self._on_result("dead")
            names = {"entry": delivery.entry_id, "group": self.group, "stream": delivery.stream.key}
            log("event.dead", level="error", **names, **facts, deliveries=deliveries, reason=shown or reason)
            self.tell(delivery, StageName.DEAD, f"given up by {self.group} after {deliveries}: {shown or reason}")
            if self._on_dead is not None:
                await self._on_dead(delivery)
        return True
