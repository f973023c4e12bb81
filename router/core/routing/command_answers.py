"""The answers to commands, read from the entries of the human-agent stream. Pure.

A command that did something is the cause of an entry: its id is the cause's `idempotency_key`. One that was refused is
answered by `command.refused`. A text and a closing are not told by entries (router.console.desk.sending).
"""

from __future__ import annotations

from enum import StrEnum
from typing import TYPE_CHECKING, Any, Final

from router.core.events import COMMANDS_SOURCE
from router.core.handoff_models import CommandRefusedData
from router.core.routing.holding import Why
from router.core.values import Value

if TYPE_CHECKING:
    from collections.abc import Mapping


class CommandState(StrEnum):
    """The state of a command that was written."""

    DONE = "done"
    REFUSED = "refused"
    PENDING = "pending"  # written, and not answered yet


class CommandAnswer(Value):
    """The answer to a command: `why` a refused one was, in the words of `command.refused`, and the epoch after it."""

    state: CommandState
    why: str | None = None
    epoch: int | None = None

    @property
    def explanation(self) -> str:
        """A sentence for people; empty for a command that was done."""
        if self.state is CommandState.PENDING:
            return PENDING
        return "" if self.why is None else EXPLANATIONS.get(self.why, f"Refused: {self.why}.")

    def to_json(self) -> dict[str, Any]:
        """Return the answer as programs and templates get it."""
        return {"state": str(self.state), "why": self.why, "epoch": self.epoch, "explanation": self.explanation}


#: What is said of a command that was written and not answered in time.
PENDING: Final = "Not confirmed yet: no worker has answered. It is not lost, and this page shows when it was done."
#: What is said of each refusal.
EXPLANATIONS: Final[dict[str, str]] = {
    Why.CLOSED: "The conversation is closed.",
    Why.STALE_EPOCH: "Somebody else has had the conversation since this page was loaded. Read what is new first.",
    Why.NOT_HOLDER: "You do not have this conversation any more.",
    Why.PENDING: "Another person is already being asked for.",
    Why.REPEATED: "This was asked before.",
    Why.ITSELF: "This person already has the conversation.",
    Why.NO_OFFER: "The offer is over: it was answered, withdrawn or replaced.",
    Why.EXPIRED: "The offer's time is over.",
    Why.NOT_ASKED: "Somebody else was asked.",
    Why.UNKNOWN_CONVERSATION: "Nothing is known of this conversation.",
    Why.UNKNOWN_AGENT: "Nobody of this name is in the roster.",
    Why.UNKNOWN_QUEUE: "There is no such queue.",
    Why.NO_SUCH_SKILLS: "Nobody has all of these skills.",
    Why.CANNOT_CLOSE: "The API refused to close the conversation.",
    Why.CANNOT_SEND: "No text can be sent here: the channel, the customer or our address does not allow it.",
}


def answer_of(document: Mapping[str, Any]) -> tuple[str, CommandAnswer] | None:
    """Return the id of the command that an entry answers, and the answer; None if it answers none.

    Of an entry that is no document of ours, None.
    """
    data = document.get("data")
    if not isinstance(data, dict):
        return None
    epoch = data.get("epoch")
    epoch = epoch if isinstance(epoch, int) else None
    if document.get("type") == CommandRefusedData.type:
        command_id, why = data.get("command_id"), data.get("why")
        if isinstance(command_id, str) and isinstance(why, str):
            return command_id, CommandAnswer(CommandState.REFUSED, why, epoch)
        return None
    cause = data.get("cause")
    if not isinstance(cause, dict) or cause.get("source") != COMMANDS_SOURCE:
        return None
    command_id = cause.get("idempotency_key")
    if not isinstance(command_id, str) or not command_id:
        return None
    return command_id, CommandAnswer(CommandState.DONE, epoch=epoch)
