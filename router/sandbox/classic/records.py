"""The record of each classic resource, and its wire form (snake_case).

A resource is requested through the default service or through the path of its service: the URLs in it differ, and the
default variant of a Participant has no `chat_service_sid`. Times have no fraction, as in all samples.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final, NamedTuple
from urllib.parse import quote

from router.sandbox.clock import format_time
from router.sandbox.indexes import Timeline

if TYPE_CHECKING:
    from collections.abc import Mapping

    from router.sandbox.bodies import Wire

#: Address and proxy address in canonical form; at most one open conversation holds a pair.
Pair = tuple[str, str]
#: Parameters of a webhook; None leaves one out.
Fields = dict[str, str | None]
#: The statuses of a receipt that have reached one of those in a message's summary.
_REACHED: Final = {
    "sent": ("sent", "delivered", "read", "undelivered"),
    "delivered": ("delivered", "read"),
    "read": ("read",),
    "failed": ("failed",),
    "undelivered": ("undelivered",),
}


class ResourceUrls(NamedTuple):
    """The URLs of a request's variant: `base` is scheme and host, `service_sid` is None for the default service."""

    base: str
    service_sid: str | None = None

    @property
    def root(self) -> str:
        """The URL above those of the resources."""
        service = "" if self.service_sid is None else f"/Services/{self.service_sid}"
        return f"{self.base}/v1{service}"

    def conversation(self, sid: str) -> str:
        """Return the URL of a conversation."""
        return f"{self.root}/Conversations/{quote(sid, safe='')}"

    def message(self, message: ClassicMessageRecord) -> str:
        """Return the URL of a message."""
        return f"{self.conversation(message.conversation_sid)}/Messages/{message.id}"

    def service_wire(self) -> Wire:
        """Return the service's SID as a field of resources that have it in its own variant only."""
        return {} if self.service_sid is None else {"chat_service_sid": self.service_sid}


class Binding(NamedTuple):
    """The messaging binding of a member."""

    type: str
    address: str | None = None
    proxy_address: str | None = None
    projected_address: str | None = None

    def to_wire(self) -> Wire:
        """Return the binding in a Participant: the fields that apply."""
        return {name: value for name, value in self._asdict().items() if value is not None}

    def to_lookup_wire(self) -> Wire:
        """Return the binding in ParticipantConversations: all fields, null where one does not apply."""
        return {**self._asdict(), "level": None, "name": None}


@dataclass(slots=True)
class ClassicMember:
    """A Participant; `pair` is the pair that it holds, None for a chat user and in a group MMS."""

    id: str
    moment: int
    conversation_sid: str
    identity: str | None
    binding: Binding | None
    pair: Pair | None
    attributes: str
    role_sid: str
    created_at: int
    updated_at: int
    last_read_message_index: int | None = None
    last_read_timestamp: str | None = None

    def to_wire(self, account_sid: str, urls: ResourceUrls) -> Wire:
        """Return the JSON object of the API."""
        return {
            "account_sid": account_sid,
            **urls.service_wire(),
            "conversation_sid": self.conversation_sid,
            "sid": self.id,
            "identity": self.identity,
            "attributes": self.attributes,
            "messaging_binding": self.binding.to_wire() if self.binding else None,
            "role_sid": self.role_sid,
            "date_created": format_time(self.created_at, 0),
            "date_updated": format_time(self.updated_at, 0),
            "url": f"{urls.conversation(self.conversation_sid)}/Participants/{self.id}",
            "last_read_message_index": self.last_read_message_index,
            "last_read_timestamp": self.last_read_timestamp,
        }


