"""Rules for the further members of a group message: which have a target, and which are announced or left out.

A member who was looked up and could not be announced (the address belongs to another conversation, or the participant
there is an agent) is noted in the ledger, so that the next message of the group costs no API request.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from router.core.judging.context import decide_sender, make_fact, version_of
from router.core.ledger.marker import Result, member_field
from router.core.resources import ParticipantType
from router.core.values import replace

if TYPE_CHECKING:
    from collections.abc import Iterable

    from router.core.addresses import Address
    from router.core.events import MessageReceived
    from router.core.judging.context import Context
    from router.core.ledger.ledger import Ledger
    from router.core.resolution.requests import GroupMember, Resolved


def wanted_members(context: Context, message: MessageReceived) -> tuple[Address, ...]:
    """Return the further members of a message to whom the policy gives a target; never an address of our own."""
    ours = context.own | {message.recipient.key}
    return tuple(
        other
        for other in message.others
        if other.key not in ours and _is_wanted(context, replace(message, customer=other))
    )


def _is_wanted(context: Context, message: MessageReceived) -> bool:
    configuration_id = context.rules.configuration_id
    decision = decide_sender(context, message, kind=ParticipantType.CUSTOMER, configuration_id=configuration_id)
    return decision.target is not None


def are_settled(ledger: Ledger, members: Iterable[Address]) -> bool:
    """Return whether every member is announced in the conversation, or was looked up and left out."""
    return all(
        ledger.announced_at(member) is not None or ledger.get(member_field(member.key)) is not None
        for member in members
    )


def announce_members(
    context: Context, resolved: Resolved, ledger: Ledger, *, message: MessageReceived, read_at: int
) -> str:
    """Announce the members who were found or created; return the reasons for those left out, for the log."""
    applied = [_apply(context, member, ledger, message, read_at) for member in resolved.members]
    reasons = [reason for reason in applied if reason is not None]
    return f"left out of the group: {len(reasons)} ({', '.join(dict.fromkeys(reasons))})" if reasons else ""


def _apply(context: Context, member: GroupMember, ledger: Ledger, message: MessageReceived, read_at: int) -> str | None:
    """Announce a member; return None, or the reason why it is left out."""
    reason = member.reason
    if member.participant is not None:
        fact = make_fact(
            context,
            member.participant,
            ledger,
            cause=message.cause,
            version=version_of(member.participant, read_at),
            origin=member.origin,
            address=member.address,
            recipient=message.recipient,
        )
        outcome = ledger.take_participant(fact)
        reason = outcome.reason
        if outcome.result in {Result.JOINED, Result.UPDATED} or ledger.announced_at(member.address) is not None:
            return None
    ledger.put(member_field(member.address.key), member.participant.id if member.participant else "-")
    return reason
