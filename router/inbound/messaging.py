"""Source `messaging`: form webhooks of SMS, MMS, WhatsApp, RCS and Messenger messages.

The channel follows from the prefix of `From` (and of `To`). The idempotency key is the MessageSid, which is the same
for every redelivery and for the fallback URL. Status callbacks of outgoing messages may arrive at the same URL: they
are recognized by their status and disregarded by name.
Parameters: https://www.twilio.com/docs/messaging/guides/webhook-request
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from router.core.addresses import Address, Channel, parse_address
from router.core.caching import remembering
from router.core.errors import UnreadableError
from router.core.events import (
    STRANGER,
    Cause,
    Disregarded,
    Event,
    Identity,
    InboundEntry,
    MessageReceived,
    SourceName,
)
from router.core.signing.form import parse_form
from router.inbound.callbacks import ROW, identify_callback, normalize_callback
from router.inbound.message_content import read_content
from router.inbound.persons import ID, PARENT, aliases_of, read_person, read_sender, recognize
from router.inbound.rows import IGNORED, JOINED, SAID, EventTypeRow
from router.inbound.webhook import Piece, require

if TYPE_CHECKING:
    from collections.abc import Mapping

    from router.core.signing.form import Form
    from router.inbound.webhook import Webhook

MESSAGE: Final = "message.received"
_OUTGOING: Final = "status callback of an outgoing message"
#: Parameters that must be UTF-8; in all others a wrong byte is replaced.
_EXACT: Final = frozenset({"AccountSid", "From", "To", "MessageSid"})
#: What becomes of each event type (router.inbound.table).
ROWS: Final = (
    EventTypeRow(MESSAGE, (JOINED, SAID), kind="SMS, MMS"),
    EventTypeRow(MESSAGE, (JOINED, SAID), kind="WhatsApp"),
    EventTypeRow(MESSAGE, (JOINED, SAID), kind="RCS"),
    EventTypeRow(MESSAGE, (JOINED, SAID), "on channel CHAT", kind="Messenger"),
    EventTypeRow("message.<status>", IGNORED, _OUTGOING),
    ROW,
)
#: Values of SmsStatus that only outgoing messages have. Any other value counts as an incoming message: a status
#: callback that is processed in vain costs less than a lost message. Incoming messages have no MessageStatus.
#: https://www.twilio.com/docs/messaging/guides/outbound-message-status-in-status-callbacks
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
    try:
        identity = identify(webhook.form, default_account=account_id)
    except UnreadableError:
        callback = identify_callback(webhook.form, SourceName.MESSAGING, default_account=account_id)
        if callback is None:
            raise
        identity = callback
    return [Piece(identity, webhook.body)]


def identify(form: Form, *, default_account: str) -> Identity:
    """Return a message's account, key and subject; raises UnreadableError naming the missing parameters."""
    params = form.read(exact=_EXACT)
    sender = _require_ends(params)
    account_id = params.get("AccountSid", "").strip() or default_account
    parts = (account_id, "messaging", params["MessageSid"].strip(), _outgoing_status(params))
    subject = _subject(sender, params["To"])
    if ID in params or PARENT in params:  # the phone of this customer may be hidden next time
        customer, ours = _parse_ends(sender, params["To"])
        aliases = aliases_of(read_person(params, customer), customer)
        subject = f"{recognize(aliases, customer).key}|{ours.canonical}"
    return Identity(account_id, ":".join(filter(None, parts)), subject)


def _require_ends(params: Mapping[str, str]) -> str:
    """Return the sender; raises UnreadableError naming the missing parameters."""
    sender = params.get("From", "")
    if not sender.startswith("+"):  # rarely
        sender = read_sender(params)
    if "" in map(str.strip, (sender, params.get("To", ""), params.get("MessageSid", ""))):
        require({**params, "From": sender}, "From", "To", "MessageSid")
    return sender


@remembering(8_192)  # a customer writes more than once; 2.5 of 86 µs a webhook, by a timer
def _subject(sender: str, recipient: str) -> str:
    """Return the subject: the pair of customer and our address, whatever their spelling."""
    customer, ours = _parse_ends(sender, recipient)
    return f"{customer.key}|{ours.canonical}"


def normalize(entry: InboundEntry) -> Event:
    """Return the event of an inbound entry; raises UnreadableError if it does not hold one."""
    form = parse_form(entry.body)
    try:
        params = form.read(exact=_EXACT)
        sender = _require_ends(params)
    except UnreadableError:
        callback = normalize_callback(form, entry)
        if callback is None:
            raise
        return callback
    sid, status = params["MessageSid"].strip(), _outgoing_status(params)
    event_type = f"message.{status}" if status else MESSAGE
    cause = Cause(entry.source, event_type, sid, entry.key, entry.received_at, entry.event_id)
    if status:
        return Disregarded(cause, entry.account_id, f"{_OUTGOING}: {status}")
    customer, recipient = _parse_ends(sender, params["To"])
    person = read_person(params, customer)
    aliases = () if person is STRANGER else aliases_of(person, customer)
    return MessageReceived(
        cause=cause,
        account_id=entry.account_id,
        customer=customer,
        recipient=recipient,
        message_sid=sid,
        content=read_content(params, recipient),
        person=person,
        aliases=aliases,
        user=recognize(aliases, customer) if aliases else None,
    )


@remembering(2_048)  # 70 of the 5,400 steps of a known customer's message, by tests.benchmarks.steps
def _parse_ends(sender: str, recipient: str) -> tuple[Address, Address]:
    """Return customer and our address, both on one channel: the customer's prefix decides, or else ours."""
    customer = parse_address(sender)
    ours = parse_address(recipient, default=customer.channel)
    if customer.channel == ours.channel:  # nearly always
        return customer, ours
    channel = ours.channel if customer.channel == Channel.SMS else customer.channel
    return Address(channel, customer.value), Address(channel, ours.value)


def _outgoing_status(params: Mapping[str, str]) -> str:
    """Return the status of an outgoing message, or an empty text for an incoming one."""
    status = params.get("MessageStatus", "").strip().lower()
    if status and status not in {"received", "receiving"}:
        return status
    status = params.get("SmsStatus", "").strip().lower()
    return status if status in _OUTGOING_STATUSES else ""
