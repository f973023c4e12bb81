"""Recovery: applies a snapshot of the API to a ledger, to make up for lost callbacks. Pure.

A change that is found is taken like the event that was lost: same ledger, same commit, same entry ids, so that its
callback changes nothing, whether it comes before, meanwhile or after. Changes younger than QUIET are left to their
callbacks. The policy decides as of the time of the change. Nothing that is committed is taken back: a snapshot is as
old as the beginning of its reading, and whatever was committed since is newer. A customer who
was erased is not brought back by a snapshot, which has the address.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from router.core.addresses import from_key
from router.core.classic.members import is_classic, is_member
from router.core.events import Cause, SourceName, Version
from router.core.judging.context import make_fact, note_our_side, note_surroundings, version_of
from router.core.ledger.calls import calls_of
from router.core.ledger.marker import Result, digest_of
from router.core.resolution.requests import Surroundings
from router.core.resources import AGENT_TYPES, Participant, ParticipantAddress
from router.core.stories import event_id
from router.core.timestamps import to_microseconds
from router.core.values import Value, replace

if TYPE_CHECKING:
    from collections.abc import Collection

    from router.core.classic.members import Member
    from router.core.judging.context import Context
    from router.core.ledger.ledger import Ledger
    from router.core.ledger.marker import Marker
    from router.core.resolution.reconciliation import ConversationSnapshot
    from router.core.resources import Conversation

#: Seconds: a fact that is younger than this is left to its callback.
QUIET: Final = 60
#: The event type of the cause: no webhook reported it.
RECOVERED: Final = "recovered"
#: The results that publish an entry.
_PUBLISHING: Final = frozenset({Result.JOINED, Result.UPDATED, Result.LEFT, Result.CLOSED})


@dataclass(frozen=True, slots=True)
class Recovery:
    """The effect of a snapshot on a ledger: entries by result, and the number of changes left to their callbacks."""

    published: Counter[Result] = field(default_factory=Counter)
    left_alone: int = 0


def expected_in(ledger: Ledger) -> frozenset[str]:
    """Return the ids of the participants that the conversation's API should know, without those of our own side.

    One is not announced while its address is another's. If it leaves unseen, a late report must not announce it once
    the address is free. A classic member that was announced in a v2 conversation is not among its participants.
    """
    is_own = is_classic(ledger.conversation_id)
    return frozenset(
        participant_id
        for participant_id, marker in ledger.markers().items()
        if marker.is_present and not marker.is_ours and is_member(participant_id) == is_own
    )


def recover(
    context: Context, snapshot: ConversationSnapshot, ledger: Ledger, *, read_at: int, creating: Collection[str] = ()
) -> Recovery:
    """Apply a snapshot whose reading began at `read_at` (µs); `creating`: ids that a worker is announcing now.

    The ledger must have been read with all its fields.
    """
    if ledger.is_closed:
        return Recovery()
    sweep = _Sweep(context, snapshot, ledger, read_at)
    if snapshot.is_closed:
        return sweep.close()
    results = [sweep.remove(participant_id) for participant_id in sorted(snapshot.gone)]
    results += [sweep.add(member) for member in snapshot.members if member.participant.id not in creating]
    published = Counter(result for result in results if result in _PUBLISHING)
    waiting = sum(member.participant.id in creating for member in snapshot.members)
    return Recovery(published, results.count(None) + waiting)


def take_closing(ledger: Ledger, conversation: Conversation, *, read_at: int) -> Recovery:
    """Take the closing of a conversation that the API shows as closed, however young it is."""
    updated = to_microseconds(conversation.updated_at)
    version = Version(read_at if updated is None else updated, read_at)
    outcome = ledger.take_conversation(conversation, version, _make_cause(ledger, conversation.id, read_at))
    return Recovery(Counter({outcome.result} & _PUBLISHING))


def _make_cause(ledger: Ledger, resource_id: str, read_at: int) -> Cause:
    """Return the cause in the place of a lost event, with its source, since rules of the policy may depend on that."""
    source = SourceName.CLASSIC if is_classic(ledger.conversation_id) else SourceName.CONVERSATIONS
    key = f"{ledger.account_id}:{RECOVERED}:{resource_id}"
    return Cause(source, RECOVERED, resource_id, key, read_at, event_id(key))


class _Sweep(Value):
    """One snapshot being applied to a ledger; the result None means that a change is too young."""

    context: Context
    snapshot: ConversationSnapshot
    ledger: Ledger
    read_at: int

    def _cause(self, resource_id: str) -> Cause:
        return _make_cause(self.ledger, resource_id, self.read_at)

    def _is_young(self, at: int) -> bool:
        return at > self.read_at - QUIET * 1_000_000

    def _is_erased(self, member: Member) -> bool:
        marker = self.ledger.marker(member.participant.id)
        return marker is not None and marker.is_erased

    def close(self) -> Recovery:
        conversation = self.snapshot.conversation
        updated = to_microseconds(conversation.updated_at)
        if updated is not None and self._is_young(updated):
            return Recovery(left_alone=1)
        return take_closing(self.ledger, conversation, read_at=self.read_at)

    def remove(self, participant_id: str) -> Result | None:
        marker = self.ledger.marker(participant_id)
        if marker is None or not marker.is_present:
            return Result.KNOWN
        version = Version(self.read_at, self.read_at)
        if version < marker.version or self._is_young(max(marker.version)):
            return None
        participant = _as_committed(participant_id, marker, self.ledger)
        fact = make_fact(self.context, participant, self.ledger, cause=self._cause(participant_id), version=version)
        return self.ledger.take_removal(fact).result

    def add(self, member: Member) -> Result | None:
        participant = member.participant
        marker = self.ledger.marker(participant.id)
        if self._is_erased(member) or _is_known(participant, marker):
            return Result.KNOWN
        version = member.version or version_of(participant, self.read_at)
        # `read_at` stands for a time that the API does not give: such a change is taken at once.
        if self._is_young(version.updated_at) and version.updated_at != self.read_at:
            return None
        present = tuple(each.participant for each in self.snapshot.members if not self._is_erased(each))
        note_surroundings(Surroundings(present, self.snapshot.conversation), participant, self.ledger)
        if member.recipient is not None:
            self.ledger.note_recipient(member.recipient)
        if is_classic(self.ledger.conversation_id):
            self.ledger.put("classic_sid", self.ledger.conversation_id)
        fact = make_fact(
            replace(self.context, now=version.updated_at),
            participant,
            self.ledger,
            cause=self._cause(participant.id),
            version=version,
            origin=RECOVERED,
            recipient=member.recipient,
        )
        outcome = self.ledger.take_participant(fact)
        if outcome.result is Result.IGNORED:
            note_our_side(participant, self.ledger)
        return outcome.result


def _is_known(participant: Participant, marker: Marker | None) -> bool:
    """Return whether no change of a present participant was missed; one with calls is always compared by the ledger."""
    if marker is None or not marker.is_present or calls_of(participant):
        return False
    is_settled = marker.is_ours or marker.target is not None or marker.type in AGENT_TYPES
    return is_settled and marker.digest == digest_of(participant)


def _as_committed(participant_id: str, marker: Marker, ledger: Ledger) -> Participant:
    """Return a participant that the API no longer knows, by its marker: type and canonical addresses."""
    addresses = map(from_key, marker.addresses)
    return Participant(
        id=participant_id,
        conversation_id=ledger.conversation_id,
        account_id=ledger.account_id,
        type=marker.type or None,
        addresses=tuple(ParticipantAddress(channel=one.channel, address=one.value) for one in addresses),
    )
