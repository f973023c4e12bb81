"""Requests to the classic API as values, yielded by core.classic_resolution beside those of core.requests.

`service_sid` None means the account's default service.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from router.core.addresses import Address


@dataclass(frozen=True, slots=True)
class FetchClassicConversation:
    """GET one classic conversation; answered by a ClassicConversation."""

    conversation_sid: str
    service_sid: str | None = None


@dataclass(frozen=True, slots=True)
class FetchClassicParticipant:
    """GET one member by SID; answered by a ClassicParticipant."""

    conversation_sid: str
    participant_sid: str
    service_sid: str | None = None


@dataclass(frozen=True, slots=True)
class ListClassicParticipants:
    """GET the members of a classic conversation, all pages; answered by a list of ClassicParticipant."""

    conversation_sid: str
    service_sid: str | None = None


@dataclass(frozen=True, slots=True)
class FindClassicConversations:
    """GET ParticipantConversations by address, all pages, those that are open and in which our side is `proxy`.

    Answered by a list of ParticipantConversation.
    """

    address: str
    proxy: Address
    service_sid: str | None = None


ClassicRequest = FetchClassicConversation | FetchClassicParticipant | ListClassicParticipants | FindClassicConversations
