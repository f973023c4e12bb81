"""API actions for a person: join the conversation, send a text to its customer, close it. Each once."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any, Final

from router.agents.classic import ClassicText
from router.agents.effects import ReplyOutcome, StaleEpochError
from router.agents.joins import JoinOutcome, JoinRequest, JoinResult, unless_ended
from router.agents.texts import SENDING, V2Text
from router.core.addresses import Address, Channel
from router.core.classic.members import is_classic
from router.core.errors import NotFoundError
from router.core.resources import ConversationStatus, ParticipantType

if TYPE_CHECKING:
    from collections.abc import Callable

    from router.agents.effects import Effect, Ticket
    from router.agents.joiners import Joiner, Joiners
    from router.core.entries import EntryParticipant
    from router.core.routing.team import TeamMember
    from router.process.apis import Apis

#: µs by which our clock may be ahead of the API's without that being noticed.
_CLOCK_SKEW: Final = 60_000_000


async def join_person(joiner: Joiner, member: TeamMember, conversation_id: str, channel: str) -> JoinResult:
    """Let a person join at their address on the channel, or under their identity if that address is taken."""
    result = JoinResult(how=JoinOutcome.NO_ADDRESS)
    for address in _addresses(member, channel):
        result = await joiner.join(conversation_id, JoinRequest(ParticipantType.HUMAN_AGENT, address, member.name))
        if result.how is not JoinOutcome.TAKEN:
            break
    return result


def _addresses(member: TeamMember, channel: str) -> tuple[Address, ...]:
    identity = Address(Channel.CHAT, member.identity)
    return (Address(channel, member.addresses[channel]), identity) if channel in member.addresses else (identity,)


class PersonActions:
    """Acts for people in conversations. `api_ahead` tells by how much (µs) an account's API is ahead of our clock."""

    def __init__(self, *, apis: Apis, joiners: Joiners, api_ahead: Callable[[str], int] = lambda _: 0) -> None:
        self._apis = apis
        self._joiners = joiners
        self._api_ahead = api_ahead

    async def join(
        self, account_id: str, conversation_id: str, member: TeamMember, channel: str, effect: Effect
    ) -> JoinResult:
        """Join once, as HUMAN_AGENT."""

        async def join(_: Any) -> str:
            joiner = self._joiners.of(account_id, conversation_id)
            return (await join_person(joiner, member, conversation_id, channel)).model_dump_json()

        return JoinResult.model_validate_json(await effect.once("join", join))

    async def say(
        self,
        ticket: Ticket,
        member: TeamMember,
        customer: EntryParticipant,
        text: str,
        effect: Effect,
        *,
        said_at: int,
        ours: Address | None,
    ) -> str:
        """Join, and send a text to the customer; returns a ReplyOutcome or a JoinOutcome.

        A person without an address on the customer's channel writes from `ours`, our side's address there; an address
        has one participant in a conversation. `said_at` is in µs since 1970.
        """
        account_id, conversation_id = ticket.account_id, ticket.conversation_id
        channel = customer.addresses[0].channel if customer.addresses else ""
        if channel not in SENDING and not is_classic(conversation_id):
            return ReplyOutcome.CANNOT_SEND
        joined = await self.join(account_id, conversation_id, member, channel, effect)
        if joined.participant_id is None:
            return joined.how
        api = self._apis.of(account_id)
        since = said_at + self._api_ahead(account_id) - _CLOCK_SKEW
        if is_classic(conversation_id):
            message: Any = ClassicText(
                api.classic,
                conversation_id,
                author=member.identity,
                text=text,
                since=lambda: since,
                service_sid=api.account.classic_service_sid,
            )
        else:
            has_address = channel in member.addresses or channel == Channel.CHAT
            sender = joined.participant_id if has_address or ours is None else ours
            message = V2Text(api.v2, conversation_id, customer, channel, sender, text, since=lambda: since)
        joiner = self._joiners.of(account_id, conversation_id)
        sending = effect.send(message, ticket, step="say")
        return await unless_ended(sending, partial(joiner.find_ending, conversation_id, customer.id))

    async def notify(
        self,
        ticket: Ticket,
        customer: EntryParticipant,
        ours: Address,
        text: str,
        effect: Effect,
        *,
        said_at: int,
    ) -> str:
        """Send a text from our side's address, not as a person's; returns a ReplyOutcome or a JoinOutcome."""
        account_id, conversation_id = ticket.account_id, ticket.conversation_id
        if is_classic(conversation_id) or ours.channel not in SENDING:
            return ReplyOutcome.CANNOT_SEND
        since = said_at + self._api_ahead(account_id) - _CLOCK_SKEW
        client = self._apis.of(account_id).v2
        message = V2Text(client, conversation_id, customer, ours.channel, ours, text, since=lambda: since)
        joiner = self._joiners.of(account_id, conversation_id)
        sending = effect.send(message, ticket, step="notify")
        return await unless_ended(sending, partial(joiner.find_ending, conversation_id, customer.id))

    async def close(self, ticket: Ticket, effect: Effect) -> str:
        """Close the conversation once; returns a JoinOutcome, or ReplyOutcome.STALE if somebody else holds it."""

        async def close(_: Any) -> str:
            return await self._close(ticket.account_id, ticket.conversation_id)

        try:
            return await effect.once("close", close, ticket)
        except StaleEpochError:
            return ReplyOutcome.STALE

    async def _close(self, account_id: str, conversation_id: str) -> str:
        """Close a conversation; one that is closed or gone is closed."""
        api = self._apis.of(account_id)
        try:
            if is_classic(conversation_id):
                await api.classic.close_conversation(conversation_id, service_sid=api.account.classic_service_sid)
            else:
                await api.v2.patch_conversation(conversation_id, status=ConversationStatus.CLOSED)
        except NotFoundError:
            return JoinOutcome.GONE
        return JoinOutcome.CLOSED
