"""Every Redis key of the project is made here, and only here.

    <namespace>:{<partition>}:<kind>...

The braces are a Redis Cluster hash tag: all that one script touches lies in one partition, so in one slot. A
partition is chosen by the subject of an event (receiver) or the conversation (worker). `PERMANENT` names what has no
TTL; everything else expires. The quarantine has no partition, and all of its keys one tag: `{<namespace>:quarantine}`
is the slot of the key `<namespace>:quarantine` itself.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import StrEnum
from hashlib import sha256
from typing import Final
from zlib import crc32


class Target(StrEnum):
    """Who shall take a participant: each has a stream of its own."""

    AI_AGENT = "ai-agent"
    HUMAN_AGENT = "human-agent"


#: The consumer group of the worker on the inbound stream.
RESOLVER: Final = "resolver"

#: Kinds without a TTL, and what keeps each of them small.
PERMANENT: Final[dict[str, str]] = {
    "inbound": "the trimmer drops what every group has finished with, by age and by number",
    "participants": "the trimmer, likewise; a group that never reads is named",
    "dead-letters": "people replay or delete them, nothing else may; `check` and the metrics tell how many there are",
    "our-addresses": "the newest of an account, so many at most (streams.store)",
    "roster": "conversations that are open and that people shall take; what is forgotten of them is of kind `gone`",
}
_KIND: Final = re.compile(r"[^{}]+:\{[0-9]+\}:([a-z-]+)(?::|$)|\{?[^{}]+:(quarantine)(?:\}:.+)?$")


#: Characters of the longest key. Mailboxes and ids come from outside and have no end of their own.
MAX_KEY: Final = 512


def confirmation(key: str) -> str:
    """String: written before replicas are waited for, in the partition of `key`; expires within a minute."""
    return f"{key.partition('}')[0]}}}:confirmation"


@dataclass(frozen=True, slots=True)
class Keys:
    """The keys of one namespace. Partition numbers go from 0 to `partitions` - 1."""

    namespace: str = "router"
    partitions: int = 1

    def partition_of(self, subject: str) -> int:
        """Return the partition of a subject or conversation; equal for equal text, in every process and version."""
        return 0 if self.partitions == 1 else crc32(subject.encode("utf-8", "surrogatepass")) % self.partitions

    def _key(self, partition: int, *parts: str) -> str:
        key = f"{self.namespace}:{{{partition}}}:{':'.join(parts)}"
        return key if len(key) <= MAX_KEY else self._shortened(partition, *parts)

    def _shortened(self, partition: int, kind: str, *parts: str) -> str:
        """Return the key of what is too long for one: of the same kind, and named by a digest."""
        text = "\0".join(parts).encode("utf-8", "surrogatepass")
        return ":".join((self.namespace, f"{{{partition}}}", kind, f"~{sha256(text).hexdigest()}"))

    def inbound(self, partition: int) -> str:
        """Stream: what the receiver took in."""
        return self._key(partition, "inbound")

    def participants(self, partition: int, target: str) -> str:
        """Stream: what the consumers of `target` shall take."""
        return self._key(partition, "participants", target)

    def dead_letters(self, partition: int) -> str:
        """Stream: entries given up, with where they came from and why."""
        return self._key(partition, "dead-letters")

    def seen(self, partition: int, key: str) -> str:
        """String: the claim of an idempotency key; expires after the source's longest redelivery."""
        return self._key(partition, "seen", key)

    def latest(self, partition: int, account_id: str, subject: str) -> str:
        """String: the last inbound entry of an account's subject, which the next one names; expires a day after it."""
        return self._key(partition, "latest", account_id, subject)

    def conversation(self, account_id: str, conversation_id: str) -> str:
        """Hash: what is committed of a conversation (core.ledger); expires after ROUTER_MARKER_TTL of silence.

        A month after its closing it expires in any case.
        """
        return self._key(self.partition_of(conversation_id), "conversation", account_id, conversation_id)

    def communication(self, account_id: str, conversation_id: str, name: str) -> str:
        """String: a communication of a conversation has been published; expires after its longest redelivery."""
        return self._key(self.partition_of(conversation_id), "communication", account_id, conversation_id, name)

    def route(self, account_id: str, pair: str) -> str:
        """String: the conversation of a pair of addresses; a cache, may vanish at any time."""
        return self._key(self.partition_of(pair), "route", account_id, pair)

    def creating(self, account_id: str, address_key: str) -> str:
        """String: somebody is creating a participant at this address just now; expires within a minute."""
        return self._key(self.partition_of(address_key), "creating", account_id, address_key)

    def call(self, account_id: str, call_sid: str) -> str:
        """Hash: the conversation and participant of a call, and whether it is over; a cache, expires."""
        return self._key(self.partition_of(call_sid), "call", account_id, call_sid)

    def own_addresses(self, account_id: str) -> str:
        """Sorted set: addresses that are our side of conversations, by when they last came (ms); bounded."""
        return self._key(0, "our-addresses", account_id)

    def callbacks(self, account_id: str) -> str:
        """String: when the last status callback of the account came, in µs; expires."""
        return self._key(0, "callbacks", account_id)

    def active(self, partition: int) -> str:
        """Sorted set: conversations by their last event (ms), for the reconciler; bounded, expires."""
        return self._key(partition, "active")

    def sweeps(self, partition: int) -> str:
        """Sorted set: the same conversations by when the reconciler shall look at them next (ms); expires."""
        return self._key(partition, "sweeps")

    def pace(self) -> str:
        """String: when the reconcilers of all workers may make their next API call (ms); expires."""
        return self._key(0, "pace")

    def heartbeat(self, partition: int, group: str, consumer: str) -> str:
        """String: there while the consumer lives; expires within seconds of its death."""
        return self._key(partition, "heartbeat", group, consumer)

    def deaths(self, partition: int, group: str) -> str:
        """Hash: the entries that processes of a group may have died of; expires a day after the last death."""
        return self._key(partition, "deaths", group)

    def effect(self, partition: int, group: str, entry_id: str) -> str:
        """Hash: how far a handler got with an entry, so that its effect happens once; expires."""
        return self._key(partition, "effect", group, entry_id)

    def roster(self, kind: str) -> str:
        """Hash or sorted set: human agents' assignments and the conversations that wait for one; in partition 0."""
        return self._key(0, "roster", kind)

    def gone(self, name: str) -> str:
        """String: a conversation has closed, or a customer has left one, for the roster; in partition 0; expires."""
        return self._key(0, "gone", name)

    def quarantine(self) -> str:
        """Stream: webhooks refused at the door; expires after the last of them, as do the keys below."""
        return f"{self.namespace}:quarantine"

    def quarantine_order(self, reason: str) -> str:
        """List: the entries of one reason in the quarantine, oldest first, with their sizes."""
        return self._quarantined("order", reason)

    def quarantine_known(self) -> str:
        """Hash: the digest of each webhook in the quarantine, and its entry."""
        return self._quarantined("known")

    def quarantine_repeats(self) -> str:
        """Hash: how often a webhook in the quarantine came again, by entry."""
        return self._quarantined("repeats")

    def quarantine_bytes(self) -> str:
        """Hash: how many bytes each reason has in the quarantine."""
        return self._quarantined("bytes")

    def _quarantined(self, *parts: str) -> str:
        return ":".join((f"{{{self.quarantine()}}}", *parts))


def kind_of(key: str) -> str:
    """Return the kind of a key that is made here, empty for any other."""
    match = _KIND.match(key)
    return (match[1] or match[2]) if match else ""
