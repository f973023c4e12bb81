"""Classic members and conversations as v2 resources, so that one ledger and one policy serve both.

A member with an address is a customer: only outside parties are bound by address. A chat user has an identity only: it
may be a customer in an app or one of our people, so its type is UNKNOWN; if a number of ours is projected for it in a
group MMS, it is an AGENT. Other members of our side are recognized by their identity (own addresses).
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

from router.core.addresses import PREFIXES, Address, Channel, parse_address
from router.core.classic.resources import ClassicConversation, ClassicParticipant, ClassicState, ParticipantConversation
from router.core.events import Version
from router.core.ids import SID_DIGITS
from router.core.resources import Conversation, ConversationStatus, Participant, ParticipantAddress, ParticipantType
from router.core.timestamps import to_microseconds
from router.core.values import Value

if TYPE_CHECKING:
    from router.core.events import ClassicReported

_SID: Final = re.compile(f"CH{SID_DIGITS}")
_MEMBER_SID: Final = re.compile(f"MB{SID_DIGITS}")
_PHONE: Final = re.compile(r"\+\d{6,15}|\d{3,8}", re.ASCII)
_STATUSES: Final[dict[str, ConversationStatus]] = {
    ClassicState.INITIALIZING: ConversationStatus.ACTIVE,
    ClassicState.ACTIVE: ConversationStatus.ACTIVE,
    ClassicState.INACTIVE: ConversationStatus.INACTIVE,
    ClassicState.CLOSED: ConversationStatus.CLOSED,
}


class Member(Value):
    """A classic member as a participant, our address that it writes to, and the fact's version, if known."""

    participant: Participant
    recipient: Address | None
    version: Version | None


def is_classic(conversation_id: str) -> bool:
    """Return whether an id is that of a classic conversation."""
    return _SID.fullmatch(conversation_id) is not None


def is_member(participant_id: str) -> bool:
    """Return whether an id is that of a member of a classic conversation."""
    return _MEMBER_SID.fullmatch(participant_id) is not None


def to_status(state: str | None) -> str | None:
    """Translate a classic state into a v2 status; an unknown state is only upper-cased."""
    return _STATUSES.get(state.lower(), state.upper()) if state else None


def to_conversation(conversation: ClassicConversation) -> Conversation:
    """Convert a classic conversation into a v2 one with the classic SID as its id."""
    return Conversation(
        id=conversation.sid,
        account_id=conversation.account_sid,
        status=to_status(conversation.state),
        name=conversation.friendly_name,
        created_at=conversation.date_created,
        updated_at=conversation.date_updated,
    )


def from_event(event: ClassicReported) -> Member | None:
    """Return the member that an event is about, or None if it does not identify one."""
    ends = _addresses(event.identity, event.customer, event.projected)
    if event.participant_sid is None or not ends:
        return None
    participant = _participant(
        event.participant_sid,
        event.conversation_sid,
        event.account_id,
        (event.identity, event.customer, event.projected),
        (event.created_at, event.updated_at),
    )
    return Member(participant, event.recipient, event.version)


def from_resource(member: ClassicParticipant, conversation_sid: str) -> Member:
    """Convert a participant resource of the API."""
    binding = member.messaging_binding
    customer, projected = (binding.as_address(), binding.as_projected()) if binding else (None, None)
    participant = _participant(
        member.sid,
        conversation_sid,
        member.account_sid,
        (member.identity, customer, projected),
        (member.date_created, member.date_updated),
    )
    at = to_microseconds(member.date_updated or member.date_created)
    return Member(participant, binding.as_proxy() if binding else None, None if at is None else Version(at, at))


def from_lookup(found: ParticipantConversation) -> Member:
    """Convert a row of ParticipantConversations; its version is the conversation's, the only time in the row."""
    binding = found.participant_messaging_binding
    customer = binding.as_address() if binding else None
    participant = _participant(
        found.participant_sid,
        found.conversation_sid,
        found.account_sid,
        (found.participant_identity, customer, None),
        (None, None),
    )
    at = to_microseconds(found.conversation_date_updated or found.conversation_date_created)
    return Member(participant, binding.as_proxy() if binding else None, None if at is None else Version(at, at))


def authors(author: str) -> tuple[Address, ...]:
    """Return the addresses that a message's author may stand for: a mailbox may be an identity too."""
    prefix, colon, _ = author.partition(":")
    if colon and prefix.lower() in PREFIXES:
        return (parse_address(author),)
    chat = Address(Channel.CHAT, author)
    if _PHONE.fullmatch(author):
        return Address(Channel.SMS, author), chat
    return (Address(Channel.EMAIL, author), chat) if "@" in author else (chat,)


def addresses_of(event: ClassicReported) -> tuple[Address, ...]:
    """Return the addresses that an event may be about: the member's, or the possible ones of its author."""
    if event.kind == "message":
        return authors(event.author) if event.author else ()
    return _addresses(event.identity, event.customer, event.projected) if event.kind == "participant" else ()


def _addresses(identity: str | None, customer: Address | None, projected: Address | None) -> tuple[Address, ...]:
    if customer is not None:
        return (customer,)
    chat = (Address(Channel.CHAT, identity),) if identity else ()
    return (*chat, projected) if projected else chat


def _participant(
    sid: str,
    conversation_sid: str,
    account_id: str,
    who: tuple[str | None, Address | None, Address | None],
    times: tuple[str | None, str | None],
) -> Participant:
    _, customer, projected = who
    kind = ParticipantType.CUSTOMER if customer else ParticipantType.AGENT if projected else ParticipantType.UNKNOWN
    return Participant(
        id=sid,
        conversation_id=conversation_sid,
        account_id=account_id,
        type=kind,
        addresses=tuple(
            ParticipantAddress(channel=one.channel, address=one.value, channel_id=conversation_sid)
            for one in _addresses(*who)
        ),
        created_at=times[0],
        updated_at=times[1],
    )
