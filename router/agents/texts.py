"""Texts of ours in a conversation, each sent once, and only while its agent holds the conversation.

A text is sent once per entry or command. If it is unknown whether it was sent (the process died or was stopped, the
answer was lost), the conversation is searched for it before it is sent again. Known gaps: a text that needs longer than
SETTLE to reach the API and be recorded is sent twice; a text in doubt counts as sent if the same one was sent in the
minute before; the holder may change between the check and the API's acceptance. What happens to a message after the API
accepted it is not followed. https://www.twilio.com/docs/api/conversations/v2/action
"""

from __future__ import annotations

import time
from enum import StrEnum
from typing import TYPE_CHECKING, Final, Protocol

from router import metrics
from router.agents.effects import NotYetError, StaleEpochError
from router.core.addresses import Address, Channel, canonicalize
from router.core.resources import ActionParty, Communication
from router.core.timestamps import to_microseconds

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from router.agents.effects import Doubt, Effect, Ticket
    from router.conversations.v2 import ConversationsV2
    from router.core.entries import EntryParticipant, EntryParticipantAddress
    from router.core.resources import CommunicationParty, ParticipantAddress


#: Channels on which the API can send; on the others an agent joins and is silent.
SENDING: Final = frozenset({Channel.SMS, Channel.RCS, Channel.WHATSAPP, Channel.CHAT})
#: Seconds in which a message must appear among the communications, or it counts as not sent.
SETTLE: Final = 10.0
#: Seconds after the step was begun in which the message may be sent: well before a successor stops waiting for it.
SEND_WITHIN: Final = SETTLE / 2


class ReplyOutcome(StrEnum):
    """The outcome of an answer, for the log."""

    SENT = "sent"
    FOUND = "found"  # an earlier try had sent it
    SILENT = "silent"  # the reply gave no text
    CANNOT_SEND = "channel cannot send"
    OPT_OUT = "opt-out keyword"  # Twilio has answered it, and refuses further messages after STOP
    IN_TURN = "in-turn"  # the turn that it is part of is answered
    STALE = "stale-epoch"  # somebody else holds the conversation by now


class Text(Protocol):
    """A text to be sent, of a v2 or a classic conversation."""

    async def send(self) -> None:
        """Send it; raises ApiError."""

    async def is_recorded(self) -> bool:
        """Tell whether the conversation contains it."""


async def send_once(
    message: Text,
    effect: Effect,
    step: str,
    ticket: Ticket | None,
    *,
    settle: float = SETTLE,
    clock: Callable[[], float] = time.monotonic,
) -> str:
    """Send a text unless it was sent, or its holder has lost the conversation; returns a ReplyOutcome.

    Raises NotYetError while an earlier try may still appear, and ApiError.
    """
    begun_at = clock()  # from before the step is begun

    async def send(doubt: Doubt | None) -> str:
        started = begun_at
        if doubt is not None:
            if await message.is_recorded():
                return ReplyOutcome.FOUND
            if doubt.age < settle:
                raise NotYetError("a message that may have been sent has not appeared", delay=settle - doubt.age)
            started = clock()
            await effect.again(step, ticket)
        if clock() - started > SEND_WITHIN:
            raise NotYetError("sending was begun too long ago: another process may have sent it", delay=SEND_WITHIN)
        await message.send()
        return ReplyOutcome.SENT

    try:
        return await effect.once(step, send, ticket)
    except StaleEpochError as error:
        if error.begun_for is not None:  # by an earlier try, while its agent held the conversation
            if await message.is_recorded():
                await effect.finish(step, ReplyOutcome.FOUND)
                return ReplyOutcome.FOUND
            if error.begun_for < settle:
                delay = settle - error.begun_for
                raise NotYetError("a message that may have been sent has not appeared", delay=delay) from error
        metrics.count("router_stale_texts", step)
        return ReplyOutcome.STALE


class V2Text:
    """One text of ours to a customer on a channel, in a v2 conversation.

    `sender`: our participant's id; or our address, of whoever has it there, for a person without one on the channel.
    `since()` is the earliest time at which it can have been sent, in µs by the API's clock.
    """

    def __init__(
        self,
        client: ConversationsV2,
        conversation_id: str,
        customer: EntryParticipant,
        channel: str,
        sender: str | Address,
        text: str,
        *,
        since: Callable[[], int],
    ) -> None:
        self._client = client
        self._conversation_id = conversation_id
        self._customer = customer
        self._channel = channel
        self._text = text
        self._sender = sender
        self._since = since

    async def send(self) -> None:
        """Start the action that sends it."""
        if isinstance(self._sender, Address):
            sender = ActionParty(address=self._sender.value, channel=self._channel)
        else:
            sender = ActionParty(participant_id=self._sender, channel=self._channel)
        customer = ActionParty(participant_id=self._customer.id, channel=self._channel)
        await self._client.send_message(
            self._conversation_id, sender, [customer], text=self._text, channel_settings=await self._channel_settings()
        )

    async def _channel_settings(self) -> dict[str, str] | None:
        """Return the classic conversation through which CHAT is sent: the channelId of the customer's address."""
        if self._channel != Channel.CHAT:
            return None
        channel_id = _chat_id(self._customer.addresses)
        if channel_id is None:  # not every entry has it
            customer = await self._client.fetch_participant(self._conversation_id, self._customer.id)
            channel_id = _chat_id(customer.addresses)
        return {"channelId": channel_id} if channel_id else None

    async def is_recorded(self) -> bool:
        """Tell whether the conversation contains the text from us to the customer, since the entry."""
        async for one in self._client.list_communications(self._conversation_id, page_size=1000):
            if self._is_ours(one):
                return True
        return False

    def _is_ours(self, communication: Communication) -> bool:
        author, text = communication.author, (communication.content or {}).get("text")
        if author is None or not isinstance(text, str) or not self._is_sender(author):
            return False
        receivers = {one.participant_id for one in communication.recipients if one.participant_id}
        if text.strip() != self._text.strip() or (receivers and self._customer.id not in receivers):
            return False
        created_at = to_microseconds(communication.created_at)
        return created_at is None or created_at >= self._since()

    def _is_sender(self, author: CommunicationParty) -> bool:
        if isinstance(self._sender, str):
            return author.participant_id == self._sender
        return canonicalize(self._channel, author.address or "") == self._sender.canonical


def _chat_id(addresses: Iterable[EntryParticipantAddress | ParticipantAddress]) -> str | None:
    return next((one.channel_id for one in addresses if one.channel_id and one.channel == Channel.CHAT), None)
