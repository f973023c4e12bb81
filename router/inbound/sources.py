"""The table of event sources: route, form of the body, signature and answer of each."""

from __future__ import annotations

from dataclasses import dataclass
from hashlib import sha256
from typing import TYPE_CHECKING, Final

from router.core.errors import UnreadableError
from router.core.events import Event, Identity, InboundEntry, SourceName
from router.core.values import value
from router.inbound import classic, conversations, email, event_streams, messaging, voice
from router.inbound.multipart import MULTIPART

if TYPE_CHECKING:
    from collections.abc import Callable

    from router.core.signing.form import Form
    from router.inbound.email import ReceivedMail

FORM: Final = "application/x-www-form-urlencoded"
JSON: Final = "application/json"
_DAY: Final = 86_400
EMPTY_TWIML: Final = b'<?xml version="1.0" encoding="UTF-8"?><Response/>'


@value
class Webhook:
    """An authentic webhook at the door: its `form` (NO_FORM for JSON), the raw `body`, and Twilio's idempotency token.

    Of a mail, whose body is read as a stream and held by nobody, there are the `mails` that came out, one a recipient.
    """

    body: bytes
    form: Form
    token: str | None
    mails: tuple[ReceivedMail, ...] = ()


@value
class Piece:
    """One event of a webhook: its identity, and what its inbound entry holds."""

    identity: Identity
    body: bytes


@dataclass(frozen=True, slots=True)
class Source:
    """One event source.

    `split` runs in the receiver on an authentic webhook and returns what it holds, one Piece for each event (a batch
    has several); `normalize` runs in the worker on each durable entry. Both raise UnreadableError. `key_ttl` (seconds)
    is longer than the source's longest redelivery. `answer` and `answer_type` are sent for an event and for its
    duplicates alike. `also` are content types beside the usual one. `empty` is the word for a webhook without events.
    """

    name: SourceName
    path: str
    content_type: str
    split: Callable[[Webhook, str], list[Piece]]
    normalize: Callable[[InboundEntry], Event]
    key_ttl: int = 2 * _DAY
    answer: bytes = b""
    answer_type: str | None = None
    also: frozenset[str] = frozenset()
    empty: str = "empty"


def _split_message(webhook: Webhook, account_id: str) -> list[Piece]:
    return [Piece(messaging.identify(webhook.form, default_account=account_id), webhook.body)]


def _split_call(webhook: Webhook, account_id: str) -> list[Piece]:
    return [Piece(voice.identify(webhook.form, default_account=account_id), webhook.body)]


def _split_callback(webhook: Webhook, account_id: str) -> list[Piece]:
    identity = conversations.identify(webhook.body, token=webhook.token, default_account=account_id)
    return [Piece(identity, webhook.body)]


def _split_batch(webhook: Webhook, account_id: str) -> list[Piece]:
    """Return the events of a batch; a bad one is taken in too, and becomes a dead letter of its own in the worker."""
    pieces = []
    for element in event_streams.split(webhook.body, default_account=account_id):
        if isinstance(element, event_streams.BatchElement):
            pieces.append(Piece(element.identity, element.body))
        else:
            name = sha256(element.raw or webhook.body).hexdigest()[:32]
            identity = Identity(account_id, f"{account_id}:event-streams:bad:{name}:{element.index}", f"bad:{name}")
            pieces.append(Piece(identity, element.raw))
    return pieces


def _split_mail(webhook: Webhook, account_id: str) -> list[Piece]:
    return [Piece(email.identify(mail, account_id=account_id), mail.to_body()) for mail in webhook.mails]


def _split_classic(webhook: Webhook, account_id: str) -> list[Piece]:
    identity = classic.identify(webhook.form, default_account=account_id)
    return [] if identity is None else [Piece(identity, webhook.body)]


SOURCES: Final[dict[SourceName, Source]] = {
    source.name: source
    for source in (
        Source(
            name=SourceName.MESSAGING,
            path="/webhooks/messaging",
            content_type=FORM,
            split=_split_message,
            normalize=messaging.normalize,
            answer=EMPTY_TWIML,
            answer_type="text/xml",
        ),
        Source(
            name=SourceName.VOICE,
            path="/webhooks/voice",
            content_type=FORM,
            split=_split_call,
            normalize=voice.normalize,
            answer=EMPTY_TWIML,  # where there is nothing to do; else the target's template (receiver.voice)
            answer_type="text/xml",
        ),
        Source(
            name=SourceName.CONVERSATIONS,
            path="/webhooks/conversations",
            content_type=JSON,
            split=_split_callback,
            normalize=conversations.normalize,
        ),
        Source(
            name=SourceName.CLASSIC,
            path="/webhooks/conversations-classic",
            content_type=FORM,
            split=_split_classic,
            normalize=classic.normalize,
            answer=b"{}",
            answer_type=JSON,
            empty="pre-action",
        ),
        Source(
            name=SourceName.EVENT_STREAMS,
            path="/webhooks/event-streams",
            content_type=JSON,
            split=_split_batch,
            normalize=event_streams.normalize,
            also=frozenset({"application/cloudevents+json", "application/cloudevents-batch+json"}),
        ),
        Source(
            name=SourceName.EMAIL,
            path="/webhooks/email",
            content_type=MULTIPART,
            split=_split_mail,
            normalize=email.normalize,
            key_ttl=7 * _DAY,
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
