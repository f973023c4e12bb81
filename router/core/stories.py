"""Stories: what became of one event, conversation or customer, stage by stage; and the lines in which Redis keeps them.

An event has one id in every log line, entry, dead letter and quarantine record: `event_id` of its idempotency key,
which includes account and source. Pure.

A line is a JSON array. Behind an empty object in it is what the script of stories needs to find the list of the line,
and what is to point to that; the script keeps what is before. A line holds no text and no address unmasked: a customer
is found by a keyed digest.

    event     "event", the values of SettledEvent, {}, account, digests of addresses; the name of a masked resource id
    a stage   "stage", the values of Noted, {}, account, digests, the name of a masked resource id, conversation,
              participant
"""

from __future__ import annotations

import hmac
import re
from enum import StrEnum
from hashlib import sha1, sha256
from typing import TYPE_CHECKING, Any, Final, NamedTuple, Protocol

import orjson

from router.core.addresses import Channel, canonicalize, parse_address, with_plus
from router.core.ids import SID_DIGITS
from router.core.timestamps import to_microseconds, to_text
from router.core.values import Value

if TYPE_CHECKING:
    from collections.abc import Callable

#: How the id of an event begins, and how many hexadecimal digits follow.
EVENT: Final = "ev_"
EVENT_DIGITS: Final = 24
#: Digits of a name: of a list, and of what points to it. 64 bits: among 10 million names a collision is a rarity.
NAME_DIGITS: Final = 16
_EVENT: Final = re.compile(f"{EVENT}[0-9a-f]{{{EVENT_DIGITS}}}")
_SID: Final = re.compile(f"[A-Z]{{2}}{SID_DIGITS}")
#: Characters of an address that count, and those of a subject in which one is looked for.
LONGEST_ADDRESS: Final = 256
LONGEST_SUBJECT: Final = 1024
#: Microseconds of the days by which lists are kept.
DAY: Final = 86_400_000_000
#: Days for which lines are kept at most, whatever a deployment has set or will set.
MOST_DAYS: Final = 90


class StageName(StrEnum):
    """The stages of a story."""

    RECEIVED = "received"
    REFUSED = "refused"
    DUPLICATE = "duplicate"
    SPOOLED = "spooled"
    RESOLVED = "resolved"
    WAITING = "waiting"
    PUBLISHED = "published"
    CONSUMED = "consumed"
    OFFERED = "offered"
    ACCEPTED = "accepted"
    SENT = "sent"
    DEAD = "dead"
    REPLAYED = "replayed"


class StoryStage(Value):
    """One stage: `at` in µs since 1970, the process that reached it, the id of what it is about, and the details.

    `id` is the event id where the stage is one of an event. `detail` is one line for people, with no address unmasked.
    """

    at: int
    stage: StageName
    process: str
    id: str
    detail: str

    def to_json(self) -> dict[str, str]:
        """Return the stage as it is shown to programs."""
        return {
            "at": to_text(self.at),
            "stage": str(self.stage),
            "process": self.process,
            "id": self.id,
            "detail": self.detail,
        }


class Story(Value):
    """The story of `subject`: an event id, a conversation, a participant or an address; stages in order of time."""

    found: bool
    subject: str
    stages: tuple[StoryStage, ...] = ()

    def to_json(self) -> dict[str, Any]:
        """Return the story as it is shown to programs."""
        return {"found": self.found, "subject": self.subject, "stages": [stage.to_json() for stage in self.stages]}


def event_id(key: str) -> str:
    """Return the id of the event with an idempotency key."""
    return EVENT + sha256(key.encode("utf-8", "surrogatepass")).hexdigest()[:EVENT_DIGITS]


def resource_of(key: str) -> str:
    """Return the SID of the message or call in an idempotency key, empty if it has none in its third place."""
    parts = key.split(":", 3)
    return parts[2] if len(parts) > 2 and _SID.fullmatch(parts[2]) else ""  # noqa: PLR2004 - account:source:SID


def is_event_id(text: str) -> bool:
    """Return whether a text has the form of an event's id."""
    return _EVENT.fullmatch(text) is not None


def name_of(text: str) -> str:
    """Return the name under which an id is looked up; the script makes the same."""
    return sha1(text.encode("utf-8", "surrogatepass"), usedforsecurity=False).hexdigest()[:NAME_DIGITS]


def name_of_event(event: str) -> str:
    """Return the name of an event's own list, which it has as long as its conversation is not known."""
    return event[len(EVENT) : len(EVENT) + NAME_DIGITS]


def name_of_conversation(account_id: str, conversation_id: str) -> str:
    """Return the name of a conversation's list; the script makes the same."""
    return name_of(f"{account_id} {conversation_id}")


def digest_address(secret: bytes, canonical: str) -> str:
    """Return the name under which a customer's address is looked up: whoever reads Redis cannot compute it."""
    text = canonical[:LONGEST_ADDRESS].encode("utf-8", "surrogatepass")
    return hmac.digest(secret, text, sha256).hex()[:NAME_DIGITS]


