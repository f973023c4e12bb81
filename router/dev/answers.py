"""The texts of our side, read from the callbacks on the inbound streams: no log line may hold a text.

The API reports who joined and what was said, so any agent's words are shown, also of a program that the project does
not know. Who an author is is asked of the API if no callback of this run told it.
"""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import quote

from router.core.errors import RouterError
from router.core.events import CommunicationReported, InboundEntry, ParticipantReported
from router.core.resources import AGENT_TYPES, Participant
from router.dev.entry_lines import time_of
from router.dev.happening import Happening, LineKind
from router.inbound.sources import normalize
from router.simulator.http import find_json

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping

    from router.dev.known import Known
    from router.streams.store.watch import StreamRow

#: What a callback of interest contains; all others are not parsed.
_WORDS: Final = (b"PARTICIPANT_", b"COMMUNICATION_CREATED")
_LONGEST_TIME: Final = 19


class AnswerReader:
    """Finds what our side said; `environment` names the API, which is asked for unknown authors."""

    def __init__(self, known: Known, environment: Mapping[str, str]) -> None:
        self._known = known
        self._environment = environment

    async def tell(self, row: StreamRow) -> Happening | None:
        """Return a text of our side as a happening, None for anything else; never raises for the content of a row."""
        body = row.fields.get(b"body", b"")
        if not any(word in body for word in _WORDS):
            return None
        try:
            event = normalize(_inbound_entry(row))
        except (RouterError, ValueError, RecursionError):  # the worker makes a dead letter of it
            return None
        read = _READERS.get(type(event))
        return await read(self, event, row) if read is not None else None

    async def read_participant(self, event: ParticipantReported, _: StreamRow) -> None:
        """Remember who joined."""
        self._known.note_participant(event.participant)

    async def read_communication(self, event: CommunicationReported, row: StreamRow) -> Happening | None:
        """Return the text of our side; None for a customer's words, which have an entry."""
        said, author = event.communication, event.communication.author
        if author is None or not author.participant_id:
            return None
        if await self._type_of(said.conversation_id, author.participant_id) not in AGENT_TYPES:
            return None
        text = (said.content or {}).get("text")
        shown = text if isinstance(text, str) and text else "(no text)"
        return self._make(row, self._known.author_of(said, _received_at(row)), shown, said.conversation_id)

    def _make(self, row: StreamRow, who: str, text: str, conversation_id: str) -> Happening:
        ids = {"conversation": conversation_id}
        return Happening(_received_at(row), LineKind.SAID, who, text, conversation=conversation_id, ids=ids)

    async def _type_of(self, conversation_id: str, participant_id: str) -> str | None:
        found = self._known.type_of(participant_id)
        if found is None:
            await self._ask(conversation_id, participant_id)
        return found if found is not None else self._known.type_of(participant_id)

    async def _ask(self, conversation_id: str, participant_id: str) -> None:
        """Ask the API who a participant is; without an answer nothing is shown of it."""
        url, user, password = (
            self._environment.get(name, "")
            for name in ("TWILIO_CONVERSATIONS_URL", "TWILIO_API_KEY", "TWILIO_API_SECRET")
        )
        place = (
            f"{url}/v2/Conversations/{quote(conversation_id, safe='')}/Participants/{quote(participant_id, safe='')}"
        )
        document = await find_json(place, user=user, password=password)
        with suppress(ValueError):  # a ValidationError is one
            self._known.note_participant(Participant.model_validate(document))


#: What is done with an event, by its type; nothing with any other. Classic webhooks do not tell what the API sends.
_READERS: Final[dict[type[Any], Callable[[AnswerReader, Any, StreamRow], Awaitable[Happening | None]]]] = {
    ParticipantReported: AnswerReader.read_participant,
    CommunicationReported: AnswerReader.read_communication,
}


def _inbound_entry(row: StreamRow) -> InboundEntry:
    return InboundEntry(
        entry_id=row.entry_id,
        source=row.text("source"),
        account_id=row.text("account"),
        key=row.text("key"),
        subject=row.text("subject"),
        received_at=_received_at(row),
        body=row.fields.get(b"body", b""),
    )


def _received_at(row: StreamRow) -> int:
    """Return when the webhook came (µs since 1970), by Redis's clock if the row does not say."""
    text = row.fields.get(b"received_at", b"")
    return int(text) if text.isdigit() and len(text) <= _LONGEST_TIME else time_of(row)
