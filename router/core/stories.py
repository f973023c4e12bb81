"""Stories: what became of one event, conversation or customer, stage by stage; and the lines in which Redis keeps them.

An event has one id in every log line, entry, dead letter and quarantine record: `event_id` of its idempotency key,
which includes account and source. A line holds no address and no text: a customer is found by a keyed digest. Pure.
"""

from __future__ import annotations

from enum import StrEnum
from hashlib import sha256
from typing import Any, Final

from router.core.timestamps import to_text
from router.core.values import value

#: How the id of an event begins, and how many hexadecimal digits follow.
EVENT: Final = "ev_"
EVENT_DIGITS: Final = 24


class StageName(StrEnum):
    """The stages of a story."""

    RECEIVED = "received"
    REFUSED = "refused"
    DUPLICATE = "duplicate"
    SPOOLED = "spooled"
    RESOLVED = "resolved"
    WAITING = "waiting"
    PUBLISHED = "published"
    CONSUMED = "consumed"
    OFFERED = "offered"
    ACCEPTED = "accepted"
    SENT = "sent"
    DEAD = "dead"
    REPLAYED = "replayed"


@value
class StoryStage:
    """One stage: `at` in µs since 1970, the process that reached it, the id of what it is about, and the details.

    `id` is the event id where the stage is one of an event. `detail` is one line for people, with no address unmasked.
    """

    at: int
    stage: StageName
    process: str
    id: str
    detail: str

    def to_json(self) -> dict[str, str]:
        """Return the stage as it is shown to programs."""
        return {
            "at": to_text(self.at),
            "stage": str(self.stage),
            "process": self.process,
            "id": self.id,
            "detail": self.detail,
        }


@value
class Story:
    """The story of `subject`: an event id, a conversation, a participant or an address; stages in order of time."""

    found: bool
    subject: str
    stages: tuple[StoryStage, ...] = ()

    def to_json(self) -> dict[str, Any]:
        """Return the story as it is shown to programs."""
        return {"found": self.found, "subject": self.subject, "stages": [stage.to_json() for stage in self.stages]}


def event_id(key: str) -> str:
    """Return the id of the event with an idempotency key."""
    return EVENT + sha256(key.encode("utf-8", "surrogatepass")).hexdigest()[:EVENT_DIGITS]
