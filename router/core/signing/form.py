"""Urlencoded forms, read once: for the signature, which is made of bytes, and for what they say, which is text.

Nearly every form is *usual*: no name twice, no separator inside of a value, all of it UTF-8. It is decoded and split as
a whole, a few calls for all of its twenty or so parameters, and what the signature covers is made of the texts. Any
other form is taken apart parameter by parameter, as bytes, so that what is not UTF-8 can still be proven authentic
before it is refused as unreadable.
"""

from __future__ import annotations

import re
from itertools import chain
from typing import TYPE_CHECKING, Final
from urllib.parse import unquote_to_bytes

from router.core.errors import UnreadableError

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Iterator, Mapping

Pair = tuple[bytes, bytes]

#: More parameters than any webhook has (the largest documented one has about 60): a bound on the work of a forgery.
MAX_PARAMETERS: Final = 1000
#: A name and its value. Nothing between two separators is no parameter.
_PARAMETER: Final = re.compile(rb"(?!&|\Z)([^=&]*)=?([^&]*)&?")
#: All bytes that separate nothing.
_TEXT: Final = bytes(byte for byte in range(256) if byte not in b"&=")


class Form:
    """The parameters of a form. Iterating gives all (name, value) pairs in order, decoded, as bytes."""

    __slots__ = ("_pairs", "_texts")

    def __init__(self, texts: dict[str, str] | None, pairs: list[Pair] | None = None) -> None:
        self._texts = texts
        self._pairs = pairs or []

    def __iter__(self) -> Iterator[Pair]:
        if self._texts is None:
            return iter(self._pairs)
        return ((name.encode(), value.encode()) for name, value in self._texts.items())

    def __len__(self) -> int:
        return len(self._pairs if self._texts is None else self._texts)

    def get(self, name: str) -> str:
        """Return the first value of that name, empty if there is none; bytes that are not UTF-8 are replaced."""
        if self._texts is not None:
            return self._texts.get(name, "")
        first = next((value for other, value in self._pairs if other == name.encode()), b"")
        return first.decode("utf-8", "replace")

    def read(self, names: Collection[str] | None = None) -> Mapping[str, str]:
        """Return the parameters, or those of these names, as text; of a name that comes twice the first value counts.

        Raises UnreadableError naming the parameter (never its value) whose bytes are not UTF-8.
        """
        if self._texts is None:
            wanted = None if names is None else {name.encode() for name in names}
            return _read_each(pair for pair in self._pairs if wanted is None or pair[0] in wanted)
        if names is None:
            return self._texts
        return {name: value for name, value in self._texts.items() if name in names}

    def signed(self) -> bytes:
        """Return what a signature covers: each distinct name in order, before each of its distinct values in order.

        In the order of code points, which is that of UTF-8's bytes.
        """
        if self._texts is None:
            return signed(self._pairs)
        return "".join(chain.from_iterable(sorted(self._texts.items()))).encode()


#: What a body has that is no form.
NO_FORM: Final = Form({})


def signed(pairs: Iterable[Pair]) -> bytes:
    """Return what a signature covers of these pairs: they are a set, sorted."""
    return b"".join(chain.from_iterable(sorted(set(pairs))))


def parse_form(body: bytes) -> Form:
    """Split an urlencoded body into decoded names and values; blanks and repeats are kept, malformed % stays.

    Raises UnreadableError on more than MAX_PARAMETERS. Not urllib's parse_qsl: that one is text, refuses raw
    non-ASCII bytes, and takes four times as long on the receiver's hot path.
    """
    if body.count(b"&") >= MAX_PARAMETERS:
        raise UnreadableError(f"more than {MAX_PARAMETERS} parameters")
    texts = _read_usual(body)
    if texts is not None:
        return Form(texts)
    pairs = _PARAMETER.findall(body.replace(b"+", b" "))
    return Form(None, [(unquote_to_bytes(name), unquote_to_bytes(value)) for name, value in pairs])


def _read_usual(body: bytes) -> dict[str, str] | None:
    """Return names and values of a usual form, None for another; without looking at each parameter in turn."""
    separators = body.translate(None, _TEXT)
    if separators != b"=&" * (len(separators) // 2) + b"=":  # each parameter has its one `=`
        return None
    form = unquote_to_bytes(body.replace(b"+", b" ").replace(b"%2B", b"+"))  # the plus of each number at once
    try:
        parts = form.decode().replace("&", "=").split("=")
    except UnicodeDecodeError:
        return None
    if len(parts) != len(separators) + 1:  # one was escaped
        return None
    texts = dict(zip(parts[::2], parts[1::2], strict=True))
    return texts if 2 * len(texts) == len(parts) else None  # unless a name comes twice


def _read_each(pairs: Iterable[Pair]) -> dict[str, str]:
    """Do it one by one, to name the one that is no text."""
    texts: dict[str, str] = {}
    for name, value in pairs:
        try:
            texts.setdefault(name.decode(), value.decode())
        except UnicodeDecodeError as error:
            shown = name.decode("ascii", "backslashreplace")[:64]
            raise UnreadableError(f"parameter {shown} is not UTF-8") from error
    return texts
