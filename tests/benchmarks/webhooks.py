"""Signed SMS webhooks by the thousand: one form of 475 bytes, filled in with other MessageSids and customers.

The form is the simulator's. Only the two ids differ from one webhook to the next, so that signing one costs a few
microseconds; router.core.signing.twilio would sort the same names every time. A test compares both signatures.
"""

from __future__ import annotations

import hmac
from base64 import b64encode
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import aiohttp

from router.simulator.messages import message
from tests.support.accounts import ACCOUNT, BASE_URL, OURS, TOKEN

if TYPE_CHECKING:
    from collections.abc import Iterator

#: The credentials that the API accepts for the account.
BASIC: Final = aiohttp.encode_basic_auth(ACCOUNT, TOKEN)
PATH: Final = "/webhooks/messaging"
_RECIPIENT: Final = OURS[1:].encode()
#: Bytes of the form, as of a usual SMS webhook.
SIZE: Final = 475
_SID: Final = "SM" + "f" * 32
_CUSTOMER: Final = "15559999999"
_TEXT: Final = "Is my order on its way?"


def _template() -> tuple[bytes, bytes]:
    """Return the form, and its signed text after the base URL, both with ids to be replaced."""
    text = _TEXT
    while True:
        webhook = message("sms", account_sid=ACCOUNT, sender=f"+{_CUSTOMER}", recipient=OURS, body=text, sid=_SID)
        if len(webhook.body) >= SIZE:
            break
        text += "."
    tail = "".join(name + value for name, value in sorted(webhook.pairs))
    return webhook.body, (PATH + tail).encode()


_BODY, _SIGNED = _template()


@dataclass(frozen=True, slots=True)
class Senders:
    """So many customers from number `first` on, who write to `recipient` (digits); signed for the URL `base`."""

    customers: int
    first: int = 0
    recipient: str = OURS[1:]
    base: str = BASE_URL

    def fill(self, template: bytes, run: int, number: int) -> bytes:
        """Return a template with the ids of webhook `number` of a run, whose SID contains both numbers."""
        customer = b"1555%07d" % (self.first + number % self.customers)
        filled = template.replace(_SID.encode(), b"SM%016x%016x" % (run, number)).replace(_CUSTOMER.encode(), customer)
        return filled.replace(_RECIPIENT, self.recipient.encode())

    def form(self, run: int, number: int) -> bytes:
        """Return the body of one webhook."""
        return self.fill(_BODY, run, number)

    def signature(self, run: int, number: int) -> bytes:
        """Return the signature of one webhook."""
        text = self.base.encode() + self.fill(_SIGNED, run, number)
        return b64encode(hmac.digest(TOKEN.encode(), text, "sha1"))


def requests(run: int, count: int, senders: Senders) -> Iterator[bytes]:
    """Yield webhooks as complete HTTP requests, with the headers that Twilio sends."""
    head = (
        f"POST {PATH} HTTP/1.1\r\n"
        "Host: hooks.example.com\r\n"
        "User-Agent: TwilioProxy/1.1\r\n"
        "Accept: */*\r\n"
        "Content-Type: application/x-www-form-urlencoded; charset=utf-8\r\n"
        "Content-Length: %d\r\n"
        "I-Twilio-Idempotency-Token: 6b0f5d0c-2f5c-4c43-9f2f-0f2f6d3f7f10\r\n"
        "X-Twilio-Signature: %s\r\n"
        "\r\n"
    ).encode()
    for number in range(count):
        body = senders.form(run, number)
        yield head % (len(body), senders.signature(run, number)) + body
