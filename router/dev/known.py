"""Customers and authors of the entries and callbacks that `dev` has seen, to name whom a line is about."""

from __future__ import annotations

from collections import OrderedDict
from typing import TYPE_CHECKING, Final, TypeVar

from router.core.addresses import PREFIXES, mask
from router.core.entries import HandoffData, HolderChangedData, ParticipantData
from router.core.printable import masked_key

if TYPE_CHECKING:
    from router.core.entries import Entry
    from router.core.resources import Communication, Participant
    from router.dev.happening import Happening

T = TypeVar("T")

#: Conversations, keys and participants that are remembered: as many as a developer has on the screen, many times.
MOST: Final = 20_000
#: Persons of a conversation that are remembered: a text may be read after its author has given the conversation back.
MOST_HOLDERS: Final = 8


class BoundedMap(OrderedDict[str, T]):
    """A bounded dictionary: the oldest go first."""

    def note(self, name: str, value: T) -> None:
        """Remember a value, as the newest."""
        self[name] = value
        self.move_to_end(name)
        if len(self) > MOST:
            self.popitem(last=False)


class Known:
    """Customers and persons by conversation, customers by idempotency key too, and participants by id."""

    def __init__(self) -> None:
        self._customers: BoundedMap[str] = BoundedMap()
        self._holders: BoundedMap[list[tuple[int, str]]] = BoundedMap()
        self._types: BoundedMap[str] = BoundedMap()
        self._names: BoundedMap[str] = BoundedMap()

    def note_entry(self, entry: Entry, published_at: int) -> None:
        """Remember the customer of an entry, and who has the conversation from then on (µs since 1970)."""
        data = entry.data
        if customer := customer_of(entry):
            for name in filter(None, (data.conversation.id, masked_key(data.cause.idempotency_key))):
                self._customers.note(name, customer)
        if isinstance(data, HolderChangedData):
            holders = [*self._holders.get(data.conversation.id, []), (published_at, data.to.agent or "")]
            self._holders.note(data.conversation.id, sorted(holders)[-MOST_HOLDERS:])

    def note_participant(self, participant: Participant) -> None:
        """Remember the type and the name of a participant."""
        self._types.note(participant.id, participant.type or "")
        self._names.note(participant.id, participant.name or "")

    def type_of(self, participant_id: str) -> str | None:
        """Return the type of a participant, None if it is not known."""
        return self._types.get(participant_id)

    def author_of(self, said: Communication, at: int) -> str:
        """Return a name for the agent who said something at a time.

        The participant's own name; else that of the person who had the conversation then, since people speak as
        whatever participant is at our address; else the type of the participant.
        """
        author = said.author
        participant_id = (author.participant_id if author else None) or ""
        name, kind = self._names.get(participant_id, ""), self._types.get(participant_id, "")
        if name and (author is None or name != author.address):  # the API may put the address in its place
            return name
        persons = [person for since, person in self._holders.get(said.conversation_id, []) if since <= at]
        return (persons[-1] if persons else "") or kind.lower().replace("_", "-") or "agent"

    def customer_in(self, happening: Happening) -> str:
        """Return the masked address of the customer that a happening is about, empty if it is not known."""
        names = (happening.conversation, happening.key)
        return happening.customer or next((self._customers[name] for name in names if name in self._customers), "")


def customer_of(entry: Entry) -> str:
    """Return the masked address of an entry's customer, without the prefix that repeats its channel; empty if none."""
    data = entry.data
    if isinstance(data, ParticipantData):
        return shown(data.address)
    if isinstance(data, HandoffData) and data.participant and data.participant.addresses:
        return shown(data.participant.addresses[0].address)
    return ""


def shown(address: str) -> str:
    """Return an address for a column that stands beside its channel: masked, without a prefix."""
    return mask(without_prefix(address))


def without_prefix(address: str) -> str:
    """Return an address, masked or not, without the prefix that repeats its channel."""
    prefix, colon, rest = address.partition(":")
    return rest if colon and prefix.lower() in PREFIXES else address
