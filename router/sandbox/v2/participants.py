"""Participants as the API writes them: creating, replacing and, for the admin API, removing them; the memory store.

Duplicate addresses within one conversation are resolved here, collisions with other conversations in membership.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from router.core.resources import AGENT_TYPES, ParticipantAddress, ParticipantType
from router.sandbox.errors import conflict, invalid
from router.sandbox.v2.membership import ParticipantDraft, find_holder, insert, remove, replace

if TYPE_CHECKING:
    from router.sandbox.state import SandboxState
    from router.sandbox.v2.bodies import InlineParticipant
    from router.sandbox.v2.records import ConversationRecord, ParticipantRecord


def make_draft(state: SandboxState, body: InlineParticipant) -> ParticipantDraft:
    """Return the participant that `body` describes; the memory store may add a profile and the type CUSTOMER."""
    addresses = tuple(
        ParticipantAddress(channel=each.channel, address=each.address, channel_id=each.channel_id)
        for each in body.addresses or ()
    )
    requested = body.type or state.options.default_participant_type
    kind, profile_id = resolve_profile(state, requested, body.profile_id, addresses)
    return ParticipantDraft(str(kind), body.name, profile_id, addresses)


def add_participant(
    state: SandboxState, conversation: ConversationRecord, body: InlineParticipant
) -> ParticipantRecord:
    """Add a participant; raises RefusalError (409) on a duplicate address or a grouping conflict."""
    draft = make_draft(state, body)
    holder = find_holder(conversation, draft.addresses)
    if holder is not None and state.options.duplicate_address == "conflict":
        raise _duplicate(holder)
    if holder is not None and state.options.duplicate_address == "merge":
        return _replace(state, conversation, holder, _merge(holder, draft))
    participant = insert(state, conversation, [draft])[0]
    state.schedule(conversation)
    state.emit(conversation, "PARTICIPANT_ADDED", state.participant_wire(participant))
    return participant


def replace_participant(
    state: SandboxState, conversation: ConversationRecord, participant: ParticipantRecord, body: InlineParticipant
) -> ParticipantRecord:
    """PUT: fields that the body omits are cleared (switch: kept); raises RefusalError (409) like add_participant."""
    if state.options.put_semantics == "merge":
        kept = {name: getattr(participant, name) for name in type(body).model_fields}
        given = {name: value for name, value in body if name in body.model_fields_set}
        body = type(body).model_construct(**(kept | given))
    draft = make_draft(state, body)
    holder = find_holder(conversation, draft.addresses, apart_from=participant.id)
    if holder is not None and state.options.duplicate_address == "conflict":
        raise _duplicate(holder)
    return _replace(state, conversation, participant, draft)


def _replace(
    state: SandboxState, conversation: ConversationRecord, participant: ParticipantRecord, draft: ParticipantDraft
) -> ParticipantRecord:
    replace(state, conversation, participant, draft)
    state.schedule(conversation)
    state.emit(conversation, "PARTICIPANT_UPDATED", state.participant_wire(participant))
    return participant


def remove_participant(state: SandboxState, conversation: ConversationRecord, participant: ParticipantRecord) -> None:
    """Remove the participant; the public API cannot do this, Twilio itself can."""
    remove(state, conversation, participant)
    state.emit(conversation, "PARTICIPANT_REMOVED", state.participant_wire(participant), by_api=False)


def resolve_duplicates(drafts: list[ParticipantDraft], choice: str) -> list[ParticipantDraft]:
    """Allow, merge or (RefusalError, 400) refuse one address in two participants of a request, as the switch says."""
    if choice == "allow":
        return drafts
    kept: list[ParticipantDraft] = []
    positions: dict[str, int] = {}
    for number, draft in enumerate(drafts):
        position = next((positions[each.key] for each in draft.addresses if each.key in positions), None)
        if position is not None and choice == "conflict":
            raise invalid(f"participants[{number}].addresses", "holds an address of another participant")
        if position is None:
            position = len(kept)
            kept.append(draft)
        else:
            kept[position] = _merge(kept[position], draft)
        positions |= {each.key: position for each in draft.addresses}
    return kept


def _merge(old: ParticipantRecord | ParticipantDraft, new: ParticipantDraft) -> ParticipantDraft:
    """Return `old` with the additions of `new`; UNKNOWN replaces no type."""
    known = {each.key for each in old.addresses}
    added = tuple(each for each in new.addresses if each.key not in known)
    kind = old.type if new.type == ParticipantType.UNKNOWN else new.type
    return ParticipantDraft(kind, new.name or old.name, new.profile_id or old.profile_id, old.addresses + added)


def _duplicate(holder: ParticipantRecord) -> Exception:
    return conflict(f"Address already exists on participant {holder.id}.", holder.id)


def resolve_profile(
    state: SandboxState, kind: str, given: str | None, addresses: tuple[ParticipantAddress, ...]
) -> tuple[str, str | None]:
    """Return type and profile id of a participant, by the memory store's profiles of phone numbers and mailboxes.

    A CUSTOMER gets the profile that is found (switch: a new one if there is none). An UNKNOWN is only looked up, and
    becomes a CUSTOMER if found. Agents are not looked up, and a given profile is kept. A CHAT identity is looked up as
    it is.
    """
    if given is not None or kind in AGENT_TYPES:
        return kind, given
    names = [each.as_address().canonical for each in addresses]
    found = next((profile for name in names if (profile := state.profiles.get(name))), None)
    if found is not None:
        return ParticipantType.CUSTOMER, found
    if kind == ParticipantType.CUSTOMER and names and state.options.create_profiles:
        found = state.make_id("mem_profile", state.clock.moment())
        state.profiles.update(dict.fromkeys(names, found))
    return kind, found
