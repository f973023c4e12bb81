"""The values that the ledger works on: the committed marker of a participant, and a new fact about one.

The fields of a conversation's hash:

    rev                                       revision: the number of commits
    format                                    version of the format (core.formats)
    status version configuration_id classic_sid   the conversation
    target reason                             the target that holds it, and the rule that decided first
    epoch holding                             how often its holder changed, and a Holding (core.routing); missing while
                                              it has had one holder and no request
    burst turn                                where the rule has a burst: its times, and what was said since the last
                                              turn (core.ledger.turns)
    told                                      newest time at which a status callback showed it as open, in µs
    day                                       day of the last event; keeps the hash alive
    r:<CHANNEL>                               our side's address on a channel
    p:<participant id>                        a Marker (core.ledger.packing)
    q:<participant id>                        the rest of a Marker that is too long for one field
    a:<CHANNEL>|<canonical address>           the participant announced there, also of its aliases: one address, one
                                              participant
    m:<CHANNEL>|<canonical address>           a group member that was looked up and is not announced
    c:<CallSid>                               a call that is over
    s:<subject>                               a subject whose messages are heard here
"""

from __future__ import annotations

from enum import StrEnum
from hashlib import sha256
from typing import TYPE_CHECKING, Final, NamedTuple

from router.core.events import STRANGER, Person
from router.core.formats import FORMAT
from router.core.values import Value

if TYPE_CHECKING:
    from collections.abc import Iterable

    from router.core.addresses import Address
    from router.core.events import Cause, Version
    from router.core.policy import Decision
    from router.core.resources import Participant

#: Begins the names of the fields that name a subject.
SUBJECT: Final = "s:"
#: Begins the names of the fields that hold a Marker.
PARTICIPANT: Final = "p:"
_REST: Final = "q:"
_ADDRESS: Final = "a:"
_RECIPIENT: Final = "r:"
#: Holds who has the floor (core.routing.holding.Holding), once there was a request; `epoch` is beside it.
HOLDING_FIELD: Final = "holding"
#: The burst of the rule that decided (core.policy.Burst), if it has one.
BURST_FIELD: Final = "burst"
#: What was said since the last turn; the script of commits appends to it.
TURN_FIELD: Final = "turn"
#: Fields that every read of a ledger needs.
COMMON_FIELDS: Final = (
    "rev",
    FORMAT,
    "status",
    "version",
    "configuration_id",
    "classic_sid",
    "target",
    "reason",
    "epoch",
    "told",
    "day",
)


def participant_field(participant_id: str) -> str:
    """Return the hash field of a participant's marker."""
    return f"{PARTICIPANT}{participant_id}"


def rest_field(participant_id: str) -> str:
    """Return the hash field of the rest of a participant's marker."""
    return f"{_REST}{participant_id}"


def address_field(key: str) -> str:
    """Return the hash field of the participant announced at an address (`CHANNEL|canonical`)."""
    return f"{_ADDRESS}{key}"


def member_field(key: str) -> str:
    """Return the hash field saying that nobody is announced at a group member's address, after a lookup."""
    return f"m:{key}"


def recipient_field(channel: str) -> str:
    """Return the hash field of our side's address on a channel."""
    return f"{_RECIPIENT}{channel}"


def call_field(call_sid: str) -> str:
    """Return the hash field saying that a call is over."""
    return f"c:{call_sid}"


def subject_field(subject: str) -> str:
    """Return the hash field saying that messages of an inbound subject are heard in this conversation."""
    return f"{SUBJECT}{subject}"


class Result(StrEnum):
    """The effect of a fact on the ledger; logs and metrics use these words."""

    JOINED = "joined"
    UPDATED = "updated"
    LEFT = "left"
    CLOSED = "closed"
    NOTED = "noted"  # recorded, nothing to publish
    KNOWN = "known"  # nothing new: a duplicate, or a customer who is already announced
    STALE = "stale"  # older than the committed state: changes nothing
    IGNORED = "ignored"  # the policy gives no target
    GONE = "gone"  # the conversation is closed: find the one that follows it


