"""The joiner of a conversation: v2 or classic, with the API of its account."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from router.agents.classic import ClassicJoiner
from router.agents.joining import V2Joiner
from router.core.classic.members import is_classic
from router.core.entries import (
    CommunicationData,
    EntryAddress,
    EntryData,
    EntryParticipant,
    HandoffData,
    ParticipantData,
    show_address,
)
from router.core.ledger.communications import is_message_sid
from router.core.ledger.floor import customer_there, holding_of
from router.streams.store.gone import GoneConversations, UnhandledMessage

if TYPE_CHECKING:
    from router.agents.joins import JoinOutcome, JoinRequest, JoinResult
    from router.core.addresses import Address
    from router.process.apis import Apis
    from router.streams.store.ledgers import Store


class Joiner(Protocol):
    """Joins conversations of one account and kind. Raises ApiError if the API is unavailable or refuses for good."""

    async def join(self, conversation_id: str, request: JoinRequest) -> JoinResult:
        """Join; safe to repeat, also after a crash in the middle."""

    async def find_our_address(self, conversation_id: str, channel: str) -> Address | None:
        """Return the address at which our side is in the conversation already, None if there is no or no single one."""

    async def find_ending(self, conversation_id: str, customer_id: str | None = None) -> JoinOutcome | None:
        """Return CLOSED, GONE, or LEFT if the customer has left; None for a conversation that goes on."""


class Joiners:
    """Makes joiners, which share nothing but the store, and reports conversations that are gone."""

    def __init__(self, apis: Apis, store: Store) -> None:
        self._apis = apis
        self._store = store
        self._gone = GoneConversations(store)

    def of(self, account_id: str, conversation_id: str) -> Joiner:
        """Return the joiner of a conversation; raises AuthenticationError if the account is not configured here."""
        api = self._apis.of(account_id)
        if is_classic(conversation_id):
            return ClassicJoiner(api.classic, self._store, account_id, service_sid=api.account.classic_service_sid)
        return V2Joiner(api.v2, self._store, account_id)

    async def find_customer(self, data: EntryData) -> ParticipantData | None:
        """Return the customer whom an entry about a conversation concerns; None if the ledger does not know one.

        The channel is the first on which our side's address is known. Raises RedisError, OtherFormatError.
        """
        ledger = await self._store.read_whole(data.account_id, data.conversation.id)
        shown = data.participant.model_dump() if isinstance(data, HandoffData) and data.participant else None
        if shown is None and (holding := holding_of(ledger)) is not None:
            shown = holding.customer
        shown = customer_there(ledger, shown)
        if not shown or not shown["addresses"]:
            return None
        customer = EntryParticipant.model_validate(shown)
        known = [(one, ledger.recipient(one.channel)) for one in customer.addresses]
        address, ours = next(((one, ours) for one, ours in known if ours is not None), known[0])
        return ParticipantData(
            **{name: getattr(data, name) for name in EntryData.model_fields},
            channel=address.channel,
            address=address.address,
            recipient=EntryAddress.model_validate(show_address(ours)) if ours else None,
            participant=customer,
        )

    async def forget(self, account_id: str, conversation_id: str) -> None:
        """Forget the routes to a conversation that is gone, for the next message to open another. Raises RedisError."""
        ledger = await self._store.read_whole(account_id, conversation_id)
        await self._gone.forget(ledger, self._apis.of(account_id).account.configuration_id)

    async def follow_gone(self, data: EntryData) -> bool:
        """Let the message behind an entry, whose conversation is gone, open another; False if there is no such message.

        Safe to repeat. Raises RedisError.
        """
        await self.forget(data.account_id, data.conversation.id)
        sid = data.communication.channel_id if isinstance(data, CommunicationData) else None
        message = UnhandledMessage(data.cause.idempotency_key, sid if sid and is_message_sid(sid) else None)
        return await self._gone.repeat(data.account_id, data.conversation.id, message)