@dataclass(slots=True)
class ClassicConversationRecord:
    """A classic conversation; its timers (µs) count from `timers_started_at`, `written` counts all its messages."""

    id: str
    moment: int
    created_at: int
    updated_at: int
    account_sid: str
    service_sid: str
    messaging_service_sid: str
    timers_started_at: int
    friendly_name: str | None = None
    unique_name: str | None = None
    attributes: str = "{}"
    state: str = "active"
    inactive_after: int | None = None
    closed_after: int | None = None
    email: Wire | None = None
    written: int = 0
    messages: Timeline[ClassicMessageRecord] = field(default_factory=Timeline)
    members: Timeline[ClassicMember] = field(default_factory=Timeline)
    webhooks: Timeline[ScopedWebhookRecord] = field(default_factory=Timeline)
    timer_at: int | None = None

    @property
    def is_closed(self) -> bool:
        """Whether the conversation is closed, which is final."""
        return self.state == "closed"

    @property
    def inactive_at(self) -> int | None:
        """The time (µs) at which it becomes inactive without traffic."""
        return (
            None
            if self.inactive_after is None or self.state != "active"
            else self.timers_started_at + self.inactive_after
        )

    @property
    def closed_at(self) -> int | None:
        """The time (µs) at which it closes without traffic."""
        return None if self.closed_after is None or self.is_closed else self.timers_started_at + self.closed_after

    def timers(self) -> Wire:
        """Return the running timers in wire form."""
        dates = {"date_inactive": self.inactive_at, "date_closed": self.closed_at}
        return {name: format_time(at, 0) for name, at in dates.items() if at is not None}

    def to_wire(self, urls: ResourceUrls) -> Wire:
        """Return the JSON object of the API."""
        url = urls.conversation(self.id)
        return {
            "account_sid": self.account_sid,
            "chat_service_sid": self.service_sid,
            "messaging_service_sid": self.messaging_service_sid,
            "sid": self.id,
            "friendly_name": self.friendly_name,
            "unique_name": self.unique_name,
            "attributes": self.attributes,
            "state": self.state,
            "date_created": format_time(self.created_at, 0),
            "date_updated": format_time(self.updated_at, 0),
            "timers": self.timers(),
            "bindings": {"email": self.email} if self.email else {},
            "url": url,
            "links": {name.lower(): f"{url}/{name}" for name in ("Participants", "Messages", "Webhooks")},
        }


@dataclass(slots=True)
class ScopedWebhookRecord:
    """A webhook of one conversation: the `target` says which of the other fields it has."""

    id: str
    moment: int
    conversation_sid: str
    target: str
    created_at: int
    updated_at: int
    url: str | None = None
    method: str = "post"
    filters: tuple[str, ...] = ()
    triggers: tuple[str, ...] = ()
    flow_sid: str | None = None
    replay_after: int | None = None

    def takes(self, event_type: str, fields: Mapping[str, str | None]) -> bool:
        """Tell whether an event is sent: one of the filters or, for a trigger, a message with one of its words."""
        if self.target == "trigger":
            body = (fields.get("Body") or "").casefold()
            has_word = any(word.casefold() in body for word in self.triggers)
            return has_word and event_type in (self.filters or ("onMessageAdded",))
        return self.target == "webhook" and event_type in self.filters

    def to_wire(self, account_sid: str, urls: ResourceUrls) -> Wire:
        """Return the JSON object of the API."""
        configuration: Wire = {"flow_sid": self.flow_sid}
        if self.target != "studio":
            configuration = {"url": self.url, "method": self.method, "filters": list(self.filters)}
        if self.target == "trigger":
            configuration["triggers"] = list(self.triggers)
        if self.replay_after is not None:
            configuration["replay_after"] = self.replay_after
        return {
            "sid": self.id,
            "account_sid": account_sid,
            **urls.service_wire(),
            "conversation_sid": self.conversation_sid,
            "target": self.target,
            "url": f"{urls.conversation(self.conversation_sid)}/Webhooks/{self.id}",
            "configuration": configuration,
            "date_created": format_time(self.created_at, 0),
            "date_updated": format_time(self.updated_at, 0),
        }


