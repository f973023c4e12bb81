"""The place that a consumer takes in a conversation, and how taking it ended."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, Final

from pydantic import BaseModel, ConfigDict

from router.core.errors import ConflictError, NotFoundError, RequestError

if TYPE_CHECKING:
    from router.core.addresses import Address
    from router.core.resources import ParticipantType


class How(StrEnum):
    """How joining ended; the result of an entry in log and metrics."""

    JOINED = "joined"  # we were added
    ADOPTED = "adopted"  # who sits there is us
    PROMOTED = "promoted"  # who sat there as UNKNOWN is us now
    NOT_PROMOTED = "not-promoted"  # the API refuses to promote: it stays UNKNOWN and is us all the same
    TAKEN = "address-taken"  # somebody else sits there, and keeps the seat
    NO_ADDRESS = "no-address"  # nothing says where to sit
    CLOSED = "conversation-closed"
    GONE = "conversation-gone"
    LEFT = "customer-left"


#: What the API answers where repeating does not help.
REFUSALS: Final = (RequestError, NotFoundError, ConflictError)


@dataclass(frozen=True, slots=True)
class Seat:
    """Who wants to sit where."""

    kind: ParticipantType
    address: Address
    name: str


class Joined(BaseModel):
    """How it ended, and as which participant we sit there (None: we do not). Kept as the value of a step."""

    model_config = ConfigDict(frozen=True)

    how: How
    participant_id: str | None = None
