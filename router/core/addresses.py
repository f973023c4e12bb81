"""Addresses: parse, canonicalize, match and mask, for every channel; the set of channels is open.

Twilio writes one WhatsApp or RCS sender with a prefix in one place (API reference) and without in another (channel
pages), phone numbers come formatted by people, mailboxes in any case. Two addresses are the same if their canonical
forms are the same on the same channel. What is neither phone nor mailbox (WhatsApp user names, SIP URIs, chat
identities) is opaque and kept exactly as it is: an address is never refused for its form.
"""

from __future__ import annotations

import re
from enum import StrEnum
from typing import Final

from router.core.caching import remembering
from router.core.values import value


class Channel(StrEnum):
    """The channels of the API today; one that is not listed here is carried through as its own upper-case name."""

    SMS = "SMS"
    VOICE = "VOICE"
    RCS = "RCS"
    WHATSAPP = "WHATSAPP"
    EMAIL = "EMAIL"
    CHAT = "CHAT"
    VIDEO = "VIDEO"


#: Prefix of a `From` or `To` of the messaging webhook, and the channel that it says. Messenger has no channel of its
#: own in the API, so its page-scoped ids travel on CHAT with the prefix kept (they are opaque ids, not phones).
PREFIXES: Final = {"whatsapp": Channel.WHATSAPP, "rcs": Channel.RCS, "messenger": Channel.CHAT}

_PHONE: Final = re.compile(r"\+?[0-9][0-9 ().\-]{1,30}")
_NOT_DIGIT: Final = re.compile(r"[^0-9]")
_SPACES: Final = re.compile(r"\s+")
_E164_MIN: Final = 8
#: Prefixes that are shown of a masked value; nobody writes two, and what repeats them is hidden with the rest.
_MAX_PREFIXES: Final = 4
_PHONE_CHANNELS: Final = frozenset({Channel.SMS, Channel.VOICE, Channel.RCS, Channel.WHATSAPP})


@value
class Address:
    """One end of a channel: `channel` (upper case) and `value` exactly as Twilio wrote it."""

    channel: str
    value: str

    @property
    def canonical(self) -> str:
        """The form in which two spellings of one address are equal."""
        return canonicalize(self.channel, self.value)

    @property
    def key(self) -> str:
        """`CHANNEL|canonical`: names this address inside a conversation or a cache."""
        return f"{self.channel}|{self.canonical}"


def parse_address(value: str, default: str = Channel.SMS) -> Address:
    """Read a `From` or `To` of the messaging webhook: the prefix says the channel, without one it is `default`.

    Never raises. Source of the rule: the core parameters of the messaging webhook (`channel:address`).
    """
    prefix, colon, _ = value.partition(":")
    channel = PREFIXES.get(prefix.strip().lower()) if colon else None
    return Address(channel or default, value.strip())


@remembering(8_192)  # one event asks for the same few, and a customer writes more than once
def canonicalize(channel: str, value: str) -> str:
    """Return the comparable form of `value` on `channel`; idempotent, never raises.

    Phone numbers lose formatting and keep their plus (WhatsApp ids come without one and get it); `whatsapp:` and
    `rcs:` go; mailboxes are lower case; anything else stays exactly as it is, apart from outer white space.
    """
    text = value.strip()
    if channel in {Channel.WHATSAPP, Channel.RCS}:
        text = _without_prefix(text, channel.lower())
    if channel in _PHONE_CHANNELS and _PHONE.fullmatch(text):
        digits = _NOT_DIGIT.sub("", text)
        has_plus = text.startswith("+") or (channel == Channel.WHATSAPP and len(digits) >= _E164_MIN)
        return f"+{digits}" if has_plus else digits
    if channel == Channel.EMAIL:
        return _mailbox(text)
    return text


def _without_prefix(text: str, prefix: str) -> str:
    """Take off a prefix, however often it is there; one cut at the end, since whoever repeats it chooses how often."""
    start, step = 0, len(prefix) + 1
    while text[start : start + step].lower() == f"{prefix}:":
        start += step
        while text[start : start + 1].isspace():
            start += 1
    return text[start:]


def _mailbox(text: str) -> str:
    """`Name <Box@Host>` to `box@host`: the local part's case is the host's to decide, and no host tells two."""
    start, end = text.rfind("<"), text.rfind(">")
    while -1 < start < end:
        text = text[start + 1 : end]
        start, end = text.rfind("<"), text.rfind(">")
    return _SPACES.sub("", text).lower()


def is_same(one: Address, other: Address) -> bool:
    """Tell whether both are one address on one channel."""
    return one.channel == other.channel and one.canonical == other.canonical


def mask(value: str) -> str:
    """Hide who somebody is, keeping what an operator needs to tell two of them apart.

    The one function that all log lines use: `+15551230001` becomes `+155***01`, `ana@example.com` becomes
    `a***@example.com`. Short or opaque values keep their first character only.
    """
    head = ""
    for _ in range(_MAX_PREFIXES):
        prefix, colon, rest = value.partition(":")
        if not colon or prefix.lower() not in PREFIXES:
            break
        head, value = f"{head}{prefix}:", rest
    local, at, host = value.rpartition("@")
    # a host is shown, but it can be a number too (SIP)
    shown = f"{local[:1]}***@{_hide(host) if _is_number(host) else host}" if at else _hide(value)
    return head + shown


def _is_number(text: str) -> bool:
    """Tell whether it may be a person's: a short code is public, eight digits and more are not."""
    return sum(map(str.isdigit, text)) >= _E164_MIN


def _hide(text: str) -> str:
    if _is_number(text):
        return f"{text[:4]}***{text[-2:]}"
    return f"{text[:1]}***" if text else ""