def membership_wire(
    conversation: ClassicConversationRecord, member: ClassicMember, user_sid: str | None, urls: ResourceUrls
) -> Wire:
    """Return one item of ParticipantConversations."""
    url = urls.conversation(conversation.id)
    return {
        "account_sid": conversation.account_sid,
        "chat_service_sid": conversation.service_sid,
        "participant_sid": member.id,
        "participant_user_sid": user_sid,
        "participant_identity": member.identity,
        "participant_messaging_binding": member.binding.to_lookup_wire() if member.binding else None,
        "conversation_sid": conversation.id,
        "conversation_unique_name": conversation.unique_name,
        "conversation_friendly_name": conversation.friendly_name,
        "conversation_attributes": conversation.attributes,
        "conversation_date_created": format_time(conversation.created_at, 0),
        "conversation_date_updated": format_time(conversation.updated_at, 0),
        "conversation_created_by": "system",
        "conversation_state": conversation.state,
        "conversation_timers": conversation.timers(),
        "links": {"participant": f"{url}/Participants/{member.id}", "conversation": url},
    }


class MediaRecord(NamedTuple):
    """A file of a message. The sandbox has no files, so that its size and type are made up."""

    sid: str

    def to_wire(self) -> Wire:
        """Return the JSON object in a message."""
        return {"sid": self.sid, "size": 0, "content_type": "application/octet-stream", "filename": None}

    def to_field(self) -> Wire:
        """Return the JSON object in the parameter `Media` of webhooks."""
        return {"MediaSid": self.sid, "Size": 0, "ContentType": "application/octet-stream", "Filename": None}


@dataclass(slots=True)
class ReceiptRecord:
    """The delivery of a message to one member who is no chat user; `error_code` is 0 without an error."""

    id: str
    moment: int
    message: ClassicMessageRecord
    participant_sid: str
    channel_message_sid: str
    status: str
    created_at: int
    updated_at: int
    error_code: int = 0

    def to_wire(self, account_sid: str, urls: ResourceUrls) -> Wire:
        """Return the JSON object of the API."""
        return {
            "account_sid": account_sid,
            **urls.service_wire(),
            "conversation_sid": self.message.conversation_sid,
            "message_sid": self.message.id,
            "sid": self.id,
            "channel_message_sid": self.channel_message_sid,
            "participant_sid": self.participant_sid,
            "status": self.status,
            "error_code": self.error_code,
            "date_created": format_time(self.created_at, 0),
            "date_updated": format_time(self.updated_at, 0),
            "url": f"{urls.message(self.message)}/Receipts/{self.id}",
        }


@dataclass(slots=True)
class ClassicMessageRecord:
    """A message; `index` counts from 0 in its conversation. With a `content_sid` it has neither a body nor media."""

    id: str
    moment: int
    conversation_sid: str
    participant_sid: str | None
    author: str
    body: str | None
    attributes: str
    index: int
    created_at: int
    updated_at: int
    media: list[MediaRecord] = field(default_factory=list)
    content_sid: str | None = None
    receipts: Timeline[ReceiptRecord] = field(default_factory=Timeline)

    def to_wire(self, account_sid: str, urls: ResourceUrls) -> Wire:
        """Return the JSON object of the API."""
        url = urls.message(self)
        return {
            "account_sid": account_sid,
            **urls.service_wire(),
            "conversation_sid": self.conversation_sid,
            "sid": self.id,
            "index": self.index,
            "author": self.author,
            "body": self.body,
            "media": [each.to_wire() for each in self.media] or None,
            "participant_sid": self.participant_sid,
            "attributes": self.attributes,
            "delivery": self._delivery(),
            "content_sid": self.content_sid,
            "date_created": format_time(self.created_at, 0),
            "date_updated": format_time(self.updated_at, 0),
            "url": url,
            "links": {"delivery_receipts": f"{url}/Receipts"},
        }

    def _delivery(self) -> Wire | None:
        """Return the summary of the receipts: how many there are, and whether all, some or none reached a status."""
        if not len(self.receipts):
            return None
        total = len(self.receipts)
        counts = {status: sum(each.status in reached for each in self.receipts) for status, reached in _REACHED.items()}
        return {"total": total} | {
            status: "none" if not count else "all" if count == total else "some" for status, count in counts.items()
        }
