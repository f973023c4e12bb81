"""Joining a v2 conversation: adopt our participant, promote one of a general type, else add ours; never replace others.

The rules are those of Twilio Agent Connect (https://twilio.github.io/twilio-agent-connect-python/), with two additions:
all pages of participants are read, and after a 409 or a lost answer they are read once more. Joining twice is the same
as joining once. Known gap: the API has no version to compare, so of two writers that promote one participant at the
same time the last one wins. The API: https://www.twilio.com/docs/api/conversations/v2/participant
"""

from __future__ import annotations

from enum import StrEnum
from functools import partial
from typing import TYPE_CHECKING, Final

from router.agents.joins import JoinOutcome, JoinRequest, JoinResult, may_have_joined, unless_ended
from router.core.addresses import Address, Channel, canonicalize
from router.core.errors import ConflictError, NotFoundError, RequestError, UnavailableError
from router.core.resources import ConversationStatus, NewParticipant, Participant, ParticipantAddress, ParticipantType

if TYPE_CHECKING:
    from collections.abc import Iterable

    from router.conversations.v2 import ConversationsV2
    from router.streams.store.ledgers import Store


class _Takeover(StrEnum):
    """The treatment of the participant at the address; of several participants the first in this order counts."""

    ADOPT = "adopt"
    PROMOTE = "promote"
    REFUSE = "refuse"


#: (type to join as, type of the participant at the address). Pairs that are not listed are refused.
TAKEOVERS: Final[dict[tuple[str, str], _Takeover]] = {
    (ParticipantType.AI_AGENT, ParticipantType.AI_AGENT): _Takeover.ADOPT,
    (ParticipantType.AI_AGENT, ParticipantType.AGENT): _Takeover.ADOPT,
    (ParticipantType.AI_AGENT, ParticipantType.UNKNOWN): _Takeover.PROMOTE,
    (ParticipantType.HUMAN_AGENT, ParticipantType.HUMAN_AGENT): _Takeover.ADOPT,
    (ParticipantType.HUMAN_AGENT, ParticipantType.AGENT): _Takeover.PROMOTE,
    (ParticipantType.HUMAN_AGENT, ParticipantType.UNKNOWN): _Takeover.PROMOTE,
}
_ORDER: Final = list(_Takeover)


def to_wire(address: Address) -> Address:
    """Return the address as the API writes it: with the prefix `whatsapp:` or `rcs:` on these channels."""
    if address.channel in {Channel.WHATSAPP, Channel.RCS}:
        return Address(address.channel, f"{address.channel.lower()}:{address.canonical}")
    return address


def fits(channel: str, value: str) -> bool:
    """Return whether an address can be used on a channel: mail needs a mailbox, phone channels need anything else."""
    if channel in {Channel.CHAT, Channel.VIDEO}:
        return True
    is_mailbox = "@" in value and not value.lower().startswith(("sip:", "sips:"))
    return is_mailbox == (channel == Channel.EMAIL)


def single_agent(channel: str, participants: Iterable[Participant]) -> Address | None:
    """Return the address on `channel` of the AGENT or AI_AGENT, None if there is none or more than one address."""
    types = {ParticipantType.AGENT, ParticipantType.AI_AGENT}
    found = {
        canonicalize(channel, one.address): one.as_address()
        for participant in participants
        if participant.type in types
        for one in participant.addresses
        if one.channel == channel
    }
    return next(iter(found.values())) if len(found) == 1 else None


class V2Joiner:
    """The joiner of an account's v2 conversations (see Joiner)."""

    def __init__(self, client: ConversationsV2, store: Store, account_id: str) -> None:
        self._client = client
        self._store = store
        self._account_id = account_id

    async def join(self, conversation_id: str, request: JoinRequest) -> JoinResult:
        """Take over the participant at the address, or add ours."""
        joining = self._take_over_or_add(conversation_id, request)
        result = await unless_ended(joining, partial(self.find_ending, conversation_id))
        return JoinResult(how=result) if isinstance(result, JoinOutcome) else result

    async def find_our_address(self, conversation_id: str, channel: str) -> Address | None:
        """Return the address of the single agent in the conversation."""
        try:
            return single_agent(channel, await self._client.list_participants(conversation_id))
        except NotFoundError:
            return None

    async def find_ending(self, conversation_id: str, customer_id: str | None = None) -> JoinOutcome | None:
        """Fetch the conversation, and then the customer if one is given."""
        try:
            conversation = await self._client.fetch_conversation(conversation_id)
        except NotFoundError:
            return JoinOutcome.GONE
        if conversation.status == ConversationStatus.CLOSED:
            return JoinOutcome.CLOSED
        if customer_id is None:
            return None
        try:
            await self._client.fetch_participant(conversation_id, customer_id)
        except NotFoundError:
            return JoinOutcome.LEFT
        return None

    async def _take_over_or_add(self, conversation_id: str, request: JoinRequest) -> JoinResult:
        return await self._take_over(conversation_id, request) or await self._add(conversation_id, request)

    async def _take_over(self, conversation_id: str, request: JoinRequest) -> JoinResult | None:
        """Adopt, promote or refuse the participant at the address; None if there is none."""
        participants = await self._client.list_participants(conversation_id)
        found = [(_takeover(request, one), one) for one in participants if one.has_address(request.address)]
        if not found:
            return None
        takeover, participant = min(found, key=lambda pair: _ORDER.index(pair[0]))
        if takeover is _Takeover.REFUSE:
            return JoinResult(how=JoinOutcome.TAKEN)
        if takeover is _Takeover.ADOPT:
            return JoinResult(how=JoinOutcome.ADOPTED, participant_id=participant.id)
        return await self._promote(conversation_id, request, participant)

    async def _promote(self, conversation_id: str, request: JoinRequest, participant: Participant) -> JoinResult:
        """Set our type and name; profile and addresses are sent again, because PUT clears missing fields."""
        body = participant.as_replacement(type=request.type, name=request.name)
        try:
            await self._client.update_participant(conversation_id, participant.id, body)
        except ConflictError:
            if await self.find_ending(conversation_id):
                raise
            return JoinResult(how=JoinOutcome.NOT_PROMOTED, participant_id=participant.id)
        return JoinResult(how=JoinOutcome.PROMOTED, participant_id=participant.id)

    async def _add(self, conversation_id: str, request: JoinRequest) -> JoinResult:
        """Create our participant; its address is stored as our own first, so that it is never announced."""
        await self._store.add_own_addresses(self._account_id, [request.address])
        try:
            created = await self._client.create_participant(conversation_id, _body(request))
        except (RequestError, ConflictError, UnavailableError) as error:
            result = await self._take_over(conversation_id, request) if may_have_joined(error) else None
            if result is None:
                raise
            return result
        return JoinResult(how=JoinOutcome.JOINED, participant_id=created.id)


def _takeover(request: JoinRequest, participant: Participant) -> _Takeover:
    there = participant.type or ParticipantType.UNKNOWN
    return TAKEOVERS.get((request.type, there), _Takeover.REFUSE)


def _body(request: JoinRequest) -> NewParticipant:
    address = to_wire(request.address)
    entry = ParticipantAddress(channel=address.channel, address=address.value)
    return NewParticipant(type=request.type, name=request.name, addresses=(entry,))
