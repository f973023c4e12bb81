"""Text from outside made safe to print: on one line, and without a character that acts on a terminal or hides itself.

Whoever can send a webhook decides what its fields contain. A terminal obeys control characters (C0, DEL, C1), line
separators start a line that looks like ours, and format characters reorder what is read (bidirectional overrides) or
are invisible. All of them are replaced by their escapes; every other character, of any script, stays as it is.
"""

from __future__ import annotations

import re
import unicodedata
from typing import Final

from router.core.addresses import mask

#: A word that may be a mailbox or SIP address; or the beginning of a URL with a login, which is not one.
_WORD: Final = re.compile(r"\w{1,20}(?:\+\w{1,20})?://[^\s/@]*@|[^\s<>\"'(),;:=&|]+")
_DIGIT: Final = re.compile(r"\d")
#: What may stand between two digits of a phone number: spaces of any width, punctuation, dashes and invisible
#: characters, also where `visible` or a URL has replaced them.
_GAP: Final = r"(?:[\s().\-/\u00ad\u200b-\u200f\u2010-\u2015\u2060\u2212]|\\x[0-9a-f]{2}|\\u[0-9a-f]{4}|%20){0,3}"
#: The end of a number that could also be the beginning of an id: no letter follows except of an extension.
_END: Final = r"(?=(?:x|ext)\.?\d|\W|\Z)"
#: A phone number as people write it; an id, a time or an amount has none of these forms.
_NUMBER: Final = re.compile(
    rf"(?:[+\uff0b]|%2[Bb])(?:\d(?:{_GAP}\d){{7,14}}(?!\d)|\d{{8,}})"  # international, plain or as in a URL
    rf"|(?<![\w.:\-])00{_GAP}[1-9](?:{_GAP}\d){{7,13}}{_END}"  # with the prefix of many countries for calls abroad
    rf"|(?<!\w)\(\d{{3}}\){_GAP}\d{{3}}{_GAP}\d{{4}}{_END}"  # (555) 123-0001
    rf"|(?<!\w)\(0\d{{1,5}}\)(?:{_GAP}\d){{5,11}}{_END}"  # (0171) 1234567
    rf"|(?<![\w.\-])(?:1[.\-])?\d{{3}}([.\-])\d{{3}}\1\d{{4}}(?![.\-]\d){_END}"  # 555-123-0001
)
#: A phone number that lacks its plus, or an id of as many digits.
_DIGITS: Final = re.compile(rf"(?<![\w+*])\d{{8,15}}{_END}")
_BMP: Final = 0xFFFF
#: What a cut text ends with.
ELLIPSIS: Final = "…"
#: Marks in a row that are shown above or below one character: more of them cover the lines around it.
_MOST_MARKS: Final = 3
_MARKS: Final = frozenset({"Mn", "Me"})
#: Asks for the picture of a character, which is wide.
_PICTURE: Final = "\ufe0f"


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


def width(text: str) -> int:
    """Return the columns that a printable text takes in a terminal: wide characters two, marks none."""
    return len(text) if text.isascii() else sum(map(_columns, text))


def fit(text: str, columns: int) -> str:
    """Cut a printable text to so many columns, with an ellipsis where something is missing."""
    if not text.isascii():
        text = _with_few_marks(text)
    if width(text) <= columns:
        return text
    taken, end = 0, 0
    for end, one in enumerate(text):  # noqa: B007 - the place of the first character without room
        taken += _columns(one)
        if taken > columns - 1:
            break
    return text[:end] + ELLIPSIS if columns > 0 else ""


def _columns(one: str) -> int:
    if one == _PICTURE:
        return 1
    if unicodedata.category(one) in _MARKS:
        return 0
    return 2 if unicodedata.east_asian_width(one) in {"W", "F"} else 1


def _with_few_marks(text: str) -> str:
    """Return a text without the marks that no writing needs."""
    shown, marks = [], 0
    for one in text:
        marks = marks + 1 if unicodedata.category(one) in _MARKS else 0
        if marks <= _MOST_MARKS:
            shown.append(one)
    return "".join(shown)


def masked(text: str, *, has_ids: bool = True) -> str:
    """Mask the phone numbers and mailboxes in a text.

    Bare digits are kept where the text `has_ids`, since ids (of stream entries, for one) look like them.
    """
    if "@" in text:
        text = _WORD.sub(lambda found: _masked_word(found.group()), text)
    if _DIGIT.search(text) is None:
        return text  # most reasons for a refusal, which strangers cause by the thousand
    text = _NUMBER.sub(lambda found: mask(found.group()), text)
    return text if has_ids else _DIGITS.sub(lambda found: mask(found.group()), text)


def masked_key(key: str) -> str:
    """Mask the phone numbers and mailboxes in an idempotency key: an id that a webhook made up may hold one."""
    return masked(key) if "+" in key or "@" in key else key


def _masked_word(word: str) -> str:
    local, at, host = word.rpartition("@")
    return mask(word) if at and local and host else word


def _json_escape(code: int) -> str:
    if code <= _BMP:
        return f"\\u{code:04x}"
    code -= _BMP + 1
    return f"\\u{0xD800 + (code >> 10):04x}\\u{0xDC00 + (code & 0x3FF):04x}"
