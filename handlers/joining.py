"""Taking a place in a conversation: adopt who is there, promote an UNKNOWN, add ourselves, and push nobody out.

The rules are those that Twilio's own agent kit follows, with what it lacks: all pages are read, and a 409 or a lost
answer is followed by one more look instead of a dropped customer. Joining twice is joining once. Known gap: the API
has no version to compare, so of two writers that promote one participant at the same time the last one wins.
"""

from __future__ import annotations

from enum import StrEnum
from typing import TYPE_CHECKING, Final

from handlers.seats import REFUSALS, How, Joined, Seat
from router.core.addresses import Address, Channel, canonicalize
from router.core.classic.members import is_classic
from router.core.errors import ConflictError, NotFoundError, RequestError, UnavailableError, had_no_effect
from router.core.resources import ConversationStatus, NewParticipant, Participant, ParticipantAddress, ParticipantType

if TYPE_CHECKING:
    from collections.abc import Iterable

    from handlers.classic import ClassicJoiner
    from router.conversations.v2 import ConversationsV2
    from router.streams.store.ledgers import Store


class _Act(StrEnum):
    ADOPT = "adopt"
    PROMOTE = "promote"
    REFUSE = "refuse"


#: (who wants to join, who sits at the address): what is done. What is not listed is refused.
ACTS: Final[dict[tuple[str, str], _Act]] = {
    (ParticipantType.AI_AGENT, ParticipantType.AI_AGENT): _Act.ADOPT,
    (ParticipantType.AI_AGENT, ParticipantType.AGENT): _Act.ADOPT,
    (ParticipantType.AI_AGENT, ParticipantType.UNKNOWN): _Act.PROMOTE,
    (ParticipantType.HUMAN_AGENT, ParticipantType.HUMAN_AGENT): _Act.ADOPT,
    (ParticipantType.HUMAN_AGENT, ParticipantType.AGENT): _Act.PROMOTE,  # our side in general becomes this person
    (ParticipantType.HUMAN_AGENT, ParticipantType.UNKNOWN): _Act.PROMOTE,
}
_RANKS: Final = list(_Act)


def to_wire(address: Address) -> Address:
    """Return the address as the API writes it: `whatsapp:` and `rcs:` before a number or sender, else as it is."""
    if address.channel in {Channel.WHATSAPP, Channel.RCS}:
        return Address(address.channel, f"{address.channel.lower()}:{address.canonical}")
    return address


def fits(channel: str, value: str) -> bool:
    """Tell whether an address of ours can be one on this channel: mail needs a mailbox, a number needs none."""
    if channel in {Channel.CHAT, Channel.VIDEO}:
        return True
    is_mailbox = "@" in value and not value.lower().startswith(("sip:", "sips:"))
    return is_mailbox == (channel == Channel.EMAIL)


def single_agent(channel: str, participants: Iterable[Participant]) -> Address | None:
    """Return the address on `channel` of the one AGENT or AI_AGENT that has one; None for nobody or several."""
    kinds = {ParticipantType.AGENT, ParticipantType.AI_AGENT}
    found = {
        canonicalize(channel, one.address): one.as_address()
        for participant in participants
        if participant.type in kinds
        for one in participant.addresses
        if one.channel == channel
    }
    return next(iter(found.values())) if len(found) == 1 else None


class Joiner:
    """Joins conversations of one account. Raises the client's ApiError where the API is away or refuses for good."""

    def __init__(self, client: ConversationsV2, store: Store, classic: ClassicJoiner | None = None) -> None:
        self._client = client
        self._store = store
        self._classic = classic

    async def find_seat(self, conversation_id: str, channel: str) -> Address | None:
        """Return where our side sits already, if that is certain."""
        if is_classic(conversation_id):
            return None
        try:
            return single_agent(channel, await self._client.list_participants(conversation_id))
        except NotFoundError:
            return None

    async def join(self, account_id: str, conversation_id: str, seat: Seat) -> Joined:
        """Take the seat; safe to repeat, also after a crash in the middle. `classic` joins classic conversations."""
        if self._classic is not None and is_classic(conversation_id):
            return await self._classic.join(account_id, conversation_id, seat)
        try:
            return await self._sit(conversation_id, seat) or await self._add(account_id, conversation_id, seat)
        except REFUSALS:
            ending = await self.ending(conversation_id)
            if ending is None:
                raise
            return Joined(how=ending)

    async def ending(self, conversation_id: str, customer_id: str | None = None) -> How | None:
        """Return how a conversation has ended, None if it is open: what the API refuses there needs no repeating.

        With a customer: or that this one has left it, which is not followed in a classic conversation.
        """
        if self._classic is not None and is_classic(conversation_id):
            return await self._classic.ending(conversation_id)
        try:
            conversation = await self._client.fetch_conversation(conversation_id)
        except NotFoundError:
            return How.GONE
        if conversation.status == ConversationStatus.CLOSED:
            return How.CLOSED
        if customer_id is None:
            return None
        try:
            await self._client.fetch_participant(conversation_id, customer_id)
        except NotFoundError:
            return How.LEFT
        return None

    async def _sit(self, conversation_id: str, seat: Seat) -> Joined | None:
        """Adopt or promote who is at the address; None if nobody is."""
        present = await self._client.list_participants(conversation_id)
        there = [(_act(seat, one), one) for one in present if one.has_address(seat.address)]
        if not there:
            return None
        act, participant = min(there, key=lambda pair: _RANKS.index(pair[0]))
        if act is _Act.REFUSE:
            return Joined(how=How.TAKEN)
        if act is _Act.ADOPT:
            return Joined(how=How.ADOPTED, participant_id=participant.id)
        return await self._promote(conversation_id, seat, participant)

    async def _promote(self, conversation_id: str, seat: Seat, participant: Participant) -> Joined:
        """Give the participant our type and name, and put back its profile and addresses: PUT clears what it lacks."""
        body = participant.as_replacement(type=seat.kind, name=seat.name)
        try:
            await self._client.update_participant(conversation_id, participant.id, body)
        except ConflictError:
            if await self.ending(conversation_id):
                raise
            return Joined(how=How.NOT_PROMOTED, participant_id=participant.id)
        return Joined(how=How.PROMOTED, participant_id=participant.id)

    async def _add(self, account_id: str, conversation_id: str, seat: Seat) -> Joined:
        """Add ourselves; known as our own address first, so that nobody announces us as a customer."""
        await self._store.add_own_addresses(account_id, [seat.address])
        try:
            created = await self._client.create_participant(conversation_id, _body(seat))
        except (RequestError, ConflictError, UnavailableError) as error:
            if isinstance(error, UnavailableError) and had_no_effect(error):
                raise
            # A conflict, a refusal or a lost answer: the list tells whether we are there now.
            seen = await self._sit(conversation_id, seat)
            if seen is not None:
                return seen
            raise
        return Joined(how=How.JOINED, participant_id=created.id)


def _act(seat: Seat, participant: Participant) -> _Act:
    kind = participant.type or ParticipantType.UNKNOWN
    return ACTS.get((seat.kind, kind), _Act.REFUSE)


def _body(seat: Seat) -> NewParticipant:
    address = to_wire(seat.address)
    entry = ParticipantAddress(channel=address.channel, address=address.value)
    return NewParticipant(type=seat.kind, name=seat.name, addresses=(entry,))
