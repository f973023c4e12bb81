"""Structured header values of mails without their comments.

A comment is text in parentheses that says nothing to programs: `Content-Transfer-Encoding: base64 (as usual)`. It may
stand between any two words of a structured value, hold further comments and escape characters with a backslash.
Parentheses in a quoted string are text. The input is untrusted: no function raises, and all take linear time.
Comments: https://www.rfc-editor.org/rfc/rfc5322#section-3.2.2
Comments in MIME headers: https://www.rfc-editor.org/rfc/rfc2045#section-5.1
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from email.message import Message

#: The headers of a part with parameters.
PARAMETRIC: Final = ("content-type", "content-disposition")
_QUOTED: Final = r'"[^"\\]*(?:\\.[^"\\]*)*(?:"|\\?\Z)'
_TEXT: Final = re.compile(rf'[^"(\\]+|{_QUOTED}|\\.|.', re.DOTALL)
_TEXT_OR_ID: Final = re.compile(rf'[^"(\\<]+|{_QUOTED}|<[^<>]*>|\\.|.', re.DOTALL)
_PARENTHESIS: Final = re.compile(r"\\.|[()]", re.DOTALL)
_BLANKS: Final = re.compile(r"\s*")
#: Characters between two words of a header with parameters.
_SEPARATORS: Final = frozenset(';=/"')


def without_comments(value: str) -> str:
    """Return a structured header value with a blank instead of each comment; an unclosed one goes to the end."""
    return _uncomment(value, _TEXT)


def read_ids(value: str) -> str:
    """Return a value of Message-IDs (or a List-Id) without comments; what is in angle brackets stays as it is."""
    return _uncomment(value, _TEXT_OR_ID)


def drop_comments(message: Message[str, str]) -> None:
    """Remove the comments from the headers with parameters.

    Many programs forget to quote a file name such as `report (1).pdf`. So parentheses between two words, where the
    grammar allows no comment, stay.
    """
    for name in PARAMETRIC:
        value = message.get(name, "")
        if "(" in value:
            kind, semicolon, parameters = _uncomment(value, _TEXT, are_words_kept=True).partition(";")
            kind = "/".join(word.strip() for word in kind.split("/"))
            message.replace_header(name, kind + semicolon + parameters)


def _uncomment(value: str, text: re.Pattern[str], *, are_words_kept: bool = False) -> str:
    kept: list[str] = []
    position, last = 0, ""  # the last character that is not blank
    while position < len(value):
        if value[position] != "(":
            match = text.match(value, position)
            end = match.end() if match else position + 1
            shown = value[position:end]
        else:
            end = _end_of_comments(value, position)
            is_between_words = last not in _SEPARATORS and value[end : end + 1] not in _SEPARATORS
            is_kept = are_words_kept and is_between_words and bool(last) and end < len(value)
            shown = value[position:end] if is_kept else " "
        kept.append(shown)
        last = shown.rstrip()[-1:] or last
        position = end
    return "".join(kept)


def _end_of_comments(value: str, start: int) -> int:
    """Return the end of the comment that begins at `start`, of all that follow it, and of the blanks after them."""
    depth = 0
    for match in _PARENTHESIS.finditer(value, start):
        depth += {"(": 1, ")": -1}.get(match[0], 0)
        if depth == 0:
            blanks = _BLANKS.match(value, match.end())
            end = blanks.end() if blanks else match.end()
            if value[end : end + 1] != "(":
                return end
    return len(value)
