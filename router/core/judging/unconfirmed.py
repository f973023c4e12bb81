"""Messages that were published on trust, and the confirmation afterwards that their conversations were open.

A message is published without a request if its conversation was open shortly before. If it has closed since and the
callback about that is lost, nobody would notice before the customer's next message or the reconciler's next sweep. So
each worker remembers such messages, and asks the API once for each conversation, DELAY seconds later, unless a callback
has shown by then that the conversation was open. The requests are those of the reconciler: in the background, within
its budget. Known gap: they are kept in memory; of a worker that dies, and above MOST, the sweep takes care.
"""

from __future__ import annotations

from dataclasses import dataclass
from heapq import heapify, heappop, heappush
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterable

    from router.core.judging.work import AnyWork

#: Seconds from a message to the confirmation: callbacks come first.
DELAY: Final = 10
#: Conversations that are remembered; of more, the oldest are forgotten.
MOST: Final = 10_000
_SECOND: Final = 1_000_000


@dataclass(slots=True)
class UnconfirmedConversation:
    """A conversation to be confirmed at `due`; its last message on trust: when it arrived (µs both), and its names."""

    account_id: str
    conversation_id: str
    due: int
    arrived_at: int
    names: tuple[str, ...]


class Unconfirmed:
    """The conversations that one worker has to confirm, by when they are due; `most` 0: none, for nobody takes them."""

    def __init__(self, most: int = MOST) -> None:
        self._most = most
        self._unconfirmed: dict[tuple[str, str], UnconfirmedConversation] = {}
        self._due: list[tuple[int, tuple[str, str]]] = []  # a heap; what was forgotten stays until it is due

    def note(self, works: Iterable[AnyWork]) -> None:
        """Remember the conversations of committed messages that were published on trust."""
        for work in works if self._most else ():
            if work.is_on_trust and work.ledger is not None and work.kind.names is not None:
                self._note(work, work.ledger.conversation_id, work.kind.names(work.event))

    def _note(self, work: AnyWork, conversation_id: str, names: tuple[str, ...]) -> None:
        key, arrived_at = (work.account_id, conversation_id), work.entry.appended_at
        known = self._unconfirmed.get(key)
        if known is not None:
            known.arrived_at, known.names = arrived_at, names
            return
        if len(self._unconfirmed) >= self._most:
            del self._unconfirmed[next(iter(self._unconfirmed))]
        self._add(UnconfirmedConversation(*key, work.begun + DELAY * _SECOND, arrived_at, names))

    def _add(self, conversation: UnconfirmedConversation) -> None:
        key = (conversation.account_id, conversation.conversation_id)
        self._unconfirmed[key] = conversation
        heappush(self._due, (conversation.due, key))
        if len(self._due) > 2 * self._most:
            self._due = [(one.due, key) for key, one in self._unconfirmed.items()]
            heapify(self._due)

    def take(self, now: int) -> UnconfirmedConversation | None:
        """Remove and return a conversation that is due at `now` (µs), the longest due first."""
        while self._due and self._due[0][0] <= now:
            due, key = heappop(self._due)
            found = self._unconfirmed.get(key)
            if found is not None and found.due == due:
                return self._unconfirmed.pop(key)
        return None

    def put_back(self, conversation: UnconfirmedConversation, due: int) -> None:
        """Confirm a conversation later, unless a newer message of it was noted meanwhile."""
        if (conversation.account_id, conversation.conversation_id) not in self._unconfirmed:
            conversation.due = due
            self._add(conversation)
