"""Text from outside made safe to print: on one line, and without a character that acts on a terminal or hides itself.

Whoever can send a webhook decides what its fields contain. A terminal obeys control characters (C0, DEL, C1), line
separators start a line that looks like ours, and format characters reorder what is read (bidirectional overrides) or
are invisible. All of them are replaced by their escapes; every other character, of any script, stays as it is.
"""

from __future__ import annotations

import re
from typing import Final

from router.core.addresses import mask

#: A word that may be a mailbox or SIP address; or the beginning of a URL with a login, which is not one.
_WORD: Final = re.compile(r"\w{1,20}(?:\+\w{1,20})?://[^\s/@]*@|[^\s<>\"'(),;:=&|]+")
#: A phone number in the international form, plain or as it is written in a URL.
_NUMBER: Final = re.compile(r"(?<![\w+])(?:\+|%2[Bb])\d[\d ().\-]{6,18}\d(?!\w)")
#: A phone number that lacks its plus, or an id of as many digits.
_DIGITS: Final = re.compile(r"(?<![\w+*])\d{8,15}(?!\w)")
_BMP: Final = 0xFFFF


def visible(text: str) -> str:
    r"""Return text on one printable line: what cannot be printed becomes `\n`, `\x1b`, `\u202e` and the like."""
    if text.isprintable():
        return text
    return "".join(one if one.isprintable() else repr(one)[1:-1] for one in text)


def visible_json(text: str) -> str:
    """Return JSON text with every character that cannot be printed as a JSON escape, on one line."""
    if text.isprintable():
        return text
    return "".join(one if one.isprintable() else _json_escape(ord(one)) for one in text)


def masked(text: str, *, has_ids: bool = True) -> str:
    """Mask the phone numbers and mailboxes in a text.

    A number without a plus is kept where the text `has_ids`, since ids (of stream entries, for one) look like it.
    """
    if "@" in text:
        text = _WORD.sub(lambda found: _masked_word(found.group()), text)
    text = _NUMBER.sub(lambda found: mask(found.group()), text)
    return text if has_ids else _DIGITS.sub(lambda found: mask(found.group()), text)


def _masked_word(word: str) -> str:
    local, at, host = word.rpartition("@")
    return mask(word) if at and local and host else word


def _json_escape(code: int) -> str:
    if code <= _BMP:
        return f"\\u{code:04x}"
    code -= _BMP + 1
    return f"\\u{0xD800 + (code >> 10):04x}\\u{0xDC00 + (code & 0x3FF):04x}"
