"""Dead letters: finding, previewing, replaying and dropping them, one or all that match.

A replay puts the entry back on its stream as a new one: each group of the stream is given it, those that had finished
it ignore it by its id.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Final

from router.core.bulk import BulkProgress, EntryOutcome, ignore
from router.core.printable import masked
from router.core.timestamps import to_text
from router.logs import describe_fully
from router.operations.entry_facts import read_facts
from router.streams.store.dead_letters import drop, find_letter, list_letters, replay_all
from router.streams.store.inspect import consumed_streams

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from router.core.bulk import OnOutcome, OnProgress
    from router.core.keys import Keys
    from router.operations.entry_facts import EntryFacts
    from router.operations.selection import Selection
    from router.streams.client.connection import Redis
    from router.streams.store.dead_letters import DeadLetter

#: Letters, and bytes of them, that one step takes.
STEP: Final = 100
STEP_BYTES: Final = 4 * 1_048_576
#: Letters looked at after which the progress is reported, also if none of them matches.
LOOKED_AT: Final = 100
#: Why a letter cannot be replayed that does not name a stream of ours.
NOT_OURS: Final = "cannot be replayed: it does not say which of our streams it is from"


@dataclass(frozen=True, slots=True)
class LetterView:
    """A dead letter with the facts of its entry."""

    letter: DeadLetter
    facts: EntryFacts

    @property
    def name(self) -> str:
        """The id by which people name it."""
        return self.letter.name

    def reason(self, *, unmasked: bool = False) -> str:
        """Return the reason, whose words may quote what a stranger wrote."""
        return self.letter.reason if unmasked else masked(self.letter.reason, has_ids=False)

    def to_json(self, *, unmasked: bool = False) -> dict[str, Any]:
        """Return the letter for programs, without the content of its entry."""
        letter = self.letter
        names = ("stream", "entry_id", "group", "consumer", "deliveries", "failed_at")
        shown = {"id": letter.name, **{name: getattr(letter, name) for name in names}}
        return {**shown, "reason": self.reason(unmasked=unmasked), **self.facts.to_json(unmasked=unmasked)}


def view_letter(letter: DeadLetter) -> LetterView:
    """Return a letter with its facts; the event id is the one that it was given up with, if it says one."""
    facts = read_facts(letter.fields)
    return LetterView(letter, replace(facts, event_id=letter.event_id) if letter.event_id else facts)


async def count_letters(redis: Redis, keys: Keys) -> int:
    """Return the number of dead letters of all partitions."""
    pipeline = redis.pipeline(transaction=False)
    for partition in range(keys.partitions):
        pipeline.xlen(keys.dead_letters(partition))
    return sum(await pipeline.execute())


async def find(redis: Redis, keys: Keys, name: str) -> LetterView | None:
    """Return one letter by its name; None if there is none."""
    letter = await find_letter(redis, keys, name)
    return None if letter is None else view_letter(letter)


async def select_letters(
    redis: Redis,
    keys: Keys,
    selection: Selection,
    *,
    after: str = "",
    progress: BulkProgress | None = None,
    on_progress: OnProgress = ignore,
) -> AsyncIterator[LetterView]:
    """Yield the letters that match, oldest first in each partition, those behind `after` (a name).

    Each letter that was looked at is counted in `progress`, which is reported after every LOOKED_AT of them. Ids that
    do not exist are passed over.
    """
    async for letter in _candidates(redis, keys, selection, after):
        if progress is not None:
            progress.looked_at += 1
            if progress.looked_at % LOOKED_AT == 0:
                on_progress(progress)
        view = view_letter(letter)
        if selection.takes(letter.reason, view.facts, stream=letter.stream, group=letter.group):
            yield view


async def _candidates(redis: Redis, keys: Keys, selection: Selection, after: str) -> AsyncIterator[DeadLetter]:
    """Yield the letters that are named, or all of the wanted time."""
    if selection.ids:
        for name in dict.fromkeys(selection.ids):
            if (letter := await find_letter(redis, keys, name)) is not None:
                yield letter
        return
    since, until = selection.since_ms, selection.until_ms
    async for letter in list_letters(redis, keys, after=after, since=since, until=until):
        yield letter


async def replay_letters(
    redis: Redis,
    keys: Keys,
    selection: Selection,
    *,
    now: int,
    on_outcome: OnOutcome = ignore,
    on_progress: OnProgress = ignore,
) -> BulkProgress:
    """Put the entries of all letters that match back on their streams; `now` (µs) marks them as replayed.

    Raises RedisError if Redis does not answer; what was done until then has been told.
    """
    progress = BulkProgress(len(selection.ids) or await count_letters(redis, keys))
    reported = 0
    async for step in _steps(select_letters(redis, keys, selection, progress=progress, on_progress=on_progress)):
        letters = [one.letter for one in step if can_replay(keys, one.letter)]
        results = await replay_all(redis, keys, letters, replayed_at=to_text(now))
        by_name = {letter.name: result for letter, result in zip(letters, results, strict=True)}
        for view in step:
            outcome = _replayed(view.letter, by_name)
            progress.note(outcome)
            on_outcome(outcome)
        on_progress(progress)
        reported = progress.looked_at
    if progress.looked_at != reported:
        on_progress(progress)
    return progress


async def drop_letters(
    redis: Redis,
    keys: Keys,
    selection: Selection,
    *,
    on_outcome: OnOutcome = ignore,
    on_progress: OnProgress = ignore,
) -> BulkProgress:
    """Remove all letters that match for good. Raises RedisError."""
    progress = BulkProgress(len(selection.ids) or await count_letters(redis, keys))
    reported = 0
    async for step in _steps(select_letters(redis, keys, selection, progress=progress, on_progress=on_progress)):
        results = await drop(redis, keys, [one.letter for one in step])
        for view, is_done in zip(step, results, strict=True):
            outcome = EntryOutcome(view.name, is_done=is_done, text="dropped" if is_done else "already gone")
            progress.note(outcome)
            on_outcome(outcome)
        on_progress(progress)
        reported = progress.looked_at
    if progress.looked_at != reported:
        on_progress(progress)
    return progress


def can_replay(keys: Keys, letter: DeadLetter) -> bool:
    """Return whether a letter names one of our streams of its partition, and has an entry."""
    return bool(letter.fields) and letter.stream in consumed_streams(keys, letter.partition)


def _replayed(letter: DeadLetter, results: dict[str, str | Exception | None]) -> EntryOutcome:
    if letter.name not in results:
        return EntryOutcome(letter.name, is_done=False, text=NOT_OURS)
    result = results[letter.name]
    if isinstance(result, Exception):
        return EntryOutcome(letter.name, is_done=False, text=f"stays, Redis refused: {describe_fully(result)}")
    if result is None:
        return EntryOutcome(letter.name, is_done=False, text="already gone")
    return EntryOutcome(letter.name, is_done=True, text=f"back on {letter.stream} as {result}")


async def _steps(views: AsyncIterator[LetterView]) -> AsyncIterator[list[LetterView]]:
    """Divide letters into steps of bounded number and size."""
    step: list[LetterView] = []
    size = 0
    async for view in views:
        step.append(view)
        size += sum(map(len, view.letter.fields.values()))
        if len(step) >= STEP or size >= STEP_BYTES:
            yield step
            step, size = [], 0
    if step:
        yield step
