"""The table of event sources: route, content types, parser and answer of each.

Answers: https://www.twilio.com/docs/messaging/twiml (messages), https://www.twilio.com/docs/voice/twiml (calls) and
https://www.twilio.com/docs/conversations-classic/conversations-webhooks (pre-action webhooks).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from router.core.errors import UnreadableError
from router.core.events import Event, InboundEntry, SourceName
from router.inbound import conversations, event_streams, messaging, voice
from router.inbound.classic import parser as classic
from router.inbound.email import parser as email
from router.inbound.email.multipart import MULTIPART

if TYPE_CHECKING:
    from collections.abc import Callable

    from router.inbound.webhook import Piece, Webhook

FORM: Final = "application/x-www-form-urlencoded"
JSON: Final = "application/json"
#: Bytes of a form that real webhooks never reach. The largest documented one is of classic Conversations: 32 Ki
#: characters of text and 16 Ki of attributes, 590 kB if each of them is an emoji (12 bytes percent-encoded).
#: https://www.twilio.com/docs/conversations-classic/conversations-limits
#: A message has at most 1,600 characters, WhatsApp's 4,096; a call's largest parameter is the HandoffData of its agent.
FORM_BYTES: Final = 640 * 1024
#: Bytes of a JSON body. The parts of a callback have the limits of a form's; of a batch of Event Streams no limit is
#: documented. JSON is not decoded before its proof, so a forged body costs its reading only.
JSON_BYTES: Final = 1_048_576
_DAY: Final = 86_400
EMPTY_TWIML: Final = b'<?xml version="1.0" encoding="UTF-8"?><Response/>'


@dataclass(frozen=True, slots=True)
class Source:
    """One event source.

    `split` runs in the receiver on an authentic webhook and returns one Piece for each of its events (a batch has
    several); `normalize` runs in the worker on each durable entry. Both raise UnreadableError. `key_ttl`, in seconds,
    is longer than the source's longest redelivery. `max_bytes` is more than any of its real webhooks has (of mails
    ROUTER_MAX_MAIL_BYTES decides). `answer` and `answer_type` are the response to an event and to its
    duplicates. `also` are further content types that are accepted. `empty` is the result of a webhook without events.
    """

    name: SourceName
    path: str
    content_type: str
    split: Callable[[Webhook, str], list[Piece]]
    normalize: Callable[[InboundEntry], Event]
    max_bytes: int = FORM_BYTES
    key_ttl: int = 2 * _DAY
    answer: bytes = b""
    answer_type: str | None = None
    also: frozenset[str] = frozenset()
    empty: str = "empty"


SOURCES: Final[dict[SourceName, Source]] = {
    source.name: source
    for source in (
        Source(
            name=SourceName.MESSAGING,
            path="/webhooks/messaging",
            content_type=FORM,
            split=messaging.split,
            normalize=messaging.normalize,
            answer=EMPTY_TWIML,
            answer_type="text/xml",
        ),
        Source(
            name=SourceName.VOICE,
            path="/webhooks/voice",
            content_type=FORM,
            split=voice.split,
            normalize=voice.normalize,
            answer=EMPTY_TWIML,  # if there is nothing to do; else the target's template (receiver.voice)
            answer_type="text/xml",
        ),
        Source(
            name=SourceName.CONVERSATIONS,
            path="/webhooks/conversations",
            content_type=JSON,
            split=conversations.split,
            normalize=conversations.normalize,
            max_bytes=JSON_BYTES,
        ),
        Source(
            name=SourceName.CLASSIC,
            path="/webhooks/conversations-classic",
            content_type=FORM,
            split=classic.split,
            normalize=classic.normalize,
            answer=b"{}",
            answer_type=JSON,
            empty="pre-action",
        ),
        Source(
            name=SourceName.EVENT_STREAMS,
            path="/webhooks/event-streams",
            content_type=JSON,
            split=event_streams.split,
            normalize=event_streams.normalize,
            max_bytes=JSON_BYTES,
            also=frozenset({"application/cloudevents+json", "application/cloudevents-batch+json"}),
        ),
        Source(
            name=SourceName.EMAIL,
            path="/webhooks/email",
            content_type=MULTIPART,
            split=email.split,
            normalize=email.normalize,
            key_ttl=7 * _DAY,
        ),
    )
}


def normalize(entry: InboundEntry) -> Event:
    """Return the event of an inbound entry, by the parser of its source; raises UnreadableError."""
    try:
        source = SOURCES[SourceName(entry.source)]
    except (ValueError, KeyError) as error:
        raise UnreadableError(f"no such event source: {entry.source[:32]}") from error
    return source.normalize(entry)
