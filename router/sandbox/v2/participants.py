"""Participants as the API writes them: creating, replacing and, for the admin API, removing them.

Duplicate addresses inside one conversation are dealt with here, collisions with other conversations in membership.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from router.core.resources import ParticipantAddress, ParticipantType
from router.sandbox.errors import conflict, invalid
from router.sandbox.v2.membership import ParticipantDraft, find_holder, place, rewrite, take_out
from router.sandbox.v2.profiles import resolve_profile

if TYPE_CHECKING:
    from router.sandbox.state import SandboxState
    from router.sandbox.v2.bodies import InlineParticipant
    from router.sandbox.v2.records import ConversationRecord, ParticipantRecord


def make_draft(state: SandboxState, body: InlineParticipant) -> ParticipantDraft:
    """Return the participant that `body` asks for; the memory store may add a profile and so the type CUSTOMER."""
    addresses = tuple(
        ParticipantAddress(channel=each.channel, address=each.address, channel_id=each.channel_id)
        for each in body.addresses or ()
    )
    asked = body.type or state.options.default_participant_type
    kind, profile_id = resolve_profile(state, asked, body.profile_id, addresses)
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
        return rewrite_participant(state, conversation, holder, merge(holder, draft))
    participant = place(state, conversation, [draft])[0]
    state.schedule(conversation)
    state.emit(conversation, "PARTICIPANT_ADDED", participant.to_wire(state.text))
    return participant


def replace_participant(
    state: SandboxState, conversation: ConversationRecord, participant: ParticipantRecord, body: InlineParticipant
) -> ParticipantRecord:
    """PUT: what the body omits is cleared (switch: kept); raises RefusalError (409) like add_participant."""
    if state.options.put_semantics == "merge":
        kept = {name: getattr(participant, name) for name in type(body).model_fields}
        given = {name: value for name, value in body if name in body.model_fields_set}
        body = type(body).model_construct(**(kept | given))
    draft = make_draft(state, body)
    holder = find_holder(conversation, draft.addresses, apart_from=participant.id)
    if holder is not None and state.options.duplicate_address == "conflict":
        raise _duplicate(holder)
    return rewrite_participant(state, conversation, participant, draft)


def rewrite_participant(
    state: SandboxState, conversation: ConversationRecord, participant: ParticipantRecord, draft: ParticipantDraft
) -> ParticipantRecord:
    """Make `participant` what `draft` says and tell it."""
    rewrite(state, conversation, participant, draft)
    state.schedule(conversation)
    state.emit(conversation, "PARTICIPANT_UPDATED", participant.to_wire(state.text))
    return participant


def remove_participant(state: SandboxState, conversation: ConversationRecord, participant: ParticipantRecord) -> None:
    """Remove the participant and tell it; the public API cannot do this, Twilio itself can."""
    take_out(state, conversation, participant)
    state.emit(conversation, "PARTICIPANT_REMOVED", participant.to_wire(state.text), by_api=False)


def distinct(drafts: list[ParticipantDraft], choice: str) -> list[ParticipantDraft]:
    """Deal with one address in two participants of one request as the switch says; RefusalError (400) to refuse."""
    if choice == "allow":
        return drafts
    kept: list[ParticipantDraft] = []
    places: dict[str, int] = {}
    for number, draft in enumerate(drafts):
        place_of = next((places[each.key] for each in draft.addresses if each.key in places), None)
        if place_of is not None and choice == "conflict":
            raise invalid(f"participants[{number}].addresses", "holds an address of another participant")
        if place_of is None:
            place_of = len(kept)
            kept.append(draft)
        else:
            kept[place_of] = merge(kept[place_of], draft)
        places |= {each.key: place_of for each in draft.addresses}
    return kept


def merge(old: ParticipantRecord | ParticipantDraft, new: ParticipantDraft) -> ParticipantDraft:
    """Return `old` with what `new` adds to it; UNKNOWN adds no type."""
    known = {each.key for each in old.addresses}
    added = tuple(each for each in new.addresses if each.key not in known)
    kind = old.type if new.type == ParticipantType.UNKNOWN else new.type
    return ParticipantDraft(kind, new.name or old.name, new.profile_id or old.profile_id, old.addresses + added)


def _duplicate(holder: ParticipantRecord) -> Exception:
    return conflict(f"Address already exists on participant {holder.id}.", holder.id)
