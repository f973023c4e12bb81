"""Messages that were published on trust, and the confirmation afterwards that their conversations were open.

A message is published without a request if its conversation was open shortly before. If it has closed since and the
callback about that is lost, nobody would notice before the customer's next message or the reconciler's next sweep. So
each worker remembers such messages, and asks the API once for each conversation, DELAY seconds later, unless a callback
has shown by then that the conversation was open. The requests are those of the reconciler: in the background, within
its budget. Known gap: they are kept in memory; of a worker that dies, and above MOST, the sweep takes care.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from heapq import heappop, heappush
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterable

    from router.core.judging.work import AnyWork

#: Seconds from a message to the confirmation: callbacks come first.
DELAY: Final = 10
#: Conversations that are remembered; of more, the oldest are forgotten.
MOST: Final = 10_000
_DELAY: Final = DELAY * 1_000_000


@dataclass(frozen=True, slots=True, order=True)
class UnconfirmedConversation:
    """A conversation to be confirmed at `due`; its last message on trust: when it arrived (µs both), and its names."""

    due: int
    account_id: str
    conversation_id: str
    arrived_at: int = field(compare=False)
    names: tuple[str, ...] = field(compare=False)


class Unconfirmed:
    """The conversations that one worker has to confirm, by when they are due; `most` 0: none, for nobody takes them."""

    def __init__(self, most: int = MOST) -> None:
        self._most = most
        # By account and conversation, in the order of their first messages: when that is due, when the last message
        # arrived, and its names. Every message on trust comes by here, so this has to cost little.
        self._noted: dict[tuple[str, str], tuple[int, int, tuple[str, ...]]] = {}
        self._again: list[UnconfirmedConversation] = []

    def note(self, works: Iterable[AnyWork]) -> None:
        """Remember the conversations of committed messages that were published on trust."""
        noted = self._noted
        for work in works if self._most else ():
            ledger, names = work.ledger, work.kind.names
            if not work.is_on_trust or ledger is None or names is None:
                continue
            key = (work.account_id, ledger.conversation_id)
            known = noted.get(key)
            noted[key] = (known[0] if known else work.begun + _DELAY, work.entry.appended_at, names(work.event))
            if len(noted) > self._most:
                del noted[next(iter(noted))]

    def take(self, now: int) -> UnconfirmedConversation | None:
        """Remove and return a conversation that is due at `now` (µs)."""
        while self._again and self._again[0].due <= now:
            again = heappop(self._again)
            if (again.account_id, again.conversation_id) not in self._noted:  # else a newer message is confirmed
                return again
        key = next(iter(self._noted), None)
        if key is None or self._noted[key][0] > now:
            return None
        due, arrived_at, names = self._noted.pop(key)
        return UnconfirmedConversation(due, *key, arrived_at, names)

    def put_back(self, conversation: UnconfirmedConversation, due: int) -> None:
        """Confirm a conversation later; above the bound it is left to the sweep."""
        if len(self._again) < self._most:
            heappush(self._again, replace(conversation, due=due))
