"""All that one sandbox knows of the classic product: one service, which is the account's default service too.

Which open conversation holds a pair of addresses, who is a user, and where an address or identity is a member, closed
conversations included. Of those the newest `keep_closed` are kept.
"""

from __future__ import annotations

import heapq
from collections import OrderedDict
from typing import TYPE_CHECKING, Final

from router.sandbox.indexes import OwnerIndex, Timeline

if TYPE_CHECKING:
    import random

    from router.sandbox.classic.records import ClassicConversationRecord, ClassicMember, Pair

_BITS: Final = 128


class ClassicMemory:
    """Conversations, members, users and timers of the one service."""

    def __init__(self, entropy: random.Random) -> None:
        self._entropy = entropy
        self.conversations: Timeline[ClassicConversationRecord] = Timeline()
        self.unique_names: dict[str, str] = {}
        self.closed: OrderedDict[str, None] = OrderedDict()
        self.users: dict[str, str] = {}
        self.pairs: dict[Pair, tuple[str, str]] = {}
        self.whereabouts: OwnerIndex[tuple[str, str]] = OwnerIndex()
        self._timers: list[tuple[int, str]] = []

    def make_sid(self, prefix: str) -> str:
        """Return a SID of the classic form."""
        return f"{prefix}{self._entropy.getrandbits(_BITS):032x}"

    def find(self, name: str) -> ClassicConversationRecord | None:
        """Return a conversation by SID or unique name."""
        return self.conversations.get(name) or self.conversations.get(self.unique_names.get(name, ""))

    def holder(self, pair: Pair) -> tuple[ClassicConversationRecord, ClassicMember] | None:
        """Return the open conversation that holds `pair`, and its member."""
        conversation_sid, member_sid = self.pairs.get(pair, ("", ""))
        conversation = self.conversations.get(conversation_sid)
        member = conversation.members.get(member_sid) if conversation else None
        return (conversation, member) if conversation and member else None

    def memberships(self, kind: str, value: str) -> list[tuple[ClassicConversationRecord, ClassicMember]]:
        """Return where `value` (an `address` or `identity`, exactly) is a member, in order of conversation SID."""
        found = []
        for owner in sorted(self.whereabouts.owners((kind, value))):
            conversation_sid, _, member_sid = owner.partition("/")
            conversation = self.conversations.get(conversation_sid)
            member = conversation.members.get(member_sid) if conversation else None
            if conversation and member:
                found.append((conversation, member))
        return found

    def hold(self, member: ClassicMember) -> None:
        """Let `member` be found, and hold its pair."""
        self.whereabouts.add(_names(member), f"{member.conversation_sid}/{member.id}")
        if member.pair is not None:
            self.pairs[member.pair] = (member.conversation_sid, member.id)

    def release(self, member: ClassicMember, *, is_gone: bool) -> None:
        """Free the pair of `member`; one that is gone is not found any more either."""
        if member.pair is not None and self.pairs.get(member.pair, ("", ""))[1] == member.id:
            del self.pairs[member.pair]
        if is_gone:
            self.whereabouts.discard(_names(member), f"{member.conversation_sid}/{member.id}")

    def forget(self, conversation: ClassicConversationRecord) -> None:
        """Lose a conversation and everything that it held."""
        for member in conversation.members:
            self.release(member, is_gone=True)
        if conversation.unique_name is not None:
            self.unique_names.pop(conversation.unique_name, None)
        self.closed.pop(conversation.id, None)
        self.conversations.remove(conversation.id)

    def bury(self, conversation: ClassicConversationRecord, keep: int) -> None:
        """Free the pairs of a conversation that closed, and forget the oldest closed ones beyond `keep`."""
        for member in conversation.members:
            self.release(member, is_gone=False)
        self.closed[conversation.id] = None
        while len(self.closed) > keep:
            oldest = self.conversations.get(next(iter(self.closed)))
            if oldest is not None:
                self.forget(oldest)

    def schedule(self, conversation: ClassicConversationRecord) -> None:
        """Look at the timers of `conversation` when the next one ends."""
        at = min((each for each in (conversation.inactive_at, conversation.closed_at) if each), default=None)
        if at is not None and (conversation.timer_at is None or at < conversation.timer_at):
            conversation.timer_at = at
            heapq.heappush(self._timers, (at, conversation.id))

    def due(self, now: int) -> list[ClassicConversationRecord]:
        """Take out and return the conversations whose timers may have ended."""
        found = []
        while self._timers and self._timers[0][0] <= now:
            at, sid = heapq.heappop(self._timers)
            conversation = self.conversations.get(sid)
            if conversation is not None and conversation.timer_at == at:
                conversation.timer_at = None
                found.append(conversation)
        return found


def _names(member: ClassicMember) -> list[tuple[str, str]]:
    names = [("identity", member.identity), ("address", member.binding.address if member.binding else None)]
    return [(kind, value) for kind, value in names if value is not None]
