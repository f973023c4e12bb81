"""Refusals of the classic API: `{code, message, more_info, status}`, with the codes of Twilio's error catalogue.

Where a catalogue entry names no HTTP status, 400 is taken for a wrong field and 404 or 409 for what its words say.
"""

from __future__ import annotations

from router.sandbox.errors import RefusalError

CONVERSATION_NOT_FOUND = 50350
PARTICIPANT_NOT_FOUND = 50432
ALREADY_THERE = 50433
ALREADY_IN_GROUP = 50437


def refuse(code: int, message: str, status: int = 400) -> RefusalError:
    """Return the refusal of a field or of the whole request."""
    return RefusalError(status, message, code=code)


def missing(code: int, path: str, choice: str) -> RefusalError:
    """Return the 404 for a resource: with the code of its kind or, if `choice` is generic, with 20404."""
    message = f"The requested resource {path} was not found"
    return RefusalError(404, message, code=code if choice == "specific" else None)


def already_there(code: int = ALREADY_THERE) -> RefusalError:
    """Return the 409 for a member that the conversation has."""
    return RefusalError(409, "Participant already exists", code=code)


def bound_elsewhere(conversation_sid: str) -> RefusalError:
    """Return the 409 for a pair that another open conversation holds; its SID stands in the text and nowhere else."""
    message = f"A binding for this participant and proxy address already exists in Conversation {conversation_sid}"
    return RefusalError(409, message, code=50416)


def is_final() -> RefusalError:
    """Return the refusal of a write to a closed conversation."""
    return refuse(50377, "Conversation is closed, which is final")
