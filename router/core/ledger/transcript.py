"""The transcript of a conversation: who is in it, and what was said and decided, in the order of time. Pure.

The texts are the API's. What the router has published and the API does not list yet is added, so that a customer's
message is seen at once; a message that both have is shown once. Who took part comes from the API and from the ledger,
which also knows who has left.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from router.core.addresses import from_key, mask
from router.core.resources import ParticipantType
from router.core.timestamps import to_microseconds, to_text
from router.core.values import Value, replace

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from router.core.classic.resources import ClassicMessage, ClassicParticipant
    from router.core.ledger.marker import Marker
    from router.core.resources import Communication, Participant
    from router.core.routing.holding import HandoffRequest
    from router.core.routing.journal import JournalLine

#: What people read for each type of participant.
ROLES: Final[dict[str, str]] = {
    ParticipantType.CUSTOMER: "customer",
    ParticipantType.AI_AGENT: "AI agent",
    ParticipantType.HUMAN_AGENT: "person",
    ParticipantType.AGENT: "our side",
    ParticipantType.UNKNOWN: "customer",
}
_CUSTOMER: Final = ROLES[ParticipantType.CUSTOMER]
#: The role of a member of a classic conversation without an address: a customer in an app, or one of our people.
_CHAT_USER: Final = "chat user"
_PERSON: Final = ROLES[ParticipantType.HUMAN_AGENT]
#: The roles of our own side, whose texts are those of whoever holds the conversation.
OUR_ROLES: Final = frozenset({ROLES[ParticipantType.AI_AGENT], ROLES[ParticipantType.AGENT]})
#: The kinds of lines.
SAID: Final = "said"
NOTE: Final = "note"
EVENT: Final = "event"
#: What the events of the journal are called; the others are not shown to people.
_EVENTS: Final[dict[str, str]] = {
    "handoff.requested": "a person was asked for",
    "offer.ended (declined)": "the offer was declined",
    "offer.ended (expired)": "the offer was not answered in time",
    "holder.changed (accepted)": "{holder} took the conversation",
    "holder.changed (assigned)": "{holder} was given the conversation",
    "holder.changed (released)": "back to the AI agent",
    "holder.changed (fallback)": "nobody accepted in time: back to the AI agent",
    "holder.changed (presence-lapsed)": "the person was no longer present: the queue has it",
    "holder.changed (added-by-another-system)": "another system's agent took the conversation",
    "holder.changed (removed-by-another-system)": "another system's agent left the conversation",
    "handoff.failed": "the customer left before anybody accepted",
    "handoff.failed (ai-agent)": "nobody accepted in time",
    "handoff.failed (wait)": "nobody accepted in time; the request waits on",
    "handoff.failed (message)": "nobody accepted in time; the customer was told, and waits",
    "conversation.closed": "the conversation was closed",
}


class TranscriptMember(Value):
    """Somebody in a conversation; `role` in words, `is_here` False after they have left."""

    id: str
    role: str
    name: str = ""
    address: str = ""
    channel: str = ""
    is_here: bool = True

    def to_json(self, *, is_unmasked: bool) -> dict[str, Any]:
        """Return the member as programs and templates get it."""
        address = self.address if is_unmasked else mask(self.address)
        return {
            "id": self.id,
            "role": self.role,
            "name": self.name,
            "address": address,
            "channel": self.channel,
            "is_here": self.is_here,
            "label": self.name or address or self.role,
        }


class TranscriptLine(Value):
    """One line at `at` (µs since 1970, 0 if that is not known): who said or did it, in which role, and the text.

    `names` are those under which two reports of one message know each other: ids of the communication and message.
    `agent` is the identity of the person of the roster who said it.
    """

    at: int
    kind: str
    text: str
    role: str = ""
    name: str = ""
    address: str = ""
    names: frozenset[str] = frozenset()
    agent: str | None = None

    def to_json(self, *, is_unmasked: bool) -> dict[str, Any]:
        """Return the line as programs and templates get it."""
        address = self.address if is_unmasked else mask(self.address)
        return {
            "at": to_text(self.at) if self.at else None,
            "kind": self.kind,
            "who": self.name or address or self.role,
            "role": self.role,
            "agent": self.agent,
            "text": self.text,
        }


def members_of(participants: Iterable[Participant]) -> list[TranscriptMember]:
    """Return the participants that the API lists."""
    found = []
    for one in participants:
        first = one.addresses[0] if one.addresses else None
        role = ROLES.get(one.type or "", one.type or "participant")
        address, channel = (first.address, first.channel) if first else ("", "")
        found.append(TranscriptMember(one.id, role, one.name or "", address, channel))
    return found


def classic_members_of(participants: Iterable[ClassicParticipant]) -> list[TranscriptMember]:
    """Return the members of a classic conversation: customers with an address, and chat users."""
    found = []
    for one in participants:
        binding = one.messaging_binding
        own = binding.as_address() if binding else None
        role = _CUSTOMER if own else _CHAT_USER
        address, channel = (own.value, own.channel) if own else ("", "CHAT")
        found.append(TranscriptMember(one.sid, role, one.identity or "", address, channel))
    return found


def with_those_who_left(members: Iterable[TranscriptMember], markers: Mapping[str, Marker]) -> list[TranscriptMember]:
    """Return the members as the ledger knows them: whether they are still there, and others that are not listed."""
    found = []
    for one in members:
        marker = markers.get(one.id)
        found.append(one if marker is None or marker.is_present else replace(one, is_here=False))
    for participant_id in sorted(markers.keys() - {one.id for one in found}):
        marker = markers[participant_id]
        address = from_key(marker.addresses[0]) if marker.addresses else None
        role = ROLES.get(marker.type, marker.type or "participant")
        shown, channel = (address.value, address.channel) if address else ("", "")
        found.append(TranscriptMember(participant_id, role, "", shown, channel, is_here=marker.is_present))
    return found


def lines_of(communications: Iterable[Communication], members: Iterable[TranscriptMember]) -> list[TranscriptLine]:
    """Return the messages as the API has them."""
    by_id = {one.id: one for one in members}
    lines = []
    for one in communications:
        author = one.author
        member = by_id.get(author.participant_id or "") if author else None
        if member is None:
            member = TranscriptMember("", "participant", "", author.address if author else "")
        names = frozenset(filter(None, (one.id, one.channel_id, one.resource_id)))
        at = to_microseconds(one.created_at) or 0
        lines.append(_said(member, at, text_of(one.content), names))
    return lines


def classic_lines_of(messages: Iterable[ClassicMessage], members: Iterable[TranscriptMember]) -> list[TranscriptLine]:
    """Return the messages of a classic conversation; the author of a person's is their identity."""
    by_id = {one.id: one for one in members}
    lines = []
    for one in messages:
        member = by_id.get(one.participant_sid or "") or TranscriptMember("", "participant", "", one.author or "")
        at = to_microseconds(one.date_created) or 0
        lines.append(_said(member, at, one.body or "(no text)", frozenset({one.sid})))
    return lines


