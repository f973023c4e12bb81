"""Refusals of the classic API, with the codes of Twilio's error dictionary: https://www.twilio.com/docs/api/errors.

Where an entry names no HTTP status, a wrong field is a 400, and its text decides between 404 and 409.
"""

from __future__ import annotations

from typing import Final

from router.sandbox.errors import RefusalError

CONVERSATION_NOT_FOUND: Final = 50350
PARTICIPANT_NOT_FOUND: Final = 50432
MESSAGE_NOT_FOUND: Final = 50500
WEBHOOK_NOT_FOUND: Final = 50360
ALREADY_THERE: Final = 50433
ALREADY_IN_GROUP: Final = 50437


def refuse(code: int, message: str, status: int = 400) -> RefusalError:
    """Return a refusal of a field or of the whole request."""
    return RefusalError(status, message, code=code)


def missing(code: int, path: str, choice: str) -> RefusalError:
    """Return the 404 for a resource, with its own code or, if `choice` is generic, with 20404."""
    message = f"The requested resource {path} was not found"
    return RefusalError(404, message, code=code if choice == "specific" else None)


def already_there(code: int = ALREADY_THERE) -> RefusalError:
    """Return the 409 for a member that the conversation has already."""
    return RefusalError(409, "Participant already exists", code=code)


def bound_elsewhere(conversation_sid: str) -> RefusalError:
    """Return the 409 for a pair that another open conversation holds; only the text has its SID."""
    message = f"A binding for this participant and proxy address already exists in Conversation {conversation_sid}"
    return RefusalError(409, message, code=50416)


def is_final() -> RefusalError:
    """Return the refusal of a write to a closed conversation."""
    return refuse(50377, "Conversation is closed, which is final")
