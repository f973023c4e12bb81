"""Signed SMS webhooks by the thousand: one form of 475 bytes, filled in with other MessageSids and customers.

The form is the simulator's. Only the two ids differ from one webhook to the next, so signing one costs a few
microseconds here, where router.core.signature would sort the same names again and again; that both agree is tested.
"""

from __future__ import annotations

import hmac
from base64 import b64encode
from typing import TYPE_CHECKING, Final

from router.sandbox.simulator import message

if TYPE_CHECKING:
    from collections.abc import Iterator

ACCOUNT_SID: Final = "AC0000000000000000000000000000beef"
AUTH_TOKEN: Final = "0123456789abcdef0123456789abcdef"
PUBLIC_BASE_URL: Final = "https://hooks.example.com"
PATH: Final = "/webhooks/messaging"
RECIPIENT: Final = "+15557650000"
#: Bytes of the form: a usual SMS webhook.
SIZE: Final = 475
_SID: Final = "SM" + "f" * 32
_CUSTOMER: Final = "15559999999"
_TEXT: Final = "Is my order on its way?"


def _template() -> tuple[bytes, bytes]:
    """Return the form, and what is signed of it, both with the two ids to be filled in."""
    text = _TEXT
    while True:
        webhook = message(
            "sms", account_sid=ACCOUNT_SID, sender=f"+{_CUSTOMER}", recipient=RECIPIENT, body=text, sid=_SID
        )
        if len(webhook.body) >= SIZE:
            break
        text += "."
    tail = "".join(name + value for name, value in sorted(webhook.pairs))
    return webhook.body, (PUBLIC_BASE_URL + PATH + tail).encode()


_BODY, _SIGNED = _template()


def ids(run: int, number: int, customers: int) -> tuple[bytes, bytes]:
    """Return MessageSid and customer (digits) of webhook `number` of a run: another SID for every pair of numbers."""
    return b"SM%016x%016x" % (run, number), b"1555%07d" % (number % customers)


def form(run: int, number: int, customers: int) -> bytes:
    """Return the body of one webhook."""
    sid, customer = ids(run, number, customers)
    return _BODY.replace(_SID.encode(), sid).replace(_CUSTOMER.encode(), customer)


def signature(run: int, number: int, customers: int) -> bytes:
    """Return the signature of one webhook."""
    sid, customer = ids(run, number, customers)
    text = _SIGNED.replace(_SID.encode(), sid).replace(_CUSTOMER.encode(), customer)
    return b64encode(hmac.digest(AUTH_TOKEN.encode(), text, "sha1"))


def requests(run: int, count: int, customers: int) -> Iterator[bytes]:
    """Yield webhooks as whole HTTP requests, with the headers that Twilio sends."""
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
        body = form(run, number, customers)
        yield head % (len(body), signature(run, number, customers)) + body