def _said(member: TranscriptMember, at: int, text: str, names: frozenset[str]) -> TranscriptLine:
    return TranscriptLine(at, SAID, text, member.role, member.name, member.address, names)


def text_of(content: Mapping[str, Any] | None) -> str:
    """Return the text of a communication; of one without text, its type in brackets."""
    text = (content or {}).get("text")
    if isinstance(text, str) and text:
        return text
    kind = (content or {}).get("type")
    return f"({kind.lower() if isinstance(kind, str) and kind else 'no text'})"


class PublishedMessage(Value):
    """A message of a customer, by an entry of the router: when it was said (µs), by whom, and under which names."""

    id: str
    at: int
    participant_id: str
    address: str
    text: str
    names: frozenset[str]


def message_of(document: Mapping[str, Any]) -> PublishedMessage:
    """Return the message of a `communication.received`; raises LookupError, TypeError or AttributeError otherwise."""
    data = document["data"]
    said = data["communication"]
    text = said.get("text") or f"({str(said.get('type') or 'no text').lower()})"
    at = to_microseconds(said.get("created_at")) or to_microseconds(document["time"]) or 0
    names = frozenset(filter(None, (said.get("id"), said.get("channel_id"))))
    return PublishedMessage(document["id"], at, data["participant"]["id"], str(data["address"]), str(text), names)


