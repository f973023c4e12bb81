"""The quarantine: finding, previewing, replaying and dropping refused webhooks, one or all that match."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from router.core.bulk import BulkProgress, EntryOutcome, ignore
from router.core.printable import masked
from router.core.refused import REASONS
from router.core.sealing import NO_KEYS
from router.core.timestamps import to_text
from router.operations.entry_facts import EntryFacts
from router.streams.store.quarantine import count, find, list_kept, remove

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from router.core.bulk import OnOutcome, OnProgress
    from router.core.keys import Keys
    from router.core.sealing import Sealer
    from router.operations.selection import Selection
    from router.receiver.replay import QuarantineReplay
    from router.streams.client.connection import Redis
    from router.streams.store.quarantine import Kept

#: Webhooks looked at after which the progress is reported, also if none of them matches.
LOOKED_AT: Final = 20


@dataclass(frozen=True, slots=True)
class KeptView:
    """A refused webhook."""

    kept: Kept

    @property
    def name(self) -> str:
        """The id by which people name it."""
        return self.kept.entry_id

    def to_json(self, *, unmasked: bool = False) -> dict[str, Any]:
        """Return the webhook for programs, without its headers and body."""
        refused = self.kept.refused

        def shown(text: str) -> str:
            return text if unmasked else masked(text, has_ids=False)

        return {
            "id": self.kept.entry_id,
            "repeats": self.kept.repeats,
            "source": refused.source,
            "reason": refused.reason,
            "detail": shown(refused.detail),
            "status": refused.status,
            "received_at": to_text(refused.received_at),
            "method": refused.method,
            "account": shown(refused.account_id),
            "is_whole": refused.is_whole,
            "size": refused.size,
            "event_id": refused.event_id,
            "problem": self.kept.problem,
        }


async def count_kept(redis: Redis, keys: Keys) -> dict[str, int]:
    """Return the number of refused webhooks by reason."""
    return await count(redis, keys)


async def find_kept(redis: Redis, keys: Keys, name: str, sealer: Sealer = NO_KEYS) -> KeptView | None:
    """Return one webhook; None if there is none of this name."""
    kept = await find(redis, keys, name, sealer)
    return None if kept is None else KeptView(kept)


async def select_kept(
    redis: Redis,
    keys: Keys,
    selection: Selection,
    *,
    after: str = "",
    progress: BulkProgress | None = None,
    sealer: Sealer = NO_KEYS,
    on_progress: OnProgress = ignore,
) -> AsyncIterator[KeptView]:
    """Yield the webhooks that match, oldest first, those behind `after`.

    Each one looked at is counted in `progress`, which is reported after every LOOKED_AT of them. Ids that do not
    exist are passed over. `sealer` opens what rests sealed.
    """
    async for kept in _candidates(redis, keys, selection, after, sealer):
        if progress is not None:
            progress.looked_at += 1
            if progress.looked_at % LOOKED_AT == 0:
                on_progress(progress)
        if is_wanted(selection, kept):
            yield KeptView(kept)


def is_wanted(selection: Selection, kept: Kept) -> bool:
    """Return whether a webhook matches, apart from its name and its time."""
    refused = kept.refused
    facts = EntryFacts(kind=refused.source, account=refused.account_id, event_id=refused.event_id)
    return selection.takes(searched(refused.reason, refused.detail, selection.reason), facts)


def searched(reason: str, detail: str, wanted: str) -> str:
    """Return the text of a refusal that a filter applies to: the name of a reason is not looked for in details."""
    return reason if wanted.casefold() in REASONS else f"{reason}: {detail}"


async def _candidates(
    redis: Redis, keys: Keys, selection: Selection, after: str, sealer: Sealer
) -> AsyncIterator[Kept]:
    """Yield the webhooks that are named, or all of the wanted time."""
    if selection.ids:
        for name in dict.fromkeys(selection.ids):
            if (kept := await find(redis, keys, name, sealer)) is not None:
                yield kept
        return
    since, until = selection.since_ms, selection.until_ms
    async for kept in list_kept(redis, keys, after=after, since=since, until=until, sealer=sealer):
        yield kept


async def replay_kept(
    redis: Redis,
    keys: Keys,
    selection: Selection,
    replay: QuarantineReplay,
    *,
    is_trusted: bool = False,
    sealer: Sealer = NO_KEYS,
    on_outcome: OnOutcome = ignore,
    on_progress: OnProgress = ignore,
) -> BulkProgress:
    """Check all webhooks that match once more, and accept those that are right by now. Raises RedisError."""
    progress = BulkProgress(len(selection.ids) or sum((await count_kept(redis, keys)).values()))
    async for view in select_kept(redis, keys, selection, progress=progress, sealer=sealer, on_progress=on_progress):
        result = await replay.replay(view.kept, is_trusted=is_trusted)
        outcome = EntryOutcome(view.name, is_done=result.is_accepted, text=result.text, kind=result.kind)
        progress.note(outcome)
        on_outcome(outcome)
    on_progress(progress)
    return progress


async def drop_kept(
    redis: Redis,
    keys: Keys,
    selection: Selection,
    *,
    sealer: Sealer = NO_KEYS,
    on_outcome: OnOutcome = ignore,
    on_progress: OnProgress = ignore,
) -> BulkProgress:
    """Remove all webhooks that match for good. Raises RedisError."""
    progress = BulkProgress(len(selection.ids) or sum((await count_kept(redis, keys)).values()))
    async for view in select_kept(redis, keys, selection, progress=progress, sealer=sealer, on_progress=on_progress):
        is_done = await remove(redis, keys, view.kept)
        outcome = EntryOutcome(view.name, is_done=is_done, text="dropped" if is_done else "already gone")
        progress.note(outcome)
        on_outcome(outcome)
    on_progress(progress)
    return progress
