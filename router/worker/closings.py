"""Closings: a message that was published in a conversation after it had closed is processed again.

Such a message was published on trust: the conversation had been open shortly before, and its closing was reported late
or not at all. When the closing becomes known, by whichever way, the inbound entries that were appended after it are
appended again. Their messages find the closing committed, and open or join the next conversation; one that is published
there already is not published twice. The times of the closing (Twilio's clock) and of the append (Redis') are compared,
after the difference of the two clocks, if it is seconds, has been taken off.
A conversation that is gone (streams.store.gone) has no time of its closing: the messages on trust since the newest
evidence that it was open are processed again.
Known gaps: a message that is processed again comes after those that its customer wrote meanwhile; an inbound entry that
has been trimmed is not found; clocks that differ by less count messages within the difference to the wrong side.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from router.core.errors import RouterError
from router.core.judging.kinds import KINDS
from router.core.ledger.communications import was_heard
from router.core.ledger.marker import Hearing
from router.inbound.sources import normalize
from router.logs import log
from router.streams.store.gone import GoneConversations
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
        self._gone = GoneConversations(store)

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

    async def follow_gone(self, account_id: str, conversation_id: str) -> None:
        """Forget the routes to a conversation that is gone, and append again what may have been published too late.

        Safe to repeat, and raises, as `follow`.
        """
        ledger = await self._store.read_whole(account_id, conversation_id)
        if ledger.is_closed:
            await self.follow(ledger)
            return
        await self._gone.forget(ledger, self._rules.of(account_id).configuration_id)
        async for entry in self._gone.entries_since(ledger, ledger.open_at - self._rules.api_ahead(account_id)):
            _, claims = await self._read_claims(entry, ledger)
            if claims and Hearing.CERTAIN not in claims:
                await self._gone.append_again(entry, ledger)

    async def _is_too_late(self, entry: Delivery, ledger: Ledger) -> bool:
        """Return whether an entry's message was published in the conversation on trust, after it had closed."""
        appended_at, found = await self._read_claims(entry, ledger)
        arrived_at = appended_at + self._rules.api_ahead(ledger.account_id)
        return bool(found) and not any(was_heard(ledger, one, arrived_at=arrived_at) for one in found)

    async def _read_claims(self, entry: Delivery, ledger: Ledger) -> tuple[int, list[str]]:
        """Return when an entry was appended (µs), and the claims of its message in the conversation."""
        inbound = read_inbound(entry, await self._store.shared_bodies.read([entry]))
        try:
            event = normalize(inbound)
        except RouterError:
            return inbound.appended_at, []
        names = KINDS[type(event)].names
        if names is None:
            return inbound.appended_at, []
        claims = await self._store.read_claims(ledger.account_id, ledger.conversation_id, names(event))
        return inbound.appended_at, [claim for claim in claims if claim is not None]

    async def _append_again(self, entry: Delivery, ledger: Ledger) -> None:
        if await self._store.repeats.append_again(entry, because=ledger.conversation_id):
            log("event.again", entry=entry.entry_id, conversation=ledger.conversation_id, account=ledger.account_id)
