"""Source `messaging`: SMS, MMS, WhatsApp, RCS and Messenger form webhooks.

The channel follows from the prefix of `From` (and of `To`); the idempotency key is the MessageSid, which is the same
on every repetition and on a fallback URL. The same URL may get the status callbacks of outgoing messages: they are told
apart by their status and disregarded by name.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from router.core.addresses import Address, Channel, parse_address
from router.core.caching import remembering
from router.core.events import Cause, Content, Disregarded, Event, Identity, InboundEntry, Medium, MessageReceived
from router.core.signing.form import parse_form
from router.inbound.rows import IGNORED, JOINED, SAID, EventTypeRow
from router.inbound.webhook import Piece, require

if TYPE_CHECKING:
    from collections.abc import Mapping

    from router.core.signing.form import Form
    from router.inbound.webhook import Webhook

MESSAGE: Final = "message.received"
#: Things attached to a message that are told of; Twilio takes ten.
_MAX_MEDIA: Final = 20
_DIGITS: Final = 9
_OUTGOING: Final = "status callback of an outgoing message"
#: What becomes of each event type (router.inbound.table).
ROWS: Final = (
    EventTypeRow(MESSAGE, (JOINED, SAID), kind="SMS, MMS"),
    EventTypeRow(MESSAGE, (JOINED, SAID), kind="WhatsApp"),
    EventTypeRow(MESSAGE, (JOINED, SAID), kind="RCS"),
    EventTypeRow(MESSAGE, (JOINED, SAID), "on channel CHAT", kind="Messenger"),
    EventTypeRow("message.<status>", IGNORED, _OUTGOING),
)
#: What SmsStatus says of a message that went out. A word that is not here counts as one that came in: to work on a
#: status callback in vain is better than to lose a message. MessageStatus is only ever said of one that went out.
_OUTGOING_STATUSES: Final = frozenset(
    {
        "accepted",
        "scheduled",
        "queued",
        "sending",
        "sent",
        "delivered",
        "partially_delivered",
        "undelivered",
        "failed",
        "read",
        "canceled",
    }
)


def split(webhook: Webhook, account_id: str) -> list[Piece]:
    """Return the one event of a webhook; raises UnreadableError."""
    return [Piece(identify(webhook.form, default_account=account_id), webhook.body)]


def identify(form: Form, *, default_account: str) -> Identity:
    """Return whose message it is, its key and its subject; raises UnreadableError if it cannot be told."""
    texts = form.read()
    require(texts, "From", "To", "MessageSid")
    account_id = texts.get("AccountSid", "").strip() or default_account
    key = message_key(account_id, texts["MessageSid"].strip(), _outgoing_status(texts))
    return Identity(account_id, key, _subject(texts["From"], texts["To"]))


@remembering(8_192)  # a customer writes more than once
def _subject(sender: str, recipient: str) -> str:
    """Return what stays in order: a customer and who is written to, whatever their spelling."""
    customer, ours = _ends(sender, recipient)
    return f"{customer.key}|{ours.canonical}"


def message_key(account_id: str, sid: str, status: str = "") -> str:
    """Return the idempotency key of a message, or of one status of an outgoing one."""
    return ":".join(filter(None, (account_id, "messaging", sid, status)))


def normalize(entry: InboundEntry) -> Event:
    """Return the event in an inbound entry; raises UnreadableError if it does not hold one."""
    texts = parse_form(entry.body).read()
    require(texts, "From", "To", "MessageSid")
    sid, status = texts["MessageSid"].strip(), _outgoing_status(texts)
    cause = Cause(entry.source, f"message.{status}" if status else MESSAGE, sid, entry.key, entry.received_at)
    if status:
        return Disregarded(cause, entry.account_id, f"{_OUTGOING}: {status}")
    customer, recipient = _ends(texts["From"], texts["To"])
    return MessageReceived(cause, entry.account_id, customer, recipient, sid, content=_content(texts))


def _content(texts: Mapping[str, str]) -> Content:
    """Return what the message says; a tap on a button that came without words says what the button says."""
    number = texts.get("NumMedia", "0").strip()
    count = min(int(number), _MAX_MEDIA) if number.isascii() and number.isdecimal() and len(number) <= _DIGITS else 0
    media = [
        Medium(texts.get(f"MediaContentType{index}") or None, texts.get(f"MediaUrl{index}") or None)
        for index in range(count)
    ]
    return Content(texts.get("Body") or texts.get("ButtonText", ""), media=tuple(media))


def _ends(sender: str, to: str) -> tuple[Address, Address]:
    """Both ends of a message are on one channel; the customer's prefix decides it, or else ours."""
    customer = parse_address(sender)
    recipient = parse_address(to, default=customer.channel)
    if customer.channel == recipient.channel:  # as nearly always
        return customer, recipient
    channel = recipient.channel if customer.channel == Channel.SMS else customer.channel
    return Address(channel, customer.value), Address(channel, recipient.value)


def _outgoing_status(texts: Mapping[str, str]) -> str:
    """Return the status of an outgoing message, or nothing for one that came in."""
    said = texts.get("MessageStatus", "").strip().lower()
    if said and said not in {"received", "receiving"}:
        return said
    status = texts.get("SmsStatus", "").strip().lower()
    return status if status in _OUTGOING_STATUSES else ""
