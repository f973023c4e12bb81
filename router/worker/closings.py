"""Closings: a message that was published in a conversation after it had closed is processed again.

Such a message was published on trust: the conversation had been open shortly before, and its closing was reported late
or not at all. When the closing becomes known, by whichever way, the inbound entries that were appended after it are
appended again. Their messages find the closing committed, and open or join the next conversation; one that is published
there already is not published twice. The times of the closing (Twilio's clock) and of the append (Redis') are compared,
after the difference of the two clocks, if it is seconds, has been taken off.
Known gaps: a message that is processed again comes after those that its customer wrote meanwhile; an inbound entry that
has been trimmed is not found; clocks that differ by less count messages within the difference to the wrong side.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from router.core.errors import RouterError
from router.core.judging.kinds import KINDS
from router.core.ledger.communications import was_heard
from router.inbound.sources import normalize
from router.logs import log
from router.worker.work import read_inbound

if TYPE_CHECKING:
    from router.core.judging.rules import EventRules
    from router.core.ledger.ledger import Ledger
    from router.streams.delivery import Delivery
    from router.streams.store.ledgers import Store


class Closings:
    """Follows the closings that one worker learns of."""

    def __init__(self, store: Store, rules: EventRules) -> None:
        self._store = store
        self._rules = rules

    async def follow(self, closed: Ledger) -> None:
        """Append again what was published too late in a conversation whose closing is committed.

        Safe to repeat: each entry is appended again once. Raises RedisError, and OtherFormatError if another release
        wrote what has to be read.
        """
        ledger = await self._store.read_whole(closed.account_id, closed.conversation_id)
        closed_at = ledger.closed_at
        if closed_at is None:
            return
        closed_at -= self._rules.api_ahead(ledger.account_id)
        for subject in ledger.subjects:
            for entry in await self._store.repeats.appended_after(ledger.account_id, subject, closed_at):
                if await self._is_too_late(entry, ledger):
                    await self._append_again(entry, ledger)

    async def _is_too_late(self, entry: Delivery, ledger: Ledger) -> bool:
        """Return whether an entry's message was published in the conversation on trust, after it had closed."""
        inbound = read_inbound(entry, await self._store.shared_bodies.read([entry]))
        try:
            event = normalize(inbound)
        except RouterError:
            return False
        names = KINDS[type(event)].names
        if names is None:
            return False
        claims = await self._store.read_claims(ledger.account_id, ledger.conversation_id, names(event))
        found = [claim for claim in claims if claim is not None]
        arrived_at = inbound.appended_at + self._rules.api_ahead(ledger.account_id)
        return bool(found) and not any(was_heard(ledger, one, arrived_at=arrived_at) for one in found)

    async def _append_again(self, entry: Delivery, ledger: Ledger) -> None:
        if await self._store.repeats.append_again(entry, because=ledger.conversation_id):
            log("event.again", entry=entry.entry_id, conversation=ledger.conversation_id, account=ledger.account_id)
