"""The fields of an entry for operators: decoded to printable lines, and as they are for those who may see that."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from router.core.printable import masked, visible
from router.operations.redaction import masked_subject, shown_content

if TYPE_CHECKING:
    from collections.abc import Mapping

#: Fields with the document or body of an entry; those of all others hold ids, types and times.
_DOCUMENTS: Final = frozenset({b"body", b"event", b"command"})
#: Characters of a raw value that are shown.
MOST_SHOWN: Final = 100_000


def show_fields(fields: Mapping[bytes, bytes], *, unmasked: bool) -> list[dict[str, Any]]:
    """Return each field: its name, the lines that it is decoded to, and its raw text (None unless `unmasked`)."""
    return [
        {
            "name": _text(name),
            "lines": _lines(name, value, unmasked=unmasked),
            "raw": _text(value)[:MOST_SHOWN] if unmasked else None,
        }
        for name, value in fields.items()
    ]


def _lines(name: bytes, value: bytes, *, unmasked: bool) -> list[str]:
    if name in _DOCUMENTS:
        return shown_content(value, unmasked=unmasked)
    text = _text(value)[:MOST_SHOWN]
    if unmasked:
        return [visible(text)]
    return [visible(masked_subject(text) if name == b"subject" else masked(text))]


def _text(value: bytes) -> str:
    return value.decode("utf-8", "backslashreplace")
