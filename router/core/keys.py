"""Every Redis key of the project is made here, and only here.

    <namespace>:{<partition>}:<kind>...

The braces are a Redis Cluster hash tag: everything that one script touches is in one partition and so in one slot. The
partition follows from the subject of an event (receiver) or from the conversation (worker). `PERMANENT` lists the kinds
without a TTL; all others expire. The quarantine has no partition: the tag of its keys, `{<namespace>:quarantine}`, is
the slot of the key `<namespace>:quarantine` itself.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from hashlib import sha256
from typing import Final
from zlib import crc32


class Target(StrEnum):
    """The consumer that takes a participant; each target has its own stream."""

    AI_AGENT = "ai-agent"
    HUMAN_AGENT = "human-agent"


#: The worker's consumer group on the inbound stream.
RESOLVER: Final = "resolver"
#: The worker's consumer group on the commands streams.
COMMANDER: Final = "commander"
#: The groups of the processes that ship with the project.
OWN_GROUPS: Final[frozenset[str]] = frozenset({RESOLVER, COMMANDER, *Target})

#: Kinds without a TTL, and what bounds each of them.
PERMANENT: Final[dict[str, str]] = {
    "inbound": "the trimmer removes entries that every group has finished, by age and by number",
    "participants": "the trimmer, likewise; it reports a group that never reads",
    "dead-letters": "only people replay or delete them; `check` and the metrics show the number",
    "parked": "as its stream: each parked entry is in it (streams.store.parking)",
    "partitions": "one per namespace: the number of partitions (streams.store.partitions)",
    "fence": "one per partition that there is or was: which processes may write there",
    "moving": "only during a repartition, which ends by deleting them",
    "our-addresses": "a maximum per account, the newest stay (streams.store)",
    "shared": "the trimmer removes a body once no entry and no dead letter refers to it",
    "shared-inbound": "the trimmer, likewise",
    "shared-dead": "the trimmer, likewise",
    "desk": "people who are present, and open conversations that one has, is asked about or is awaited for",
    "timers": "conversations with an open request, offer or turn; the worker that settles one removes it",
    "commands": "the trimmer, as of the other streams",
    "audit": "a maximum number of entries, the newest stay (streams.store.audit)",
    "console-secret": "one per namespace: it signs the cookies of the console (streams.store.sign_ins)",
}

#: Length of the longest key. Mailboxes and ids come from outside and may be of any length.
MAX_KEY: Final = 512


def confirmation(key: str) -> str:
    """String: written before waiting for replicas, in the partition of `key`; expires within a minute."""
    return f"{key.partition('}')[0]}}}:confirmation"


def checksum(subject: str) -> int:
    """Return the number from which the partition of a subject follows, whatever the number of partitions."""
    return crc32(subject.encode("utf-8", "surrogatepass"))


def progress(stream: str, group: str) -> str:
    """Hash: how far a group of ours has come in a stream, beside the stream; expires a year after its last consumer."""
    partition, _, name = stream.partition("}:")
    return f"{partition}}}:progress:{name}:{group}"


def parked_order(stream: str, group: str) -> str:
    """Sorted set: the entries of a stream that a group has parked, by time (streams.store.parking).

    Of a stream that is not one of ours nothing is parked.
    """
    namespace, is_ours, _ = stream.partition(":{")
    return Keys(namespace).parked(stream, group, "order") if is_ours else f"{stream}:parked:{group}:order"


@dataclass(frozen=True, slots=True)
class Keys:
    """The keys of one namespace. Partition numbers go from 0 to `partitions` - 1."""

    namespace: str = "router"
    partitions: int = 1

    def partition_of(self, subject: str) -> int:
        """Return the partition of a subject or conversation; the same in every process and version."""
        return 0 if self.partitions == 1 else checksum(subject) % self.partitions

    def _key(self, partition: int, *parts: str) -> str:
        key = f"{self.namespace}:{{{partition}}}:{':'.join(parts)}"
        return key if len(key) <= MAX_KEY else self._shortened(partition, *parts)

    def _shortened(self, partition: int, kind: str, *parts: str) -> str:
        """Return the key for names that are too long: of the same kind, with a digest in their place."""
        text = "\0".join(parts).encode("utf-8", "surrogatepass")
        return ":".join((self.namespace, f"{{{partition}}}", kind, f"~{sha256(text).hexdigest()}"))

    def layout(self) -> str:
        """String: the number of partitions, and the state of a repartition (streams.store.partitions)."""
        return self._key(0, "partitions")

    def fence(self, partition: int) -> str:
        """String: the number of partitions with which processes may write to this one; scripts compare it."""
        return self._key(partition, "fence")

    def probe(self, partition: int) -> str:
        """Never exists: a write to it that makes no key shows whether Redis takes writes."""
        return self._key(partition, "probe")

    def moving(self, partition: int, name: str) -> str:
        """Stream or sorted set: a divided one that `repartition` is going to put in its place, or deletes."""
        return self._key(partition, "moving", name)

    def inbound(self, partition: int) -> str:
        """Stream: the webhooks that the receiver accepted."""
        return self._key(partition, "inbound")

    def participants(self, partition: int, target: str) -> str:
        """Stream: the entries for the consumers of `target`."""
        return self._key(partition, "participants", target)

    def dead_letters(self, partition: int) -> str:
        """Stream: entries given up, with their origin and the reason."""
        return self._key(partition, "dead-letters")

    def shared(self, partition: int) -> str:
        """Hash: bodies that several inbound entries share, by their names (streams.store.shared_bodies)."""
        return self._key(partition, "shared")

    def shared_inbound(self, partition: int) -> str:
        """Sorted set: the names of shared bodies by the last inbound entry that refers to each (ms)."""
        return self._key(partition, "shared-inbound")

    def shared_dead(self, partition: int) -> str:
        """Sorted set: the names of shared bodies by the last dead letter that refers to each (ms)."""
        return self._key(partition, "shared-dead")

    def seen(self, partition: int, key: str) -> str:
        """String: the claim of an idempotency key; expires after the source's longest redelivery."""
        return self._key(partition, "seen", key)

    def latest(self, partition: int, account_id: str, subject: str) -> str:
        """String: the last inbound entry of an account's subject; the next entry refers to it; expires after a day."""
        return self._key(partition, "latest", account_id, subject)

    def conversation(self, account_id: str, conversation_id: str) -> str:
        """Hash: the committed state of a conversation (core.ledger).

        Expires after ROUTER_MARKER_TTL without an event, and a month after the conversation has closed.
        """
        return self._key(self.partition_of(conversation_id), "conversation", account_id, conversation_id)

    def journal(self, account_id: str, conversation_id: str) -> str:
        """List: the decisions about who holds a conversation, oldest first; bounded, expires a month after the last."""
        return self._key(self.partition_of(conversation_id), "journal", account_id, conversation_id)

    def communication(self, account_id: str, conversation_id: str, name: str) -> str:
        """String: says that a communication has been published, and how certainly it belongs there (marker.Hearing).

        Expires after its longest redelivery.
        """
        return self._key(self.partition_of(conversation_id), "communication", account_id, conversation_id, name)

    def route(self, account_id: str, pair: str) -> str:
        """String: the conversation of a pair of addresses; a cache, may be lost at any time."""
        return self._key(self.partition_of(pair), "route", account_id, pair)

    def person(self, account_id: str, address_key: str) -> str:
        """String: the other addresses of the customer at an address; expires after ROUTER_MARKER_TTL."""
        return self._key(self.partition_of(address_key), "person", account_id, address_key)

    def creating(self, account_id: str, address_key: str) -> str:
        """String: a process is creating a participant at this address now; expires within a minute."""
        return self._key(self.partition_of(address_key), "creating", account_id, address_key)

    def call(self, account_id: str, call_sid: str) -> str:
        """Hash: the conversation and participant of a call, and whether it is over; a cache, expires."""
        return self._key(self.partition_of(call_sid), "call", account_id, call_sid)

    def own_addresses(self, account_id: str) -> str:
        """Sorted set: addresses of our side of conversations, by when they were last seen (ms); bounded."""
        return self._key(0, "our-addresses", account_id)

    def callbacks(self, account_id: str) -> str:
        """String: the time of the account's last status callback, in µs; expires."""
        return self._key(0, "callbacks", account_id)

    def active(self, partition: int) -> str:
        """Sorted set: conversations by their last event (ms), for the reconciler; bounded, expires."""
        return self._key(partition, "active")

    def sweeps(self, partition: int) -> str:
        """Sorted set: the same conversations by the time of the reconciler's next check (ms); expires."""
        return self._key(partition, "sweeps")

    def timers(self, partition: int) -> str:
        """Sorted set: conversations whose floor must be looked at, by when (ms)."""
        return self._key(partition, "timers")

    def commands(self, partition: int) -> str:
        """Stream: commands of agents and programs (core.routing.commands)."""
        return self._key(partition, "commands")

    def pace(self) -> str:
        """String: the time of the next API call of all reconcilers together (ms); expires."""
        return self._key(0, "pace")

    def heartbeat(self, partition: int, group: str, consumer: str) -> str:
        """String: exists while the consumer is alive; expires within seconds of its death."""
        return self._key(partition, "heartbeat", group, consumer)

    def process(self, name: str) -> str:
        """String: what a process says of itself (process.announce); expires a day after its last words."""
        return self._key(0, "process", name)

    def processes(self) -> str:
        """Sorted set: the names of processes by when they were last announced (ms); expires a day after the last."""
        return self._key(0, "processes")

    def deaths(self, partition: int, group: str) -> str:
        """Hash: the entries that may have crashed processes of a group; expires a day after the last crash."""
        return self._key(partition, "deaths", group)

    def parked(self, stream: str, group: str, part: str) -> str:
        """Sorted sets and hashes: the entries of a stream that a group has parked (streams.store.parking)."""
        return self._beside(stream, "parked", group, part)

    def trim_cursor(self, stream: str) -> str:
        """String: the entry up to which finished entries between parked ones were removed; expires in a day."""
        return self._beside(stream, "trim-cursor")

    def _beside(self, stream: str, kind: str, *parts: str) -> str:
        """Return a key in the partition of a stream."""
        partition, _, name = stream.removeprefix(f"{self.namespace}:{{").partition("}:")
        return self._key(int(partition), kind, name, *parts)

    def effect(self, partition: int, group: str, entry_id: str) -> str:
        """Hash: a handler's progress with an entry, so that its effect happens once; expires."""
        return self._key(partition, "effect", group, entry_id)

    def desk(self, kind: str = "") -> str:
        """Begin the keys of the desk (streams.store.desk): hashes and sorted sets; in partition 0."""
        return self._key(0, "desk", kind)

    def audit(self) -> str:
        """Stream: the actions of people and programs through the console; bounded."""
        return self._key(0, "audit")

    def console_secret(self) -> str:
        """String: the key that signs the console's cookies and CSRF tokens, the same for all consoles."""
        return self._key(0, "console-secret")

    def console_session(self, session_id: str) -> str:
        """String: a session of the console; expires when it has not been used for ROUTER_CONSOLE_IDLE."""
        return self._key(0, "console-session", session_id)

    def console_link(self, digest: str) -> str:
        """String: the user and mark that a sign-in link, known by its digest, is for; removed by its use, expires."""
        return self._key(0, "console-link", digest)

    def console_guesses(self, digest: str) -> str:
        """Hash: failed attempts to sign in from an address or as a user, and the end of the pause; expires."""
        return self._key(0, "console-guesses", digest)

    def job(self, name: str) -> str:
        """Hash, string or sorted set: a bulk action of the console, or their list (streams.store.jobs); expires."""
        return self._key(0, "job", name)

    def stories(self, partition: int) -> str:
        """Begin the keys of stories (streams.store.stories): lists and a sorted set; all expire with their day."""
        return self._key(partition, "story", "")

    def refusals(self, partition: int) -> str:
        """Begin the same keys of what was refused at the door."""
        return self._key(partition, "refusals", "")

    def away(self, identity: str) -> str:
        """String: this person has said on the page that they are away; expires a month after that."""
        return self._key(0, "away", identity)

    def read_marks(self, identity: str) -> str:
        """Sorted set: the conversations that this person has read on the page, by when (µs); bounded, expires."""
        return self._key(0, "read-marks", identity)

    def quarantine(self) -> str:
        """Stream: webhooks that the receiver refused; expires after the last one, like the keys below."""
        return f"{self.namespace}:quarantine"

    def quarantine_order(self, name: str) -> str:
        """List: the quarantine's entries of one class (a reason, or its large ones), oldest first, with their sizes."""
        return self._quarantined("order", name)

    def quarantine_known(self) -> str:
        """Hash: the digest of each webhook in the quarantine, and its entry."""
        return self._quarantined("known")

    def quarantine_repeats(self) -> str:
        """Hash: how often each webhook in the quarantine was repeated, by entry."""
        return self._quarantined("repeats")

    def quarantine_bytes(self) -> str:
        """Hash: the bytes that each reason takes in the quarantine."""
        return self._quarantined("bytes")

    def quarantine_ours(self) -> str:
        """Sorted set: the webhooks of our own accounts that were refused lately, by entry, by when (ms); bounded."""
        return self._quarantined("ours")

    def _quarantined(self, *parts: str) -> str:
        return ":".join((f"{{{self.quarantine()}}}", *parts))
