"""The history of a conversation, v2 or classic, in one shape."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from router.core.classic.members import is_classic

if TYPE_CHECKING:
    from router.process.apis import Api

#: Communications that one request returns.
_PAGE: Final = 1000


@dataclass(frozen=True, slots=True)
class HistoryText:
    """A text that was said: when (the API's text), by which participant, and from which address or identity."""

    created_at: str | None
    participant_id: str | None
    address: str | None
    text: str


async def read_history(api: Api, conversation_id: str, most: int) -> list[HistoryText]:
    """Return the newest `most` texts of a conversation, oldest first; one request per 1,000 communications.

    Raises ApiError.
    """
    found: list[HistoryText] = []
    if is_classic(conversation_id):
        async for message in api.classic.list_messages(conversation_id, service_sid=api.account.classic_service_sid):
            if message.body:
                found.append(HistoryText(message.date_created, message.participant_sid, message.author, message.body))
            if len(found) == most:  # the newest come first
                break
        return found[::-1]
    async for one in api.v2.list_communications(conversation_id, page_size=_PAGE):
        text, author = (one.content or {}).get("text"), one.author
        if isinstance(text, str) and text and author is not None:
            found.append(HistoryText(one.created_at, author.participant_id, author.address or None, text))
    return sorted(found, key=lambda one: one.created_at or "")[-most:]
