"""Addresses of every channel: parse, canonicalize, compare and mask. The set of channels is open.

Twilio documents a WhatsApp or RCS sender with a prefix (API reference) and without one (channel pages), people format
phone numbers, and mailboxes come in any case. Two addresses are equal if they have the same channel and canonical form.
Values that are neither phone numbers nor mailboxes (WhatsApp user ids, SIP URIs, chat identities) are opaque and kept
unchanged: no address is ever refused for its form.
"""

from __future__ import annotations

import re
from enum import StrEnum
from typing import Final

from router.core.caching import Results, remembering
from router.core.values import Value


class Channel(StrEnum):
    """The channels that the API has today; any other is carried through under its own upper-case name."""

    SMS = "SMS"
    VOICE = "VOICE"
    RCS = "RCS"
    WHATSAPP = "WHATSAPP"
    EMAIL = "EMAIL"
    CHAT = "CHAT"
    VIDEO = "VIDEO"


#: Prefix of a `From` or `To` in the messaging webhook, and its channel. The API has no channel for Messenger, so its
#: page-scoped ids travel on CHAT and keep the prefix (they are opaque ids, not phone numbers).
PREFIXES: Final = {"whatsapp": Channel.WHATSAPP, "rcs": Channel.RCS, "messenger": Channel.CHAT}

_PHONE: Final = re.compile(r"\+?[0-9][0-9 ().\-]{1,30}")
_NOT_DIGIT: Final = re.compile(r"[^0-9]")
_SPACES: Final = re.compile(r"\s+")
#: Digits of the shortest phone number; a shorter number is a short code.
E164_MIN: Final = 8
#: Prefixes that a masked value shows. Real values have one; further repetitions are masked with the rest.
_MAX_PREFIXES: Final = 4
#: The channels whose addresses are phone numbers, as a rule.
PHONE_CHANNELS: Final = frozenset({Channel.SMS, Channel.VOICE, Channel.RCS, Channel.WHATSAPP})
#: Prefixes that are no part of an address on a channel: calls over WhatsApp come to the voice webhook with theirs.
_BARE: Final[dict[str, tuple[str, ...]]] = {
    Channel.WHATSAPP: ("whatsapp:",),
    Channel.RCS: ("rcs:",),
    Channel.VOICE: ("whatsapp:", "rcs:", "tel:"),
}
_SIP: Final = ("sip:", "sips:")
#: What stands for the number of a caller who withholds it.
_WITHHELD: Final = frozenset({"", "anonymous", "blocked", "private", "restricted", "unavailable", "unknown"})
#: Numbers that spell such words on a keypad, also misspelt or after +1, as lists of them have it; and +464.
#: https://help.twilio.com/articles/223179988
_WITHHELD_NUMBERS: Final = frozenset(
    {
        *("+266696687", "+1266696687"),  # anonymous
        *("+7378742833", "+7378742883"),  # restricted; after +1 it may be a real number
        *("+2562533", "+12562533"),  # blocked
        *("+8656696", "+18656696"),  # unknown
        "+86282452253",  # unavailable
        "+464",
    }
)
#: Digits of them that need no plus: fewer may be an extension, and ten a national number.
_BARE_DIGITS: Final = frozenset({9, 11})
_USER_ID: Final = re.compile(r"[A-Z]{2}\.(?:ENT\.)?[A-Za-z0-9]{1,128}")
#: The host of a SIP URI that identifies nobody: https://www.rfc-editor.org/rfc/rfc3323#section-4.1.1.3
_NOBODY: Final = "anonymous.invalid"


class Address(Value):
    """One end of a channel: `channel` (upper case) and `value` exactly as Twilio wrote it."""

    channel: str
    value: str

    @property
    def canonical(self) -> str:
        """The form that is equal for all spellings of one address."""
        return _CANONICAL[self.channel, self.value]

    @property
    def key(self) -> str:
        """`CHANNEL|canonical`: identifies this address within a conversation or a cache."""
        return _KEYS[self.channel, self.value]

    @property
    def is_withheld(self) -> bool:
        """Whether this is what stands for the number of a caller who withholds it: it identifies nobody."""
        return self.channel == Channel.VOICE and _is_withheld(self.value)


def from_key(key: str) -> Address:
    """Return the address of a key (`CHANNEL|canonical`)."""
    channel, _, canonical = key.partition("|")
    return Address(channel, canonical)


def parse_address(value: str, default: str = Channel.SMS) -> Address:
    """Parse a `From` or `To` of the messaging webhook: its prefix gives the channel, else it is `default`.

    Never raises. The rule: https://www.twilio.com/docs/messaging/guides/webhook-request
    """
    prefix, colon, _ = value.partition(":")
    channel = PREFIXES.get(prefix.strip().lower()) if colon else None
    return Address(channel or default, value.strip())


