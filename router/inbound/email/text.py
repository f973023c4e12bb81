"""Text of mails: bytes in a charset that may be wrong, encoded words in headers, and HTML as plain text.

All input is untrusted: no function raises, none takes more than linear time, and every result can be written as UTF-8.
If a stated charset is wrong, the result says so instead of failing.
Encoded words: https://www.rfc-editor.org/rfc/rfc2047
"""

from __future__ import annotations

import re
from binascii import Error, a2b_base64, a2b_qp
from codecs import lookup
from encodings import normalize_encoding
from encodings.aliases import aliases
from html import unescape
from typing import Final, NamedTuple

#: Text codecs of Python that no mail uses; some are slow for crafted input.
_NOT_CHARSETS: Final = frozenset({"idna", "punycode", "unicode_escape", "raw_unicode_escape", "undefined"})
#: Normalized names of Python's codecs, with and without an alias. Python would search its files for any other name and
#: remember the result forever, and the sender of a mail chooses the name.
_WITHOUT_ALIAS: Final = ("utf_8_sig", "koi8_t", "koi8_u", "cp720", "cp737", "cp856", "cp874", "cp875", "cp1006")
_CODECS: Final = frozenset({*aliases, *aliases.values(), *_WITHOUT_ALIAS})
_CHARSET: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._:+-]{0,39}", re.ASCII)
#: Bytes of the longest character that a cut can leave incomplete.
_MAX_CHARACTER: Final = 4
_ENCODED_WORD: Final = re.compile(r"=\?([^?\s*]{1,40})(?:\*[^?\s]{0,20})?\?([bBqQ])\?([^?\s]*)\?=", re.ASCII)
_BETWEEN_WORDS: Final = re.compile(r"(\?=)[ \t\r\n]{1,8}(?==\?)")
_TOKEN: Final = re.compile(r"<[^<>]*>|[^<]+|<")
_TAG: Final = re.compile(r"</?\s{0,4}([a-zA-Z0-9]{1,20})")
_BLOCKS: Final = frozenset({"br", "p", "div", "tr", "li", "h1", "h2", "h3", "h4", "h5", "h6", "table", "blockquote"})
_HIDDEN: Final = frozenset({"script", "style", "head", "title"})
_BLANKS: Final = re.compile(r"[^\S\n]+")


class Decoded(NamedTuple):
    """A text, and whether it could be decoded with the stated charset."""

    text: str
    is_as_stated: bool


def decode(data: bytes, charset: str | None, *, is_cut: bool = False) -> Decoded:
    """Decode `data` with `charset` (None: UTF-8), else as UTF-8, else as UTF-8 with replacement characters.

    With `is_cut` the end is missing: an incomplete last character is dropped and does not count as a wrong charset.
    """
    stated = charset.strip().strip("\"'") if charset else "utf-8"
    for name in (stated, "utf-8"):
        text = _decode_strictly(data, name, _MAX_CHARACTER if is_cut else 1)
        if text is not None:
            return Decoded(text, name == stated)
    return Decoded(data.decode("utf-8", "replace"), is_as_stated=False)


def _decode_strictly(data: bytes, charset: str, tries: int) -> str | None:
    """Return the text, without up to `tries` - 1 bytes at the end; None if `data` is not in this charset."""
    codec = _codec(charset)
    for cut in range(tries if codec else 0):
        try:
            text = data[: len(data) - cut].decode(codec)
            text.encode()  # some codecs (UTF-7) decode lone surrogates
        except (UnicodeError, LookupError):
            continue
        return text
    return None


def _codec(charset: str) -> str:
    """Return the normalized codec name of a charset, or an empty text if mails do not use it.

    The name is normalized first because Python remembers every spelling that it looks up.
    """
    name = normalize_encoding(charset).lower() if _CHARSET.fullmatch(charset) else ""
    try:
        found = lookup(name).name.replace("-", "_") if name in _CODECS else ""
    except LookupError:
        return ""
    return name if found and found not in _NOT_CHARSETS else ""


def decode_header(value: str) -> str:
    """Return a header value without folds and with its encoded words decoded; unreadable words stay as they are."""
    return " ".join(_ENCODED_WORD.sub(_decode_word, _BETWEEN_WORDS.sub(r"\1", value)).split())


def _decode_word(match: re.Match[str]) -> str:
    charset, encoding, payload = match.groups()
    raw = payload.encode("utf-8", "replace")
    try:
        data = a2b_base64(raw + b"=" * (-len(raw) % 4)) if encoding in "bB" else a2b_qp(raw, header=True)
    except Error:
        return match.group()
    return decode(data, charset).text


def html_to_text(html: str) -> str:
    """Return roughly the text that a reader sees: without tags and scripts, one line for each block."""
    visible: list[str] = []
    hidden = ""
    for token in _TOKEN.findall(html):
        tag = _TAG.match(token)
        name = tag.group(1).lower() if tag else ""
        if hidden:
            hidden = "" if name == hidden and token.startswith("</") else hidden
        elif name in _HIDDEN and not token.startswith("</"):
            hidden = name
        elif name in _BLOCKS:
            visible.append("\n")
        elif not token.startswith("<"):
            visible.append(_unescape(token))
    text = _BLANKS.sub(" ", "".join(visible))
    text = "\n".join(line.strip() for line in text.split("\n"))
    return re.sub(r"\n{3,}", "\n\n", text).strip()


def _unescape(text: str) -> str:
    """Replace character references; a text with a number that Python refuses to parse stays as it is."""
    try:
        return unescape(text)
    except ValueError:
        return text
