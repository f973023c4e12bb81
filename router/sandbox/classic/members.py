"""Participants of classic conversations: adding, changing and removing them, by the API's rules.

A member is a chat user by identity, or an address with one of ours as proxy. At most one conversation that is not
closed (an inactive one included) holds a pair. A member with a projected address makes a group MMS, in which handsets
have no proxy. https://www.twilio.com/docs/conversations-classic/api/conversation-participant-resource
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

from router.core.addresses import parse_address
from router.sandbox.classic.errors import ALREADY_IN_GROUP, already_there, bound_elsewhere, is_final, refuse
from router.sandbox.classic.events import member_fields, user_fields
from router.sandbox.classic.forms import (
    MAX_MEMBER_ATTRIBUTES,
    MAX_NAME,
    NULL,
    check_attributes,
    check_identity,
    read_date,
    read_index,
)
from router.sandbox.classic.records import Binding, ClassicMember

if TYPE_CHECKING:
    from router.sandbox.classic.forms import MemberForm
    from router.sandbox.classic.records import ClassicConversationRecord, Pair
    from router.sandbox.classic.webhooks import Origin
    from router.sandbox.state import SandboxState

MAX_MEMBERS: Final = 1_000
MAX_BOUND_MEMBERS: Final = 50
DEFAULT_ROLE: Final = "RL" + "0" * 31 + "1"
_PREFIXES: Final = frozenset({"whatsapp", "rcs", "messenger", "gbm", "apple"})
_PHONE: Final = re.compile(r"\+[1-9]\d{6,14}|\d{3,8}", re.ASCII)
_MAILBOX: Final = re.compile(r"[^@\s]+@[^@\s]+")


def make_member(
    state: SandboxState, conversation: ClassicConversationRecord, form: MemberForm, *, is_checked: bool = True
) -> ClassicMember:
    """Return a new member of a valid `form`, which add_member adds; raises RefusalError.

    The addresses of an inbound message may have any form; their format is not checked then (`is_checked`).
    """
    if conversation.is_closed:
        raise is_final()
    check_identity(form.identity)
    check_attributes(form.attributes, MAX_MEMBER_ATTRIBUTES)
    binding = _read_binding(conversation, form, is_checked=is_checked)
    moment = state.clock.moment()
    created_at = read_date(form.date_created, moment)
    member = ClassicMember(
        id=state.classic.make_sid("MB"),
        moment=moment,
        conversation_sid=conversation.id,
        identity=form.identity,
        binding=binding,
        pair=pair_of(binding),
        attributes=form.attributes or "{}",
        role_sid=form.role_sid or DEFAULT_ROLE,
        created_at=created_at,
        updated_at=read_date(form.date_updated, created_at, "DateUpdated"),
    )
    _refuse_duplicate(state, conversation, member)
    _refuse_over_limit(conversation, member)
    return member


def add_member(
    state: SandboxState, conversation: ClassicConversationRecord, member: ClassicMember, origin: Origin
) -> None:
    """Add a new member; there must be no await between its checks and this."""
    memory = state.classic
    conversation.members.add(member)
    memory.hold(member)
    if member.identity is not None and member.identity not in memory.users:
        memory.users[member.identity] = memory.make_sid("US")
        fields = user_fields(conversation.service_sid, memory.users[member.identity], member)
        state.classic_webhooks.publish(conversation, "onUserAdded", fields, origin)
    _publish(state, conversation, member, "onParticipantAdded", origin)


def change_member(
    state: SandboxState,
    conversation: ClassicConversationRecord,
    member: ClassicMember,
    form: MemberForm,
    origin: Origin,
) -> None:
    """Change the given fields and keep the others; raises RefusalError, and changes nothing then."""
    if conversation.is_closed:
        raise is_final()
    check_identity(form.identity)
    check_attributes(form.attributes, MAX_MEMBER_ATTRIBUTES)
    identity = form.identity if form.identity is not None else member.identity
    binding = _changed_binding(member, form)
    _refuse_duplicate(state, conversation, member, identity, binding)
    created_at = read_date(form.date_created, member.created_at)
    updated_at = read_date(form.date_updated, state.clock.moment(), "DateUpdated")
    index = form.last_read_message_index
    read_to = member.last_read_message_index if index is None else read_index(index)
    state.classic.release(member)
    member.identity, member.binding, member.pair = identity, binding, pair_of(binding)
    state.classic.hold(member)
    if identity is not None:
        state.classic.users.setdefault(identity, state.classic.make_sid("US"))
    member.attributes = member.attributes if form.attributes is None else form.attributes or "{}"
    member.role_sid = form.role_sid or member.role_sid
    member.created_at, member.updated_at, member.last_read_message_index = created_at, updated_at, read_to
    if form.last_read_timestamp is not None:
        member.last_read_timestamp = None if form.last_read_timestamp == NULL else form.last_read_timestamp
    _publish(state, conversation, member, "onParticipantUpdated", origin)


def remove_member(
    state: SandboxState, conversation: ClassicConversationRecord, member: ClassicMember, origin: Origin
) -> None:
    """Remove the member, which releases its pair."""
    conversation.members.remove(member.id)
    state.classic.release(member)
    fields = member_fields(member, "onParticipantRemoved", removed=state.clock.now())
    state.classic_webhooks.publish(conversation, "onParticipantRemoved", fields, origin)


def pair_of(binding: Binding | None) -> Pair | None:
    """Return the pair that an open conversation holds by `binding`, None if there is none."""
    if binding is None or binding.address is None or binding.proxy_address is None:
        return None
    return parse_address(binding.address).key, parse_address(binding.proxy_address).key


def type_of(address: str) -> str:
    """Return the type of binding that follows from the form of an address."""
    prefix, colon, _ = address.partition(":")
    if colon and prefix.lower() in _PREFIXES:
        return prefix.lower()
    return "email" if "@" in address else "sms"


def _publish(
    state: SandboxState, conversation: ClassicConversationRecord, member: ClassicMember, event_type: str, origin: Origin
) -> None:
    state.classic_webhooks.publish(conversation, event_type, member_fields(member, event_type), origin)


def _read_binding(conversation: ClassicConversationRecord, form: MemberForm, *, is_checked: bool) -> Binding | None:
    if form.identity is not None and form.address is not None:
        raise refuse(50451, "Identity and MessagingBinding.Address cannot be given together")
    if form.identity is not None:
        projected = form.projected_address
        return Binding("sms", projected_address=projected) if projected else None
    if not form.address:
        raise refuse(50411, "MessagingBinding.Address is empty")
    if not form.proxy_address:
        if form.proxy_address is None and _is_group(conversation):
            return Binding("sms", form.address)
        raise refuse(50412, "MessagingBinding.ProxyAddress is empty")
    if is_checked:
        _check_addresses(form.address, form.proxy_address)
    return Binding(type_of(form.address), form.address, form.proxy_address)


def _check_addresses(address: str, proxy: str) -> None:
    if not _is_address(address):
        raise refuse(50407, f"Invalid messaging binding address {address[:MAX_NAME]}")
    if not _is_address(proxy):
        raise refuse(50408, f"Invalid messaging binding proxy address {proxy[:MAX_NAME]}")
    if address == proxy:
        raise refuse(50409, "Messaging binding address and proxy address are equal")
    if type_of(address) != type_of(proxy):
        raise refuse(50414, "Messaging binding address and proxy address are of different channels")


def _is_address(text: str) -> bool:
    kind = type_of(text)
    if len(text) > MAX_NAME:
        return False
    if kind == "email":
        return _MAILBOX.fullmatch(text) is not None
    if kind == "sms":
        return _PHONE.fullmatch(text) is not None
    rest = text.partition(":")[2]
    return bool(rest) and not any(character.isspace() for character in rest)


def _is_group(conversation: ClassicConversationRecord) -> bool:
    return any(each.binding and each.binding.projected_address for each in conversation.members)


def _changed_binding(member: ClassicMember, form: MemberForm) -> Binding | None:
    """Return the binding after an update; raises RefusalError (50440-50442) for a part that is fixed."""
    binding = member.binding
    proxy, projected = form.proxy_address, form.projected_address
    if proxy is not None:
        if binding is None or binding.address is None:
            raise refuse(50441, "A proxy address cannot be added to this participant")
        if proxy == NULL:
            raise refuse(50440, "The proxy address of this participant cannot be removed")
        _check_addresses(binding.address, proxy)
        binding = binding._replace(proxy_address=proxy)
    if projected is not None:
        if binding is not None and binding.address is not None:
            raise refuse(50442, "A projected address cannot be added to this participant")
        binding = None if projected == NULL else Binding("sms", projected_address=projected)
    return binding


def _refuse_duplicate(
    state: SandboxState,
    conversation: ClassicConversationRecord,
    member: ClassicMember,
    identity: str | None = None,
    binding: Binding | None = None,
) -> None:
    """Raise RefusalError (409) if another member has the identity or the pair of `member`, or the given new ones."""
    identity, binding = identity or member.identity, binding or member.binding
    others = [each for each in conversation.members if each.id != member.id]
    if identity is not None and any(each.identity == identity for each in others):
        raise already_there()
    pair = pair_of(binding)
    if pair is None:
        address = binding.address if binding else None
        if address and any(each.binding and each.binding.address == address for each in others):
            raise already_there(ALREADY_IN_GROUP)
        return
    held = state.classic.holder(pair)
    if held is not None and held[1].id != member.id:
        raise already_there() if held[0].id == conversation.id else bound_elsewhere(held[0].id)


def _refuse_over_limit(conversation: ClassicConversationRecord, member: ClassicMember) -> None:
    if len(conversation.members) >= MAX_MEMBERS:
        raise refuse(50417, f"A conversation has at most {MAX_MEMBERS} participants")
    bound = sum(each.identity is None for each in conversation.members)
    if member.identity is None and bound >= MAX_BOUND_MEMBERS:
        raise refuse(50418, f"A conversation has at most {MAX_BOUND_MEMBERS} participants that are not chat users")