def canonicalize(channel: str, value: str) -> str:
    """Return the comparable form of `value` on `channel`; idempotent, never raises.

    Phone numbers lose their formatting and keep a plus (WhatsApp numbers that come without one get it); the prefixes
    `whatsapp:` and `rcs:` are removed, on VOICE both and `tel:`; mailboxes are lower-cased; any other value only loses
    outer white space.
    """
    return _CANONICAL[channel, value]


def _canonicalize(channel: str, value: str) -> str:
    text = value.strip()
    is_whatsapp = channel == Channel.WHATSAPP or (channel == Channel.VOICE and text.lower().startswith("whatsapp:"))
    if channel in _BARE:
        text = _without_prefixes(text, _BARE[channel])
    if channel in PHONE_CHANNELS and _PHONE.fullmatch(text):
        digits = _NOT_DIGIT.sub("", text)
        has_plus = text.startswith("+") or (is_whatsapp and len(digits) >= E164_MIN)
        return f"+{digits}" if has_plus else digits
    if channel == Channel.EMAIL:
        return _mailbox(text)
    return text


#: More than the addresses of the events that are in progress at once; what is remembered beyond that takes memory.
_AT_ONCE: Final = 2_048
#: One event needs the same few addresses several times, and customers write more than once.
_CANONICAL: Final = Results(_canonicalize, 8_192)
_KEYS: Final = Results(lambda channel, value: f"{channel}|{_CANONICAL[channel, value]}", _AT_ONCE)


def with_plus(canonical: str) -> str:
    """Return a phone number with its plus, which E.164 has; a short code, which is shorter, has none."""
    return f"+{canonical}" if canonical.isdecimal() and len(canonical) >= E164_MIN else canonical


def _without_prefixes(text: str, prefixes: tuple[str, ...]) -> str:
    """Remove every repetition of prefixes, with a single slice at the end: the sender chooses how often they repeat."""
    start = 0
    while found := next((one for one in prefixes if text[start : start + len(one)].lower() == one), ""):
        start += len(found)
        while text[start : start + 1].isspace():
            start += 1
    return text[start:]


def _mailbox(text: str) -> str:
    """Turn `Name <Box@Host>` into `box@host`: a host may distinguish its case, but in practice none does."""
    start, end = text.rfind("<"), text.rfind(">")
    while -1 < start < end:
        text = text[start + 1 : end]
        start, end = text.rfind("<"), text.rfind(">")
    return _SPACES.sub("", text).lower()


def _is_withheld(value: str) -> bool:
    text = canonicalize(Channel.VOICE, value).lower()
    if text.startswith(_SIP):
        user, _, host = text.partition(":")[2].rpartition("@")
        if re.split(r"[;:?]", host)[0] == _NOBODY:
            return True
        text = re.split(r"[;:]", user)[0]
    number = canonicalize(Channel.VOICE, text)
    if len(number) in _BARE_DIGITS and number.isdecimal():
        number = f"+{number}"
    return text in _WITHHELD or number in _WITHHELD_NUMBERS


def is_phone(address: Address) -> bool:
    """Return whether an address of WhatsApp is a phone number: its canonical form has a plus."""
    return address.canonical.startswith("+")


@remembering(1_024)
def read_user_id(channel: str, value: str) -> str | None:
    """Return the id of a WhatsApp user if that is what an address is: `US.<id>`, or `US.ENT.<id>` of a group.

    Such an address stands for a customer whose phone is hidden. Its case matters.
    """
    canonical = canonicalize(channel, value) if channel == Channel.WHATSAPP else ""
    return canonical if _USER_ID.fullmatch(canonical) else None


def is_same(one: Address, other: Address) -> bool:
    """Return whether both are the same address on the same channel."""
    return one.channel == other.channel and one.canonical == other.canonical


def mask(value: str) -> str:
    """Mask an address so that it identifies nobody but an operator can still tell two of them apart.

    All log lines use this one function: `+15551230001` becomes `+155***01`, `ana@example.com` becomes
    `a***@example.com`. Short or opaque values keep their first character only.
    """
    return _MASKED[value]


def _mask(value: str) -> str:
    head = ""
    for _ in range(_MAX_PREFIXES):
        prefix, colon, rest = value.partition(":")
        if not colon or prefix.lower() not in PREFIXES:
            break
        head, value = f"{head}{prefix}:", rest
    local, at, host = value.rpartition("@")
    # a host is shown unless it is a phone number (SIP)
    shown = f"{local[:1]}***@{_hide(host) if _is_number(host) else host}" if at else _hide(value)
    return head + shown


_MASKED: Final = Results(_mask, _AT_ONCE)


def _is_number(text: str) -> bool:
    """Return whether `text` may be a person's number: short codes are public, eight and more digits are not."""
    return sum(map(str.isdigit, text)) >= E164_MIN


def _hide(text: str) -> str:
    if _is_number(text):
        return f"{text[:4]}***{text[-2:]}"
    return f"{text[:1]}***" if text else ""
