"""Texts to the customer of an entry, and the ticket with which `Effect.send` sends one."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from router.agents.classic import AI_IDENTITY, ClassicText
from router.agents.effects import Ticket
from router.agents.texts import V2Text
from router.core.classic.members import is_classic
from router.core.timestamps import to_microseconds

if TYPE_CHECKING:
    from collections.abc import Callable

    from router.agents.effects import OutgoingText
    from router.core.entries import Entry, EntryData, ParticipantData
    from router.process.apis import Apis

#: µs by which our clock may be ahead of the API's without that being noticed.
CLOCK_SKEW: Final = 60_000_000


def ticket_of(data: EntryData) -> Ticket:
    """Return the ticket of what is done because of an entry: while the entry's target holds, and in its epoch."""
    return Ticket(data.account_id, data.conversation.id, data.epoch, data.target)


class CustomerTexts:
    """Makes texts. `api_ahead` tells by how much (µs) the clock of an account's API is ahead of that of entries."""

    def __init__(self, apis: Apis, api_ahead: Callable[[str], int] = lambda _: 0) -> None:
        self._apis = apis
        self._api_ahead = api_ahead

    def make(self, entry: Entry, data: ParticipantData, participant_id: str, text: str) -> OutgoingText:
        """Return a text to the customer of `data`, from our participant; a classic one is of the AI agent's user.

        Raises AuthenticationError if the account is not configured here.
        """
        api = self._apis.of(data.account_id)

        def since() -> int:  # asked after an answer of the API, which tells its time
            return (to_microseconds(entry.time) or 0) + self._api_ahead(data.account_id) - CLOCK_SKEW

        conversation_id = data.conversation.id
        if not is_classic(conversation_id):
            return V2Text(api.v2, conversation_id, data.participant, data.channel, participant_id, text, since=since)
        return ClassicText(
            api.classic,
            conversation_id,
            author=AI_IDENTITY,
            text=text,
            since=since,
            service_sid=api.account.classic_service_sid,
        )
