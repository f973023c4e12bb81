"""Resolution of what happens in classic conversations, as generators that do no I/O (see core.resolution).

Where a configuration bridges the chat service, Twilio tells the same conversation in v2 too, seconds later, with the
classic SID as `channelId`: then the v2 participant is the one, and an event waits for it. What has not come after
PATIENCE does not come, and the classic member itself is taken; so it is at once where nothing is bridged. (Known gap:
a conversation that v2 tells of later than that has its customer announced once there and once here.)

Whatever the API says of a classic SID, the code of an error adds nothing to its class: 404 is gone, 429, 5xx and
concurrent changes wait, refused credentials wait for an operator, anything else can never succeed.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
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
from router.core.resolution.setbacks import LONG_WAIT, SHORT_WAIT, setback_of
from router.core.resources import Conversation

if TYPE_CHECKING:
    from collections.abc import Generator, Iterable

    from router.core.addresses import Address
    from router.core.events import ClassicReported, MessageReceived
    from router.core.resources import Participant

#: Seconds after its receipt for which an event waits for the v2 side of a bridged conversation.
PATIENCE: Final = 30.0
#: Seconds to wait for it first; whoever waits doubles that each time.
BRIDGE_WAIT: Final = 0.5


@dataclass(frozen=True, slots=True)
class Bridge:
    """The account's configuration bridges a chat service; which one is None where that could not be read."""

    service_sid: str | None = None


@dataclass(frozen=True, slots=True)
class _BridgeLookup:
    """A classic conversation that is looked for in v2: `age` is how long ago, in seconds, its event was received."""

    sid: str
    service_sid: str | None
    age: float


