"""A request to join a conversation, and its result. The rules are in `joining` (v2) and `classic`."""

from __future__ import annotations

from enum import StrEnum
from typing import TYPE_CHECKING, TypeVar

from pydantic import BaseModel, ConfigDict

from router.core.errors import ConflictError, NotFoundError, RequestError, UnavailableError, had_no_effect
from router.core.values import Value

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from router.core.addresses import Address
    from router.core.errors import ApiError
    from router.core.resources import ParticipantType


T = TypeVar("T")


class JoinOutcome(StrEnum):
    """How a join ended; the result of an entry in log and metrics."""

    JOINED = "joined"  # a participant was created
    ADOPTED = "adopted"  # the participant at the address is used as ours
    PROMOTED = "promoted"  # the participant at the address, of a more general type, got our type and name
    NOT_PROMOTED = "not-promoted"  # the API refused the promotion; the participant is used as ours without it
    TAKEN = "address-taken"  # the participant at the address is somebody else, and stays
    NO_ADDRESS = "no-address"  # there is no address to join with
    CLOSED = "conversation-closed"
    GONE = "conversation-gone"
    LEFT = "customer-left"


class JoinRequest(Value):
    """The participant to join as."""

    type: ParticipantType
    address: Address
    name: str


class JoinResult(BaseModel):
    """The outcome, and the participant that is ours (None: none is). Stored in Redis as the value of a step."""

    model_config = ConfigDict(frozen=True)

    how: JoinOutcome
    participant_id: str | None = None


async def unless_ended(
    action: Awaitable[T], find_ending: Callable[[], Awaitable[JoinOutcome | None]]
) -> T | JoinOutcome:
    """Return the result of an action, or the ending of the conversation if the API refuses the action because of it."""
    try:
        return await action
    except (RequestError, NotFoundError, ConflictError):
        ending = await find_ending()
        if ending is None:
            raise
        return ending


def may_have_joined(error: ApiError) -> bool:
    """Return whether the participant may exist although creating it failed: there already, or the answer was lost."""
    return not (isinstance(error, UnavailableError) and had_no_effect(error))