def published_lines(messages: Iterable[PublishedMessage], members: Iterable[TranscriptMember]) -> list[TranscriptLine]:
    """Return the messages of customers as the router has published them."""
    by_id = {one.id: one for one in members}
    return [
        _said(
            by_id.get(one.participant_id) or TranscriptMember("", _CUSTOMER, "", one.address),
            one.at,
            one.text,
            one.names,
        )
        for one in messages
    ]


class PersonTurn(Value):
    """From `since` (µs since 1970) on, this person of the roster had the conversation; None: somebody else."""

    since: int
    agent: str | None


def turns_of(journal: Iterable[JournalLine]) -> list[PersonTurn]:
    """Return who had the conversation when, by the journal; before the first turn no person had it."""
    changes = [line for line in journal if any(one.startswith("holder.changed") for one in line.happened)]
    return [PersonTurn(line.at * 1000, line.agent) for line in changes]


def name_people(members: Iterable[TranscriptMember], people: Mapping[str, str]) -> list[TranscriptMember]:
    """Return the members; `people` has the names of the roster by the identities with which they join classic ones."""
    return [
        replace(one, name=people[one.name], role=_PERSON) if one.role == _CHAT_USER and one.name in people else one
        for one in members
    ]


def said_by_people(
    lines: Iterable[TranscriptLine], turns: list[PersonTurn], people: Mapping[str, str]
) -> list[TranscriptLine]:
    """Return the lines, those of our side with the person who had the conversation then; `people` as for name_people.

    A person without an address on the customer's channel writes from our side's, whose participant is an AI agent's:
    the API cannot tell them apart. Only the holder's words go out (docs/guarantees.md, promise 7).
    """
    found = []
    for line in lines:
        past = [turn.agent for turn in turns if turn.since <= line.at]
        agent = past[-1] if past and line.role in OUR_ROLES else None
        if line.role == _CHAT_USER and line.name in people:
            agent = line.name
        name = people.get(agent, agent) if agent else ""
        found.append(replace(line, name=name, role=_PERSON, agent=agent) if agent else line)
    return found


def events_of(journal: Iterable[JournalLine], name_of: Callable[[str], str]) -> list[TranscriptLine]:
    """Return the decisions of a conversation that people should see."""
    lines: list[TranscriptLine] = []
    for line in journal:
        holder = name_of(line.agent) if line.agent else "the AI agent"
        words = [_EVENTS[one].format(holder=holder) for one in line.happened if one in _EVENTS]
        lines += [TranscriptLine(line.at * 1000, EVENT, one) for one in words]
    return lines


def notes_of(request: HandoffRequest | None, name_of: Callable[[str], str]) -> list[TranscriptLine]:
    """Return the notes for the person who takes over: the summary, and the note of who passed it on."""
    if request is None:
        return []
    asker = name_of(request.asked_by) if request.asked_by else "the AI agent"
    texts = [("summary", request.summary), ("note", request.note)]
    return [TranscriptLine(request.since * 1000, NOTE, text, role, asker) for role, text in texts if text]


def merge(
    said: Iterable[TranscriptLine], published: Iterable[TranscriptLine], *others: Iterable[TranscriptLine]
) -> list[TranscriptLine]:
    """Return all lines in the order of time; a published one whose message the API lists is left out."""
    listed = list(said)
    known = {name for one in listed for name in one.names}
    fresh = [one for one in published if not one.names & known]
    return sorted([*listed, *fresh, *(line for lines in others for line in lines)], key=lambda one: one.at)
