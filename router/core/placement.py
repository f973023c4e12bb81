"""The partition of every kind of key under another number of partitions, for `repartition`.

A new kind of key needs a row in PLACES: a test compares them with core.keys.
"""

from __future__ import annotations

from enum import Enum
from typing import TYPE_CHECKING, Final
from zlib import crc32

if TYPE_CHECKING:
    from router.core.keys import Keys


class Place(Enum):
    """How the partition of a key follows."""

    #: Partition 0, whatever the number of partitions.
    FIRST = "first"
    #: By the conversation, subject, pair, address or call that its name ends with, after the account.
    OWNER = "owner"
    #: By a conversation in its name, before other words.
    CONVERSATION = "conversation"
    #: By the checksum in its value.
    CLAIM = "claim"
    #: With the entry that it is about.
    EFFECT = "effect"
    #: A stream or a set of several owners: divided entry by entry.
    DIVIDED = "divided"
    #: About one partition's streams or processes: made anew where it is needed.
    LOCAL = "local"


PLACES: Final[dict[str, Place]] = {
    "partitions": Place.FIRST,
    "our-addresses": Place.FIRST,
    "callbacks": Place.FIRST,
    "pace": Place.FIRST,
    "desk": Place.FIRST,
    "audit": Place.FIRST,
    "console-secret": Place.FIRST,
    "console-session": Place.FIRST,
    "console-link": Place.FIRST,
    "console-guesses": Place.FIRST,
    "away": Place.FIRST,
    "read-marks": Place.FIRST,
    "process": Place.FIRST,
    "processes": Place.FIRST,
    "job": Place.FIRST,
    "latest": Place.OWNER,
    "conversation": Place.OWNER,
    "journal": Place.OWNER,
    "route": Place.OWNER,
    "person": Place.OWNER,
    "creating": Place.OWNER,
    "call": Place.OWNER,
    "communication": Place.CONVERSATION,
    "seen": Place.CLAIM,
    "effect": Place.EFFECT,
    "inbound": Place.DIVIDED,
    "participants": Place.DIVIDED,
    "dead-letters": Place.DIVIDED,
    "active": Place.DIVIDED,
    "sweeps": Place.DIVIDED,
    "timers": Place.DIVIDED,
    "commands": Place.DIVIDED,
    "shared": Place.LOCAL,
    "shared-inbound": Place.LOCAL,
    "shared-dead": Place.LOCAL,
    "parked": Place.LOCAL,
    "progress": Place.LOCAL,
    "trim-cursor": Place.LOCAL,
    "heartbeat": Place.LOCAL,
    "deaths": Place.LOCAL,
    "fence": Place.LOCAL,
    "moving": Place.LOCAL,
    "confirmation": Place.LOCAL,
    "story": Place.LOCAL,
    "refusals": Place.LOCAL,
}

#: Kinds of keys that earlier releases wrote and this one does not read: whatever is left of them stays where it is.
FORMER: Final = frozenset({"roster", "gone"})


def partitions_of(kind: str, rest: bytes, keys: Keys, value: bytes | None = None) -> set[int] | None:
    """Return the partitions in which a key of OWNER, CONVERSATION or CLAIM belongs; None: it belongs where it is.

    `rest` is what follows the kind in its name, `value` that of a claim. It is one partition, except for a key whose
    name does not say it (a name that was too long, or a claim of an earlier version): that one belongs everywhere, so
    that it is found by whoever looks for it.
    """
    place = PLACES[kind]
    if place is Place.CLAIM:
        _, _, number = (value or b"").rpartition(b" ")
        return {int(number) % keys.partitions} if b" " in (value or b"") and number.isdigit() else _all(keys)
    if place not in {Place.OWNER, Place.CONVERSATION}:
        return None
    if rest.startswith(b"~"):
        return _all(keys)
    name = rest.partition(b":")[2]
    if place is Place.OWNER:
        return {partition_of(name, keys)}
    # The conversation may contain a colon itself: then it is not clear where it ends.
    ends = [at for at, byte in enumerate(name) if byte == ord(":")]
    return {partition_of(name[:end], keys) for end in ends} or _all(keys)


def partition_of(owner: bytes, keys: Keys) -> int:
    """Return the partition of an owner as it is written in names and fields."""
    return crc32(owner) % keys.partitions


def _all(keys: Keys) -> set[int]:
    return set(range(keys.partitions))
