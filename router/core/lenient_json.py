"""JSON from outside, read even if a character in it is broken: half of a surrogate pair, or a byte that is not UTF-8.

RFC 8259 allows the escape of half a pair, and senders that cut texts write it; orjson refuses it with the document.
https://www.rfc-editor.org/rfc/rfc8259#section-8.2
"""

from __future__ import annotations

import json
import math
import re
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from collections.abc import Callable

#: A surrogate pair, half of one (group 1), or another escape.
_ESCAPE: Final = re.compile(
    r"\\u[dD][89abAB][0-9a-fA-F]{2}\\u[dD][c-fC-F][0-9a-fA-F]{2}|(\\u[dD][89a-fA-F][0-9a-fA-F]{2})|\\.", re.DOTALL
)

#: Levels of a document that is read. Python's parser gives up at about 900, or much later if something has raised the
#: limit of recursion, as libraries do; what is read must not depend on that.
MOST_LEVELS: Final = 500
#: More digits than a whole number of 64 bits has, and the bound of a signed one.
_DIGITS: Final = 21
_WORD: Final = 1 << 63


def load_json(loads: Callable[[bytes | str], Any], text: bytes | str) -> Any:
    """Parse JSON with `loads`, and put U+FFFD in the place of each broken character.

    Raises what `loads` raises, a ValueError, if the text is not JSON.
    """
    try:
        return loads(text)
    except ValueError:
        return loads(replace_broken(text))


def replace_broken(text: bytes | str) -> str:
    """Return JSON with U+FFFD for each byte that is not UTF-8 and each half of a surrogate pair."""
    raw = text.encode("utf-8", "surrogatepass") if isinstance(text, str) else text
    return _ESCAPE.sub(lambda match: r"\ufffd" if match[1] else match[0], raw.decode("utf-8", "replace"))


def parse_json(text: bytes | str) -> Any:
    """Parse JSON without a library, for rare documents, with U+FFFD in the place of each broken character.

    Raises ValueError if it is not JSON, is nested too deep, or has a number beyond a double. A whole number of more
    than 64 bits is read as a float, since no other reader takes it.
    """
    try:
        found = json.loads(
            replace_broken(text), parse_constant=_read_float, parse_float=_read_float, parse_int=_read_integer
        )
    except RecursionError as error:
        raise ValueError("is nested too deep") from error
    if is_deeper(found, MOST_LEVELS):
        raise ValueError("is nested too deep")
    return found


def is_deeper(value: Any, most: int) -> bool:
    """Return whether a value of JSON or TOML is nested deeper than `most` levels."""
    level: list[Any] = [value]
    for _ in range(most + 2):  # the values of the deepest level, and nothing below them
        if not level:
            return False
        nested = [one.values() if isinstance(one, dict) else one for one in level if isinstance(one, dict | list)]
        level = [each for one in nested for each in one]
    return True


def _read_float(text: str) -> float:
    number = float(text)
    if not math.isfinite(number):
        raise ValueError(f"{text[:20]} is no number of JSON")
    return number


def _read_integer(text: str) -> float:
    return int(text) if len(text) < _DIGITS and -_WORD <= int(text) < _WORD else _read_float(text)