def customer_of(subject: str) -> str:
    """Return the customer's address in a subject if it is a phone number or a mailbox, the same on every channel."""
    parts = subject.split("|")
    return parts[1] if len(parts) > 1 and (parts[1][:1] == "+" or "@" in parts[1]) else ""


def address_forms(query: str) -> list[str]:
    """Return the canonical forms that an address may have, whatever its channel: most have one."""
    value = parse_address(query).value
    forms = [canonicalize(channel, one) for channel in Channel for one in (value, query)]
    return list(dict.fromkeys(form for one in forms for form in (one, with_plus(one)) if form))


class LineMaker(Protocol):
    """The writer of the lines of a process: its name, and the names of addresses."""

    process: str
    #: The name of a canonical form, of its first LONGEST_ADDRESS characters.
    digest: Callable[[str], str]
    #: The names of the customer in a subject, of its first LONGEST_SUBJECT characters; none if it is no plain address.
    digests_of: Callable[[str], tuple[str, ...]]


class Noted(NamedTuple):
    """A stage that is written by itself; `place` is the stream, the entry id and the group of an entry that waits."""

    event: str
    at: int
    stage: str
    process: str
    place: tuple[str, str, str] | None
    resource: str
    detail: str


class SettledEvent(NamedTuple):
    """An event that a worker has settled: its own stages, and those before it that left no line.

    Times are in µs, `entry` is the id of its inbound entry, `replayed` the time of its replay as text, `published` has
    the types of its entries. The fields behind them are those of its log line.
    """

    event: str
    at: int
    received_at: int
    entry: str
    process: str
    replayed: str
    published: list[str]
    resource: str | None
    source: str
    type: str
    result: str
    reason: str
    address: str | None
    conversation: str | None
    participant: str | None
    target: str | None
    communication: str | None
    key: str


class StoryLine(NamedTuple):
    """A line that was read: the event that it is about, with its resource, and its stages; `place` is that of Noted."""

    event: str
    resource: str
    stages: tuple[StoryStage, ...]
    place: tuple[str, str, str] | None = None


#: Writes a line.
to_json_bytes: Final = orjson.dumps
#: The first element of a body: of a settled event, and of a single stage.
EVENT_LINE: Final = "event"
_STAGE_LINE: Final = "stage"


def write_note(
    noted: Noted,
    *,
    account: str,
    digests: list[str],
    resource: str,
    conversation: str | None,
    participant: str | None,
) -> bytes:
    """Return the line of a single stage; `resource` is the whole id."""
    hidden = name_of(resource) if noted.resource != resource else None
    more = (account, digests, hidden, conversation, participant)
    return to_json_bytes((_STAGE_LINE, *noted, {}, *more))


def read_line(body: bytes) -> StoryLine | None:
    """Return the line in a body; None for one that this release cannot read."""
    try:
        kind, *values = orjson.loads(body)
        if kind == _STAGE_LINE:
            return _read_note(Noted(*values))
        return _read_event(SettledEvent(*values)) if kind == EVENT_LINE else None
    except (ValueError, TypeError, OverflowError):  # orjson's error is a ValueError
        return None


def _read_note(noted: Noted) -> StoryLine:
    stage = StoryStage(int(noted.at), StageName(noted.stage), str(noted.process), str(noted.event), str(noted.detail))
    stream, entry_id, group = noted.place or ("", "", "")
    place = (str(stream), str(entry_id), str(group)) if entry_id else None
    return StoryLine(str(noted.event), str(noted.resource), (stage,), place)


def _read_event(settled: SettledEvent) -> StoryLine:
    event, at, process = str(settled.event), int(settled.at), str(settled.process)

    def stage(name: StageName, when: int, by: str, detail: str) -> StoryStage:
        return StoryStage(when, name, by, event, detail)

    received_at, replayed_at = int(settled.received_at), to_microseconds(str(settled.replayed))
    stages = [stage(StageName.RECEIVED, received_at, "", _received(settled))] if received_at else []
    if replayed_at is not None:
        stages.append(stage(StageName.REPLAYED, replayed_at, "", f"put back, as entry {settled.entry}"))
    stages.append(stage(StageName.RESOLVED, at, process, _resolved(settled)))
    stages += [stage(StageName.PUBLISHED, at, process, _published(settled, kind)) for kind in settled.published]
    return StoryLine(event, str(settled.resource or ""), tuple(stages))


def _received(settled: SettledEvent) -> str:
    parts = [f"{settled.type} by {settled.source}", settled.resource, f"key {settled.key}"]
    address = f"from {settled.address}" if settled.address else None
    return ", ".join(str(part) for part in (*parts, address) if part)


def _resolved(settled: SettledEvent) -> str:
    where = f"conversation {settled.conversation}" if settled.conversation else None
    who = f"participant {settled.participant}" if settled.participant else None
    target = f"target {settled.target}" if settled.target else None
    return ", ".join(str(part) for part in (f"{settled.result}, because {settled.reason}", where, who, target) if part)


def _published(settled: SettledEvent, kind: str) -> str:
    again = " (was published before)" if settled.communication == "known" and kind == "communication.received" else ""
    return f"{kind} for {settled.target or 'no target'}{again}"
