"""The provider's own fields of a communication that have no field of ours, within bounds: `communication.provider`."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, Final, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

#: Fields that are passed on, characters of a field's name, and bytes of all names and values together.
MAX_FIELDS: Final = 64
MAX_NAME: Final = 64
MAX_BYTES: Final = 8192


class ProviderFields(NamedTuple):
    """Fields by name, in the order of the names. `is_cut` if some were left out: one that is passed on is whole."""

    fields: tuple[tuple[str, Any], ...] = ()
    is_cut: bool = False


NO_FIELDS: Final = ProviderFields()


def room_for(ordered: Sequence[str]) -> int:
    """Return the characters that the values of fields with these names may have for all to fit; below 0: never."""
    if len(ordered) > MAX_FIELDS or max(map(len, ordered), default=0) > MAX_NAME:
        return -1
    return MAX_BYTES // 4 - len("".join(ordered))  # a character has at most 4 bytes


def bound_texts(texts: Mapping[str, str], ordered: Sequence[str], room: int) -> ProviderFields:
    """Return those of the `texts` that have these sorted names, as `bound_fields` does.

    `room` is that of the names; nearly always all fit at once.
    """
    values = list(map(texts.__getitem__, ordered))
    if len("".join(values)) <= room and "" not in values:
        return ProviderFields(tuple(zip(ordered, values, strict=True)))
    return bound_fields(dict(zip(ordered, values, strict=True)))


def bound_fields(given: Mapping[str, Any]) -> ProviderFields:
    """Return the `given` fields, texts or other JSON values, without empty ones and without those out of bounds."""
    kept: list[tuple[str, Any]] = []
    left, is_cut = MAX_BYTES, False
    for name in sorted(given):
        value = given[name]
        if value is None or value in ("", [], {}):
            continue
        text = value if isinstance(value, str) else json.dumps(value)
        size = len(name) + len(text.encode("utf-8", "surrogatepass"))
        if len(kept) == MAX_FIELDS or len(name) > MAX_NAME or size > left:
            is_cut = True
            continue
        left -= size
        kept.append((name, value))
    return ProviderFields(tuple(kept), is_cut)
