"""The outcome of each webhook that was sent, in the worker's own words; and why one was refused, and where it is.

Read from the stories of events (router.operations.stories) and from the quarantine, which tells refused ones apart by
their bytes. It says which command shows more, with the state directory that was given, so that it works as it stands.
"""

from __future__ import annotations

import asyncio
import shlex
import time
from functools import partial
from typing import TYPE_CHECKING, Final, TypeVar

from router.core.stories import StageName, event_id
from router.operations.stories import StorySearch
from router.process.terminal import own_program
from router.settings.environment import STATE_DIR
from router.streams.store.quarantine import list_kept

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence

    from router.core.stories import StoryStage
    from router.settings.model import Settings
    from router.streams.client.connection import Redis
    from router.streams.store.quarantine import Kept

Found = TypeVar("Found")

#: Seconds to wait for what is written in the background: stages of a story, refused webhooks.
PATIENCE: Final = 3.0
_STEP: Final = 0.05
#: The stages that say what became of an event, from what is final to what is not.
_FINAL: Final = (StageName.RESOLVED, StageName.DEAD)
_PASSING: Final = (StageName.WAITING, StageName.SPOOLED, StageName.RECEIVED)
#: The states in which a command of an operator shows more.
_HINTS: Final = {StageName.DEAD: "dead-letters list", StageName.WAITING: "waiting"}


class FateReader:
    """Tells the fates of webhooks; `state_dir` is the one that the command line names."""

    def __init__(self, redis: Redis, settings: Settings, state_dir: str) -> None:
        self._redis = redis
        self._settings = settings
        self._search = StorySearch(redis, settings)
        self._program = own_program()
        self._where = "" if state_dir == str(STATE_DIR) else f" --state-dir {shlex.quote(state_dir)}"

    async def tell_first(self, keys: Sequence[str]) -> list[str]:
        """Return the outcome of an event that was known before, under whichever of its keys, at the first time."""
        for key in keys:
            stage = await self._find(event_id(key))
            if stage is not None and stage.stage in _FINAL:
                return [f"the first time: {_words(stage)}"]
        return []

    async def tell(self, keys: Sequence[str]) -> list[str]:
        """Return a line for each event with one of these idempotency keys, and commands that show more."""
        if not self._settings.story_ttl:
            return ["no stories are kept (ROUTER_STORY_TTL is 0): the worker's log says what became of it"]
        lines: dict[str, None] = {}
        for key in keys:
            stage = await self._until(partial(self._find, event_id(key)))
            if stage is None:
                lines["no worker has reported it yet"] = None
                continue
            lines[_words(stage)] = None
            if stage.stage in _HINTS:
                lines[f"more: {self._program} {_HINTS[stage.stage]}{self._where}"] = None
        return list(lines)

    async def explain_refusal(self, body: bytes, since: int) -> list[str]:
        """Return why a webhook was refused and where it is kept; `since` is when it was sent first (µs since 1970).

        A signature fault may have added something to its body.
        """
        kept = await self._until(partial(self._find_kept, body, since))
        if kept is None:
            return ["it is not in the quarantine: the receiver's log says why it was refused"]
        refused, again = kept.refused, f", {kept.repeats + 1} times" if kept.repeats else ""
        lines = [f"refused ({refused.reason}): {refused.detail}", f"kept in the quarantine as {kept.entry_id}{again}"]
        command = "explain-signature --id" if refused.reason == "signature" else "quarantine show"
        return [*lines, f"more: {self._program} {command} {kept.entry_id}{self._where}"]

    async def _find(self, event: str) -> StoryStage | None:
        """Return the last stage that is final; without one the last that is passing."""
        stages = [one for one in (await self._search.find(event)).stages if one.id == event]
        for names in (_FINAL, _PASSING):
            if found := [stage for stage in stages if stage.stage in names]:
                return found[-1]
        return None

    async def _find_kept(self, body: bytes, since: int) -> Kept | None:
        """Return the newest entry of the quarantine with these bytes, an older one if this was a repeat of it."""
        found = None
        async for kept in list_kept(self._redis, self._settings.keys, sealer=self._settings.sealer):
            if kept.refused.body.startswith(body) and (kept.refused.received_at >= since or kept.repeats):
                found = kept
        return found

    async def _until(self, find: Callable[[], Awaitable[Found | None]]) -> Found | None:
        """Return the stage found within PATIENCE seconds; of a stage, a passing one only at their end."""
        last = time.monotonic() + PATIENCE  # no cancellation, which a client of Redis may lose (router.tasks)
        found = await find()
        while (found is None or getattr(found, "stage", None) in _PASSING) and time.monotonic() < last:
            await asyncio.sleep(_STEP)
            found = await find()
        return found


def _words(stage: StoryStage) -> str:
    return stage.detail if stage.stage is StageName.RESOLVED else f"{stage.stage}: {stage.detail}"
