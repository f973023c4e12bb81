"""The classic state of a sandbox: one service, which is the account's default service too.

It knows the open conversation that holds a pair of addresses, the users, and the conversations, closed ones included,
in which an address or identity is a member. Of closed conversations the newest `keep_closed` are kept.
"""

from __future__ import annotations

from collections import OrderedDict
from typing import TYPE_CHECKING, Final

from router.sandbox.indexes import OwnerIndex, Timeline, TimerQueue

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
        #: target of the account's webhooks: webhook, or flex, which changes nothing here
        self.webhook_target = "webhook"
        self.pairs: dict[Pair, tuple[str, str]] = {}
        self.timers = TimerQueue(self.conversations)
        self._members: OwnerIndex[tuple[str, str]] = OwnerIndex()

    def make_sid(self, prefix: str) -> str:
        """Return a new SID."""
        return f"{prefix}{self._entropy.getrandbits(_BITS):032x}"

    def find(self, name: str) -> ClassicConversationRecord | None:
        """Return the conversation with this SID or unique name."""
        return self.conversations.get(name) or self.conversations.get(self.unique_names.get(name, ""))

    def holder(self, pair: Pair) -> tuple[ClassicConversationRecord, ClassicMember] | None:
        """Return the open conversation that holds `pair`, and the member in it."""
        conversation_sid, member_sid = self.pairs.get(pair, ("", ""))
        conversation = self.conversations.get(conversation_sid)
        member = conversation.members.get(member_sid) if conversation else None
        return (conversation, member) if conversation and member else None

    def memberships(self, kind: str, value: str) -> list[tuple[ClassicConversationRecord, ClassicMember]]:
        """Return the memberships of exactly this `address` or `identity` (the `kind`), in order of conversation SID."""
        found = []
        for owner in sorted(self._members.owners((kind, value))):
            conversation_sid, _, member_sid = owner.partition("/")
            conversation = self.conversations.get(conversation_sid)
            member = conversation.members.get(member_sid) if conversation else None
            if conversation and member:
                found.append((conversation, member))
        return found

    def hold(self, member: ClassicMember) -> None:
        """Index `member` for look-ups, and hold its pair."""
        self._members.add(_names(member), f"{member.conversation_sid}/{member.id}")
        if member.pair is not None:
            self.pairs[member.pair] = (member.conversation_sid, member.id)

    def release_pair(self, member: ClassicMember) -> None:
        """Release the pair of `member`, who stays a member."""
        if member.pair is not None and self.pairs.get(member.pair, ("", ""))[1] == member.id:
            del self.pairs[member.pair]

    def release(self, member: ClassicMember) -> None:
        """Release the pair of `member`, and remove it from look-ups."""
        self.release_pair(member)
        self._members.discard(_names(member), f"{member.conversation_sid}/{member.id}")

    def delete(self, conversation: ClassicConversationRecord) -> None:
        """Delete a conversation, and release everything that it held."""
        for member in conversation.members:
            self.release(member)
        if conversation.unique_name is not None:
            self.unique_names.pop(conversation.unique_name, None)
        self.closed.pop(conversation.id, None)
        self.conversations.remove(conversation.id)

    def close(self, conversation: ClassicConversationRecord, keep: int) -> None:
        """Release the pairs of a closed conversation, and delete the oldest closed ones beyond `keep`."""
        for member in conversation.members:
            self.release_pair(member)
        self.closed[conversation.id] = None
        while len(self.closed) > keep:
            oldest = self.conversations.get(next(iter(self.closed)))
            if oldest is not None:
                self.delete(oldest)

    def schedule(self, conversation: ClassicConversationRecord) -> None:
        """Schedule the next change of the conversation by a timer."""
        times = (conversation.inactive_at, conversation.closed_at)
        self.timers.schedule(conversation, min((each for each in times if each), default=None))


def _names(member: ClassicMember) -> list[tuple[str, str]]:
    names = [("identity", member.identity), ("address", member.binding.address if member.binding else None)]
    return [(kind, value) for kind, value in names if value is not None]
