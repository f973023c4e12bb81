"""The facts that say what an entry is about, of any of our streams: for lists, filters and the story.

An entry may come from anybody with access to Redis, so each fact is read on its own, and is empty where there is none.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import orjson

from router.core.addresses import mask
from router.core.printable import masked_key
from router.core.stories import event_id

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

#: How the ids of conversations begin, of v2 and classic ones.
_CONVERSATIONS: Final = ("conv_conversation_", "CH")


@dataclass(frozen=True, slots=True)
class EntryFacts:
    """The facts of one entry. `kind` is the source of a webhook, or the type of an entry or command.

    `key` is the idempotency key of the event that caused it, or the id of a command; `resource_id` a message or call;
    `document_id` the id of the CloudEvent, by which consumers know what they had finished.
    """

    kind: str = ""
    key: str = ""
    event_id: str = ""
    account: str = ""
    channel: str = ""
    address: str = ""
    conversation: str = ""
    participant: str = ""
    resource_id: str = ""
    document_id: str = ""

    def to_json(self, *, unmasked: bool = False) -> dict[str, str]:
        """Return the facts by name, the address and a key that may hold one masked unless `unmasked`."""
        return {
            "kind": self.kind,
            "key": self.key if unmasked else masked_key(self.key),
            "event_id": self.event_id,
            "account": self.account,
            "channel": self.channel,
            "address": self.address if unmasked or not self.address else mask(self.address),
            "conversation": self.conversation,
            "participant": self.participant,
            "resource_id": self.resource_id,
            "document_id": self.document_id,
        }


def read_facts(fields: Mapping[bytes, bytes]) -> EntryFacts:
    """Return the facts of an entry of any stream; never raises."""
    for name, read in _READERS.items():
        if name in fields:
            return read(fields)
    return EntryFacts()


def _text(value: bytes) -> str:
    return value.decode("utf-8", "backslashreplace")


def _of_webhook(fields: Mapping[bytes, bytes]) -> EntryFacts:
    def text(name: bytes) -> str:
        return _text(fields.get(name, b""))

    key = text(b"key")
    channel, *addresses = text(b"subject").split("|")
    is_conversation = not addresses and channel.startswith(_CONVERSATIONS)
    return EntryFacts(
        kind=text(b"source"),
        key=key,
        event_id=event_id(key) if key else "",
        account=text(b"account"),
        channel=channel if addresses else "",
        address=addresses[0] if addresses else "",
        conversation=channel if is_conversation else "",
    )


def _of_entry(fields: Mapping[bytes, bytes]) -> EntryFacts:
    event = _document(fields.get(b"event", b""))
    data = _member(event, "data")
    cause, communication = _member(data, "cause"), _member(data, "communication")
    key = _word(cause, "idempotency_key")
    return EntryFacts(
        kind=_word(event, "type") or _text(fields.get(b"type", b"")),
        key=key,
        event_id=_word(cause, "event_id") or (event_id(key) if key else ""),
        account=_word(data, "account_id"),
        channel=_word(data, "channel"),
        address=_word(data, "address"),
        conversation=_word(_member(data, "conversation"), "id"),
        participant=_word(_member(data, "participant"), "id"),
        resource_id=_word(communication, "channel_id") or _word(cause, "resource_id"),
        document_id=_word(event, "id"),
    )


def _of_command(fields: Mapping[bytes, bytes]) -> EntryFacts:
    event = _document(fields.get(b"command", b""))
    data = _member(event, "data")
    return EntryFacts(
        kind=(_word(event, "type") or _text(fields.get(b"type", b""))).removeprefix("command."),
        key=_word(event, "id") or _text(fields.get(b"id", b"")),
        document_id=_word(event, "id"),
        account=_word(data, "account"),
        conversation=_word(data, "conversation"),
    )


#: A field that only entries of one kind of stream have, and the function that reads those.
_READERS: Final[dict[bytes, Callable[[Mapping[bytes, bytes]], EntryFacts]]] = {
    b"event": _of_entry,
    b"command": _of_command,
    b"source": _of_webhook,
    b"subject": _of_webhook,
    b"key": _of_webhook,
}


def _document(text: bytes) -> dict[str, Any]:
    try:
        found: Any = orjson.loads(text)
    except orjson.JSONDecodeError:
        return {}
    return found if isinstance(found, dict) else {}


def _member(value: dict[str, Any], name: str) -> dict[str, Any]:
    found = value.get(name)
    return found if isinstance(found, dict) else {}


def _word(value: dict[str, Any], name: str) -> str:
    found = value.get(name)
    return found if isinstance(found, str) else ""
