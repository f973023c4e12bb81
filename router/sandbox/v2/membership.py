"""The participants of a conversation and the grouping keys that it holds because of them: the one writer of both.

Every change first computes the keys that the conversation would newly claim, checks that no other open conversation
of the same configuration holds one, and only then changes anything: a refused write has no effect. Keys that a
participant has claimed already are not checked again, so that replacing it unchanged never conflicts.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from router.core.resources import ConversationStatus, ParticipantAddress
from router.sandbox.errors import mapping_exists
from router.sandbox.v2.grouping import NO_KEYS, Anchors, GroupingKeys, GroupingMember, Key, keys_of
from router.sandbox.v2.records import ParticipantRecord, canonical_pairs

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from router.sandbox.state import SandboxState
    from router.sandbox.v2.records import ConversationRecord


@dataclass(frozen=True, slots=True)
class ParticipantDraft:
    """The intended content of a participant: body, defaults and profile combined."""

    type: str
    name: str | None
    profile_id: str | None
    addresses: tuple[ParticipantAddress, ...]

    def as_member(self) -> GroupingMember:
        """Return the participant as grouping compares it."""
        return GroupingMember(self.type, self.profile_id, canonical_pairs(self.addresses))


def insert(
    state: SandboxState,
    conversation: ConversationRecord,
    drafts: Iterable[ParticipantDraft],
    *,
    is_checked: bool = True,
) -> list[ParticipantRecord]:
    """Add participants to the conversation at once, without an event.

    Raises RefusalError (409) on a grouping collision, and changes nothing then; not if `is_checked` is false.
    """
    records = [_new_record(state, conversation, draft) for draft in drafts]
    members = {record.id: record.as_member() for record in records}
    anchors = conversation.anchors.admit(members.values())
    keys = _new_keys(conversation, anchors, members)
    if is_checked:
        _refuse_collision(state, conversation, keys)
    for record in records:
        conversation.participants.add(record)
        _hold_addresses(state, conversation, record)
    _hold_keys(state, conversation, anchors, keys)
    return records


def replace(
    state: SandboxState, conversation: ConversationRecord, participant: ParticipantRecord, draft: ParticipantDraft
) -> None:
    """Replace the content of `participant` by `draft`, without an event; raises RefusalError (409) on a collision."""
    member = draft.as_member()
    anchors = conversation.anchors.replace(participant.as_member(), member)
    keys = _new_keys(conversation, anchors, {participant.id: member})
    _refuse_collision(state, conversation, keys)
    _release_addresses(state, conversation, participant)
    participant.type, participant.name = draft.type, draft.name
    participant.profile_id, participant.addresses = draft.profile_id, draft.addresses
    participant.updated_at = state.clock.moment()
    _hold_addresses(state, conversation, participant)
    _hold_keys(state, conversation, anchors, keys)


def remove(state: SandboxState, conversation: ConversationRecord, participant: ParticipantRecord) -> None:
    """Remove the participant, without an event; our address stays an anchor, so that the next message still matches."""
    conversation.participants.remove(participant.id)
    _release_addresses(state, conversation, participant)
    _exchange(state, conversation, participant.keys, NO_KEYS)
    participant.updated_at = state.clock.moment()


def pin_anchor(state: SandboxState, conversation: ConversationRecord, channel: str, address: str) -> None:
    """Make our own (canonical) address an anchor, whether or not a participant has it."""
    anchors = conversation.anchors.pin(channel, address)
    _hold_keys(state, conversation, anchors, _new_keys(conversation, anchors, {}))


def hold_absent_customer(state: SandboxState, conversation: ConversationRecord, member: GroupingMember) -> None:
    """Hold the grouping keys of a customer who is not a participant."""
    if member not in conversation.absent_customers:
        keys = keys_of(member, conversation.anchors, conversation.settings.grouping)
        _exchange(state, conversation, NO_KEYS, keys)
        conversation.absent_customers[member] = keys


def release_keys(state: SandboxState, conversation: ConversationRecord) -> None:
    """Release every grouping key of a conversation that closes."""
    for keys in (*(each.keys for each in conversation.participants), *conversation.absent_customers.values()):
        _exchange(state, conversation, keys, NO_KEYS)


def release_resource_ids(state: SandboxState, conversation: ConversationRecord) -> None:
    """Release the ids by which the `channelId` filter finds a conversation that is deleted."""
    for participant in conversation.participants:
        _release_addresses(state, conversation, participant)
    for each in conversation.communications:
        state.resource_ids.discard(filter(None, (each.channel_id, each.resource_id)), conversation.id)


def find_holder(
    conversation: ConversationRecord, addresses: Iterable[ParticipantAddress], apart_from: str | None = None
) -> ParticipantRecord | None:
    """Return the participant that has one of `addresses`."""
    for address in addresses:
        for participant_id in conversation.addresses.owners(address.key):
            if participant_id != apart_from:
                return conversation.participants.get(participant_id)
    return None


def find_collision(
    state: SandboxState,
    configuration_id: str | None,
    claimed: Iterable[Key],
    apart_from: str | None = None,
    *,
    has_inactive: bool,
) -> ConversationRecord | None:
    """Return the open conversation that holds one of the `claimed` keys; of several an ACTIVE one, then the oldest.

    INACTIVE ones count only if `has_inactive`.
    """
    owners = {owner for key in claimed for owner in state.keys.owners((configuration_id, key)) if owner != apart_from}
    found = [conversation for owner in owners if (conversation := state.conversations.get(owner)) is not None]
    if not has_inactive:
        found = [each for each in found if each.status == ConversationStatus.ACTIVE]
    return min(found, key=lambda each: (each.status != ConversationStatus.ACTIVE, each.moment), default=None)


def _refuse_collision(state: SandboxState, conversation: ConversationRecord, keys: Mapping[str, GroupingKeys]) -> None:
    claimed: set[Key] = set()
    for participant_id, new in keys.items():
        known = conversation.participants.get(participant_id)
        claimed |= new.claimed - known.keys.claimed if known else new.claimed
    scope, has_inactive = conversation.settings.configuration_id, state.options.inactive_blocks
    other = find_collision(state, scope, claimed, conversation.id, has_inactive=has_inactive)
    if other is not None:
        raise mapping_exists(other.id)


def _new_record(state: SandboxState, conversation: ConversationRecord, draft: ParticipantDraft) -> ParticipantRecord:
    moment = state.clock.moment()
    return ParticipantRecord(
        id=state.make_id("conv_participant", moment),
        moment=moment,
        updated_at=moment,
        conversation_id=conversation.id,
        account_id=conversation.account_id,
        type=draft.type,
        name=draft.name,
        profile_id=draft.profile_id,
        addresses=draft.addresses,
    )


def _new_keys(
    conversation: ConversationRecord, anchors: Anchors, members: Mapping[str, GroupingMember]
) -> dict[str, GroupingKeys]:
    """Return the new keys by participant id: of `members`, and of all participants if the anchors changed."""
    affected = dict(members)
    if anchors is not conversation.anchors:
        affected = {each.id: each.as_member() for each in conversation.participants} | affected
    grouping = conversation.settings.grouping
    return {participant_id: keys_of(member, anchors, grouping) for participant_id, member in affected.items()}


def _hold_keys(
    state: SandboxState, conversation: ConversationRecord, anchors: Anchors, keys: Mapping[str, GroupingKeys]
) -> None:
    for participant_id, new in keys.items():
        participant = conversation.participants.get(participant_id)
        if participant is not None:
            _exchange(state, conversation, participant.keys, new)
            participant.keys = new
    if anchors is conversation.anchors:
        return
    conversation.anchors = anchors
    for member, old in conversation.absent_customers.items():
        conversation.absent_customers[member] = keys_of(member, anchors, conversation.settings.grouping)
        _exchange(state, conversation, old, conversation.absent_customers[member])


def _exchange(state: SandboxState, conversation: ConversationRecord, old: GroupingKeys, new: GroupingKeys) -> None:
    """Swap the keys that the conversation holds; keys are scoped to a configuration, or to none."""
    scope = conversation.settings.configuration_id
    state.keys.discard(((scope, key) for key in old.owned), conversation.id)
    state.keys.add(((scope, key) for key in new.owned), conversation.id)


def _hold_addresses(state: SandboxState, conversation: ConversationRecord, participant: ParticipantRecord) -> None:
    conversation.addresses.add((each.key for each in participant.addresses), participant.id)
    conversation.member_channels.update(each.channel for each in participant.addresses)
    state.resource_ids.add((each.channel_id for each in participant.addresses if each.channel_id), conversation.id)


def _release_addresses(state: SandboxState, conversation: ConversationRecord, participant: ParticipantRecord) -> None:
    conversation.addresses.discard((each.key for each in participant.addresses), participant.id)
    state.resource_ids.discard((each.channel_id for each in participant.addresses if each.channel_id), conversation.id)
