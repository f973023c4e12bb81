"""What is committed of one participant, and a fact about one: the values that the ledger works on.

Fields of a conversation's hash: `rev`; `status`, `version`, `configuration_id`, `classic_sid` (the conversation);
`target`, `reason` (its holder, decided once and held until it closes); `told` (last status callback); `day` (keeps the
hash alive); `r:<CHANNEL>` (our side's address on a channel); `p:<participant id>` (a Marker);
`a:<CHANNEL>|<canonical address>` (the participant announced there, so that one address has one participant);
`m:<CHANNEL>|<canonical address>` (a group member who was looked for and is not announced);
`c:<CallSid>` (a call that is over).
"""

from __future__ import annotations

from enum import StrEnum
from functools import lru_cache
from hashlib import sha256
from typing import TYPE_CHECKING, Final

from pydantic import BaseModel, ConfigDict

from router.core.events import Version
from router.core.values import value

if TYPE_CHECKING:
    from collections.abc import Iterable

    from router.core.addresses import Address
    from router.core.events import Cause
    from router.core.policy import Decision
    from router.core.resources import Participant

#: Fields that every reading of a ledger needs.
COMMON_FIELDS: Final = (
    "rev",
    "status",
    "version",
    "configuration_id",
    "classic_sid",
    "target",
    "reason",
    "told",
    "day",
)


def participant_field(participant_id: str) -> str:
    """Return the hash field that holds a participant's marker."""
    return f"p:{participant_id}"


def address_field(key: str) -> str:
    """Return the hash field that names the participant announced at an address (`CHANNEL|canonical`)."""
    return f"a:{key}"


def member_field(key: str) -> str:
    """Return the hash field that says of a group member's address that nobody is announced there, after a look."""
    return f"m:{key}"


def recipient_field(channel: str) -> str:
    """Return the hash field that holds our side's address on a channel."""
    return f"r:{channel}"


def call_field(call_sid: str) -> str:
    """Return the hash field that says that a call is over."""
    return f"c:{call_sid}"


class Result(StrEnum):
    """What a fact did to the ledger; the word that logs and metrics use."""

    JOINED = "joined"
    UPDATED = "updated"
    LEFT = "left"
    CLOSED = "closed"
    NOTED = "noted"  # recorded, nothing to publish
    KNOWN = "known"  # nothing new: a duplicate, or a customer who is already announced
    STALE = "stale"  # older than what is committed: changes nothing
    IGNORED = "ignored"  # the policy gives no target
    GONE = "gone"  # the conversation is closed: look for the one that follows it


@value
class Outcome:
    """The result of one fact and the reason for it, for the log line."""

    result: Result
    reason: str


class Marker(BaseModel):
    """What is committed of one participant. `target` is None while it has not been announced.

    `calls` are the calls (CallSids) of its present stay; `has_hung_up` if it left because they were over.
    """

    model_config = ConfigDict(frozen=True, extra="ignore")

    version: Version
    digest: str = ""
    type: str = ""
    is_present: bool = True
    is_ours: bool = False
    stay: int = 1
    target: str | None = None
    addresses: tuple[str, ...] = ()
    calls: tuple[str, ...] = ()
    has_hung_up: bool = False

    @property
    def is_announced(self) -> bool:
        """Tell whether it is there and its stay has been published."""
        return self.is_present and self.target is not None


@lru_cache(maxsize=1024)  # a customer writes more than once, and a marker changes seldom
def read_marker(text: str) -> Marker:
    """Return a marker from its field."""
    return Marker.model_validate_json(text)


@value
class ParticipantFact:
    """A participant as it was seen: in a callback, in a list or in the answer to its creation.

    `decision` is the policy's for it; `address` is the customer's address that the event is about (None: its first);
    `recipient` our side where known; `is_ours` if the router or its consumers put it there; `call_sid` is the call that
    the event is about, else the participant's addresses name its calls.
    """

    participant: Participant
    version: Version
    cause: Cause
    decision: Decision
    origin: str = "announced"
    address: Address | None = None
    recipient: Address | None = None
    is_ours: bool = False
    call_sid: str | None = None


def digest_of(participant: Participant) -> str:
    """Return a short digest of what `participant.updated` is about: type, name, profile and addresses."""
    addresses = sorted(f"{one.channel}\0{one.address}" for one in participant.addresses)
    parts = (participant.type or "", participant.name or "", participant.profile_id or "", *addresses)
    return sha256("\0\0".join(parts).encode("utf-8", "surrogatepass")).hexdigest()[:16]


def keys_of(fact: ParticipantFact) -> tuple[str, ...]:
    """Return the keys of a participant's addresses, once each; one that came without any is at the event's address."""
    own = tuple(dict.fromkeys(one.key for one in fact.participant.addresses))
    return own or ((fact.address.key,) if fact.address else ())


def fields_for(
    participant_ids: Iterable[str], addresses: Iterable[Address], call_sids: Iterable[str] = ()
) -> list[str]:
    """Return the hash fields that a ledger needs to take facts about these participants, addresses and calls."""
    fields = [*COMMON_FIELDS, *map(participant_field, participant_ids)]
    for address in addresses:
        fields += (address_field(address.key), recipient_field(address.channel))
    fields += map(call_field, call_sids)
    return list(dict.fromkeys(fields))


def make_marker(
    participant: Participant,
    fact: ParticipantFact,
    *,
    stay: int,
    target: str | None,
    was_ours: bool,
    calls: tuple[str, ...] = (),
) -> Marker:
    """Return the marker of a participant that is present, as `fact` shows it."""
    return Marker(
        version=fact.version,
        digest=digest_of(participant),
        type=participant.type or "",
        is_ours=fact.is_ours or was_ours,
        stay=stay,
        target=target,
        addresses=keys_of(fact),
        calls=calls,
    )


@value
class Claim:
    """Names of a communication: its entry is published if none of them was claimed before; `life` is in seconds."""

    names: tuple[str, ...]
    life: int

    def also(self, other: Claim) -> Claim:
        """Return the claim to both claims' names."""
        return Claim(tuple(dict.fromkeys(other.names + self.names)), max(self.life, other.life))
