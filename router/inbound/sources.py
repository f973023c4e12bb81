"""The table of event sources: route, form of the body, signature and answer of each."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from router.core.errors import UnreadableError
from router.core.events import Event, Identity, InboundEntry, SourceName
from router.inbound import conversations, messaging

if TYPE_CHECKING:
    from collections.abc import Callable

    from router.core.signature import Pairs

FORM: Final = "application/x-www-form-urlencoded"
JSON: Final = "application/json"
_DAY: Final = 86_400
EMPTY_TWIML: Final = b'<?xml version="1.0" encoding="UTF-8"?><Response/>'


@dataclass(frozen=True, slots=True)
class Webhook:
    """An authentic webhook at the door: `pairs` of a form, the raw `body`, and Twilio's idempotency token."""

    body: bytes
    pairs: Pairs
    token: str | None


@dataclass(frozen=True, slots=True)
class Source:
    """One event source.

    `identify` runs in the receiver on an authentic webhook, `normalize` in the worker on the durable entry; both raise
    UnreadableError. `key_ttl` (seconds) is longer than the source's longest redelivery. `answer` and `answer_type` are
    sent for an event and for its duplicates alike.
    """

    name: SourceName
    path: str
    content_type: str
    identify: Callable[[Webhook, str], Identity]
    normalize: Callable[[InboundEntry], Event]
    key_ttl: int = 2 * _DAY
    answer: bytes = b""
    answer_type: str | None = None


def _identify_message(webhook: Webhook, account_id: str) -> Identity:
    return messaging.identify(webhook.pairs, default_account=account_id)


def _identify_callback(webhook: Webhook, account_id: str) -> Identity:
    return conversations.identify(webhook.body, token=webhook.token, default_account=account_id)


SOURCES: Final[dict[SourceName, Source]] = {
    source.name: source
    for source in (
        Source(
            name=SourceName.MESSAGING,
            path="/webhooks/messaging",
            content_type=FORM,
            identify=_identify_message,
            normalize=messaging.normalize,
            answer=EMPTY_TWIML,
            answer_type="text/xml",
        ),
        Source(
            name=SourceName.CONVERSATIONS,
            path="/webhooks/conversations",
            content_type=JSON,
            identify=_identify_callback,
            normalize=conversations.normalize,
        ),
    )
}


def normalize(entry: InboundEntry) -> Event:
    """Return the event in an inbound entry, by the parser of its source; raises UnreadableError."""
    try:
        source = SOURCES[SourceName(entry.source)]
    except (ValueError, KeyError) as error:
        raise UnreadableError(f"no such event source: {entry.source[:32]}") from error
    return source.normalize(entry)