@dataclass(frozen=True, slots=True)
class ClassicResolver:
    """Resolves the classic events of one account; `service_sid` None is its default service."""

    service_sid: str | None = None
    bridge: Bridge | None = None

    @property
    def is_bridged(self) -> bool:
        """Tell whether a classic conversation of the account may be one of v2 too."""
        return self.bridge is not None

    def resolve(self, event: ClassicReported, *, home: str | None = None, age: float = 0.0) -> Resolution:
        """Find the participant of an event about a member or a message.

        `home` is the id under which its conversation is kept, where known; `age` (seconds) how old the event is.
        """
        place = _BridgeLookup(event.conversation_sid, event.service_sid, age)
        if home is None:
            found = yield from self._find_home(place)
            if not isinstance(found, str):
                return found
            home = found
        if home != event.conversation_sid:
            outcome = yield from self._find_bridged(place, home, addresses_of(event))
            if isinstance(outcome, Resolved):
                return replace(outcome, origin=_origin(event), recipient=event.recipient)
            if outcome is not None:
                return outcome
        return (yield from self._take_member(event, home))

    def enter(self, message: MessageReceived, otherwise: Resolution, *, age: float = 0.0) -> Resolution:
        """Find the open classic conversation that a customer is in with our address; without one do `otherwise`."""
        found = yield FindClassicConversations(spell(message.customer), message.recipient, self.service_sid)
        if isinstance(found, NotFoundError):
            return Wait("looking for classic conversations: there is no such service", LONG_WAIT)
        if isinstance(found, ApiError):
            return setback_of(found, "looking for classic conversations")
        if not found:
            return (yield from otherwise)
        return (yield from self._join(message, max(found, key=_age_of), age))

    def _join(self, message: MessageReceived, row: ParticipantConversation, age: float) -> Resolution:
        place = _BridgeLookup(row.conversation_sid, row.chat_service_sid or None, age)
        home = yield from self._find_home(place)
        if not isinstance(home, str):
            return home
        if home != place.sid:
            outcome = yield from self._find_bridged(place, home, (message.customer,))
            if isinstance(outcome, Ignored):
                return Wait(outcome.reason, SHORT_WAIT)  # a message is never dropped for that: look again
            return outcome or _resolved(from_lookup(row), home, place.sid, "found")
        conversation = Conversation(id=place.sid, status=to_status(row.conversation_state))
        return replace(_resolved(from_lookup(row), home, place.sid, "found"), conversation=conversation)

    def _find_home(self, place: _BridgeLookup) -> Generator[Request | ClassicRequest, Any, str | ResolutionOutcome]:
        """Return the id of the v2 conversation, or the classic SID where there is none and none will come."""
        bridge = self.bridge
        if bridge is None or (place.service_sid and bridge.service_sid not in {None, place.service_sid}):
            return place.sid
        found = yield FindConversations(place.sid)
        if isinstance(found, ApiError):
            return setback_of(found, "looking for the bridged conversation")
        if found:
            return str(max(found, key=lambda one: (one.created_at or "", one.id)).id)
        if place.age >= PATIENCE:
            return place.sid
        return (yield from self._is_bridged(place)) or Wait(
            "the bridge has not opened its conversation", BRIDGE_WAIT, is_usual=True
        )

    def _is_bridged(
        self, place: _BridgeLookup
    ) -> Generator[Request | ClassicRequest, Any, str | ResolutionOutcome | None]:
        """Return the classic SID where the bridge will not open a conversation, None where it may still do."""
        if self.bridge is None or self.bridge.service_sid is None or place.service_sid:
            return None  # nothing to find out: the service is not known, or is the bridged one
        conversation = yield FetchClassicConversation(place.sid, self.bridge.service_sid)
        if isinstance(conversation, NotFoundError):
            return place.sid  # of another service, or gone
        if isinstance(conversation, ApiError):
            return setback_of(conversation, "fetching the classic conversation")
        return place.sid if conversation.state == ClassicState.CLOSED else None

    def _find_bridged(
        self, place: _BridgeLookup, home: str, addresses: Iterable[Address]
    ) -> Generator[Request | ClassicRequest, Any, ResolutionOutcome | None]:
        """Return the participant of the v2 conversation at one of the addresses; None once it will not come."""
        participants = yield ListParticipants(home)
        if isinstance(participants, NotFoundError):
            return Ignored("gone: its bridged conversation does not exist any more")
        if isinstance(participants, ApiError):
            return setback_of(participants, "listing the participants of the bridged conversation")
        found = _at(addresses, participants)
        if found is not None:
            return Resolved(home, found, "found", classic_sid=place.sid)
        return (
            None
            if place.age >= PATIENCE
            else Wait("the bridge has not added the participant", BRIDGE_WAIT, is_usual=True)
        )

    def _take_member(self, event: ClassicReported, home: str) -> Resolution:
        """Take the classic member itself: as the event shows it, else as the API does."""
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
                return Ignored("gone: the participant is not in its conversation any more")
            if isinstance(answer, ApiError):
                return setback_of(answer, "fetching the classic participant")
            return from_resource(answer, sid)
        answer = yield ListClassicParticipants(sid, service_sid)
        if isinstance(answer, NotFoundError):
            return Ignored("gone: its conversation does not exist any more")
        if isinstance(answer, ApiError):
            return setback_of(answer, "listing the classic participants")
        members = [from_resource(each, sid) for each in answer]
        found = _at(addresses_of(event), [member.participant for member in members])
        return next((one for one in members if one.participant is found), Ignored("its author is no participant"))


def _origin(event: ClassicReported) -> str:
    return "announced" if event.kind == "participant" else "found"


def _age_of(row: ParticipantConversation) -> tuple[str, str]:
    return row.conversation_date_updated or row.conversation_date_created or "", row.conversation_sid


def _at(addresses: Iterable[Address], participants: Iterable[Participant]) -> Participant | None:
    """Return the first participant at one of the addresses, in the order of these."""
    there = list(participants)
    return next((one for address in addresses for one in there if one.has_address(address)), None)


def _resolved(member: Member, home: str, classic_sid: str, origin: str) -> Resolved:
    participant = member.participant.model_copy(update={"conversation_id": home})
    return Resolved(
        home, participant, origin, classic_sid=classic_sid, version=member.version, recipient=member.recipient
    )
