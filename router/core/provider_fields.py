"""The provider's own fields of a communication that have no field of ours, within bounds: `communication.provider`."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, Final, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

#: Fields that are passed on, characters of a field's name, and bytes of all names and values together.
MAX_FIELDS: Final = 64
MAX_NAME: Final = 64
MAX_BYTES: Final = 8192


class ProviderFields(NamedTuple):
    """Fields by name, in the order of the names. `is_cut` if some were left out: one that is passed on is whole."""

    fields: tuple[tuple[str, Any], ...] = ()
    is_cut: bool = False


NO_FIELDS: Final = ProviderFields()


def bound_texts(texts: Mapping[str, str], names: Collection[str]) -> ProviderFields:
    """Return those of the `texts` that have these names, as `bound_fields` does; nearly always all fit at once."""
    ordered = sorted(names)
    values = list(map(texts.__getitem__, ordered))
    is_small = len("".join(values)) + len("".join(ordered)) <= MAX_BYTES // 4  # characters, of at most 4 bytes
    if is_small and "" not in values and len(values) <= MAX_FIELDS and max(map(len, ordered), default=0) <= MAX_NAME:
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
