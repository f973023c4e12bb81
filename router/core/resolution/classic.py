"""Resolution of events in classic conversations, as generators without I/O.

If a configuration bridges the chat service, Twilio reports the same conversation in v2 too, seconds later, with the
classic SID as `channelId`. The v2 participant is then the one to announce, and the event waits for it. After PATIENCE
it is no longer expected and the classic member is announced; without a bridge that happens at once. (Known gap: the
customer of a conversation that v2 reports even later is announced twice, once for each.)
Bridge: https://www.twilio.com/docs/conversations/orchestrator/guides/classic-bridge

Errors for a classic SID are judged by their class, not by their code: 404 means gone; for the rest see
core.resolution.setbacks.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from router.core.classic.members import Member, addresses_of, from_event, from_lookup, from_resource, to_status
from router.core.classic.resources import ClassicState, ParticipantConversation, spell
from router.core.errors import ApiError, NotFoundError
from router.core.resolution.requests import (
    ClassicRequest,
    FetchClassicConversation,
    FetchClassicParticipant,
    FindClassicConversations,
    FindConversations,
    Ignored,
    ListClassicParticipants,
    ListParticipants,
    Request,
    Resolution,
    ResolutionOutcome,
    Resolved,
    Wait,
)
from router.core.resolution.setbacks import COLLECTION, SHORT_WAIT, setback_of
from router.core.resources import Conversation
from router.core.values import Value, replace

if TYPE_CHECKING:
    from collections.abc import Generator, Iterable

    from router.core.addresses import Address
    from router.core.events import ClassicReported, MessageReceived
    from router.core.resources import Participant

#: Seconds from its receipt until an event stops waiting for the v2 side of a bridged conversation.
PATIENCE: Final = 30.0
#: Seconds of the first wait; each further wait is twice as long.
BRIDGE_WAIT: Final = 0.5


class Bridge(Value):
    """A bridge from a chat service to v2; `service_sid` is None if the configuration could not be read."""

    service_sid: str | None = None


class _BridgeLookup(Value):
    """A classic conversation to be found in v2; `age`: seconds since its event was received."""

    sid: str
    service_sid: str | None
    age: float


@dataclass(frozen=True, slots=True)
class ClassicResolver:
    """Resolves the classic events of one account; a `service_sid` of None means the account's default service."""

    service_sid: str | None = None
    bridge: Bridge | None = None

    @property
    def is_bridged(self) -> bool:
        """Whether a classic conversation of the account may also be one of v2."""
        return self.bridge is not None

    def resolve(self, event: ClassicReported, *, home: str | None = None, age: float = 0.0) -> Resolution:
        """Find the participant of an event about a member or a message.

        `home`: the id of the conversation's ledger, if known. `age`: the event's age in seconds.
        """
        lookup = _BridgeLookup(event.conversation_sid, event.service_sid, age)
        is_remembered = home is not None
        if home is None:
            found = yield from self._find_home(lookup)
            if not isinstance(found, str):
                return found
            home = found
        if home != event.conversation_sid:
            outcome = yield from self._find_bridged(lookup, home, addresses_of(event))
            if isinstance(outcome, Resolved):
                return replace(outcome, origin=_origin(event), recipient=event.recipient)
            if isinstance(outcome, Ignored) and is_remembered:
                return (yield from self.resolve(event, age=age))  # the bridge may have opened another one since
            if outcome is not None:
                return outcome
        return (yield from self._take_member(event, home))

    def enter(self, message: MessageReceived, otherwise: Resolution, *, age: float = 0.0) -> Resolution:
        """Find the open classic conversation between a customer and our address; if there is none, run `otherwise`."""
        found = yield FindClassicConversations(spell(message.customer), message.recipient, self.service_sid)
        if isinstance(found, ApiError):
            service = f"classic service {self.service_sid}" if self.service_sid else "a default classic service"
            return setback_of(found, "looking for classic conversations", needs=service)
        if not found:
            return (yield from otherwise)
        return (yield from self._join(message, max(found, key=_recency_of), age))

    def _join(self, message: MessageReceived, row: ParticipantConversation, age: float) -> Resolution:
        lookup = _BridgeLookup(row.conversation_sid, row.chat_service_sid or None, age)
        home = yield from self._find_home(lookup)
        if not isinstance(home, str):
            return home
        if home != lookup.sid:
            outcome = yield from self._find_bridged(lookup, home, (message.customer,))
            if isinstance(outcome, Ignored):
                return Wait(outcome.reason, SHORT_WAIT)  # a message is never dropped for that: try again
            return outcome or _resolved(from_lookup(row), home, lookup.sid, "found")
        conversation = Conversation(id=lookup.sid, status=to_status(row.conversation_state))
        return replace(_resolved(from_lookup(row), home, lookup.sid, "found"), conversation=conversation)

    def _find_home(self, lookup: _BridgeLookup) -> Generator[Request | ClassicRequest, Any, str | ResolutionOutcome]:
        """Return the id of the v2 conversation, or the classic SID if there is none and none is expected."""
        bridge = self.bridge
        if bridge is None or (lookup.service_sid and bridge.service_sid not in {None, lookup.service_sid}):
            return lookup.sid
        found = yield FindConversations(lookup.sid)
        if isinstance(found, ApiError):
            return setback_of(found, "looking for the bridged conversation", needs=COLLECTION)
        if found:
            return str(max(found, key=lambda one: (one.created_at or "", one.id)).id)
        if lookup.age >= PATIENCE:
            return lookup.sid
        return (yield from self._is_bridged(lookup)) or Wait(
            "the bridge has not opened its conversation", BRIDGE_WAIT, is_usual=True
        )

    def _is_bridged(
        self, lookup: _BridgeLookup
    ) -> Generator[Request | ClassicRequest, Any, str | ResolutionOutcome | None]:
        """Return the classic SID if the bridge will not open a conversation, None if it still may."""
        if self.bridge is None or self.bridge.service_sid is None or lookup.service_sid:
            return None  # no lookup would help: the bridged service is unknown, or the event is from it
        conversation = yield FetchClassicConversation(lookup.sid, self.bridge.service_sid)
        if isinstance(conversation, NotFoundError):
            return lookup.sid  # in another service, or gone
        if isinstance(conversation, ApiError):
            return setback_of(conversation, "fetching the classic conversation")
        return lookup.sid if conversation.state == ClassicState.CLOSED else None

    def _find_bridged(
        self, lookup: _BridgeLookup, home: str, addresses: Iterable[Address]
    ) -> Generator[Request | ClassicRequest, Any, ResolutionOutcome | None]:
        """Find the v2 conversation's participant at one of the addresses; None once it is no longer expected."""
        participants = yield ListParticipants(home)
        if isinstance(participants, NotFoundError):
            return Ignored("gone: the bridged conversation no longer exists", gone=home)
        if isinstance(participants, ApiError):
            return setback_of(participants, "listing the participants of the bridged conversation")
        found = _at(addresses, participants)
        if found is not None:
            return Resolved(home, found, "found", classic_sid=lookup.sid)
        return (
            None
            if lookup.age >= PATIENCE
            else Wait("the bridge has not added the participant", BRIDGE_WAIT, is_usual=True)
        )

    def _take_member(self, event: ClassicReported, home: str) -> Resolution:
        """Resolve to the classic member itself, as described by the event, else by the API."""
        if event.kind == "participant" and (member := from_event(event)) is not None:
            return _resolved(member, home, event.conversation_sid, _origin(event))
        found = yield from self._fetch_member(event)
        if not isinstance(found, Member):
            return found
        return _resolved(found, home, event.conversation_sid, _origin(event))

    def _fetch_member(
        self, event: ClassicReported
    ) -> Generator[Request | ClassicRequest, Any, Member | ResolutionOutcome]:
        sid, service_sid = event.conversation_sid, event.service_sid or self.service_sid
        if event.participant_sid is not None:
            answer = yield FetchClassicParticipant(sid, event.participant_sid, service_sid)
            if isinstance(answer, NotFoundError):
                return Ignored("gone: the participant is no longer in the conversation")
            if isinstance(answer, ApiError):
                return setback_of(answer, "fetching the classic participant")
            return from_resource(answer, sid)
        answer = yield ListClassicParticipants(sid, service_sid)
        if isinstance(answer, NotFoundError):
            return Ignored("gone: the conversation no longer exists", gone=sid)
        if isinstance(answer, ApiError):
            return setback_of(answer, "listing the classic participants")
        members = [from_resource(each, sid) for each in answer]
        found = _at(addresses_of(event), [member.participant for member in members])
        return next((one for one in members if one.participant is found), Ignored("its author is no participant"))


def _origin(event: ClassicReported) -> str:
    return "announced" if event.kind == "participant" else "found"


def _recency_of(row: ParticipantConversation) -> tuple[str, str]:
    return row.conversation_date_updated or row.conversation_date_created or "", row.conversation_sid


def _at(addresses: Iterable[Address], participants: Iterable[Participant]) -> Participant | None:
    """Return the first participant at one of the addresses, in the order of the addresses."""
    candidates = list(participants)
    return next((one for address in addresses for one in candidates if one.has_address(address)), None)


def _resolved(member: Member, home: str, classic_sid: str, origin: str) -> Resolved:
    participant = member.participant.model_copy(update={"conversation_id": home})
    return Resolved(
        home, participant, origin, classic_sid=classic_sid, version=member.version, recipient=member.recipient
    )
