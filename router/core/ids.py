"""The forms of Twilio's ids.

Ids of API v2 are `<prefix>_` and 26 characters of lower-case Crockford base32 over a UUID version 7. The router treats
them as opaque: only the sandbox, which makes ids, and the search for an id in an error text (a 409 without its header)
know this form. SIDs of all other APIs are two letters and 32 hexadecimal digits.
"""

from __future__ import annotations

import re
from typing import Final

#: Pattern of the digits of a SID, behind its two letters.
SID_DIGITS: Final = "[0-9a-fA-F]{32}"
ALPHABET: Final = "0123456789abcdefghjkmnpqrstvwxyz"
_CONVERSATION: Final = re.compile(r"conv_conversation_[0-9a-z]{26}")


def make_id(prefix: str, *, millis: int, entropy: int) -> str:
    """Return an id that sorts by its creation time, `millis`; `entropy` supplies 74 random bits (more are cut off)."""
    random_a, random_b = (entropy >> 62) & 0xFFF, entropy & ((1 << 62) - 1)
    number = (millis & ((1 << 48) - 1)) << 80 | 0x7 << 76 | random_a << 64 | 0b10 << 62 | random_b
    letters = [ALPHABET[number >> shift & 31] for shift in range(125, -1, -5)]
    return f"{prefix}_{''.join(letters)}"


def find_conversation_id(text: str) -> str | None:
    """Return the first conversation id in an error text; a 409 names it there even if the header is missing."""
    match = _CONVERSATION.search(text)
    return match.group() if match else None
