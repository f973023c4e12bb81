"""Conversations that the API does not know any more (404): deleted, or forgotten by a sandbox that was started anew.

Whoever learns of it forgets the routes that lead there, and appends the inbound entry of the message that nobody could
handle once more. The copy names the conversation (`gone`), so that its message opens or joins another one whatever is
remembered by then. Nothing is published about the conversation itself: a 404 may also come from wrong settings, and a
conversation that is there after all goes on.
Known gap: a message whose inbound entry has been trimmed, or is further back than Repeats looks, is not repeated.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from router.core.judging.routes import pair_of_subject
from router.core.sealing import SealedKind
from router.logs import log

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from router.core.ledger.ledger import Ledger
    from router.core.sealing import Sealer
    from router.streams.delivery import Delivery
    from router.streams.store.ledgers import Store


class UnhandledMessage(NamedTuple):
    """A message that was published in vain: the idempotency key of its entry's cause, and its SID if that is known."""

    key: str
    sid: str | None = None

    def is_in(self, entry: Delivery, sealer: Sealer) -> bool:
        """Return whether an inbound entry reports the message; another source may have been the first to report it.

        Raises SealedError if `sealer` lacks the key of its body.
        """
        if entry.text("key") == self.key:
            return True
        body = sealer.open_body(entry.fields.get(b"body", b""), SealedKind.INBOUND)
        return bool(self.sid and self.sid.encode() in body)


class GoneConversations:
    """Those of one namespace. All methods are safe to repeat and raise RedisError."""

    def __init__(self, store: Store) -> None:
        self._store = store

    async def forget(self, ledger: Ledger, configuration_id: str | None) -> None:
        """Delete the routes that lead to a conversation; its ledger must have been read with all its fields.

        `configuration_id` is that of the conversations that the router opens.
        """
        account_id = ledger.account_id
        pairs = [(account_id, pair_of_subject(configuration_id or "", subject)) for subject in ledger.subjects]
        routes = zip(pairs, await self._store.read_routes(pairs) if pairs else (), strict=True)
        await self._store.write_routes(
            (*pair, None) for pair, route in routes if route and route.conversation_id == ledger.conversation_id
        )

    async def repeat(self, account_id: str, conversation_id: str, message: UnhandledMessage) -> bool:
        """Append the inbound entry of a message again, once; return False if there is none."""
        ledger = await self._store.read_whole(account_id, conversation_id)
        newest: Delivery | None = None
        async for entry in self.entries_since(ledger, 0):
            newest = entry if message.is_in(entry, self._store.sealer) else newest
        if newest is None:
            return False
        await self.append_again(newest, ledger)
        return True

    async def entries_since(self, ledger: Ledger, moment: int) -> AsyncIterator[Delivery]:
        """Yield the inbound entries of a conversation's messages since `moment` (µs), oldest first by subject."""
        for subject in ledger.subjects:
            for entry in await self._store.repeats.appended_after(ledger.account_id, subject, moment):
                yield entry

    async def append_again(self, entry: Delivery, ledger: Ledger) -> None:
        """Append an inbound entry again, once, for another conversation."""
        if await self._store.repeats.append_again(entry, because=ledger.conversation_id, is_gone=True):
            log(
                "event.again",
                entry=entry.entry_id,
                conversation=ledger.conversation_id,
                account=ledger.account_id,
                reason="the API does not know its conversation any more",
            )
