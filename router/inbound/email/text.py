"""Text of mails: bytes in a charset that may be wrong, encoded words in headers, and HTML as plain text.

All input is untrusted: no function raises, none takes more than linear time, and every result can be written as UTF-8.
If a stated charset is wrong, the result says so instead of failing.
Encoded words: https://www.rfc-editor.org/rfc/rfc2047
Charsets, read as browsers read them: https://encoding.spec.whatwg.org/#names-and-labels
"""

from __future__ import annotations

import re
from binascii import Error, a2b_base64, a2b_qp
from codecs import lookup, register_error
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
#: Labels that Python does not know, or reads otherwise than browsers do, normalized.
_LABELS: Final = {
    label: codec
    for codec, labels in {
        "utf_8": "unicode_1_1_utf_8 unicode11utf8 unicode20utf8 x_unicode20utf8",
        "utf_16_le": "unicode ucs_2 iso_10646_ucs_2 csunicode unicodefeff",
        "gb18030": "gb2312 gb_2312 gb_2312_80 chinese csgb2312 csiso58gb231280 iso_ir_58 x_gbk gbk cp936 euc_cn",
        "big5hkscs": "big5 big5_tw csbig5 cn_big5 x_x_big5",
        "cp932": "shift_jis shiftjis sjis s_jis x_sjis ms_kanji csshiftjis windows_31j ms932 shift_jisx0208",
        "euc_jp": "x_euc_jp cseucpkdfmtjapanese x_euc",
        "cp949": "euc_kr euckr cseuckr ks_c_5601_1987 ks_c_5601_1989 csksc56011987 iso_ir_149 korean ksc5601 ksc_5601 "
        "ks_c_5601 windows_949 ks_x_1001",
        "cp874": "windows_874 dos_874 tis_620 tis620 iso_8859_11 iso8859_11 iso885911 x_cp874",
        "iso8859_8": "iso_8859_8_i iso_8859_8_e csiso88598i csiso88598e logical visual",
        "iso8859_6": "iso_8859_6_i iso_8859_6_e csiso88596i csiso88596e asmo_708 ecma_114",
        "koi8_r": "koi koi8",
        "koi8_u": "koi8_ru",
        "mac_roman": "x_mac_roman mac",
        "mac_cyrillic": "x_mac_cyrillic x_mac_ukrainian",
        **{f"cp125{digit}": f"x_cp125{digit}" for digit in range(9)},
    }.items()
    for label in labels.split()
}
#: Codecs that browsers read as a wider one, by Python's name.
_WIDER: Final = {
    "ascii": "ascii",
    "iso8859-1": "cp1252",
    "iso8859-9": "cp1254",
    "iso8859-11": "cp874",
    "tis-620": "cp874",
    "gb2312": "gb18030",
    "gbk": "gb18030",
    "shift_jis": "cp932",
    "euc_kr": "cp949",
    "big5": "big5hkscs",
}
#: Codecs that are tried next: with NEC's characters, which many programs use, or with Microsoft's.
_ALSO: Final = {"euc_jp": ("euc_jis_2004",), "big5hkscs": ("cp950",)}
#: Of a text that calls itself ASCII and is neither that nor UTF-8.
_ASCII_ELSE: Final = "cp1252"
_LENIENT: Final = "router.mail.lenient"
_C1: Final = range(0x80, 0xA0)
#: No text: halves of characters (UTF-7), and what cp932 makes of bytes that it lacks.
_NO_TEXT: Final = re.compile("[\\ud800-\\udfff\\uf8f0-\\uf8f3]")
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
    """Decode `data` with `charset` (None: UTF-8), else as UTF-8, else with replacement characters.

    A charset is read as browsers do, so `gb2312` includes all of gb18030. A byte that it does not have costs one
    character. With `is_cut` the end is missing: an incomplete last character is dropped and does not count as a wrong
    charset.
    """
    stated = charset.strip().strip("\"'") if charset else "utf-8"
    codecs = _codecs(stated)
    for codec in (*codecs, "utf-8"):
        text = _decode_strictly(data, codec, _MAX_CHARACTER if is_cut else 1)
        if text is not None:
            return Decoded(text, codec in codecs)
    codec = _ASCII_ELSE if codecs == ("ascii",) else codecs[0] if codecs else "utf-8"
    try:
        text = _NO_TEXT.sub("\ufffd", data.decode(codec, _LENIENT))
    except (UnicodeError, LookupError):
        text = data.decode("utf-8", "replace")
    return Decoded(text, is_as_stated=False)


def _decode_strictly(data: bytes, codec: str, tries: int) -> str | None:
    """Return the text, without up to `tries` - 1 bytes at the end; None if `data` is not in this charset."""
    for cut in range(tries):
        try:
            text = data[: len(data) - cut].decode(codec)
        except (UnicodeError, LookupError):
            continue
        if codec == "utf-8" or not _NO_TEXT.search(text):
            return text
    return None


def _codecs(charset: str) -> tuple[str, ...]:
    """Return the codecs of a charset, the likeliest first; none if mails do not use it."""
    name = normalize_encoding(charset).lower() if _CHARSET.fullmatch(charset) else ""
    codec = _LABELS.get(name) or _codec(charset)
    codec = _WIDER.get(lookup(codec).name, codec) if codec else ""
    return (codec, *_ALSO.get(codec, ())) if codec else ()


def _replace(error: UnicodeError) -> tuple[str, int]:
    """Return one character for a byte that a charset lacks: the control character in windows-1252, else U+FFFD."""
    if not isinstance(error, UnicodeDecodeError):
        raise error
    byte = error.object[error.start]
    is_control = error.encoding == "charmap" and byte in _C1
    return (chr(byte) if is_control else "\ufffd"), error.start + 1 if is_control else error.end


register_error(_LENIENT, _replace)


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
    """Return a header value without folds and with its encoded words decoded; unreadable words stay as they are.

    Neighbouring words of one charset are decoded together: many programs split a character over two of them.
    """
    value = _BETWEEN_WORDS.sub(r"\1", value)
    shown: list[str] = []
    charset, run, position = "", b"", 0
    for match in _ENCODED_WORD.finditer(value):
        data = _bytes_of_word(match)
        if data is None:
            continue
        if match.start() > position or match[1].lower() != charset:
            shown += (decode(run, charset).text, value[position : match.start()])
            charset, run = match[1].lower(), b""
        run += data
        position = match.end()
    shown += (decode(run, charset).text, value[position:])
    return " ".join("".join(shown).split())


def _bytes_of_word(match: re.Match[str]) -> bytes | None:
    """Return the bytes of an encoded word, still in its charset; None if it is not base64."""
    _, encoding, payload = match.groups()
    raw = payload.encode("utf-8", "replace")
    try:
        return a2b_base64(raw + b"=" * (-len(raw) % 4)) if encoding in "bB" else a2b_qp(raw, header=True)
    except Error:
        return None


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
