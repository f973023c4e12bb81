"""The kinds of webhooks that `simulate` can send: the name, the help text and the family of each.

This is the only list of kinds. The command line reads it for its choices and its help, the builders for what to build;
it imports no builder itself, so that `--help` stays fast.

To add a kind: add its row here, and teach the builder of its family the new subject. To add a family: write its
builder in router/simulator/<source>.py, add it to Family, and add its row to FAMILIES in router/simulator/builders.py.
"""

from __future__ import annotations

from enum import Enum, auto
from typing import Final, NamedTuple


class Family(Enum):
    """The kinds that one builder makes; builders.FAMILIES names it."""

    MESSAGE = auto()
    MESSAGE_STATUS = auto()
    CALLBACK = auto()
    STREAMED_MESSAGE = auto()
    STREAMED_CALLBACK = auto()
    SINK_TEST = auto()
    CALL = auto()
    MAIL = auto()
    CLASSIC = auto()


class Kind(NamedTuple):
    """One kind of webhook; `subject` names it to the builder of its family."""

    family: Family
    summary: str
    subject: str


_MESSAGES: Final = {
    "sms": "an incoming text message",
    "mms": "an incoming text message with a picture",
    "whatsapp": "an incoming WhatsApp message",
    "rcs": "an incoming RCS message",
    "messenger": "an incoming Messenger message",
}
_CALLBACKS: Final = {
    "conversation-created": "status callback: a conversation was opened",
    "conversation-updated": "... was changed",
    "conversation-closed": "... was closed",
    "participant-added": "status callback: a participant was added to a conversation",
    "participant-updated": "... was changed",
    "participant-removed": "... was removed",
    "communication-created": "status callback: a communication was recorded",
    "communication-updated": "... was delivered or read",
}
#: Events of classic conversations; those without -ed are pre-action webhooks, sent before the change.
_CLASSIC_EVENTS: Final = (
    *(
        f"{resource}-{change}"
        for resource in ("conversation", "participant", "message")
        for change in ("add", "added", "update", "updated", "remove", "removed")
    ),
    *("state-updated", "delivery-updated", "user-added", "user-update", "user-updated"),
)


def _classic_event_type(event: str) -> str:
    """Return the EventType of a classic event: onParticipantAdded for participant-added."""
    name = "conversation-state-updated" if event == "state-updated" else event
    return "on" + "".join(word.capitalize() for word in name.split("-"))


KINDS: Final[dict[str, Kind]] = {
    **{name: Kind(Family.MESSAGE, summary, name) for name, summary in _MESSAGES.items()},
    **{name: Kind(Family.CALLBACK, summary, name) for name, summary in _CALLBACKS.items()},
    **{
        f"event-stream-{name}": Kind(family, f"{name}, sent by Event Streams", name)
        for family, names in ((Family.STREAMED_MESSAGE, _MESSAGES), (Family.STREAMED_CALLBACK, _CALLBACKS))
        for name in names
    },
    "event-stream": Kind(Family.STREAMED_MESSAGE, "the same as event-stream-sms", "sms"),
    "event-stream-test": Kind(Family.SINK_TEST, "the test event of an Event Streams sink", ""),
    "message-status": Kind(Family.MESSAGE_STATUS, "status callback of an outgoing message", ""),
    "voice": Kind(Family.CALL, "an incoming call, or with --status its end; the sandbox executes the TwiML answer", ""),
    "email": Kind(Family.MAIL, "an incoming mail, as Inbound Parse posts it", ""),
    **{
        f"classic-{event}": Kind(Family.CLASSIC, "webhook of a classic conversation", _classic_event_type(event))
        for event in _CLASSIC_EVENTS
    },
}