class Outcome(Value):
    """The result of one fact, and its reason for the log line."""

    result: Result
    reason: str


class Marker(NamedTuple):
    """The committed state of one participant. `target` is None until it has been announced.

    `calls` are the CallSids of its present or last stay that are not over; `has_hung_up` if it left because they were
    over. `aliases` are further addresses of the same customer, which messages told: a WhatsApp user's id beside the
    phone.
    """

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
    aliases: tuple[str, ...] = ()

    @property
    def is_announced(self) -> bool:
        """Whether it is present and its stay has been published."""
        return self.is_present and self.target is not None

    @property
    def is_erased(self) -> bool:
        """Whether it is announced and its customer was erased: nothing but an event of its own shows it again."""
        return self.is_announced and not self.digest and not self.addresses


class ParticipantFact(Value):
    """A participant as a callback, a list or the response to its creation shows it.

    `decision` is the policy's. `address` is the customer's address that the event is about (None: the first one),
    `recipient` our side, if known. `is_ours` if the router or its consumers added it. `call_sid` is the call that the
    event is about; without it the participant's addresses name its calls. `opt_out` is that of the message that is the
    event (see Content), `person` who wrote it.
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
    opt_out: str | None = None
    person: Person = STRANGER


def digest_of(participant: Participant) -> str:
    """Return a short digest of the facts that `participant.updated` reports: type, name, profile and addresses."""
    addresses = sorted(f"{one.channel}\0{one.address}" for one in participant.addresses)
    parts = (participant.type or "", participant.name or "", participant.profile_id or "", *addresses)
    return sha256("\0\0".join(parts).encode("utf-8", "surrogatepass")).hexdigest()[:16]


def keys_of(fact: ParticipantFact) -> tuple[str, ...]:
    """Return the distinct keys of a participant's addresses; without any, that of the event's address."""
    own = tuple(dict.fromkeys(one.key for one in fact.participant.addresses))
    return own or ((fact.address.key,) if fact.address else ())


def fields_for(
    participant_ids: Iterable[str], addresses: Iterable[Address], call_sids: Iterable[str] = ()
) -> list[str]:
    """Return the hash fields that a ledger needs for facts about these participants, addresses and calls."""
    ids = list(participant_ids)
    fields = [*COMMON_FIELDS, *map(participant_field, ids), *map(rest_field, ids)]
    for address in addresses:
        fields += (f"{_ADDRESS}{address.key}", f"{_RECIPIENT}{address.channel}")
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
    aliases: tuple[str, ...] = (),
) -> Marker:
    """Return the marker of a present participant, as `fact` shows it."""
    return Marker(
        version=fact.version,
        digest=digest_of(participant),
        type=participant.type or "",
        is_ours=fact.is_ours or was_ours,
        stay=stay,
        target=target,
        addresses=keys_of(fact),
        calls=calls,
        aliases=aliases,
    )


class Hearing(StrEnum):
    """The value of a claim: how certain it is that a communication belongs to the conversation it was published in."""

    ON_TRUST = "1"  # the conversation had been open shortly before; earlier versions wrote this for all
    SHARED = "3"  # no claim of a communication: of a name that several share (written by the script)
    CERTAIN = "2"  # the API said so: a callback about the communication, or an answer later than its receipt


class Claim(Value):
    """The names of a communication: its entry is published if none was claimed before; `life` is in seconds.

    Names that are `shared` are of several communications of its source. Each of those is published, unless another
    source has claimed the name before: that was a report of one of them.

    `is_certain` if the API says that the communication belongs to this conversation, by a callback about it or by an
    answer later than its receipt. One that was published on trust may turn out to be later than the closing.
    """

    names: tuple[str, ...]
    life: int
    is_certain: bool = True
    shared: tuple[str, ...] = ()

    def also(self, other: Claim) -> Claim:
        """Return one claim to the names of both, `other`'s first."""
        names = tuple(dict.fromkeys(other.names + self.names))
        return Claim(
            names, max(self.life, other.life), self.is_certain or other.is_certain, self.shared or other.shared
        )
