"""Roles: which pages each of them may open, and what it sees there; and the error that a page answers with."""

from __future__ import annotations

from enum import StrEnum
from typing import Final


class Role(StrEnum):
    """The role of a user or token of the console."""

    AGENT = "agent"  # talks with customers at the desk
    OPERATOR = "operator"  # sees everything unmasked, and acts
    VIEWER = "viewer"  # sees the operations pages, masked, and changes nothing


#: The pages that each role may open, by the role that their row names.
GRANTS: Final[dict[Role, frozenset[Role]]] = {
    Role.AGENT: frozenset({Role.AGENT}),
    Role.OPERATOR: frozenset({Role.OPERATOR, Role.VIEWER, Role.AGENT}),
    Role.VIEWER: frozenset({Role.VIEWER}),
}
#: Where each role begins.
HOMES: Final[dict[Role, str]] = {Role.AGENT: "/desk", Role.OPERATOR: "/", Role.VIEWER: "/"}
#: The roles that see addresses, names and texts of customers as they are.
UNMASKED: Final = frozenset({Role.AGENT, Role.OPERATOR})


class ConsoleError(Exception):
    """An answer other than the page: its status (400 to 599), and a message for the reader."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status
        self.message = message
