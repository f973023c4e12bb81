"""The parameters of classic webhooks by event, beside the common ones.

The sender leaves out parameters without a value. Times are ISO 8601 in UTC. Table of the documentation:
https://www.twilio.com/docs/conversations-classic/conversations-webhooks.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import orjson

from router.sandbox.clock import format_time

if TYPE_CHECKING:
    from collections.abc import Iterable

    from router.sandbox.classic.records import (
        Binding,
        ClassicConversationRecord,
        ClassicMember,
        ClassicMessageRecord,
        Fields,
        MediaRecord,
        ReceiptRecord,
    )


def conversation_fields(conversation: ClassicConversationRecord, removed: int | None = None) -> Fields:
    """Return the parameters of onConversationAdded, Update, Updated, Remove and, with `removed`, Removed."""
    return {
        "ConversationSid": conversation.id,
        "DateCreated": format_time(conversation.created_at, 0),
        "DateUpdated": format_time(conversation.updated_at, 0),
        "DateRemoved": _time(removed),
        "FriendlyName": conversation.friendly_name,
        "UniqueName": conversation.unique_name,
        "Attributes": conversation.attributes,
        "ChatServiceSid": conversation.service_sid,
        "MessagingServiceSid": conversation.messaging_service_sid,
        "State": conversation.state,
    }


def binding_fields(binding: Binding | None) -> Fields:
    """Return the parameters of a member's binding."""
    return {
        "MessagingBinding.Address": binding.address if binding else None,
        "MessagingBinding.ProxyAddress": binding.proxy_address if binding else None,
        "MessagingBinding.ProjectedAddress": binding.projected_address if binding else None,
    }


def adding_fields(conversation: ClassicConversationRecord, binding: Binding | None, body: str | None = None) -> Fields:
    """Return the parameters of onConversationAdd, which has no ConversationSid yet."""
    fields = conversation_fields(conversation)
    for name in ("ConversationSid", "DateCreated", "DateUpdated"):
        del fields[name]
    author = binding.address if binding else None
    return fields | binding_fields(binding) | {"MessagingBinding.AuthorAddress": author, "MessageBody": body}


def state_fields(conversation: ClassicConversationRecord, before: str, reason: str) -> Fields:
    """Return the parameters of onConversationStateUpdated; `reason` is API, TIMER or EVENT."""
    return {
        "ChatServiceSid": conversation.service_sid,
        "ConversationSid": conversation.id,
        "MessagingServiceSid": conversation.messaging_service_sid,
        "StateUpdated": format_time(conversation.updated_at, 0),
        "StateFrom": before,
        "StateTo": conversation.state,
        "Reason": reason,
    }


def member_fields(member: ClassicMember, event_type: str, removed: int | None = None) -> Fields:
    """Return the parameters of a Participant event; onParticipantAdd has no SID yet."""
    fields: Fields = {
        "ConversationSid": member.conversation_sid,
        "Identity": member.identity,
        "RoleSid": member.role_sid,
        "Attributes": member.attributes,
        **binding_fields(member.binding),
        "MessagingBinding.Type": member.binding.type if member.binding else "chat",
    }
    if event_type == "onParticipantAdd":
        return fields
    fields |= {"ParticipantSid": member.id, "DateCreated": format_time(member.created_at, 0)}
    if event_type != "onParticipantAdded":
        fields["DateUpdated"] = format_time(member.updated_at, 0)
    if event_type == "onParticipantUpdated" and member.last_read_message_index is not None:
        fields["LastReadMessageIndex"] = str(member.last_read_message_index)
    return fields | {"DateRemoved": _time(removed)}


def user_fields(service_sid: str, user_sid: str, member: ClassicMember) -> Fields:
    """Return the parameters of onUserAdded."""
    return {
        "ChatServiceSid": service_sid,
        "UserSid": user_sid,
        "DateCreated": format_time(member.created_at, 0),
        "DateUpdated": format_time(member.created_at, 0),
        "Identity": member.identity,
        "RoleSid": member.role_sid,
        "Attributes": "{}",
        "FriendlyName": member.identity,
    }


def message_fields(
    message: ClassicMessageRecord, event_type: str, messaging_service_sid: str, removed: int | None = None
) -> Fields:
    """Return the parameters of onMessageAdded, Update, Updated, Remove and, with `removed`, Removed."""
    fields: Fields = {
        "ConversationSid": message.conversation_sid,
        "ParticipantSid": message.participant_sid,
        "Body": message.body,
        "Author": message.author,
        "Attributes": message.attributes,
        "Media": media_field(message.media),
        "MessageSid": message.id,
        "Index": str(message.index),
        "DateCreated": format_time(message.created_at, 0),
    }
    if event_type == "onMessageAdded":
        return fields | {"MessagingServiceSid": messaging_service_sid}
    return fields | {"DateUpdated": format_time(message.updated_at, 0), "DateRemoved": _time(removed)}


def media_field(media: Iterable[MediaRecord]) -> str | None:
    """Return the parameter `Media`, a JSON list, None without any."""
    rows = [each.to_field() for each in media]
    return orjson.dumps(rows).decode() if rows else None


def receipt_fields(receipt: ReceiptRecord, service_sid: str) -> Fields:
    """Return the parameters of onDeliveryUpdated."""
    return {
        "ConversationSid": receipt.message.conversation_sid,
        "ChatServiceSid": service_sid,
        "MessageSid": receipt.message.id,
        "DeliveryReceiptSid": receipt.id,
        "ChannelMessageSid": receipt.channel_message_sid,
        "ParticipantSid": receipt.participant_sid,
        "Status": receipt.status,
        "ErrorCode": str(receipt.error_code),
        "DateCreated": format_time(receipt.created_at, 0),
        "DateUpdated": format_time(receipt.updated_at, 0),
    }


def _time(moment: int | None) -> str | None:
    return None if moment is None else format_time(moment, 0)
