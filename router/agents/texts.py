"""Texts of ours in a conversation, for `Effect.send`.

Known gap: a text in doubt counts as sent if the same one was sent in the minute before. What happens to a message after
the API accepted it is not followed. https://www.twilio.com/docs/api/conversations/v2/action
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from router.core.addresses import Address, Channel, canonicalize
from router.core.resources import ActionParty, Communication
from router.core.timestamps import to_microseconds

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from router.conversations.v2 import ConversationsV2
    from router.core.entries import EntryParticipant, EntryParticipantAddress
    from router.core.resources import CommunicationParty, ParticipantAddress


#: Channels on which the API can send; on the others an agent joins and is silent.
SENDING: Final = frozenset({Channel.SMS, Channel.RCS, Channel.WHATSAPP, Channel.CHAT})


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
        """Return whether the conversation contains the text from us to the customer, since the entry."""
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
