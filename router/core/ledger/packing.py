"""The text of a participant's marker in the hash of its conversation, packed.

Redis keeps a hash in one piece of memory (a listpack) as long as its names and values have at most 64 bytes; else each
field takes about 70 bytes more. So a marker is short, and one that is too long for a field continues in a second one.
Gain: a conversation of two participants takes less than half of the memory that it took with markers in JSON
(tests/worker/test_ledger_memory.py); by `make bench ARGS="--only memory --beside 829f5f0"` 0.39 of it.

    3 <24 characters> <microseconds> [TAB addresses [TAB calls [TAB aliases]]]        without the spaces

The 24 characters are _FIXED in Base64. The microseconds are those of `reported_at` after `updated_at`. Parts of a list
are separated by line feeds. The first field ends with a separator if there is a second one: no address is divided,
because `erase` searches for it. A marker that does not fit, because its type is unknown here for example, is in JSON,
as all markers of versions 1 and 2 are.
"""

from __future__ import annotations

import json
import struct
from binascii import a2b_base64, b2a_base64
from functools import lru_cache
from itertools import product
from typing import Final

from pydantic import BaseModel, ConfigDict

from router.core.events import Version
from router.core.formats import FIRST, FORMAT, MARKER
from router.core.keys import Target
from router.core.ledger.marker import Marker
from router.core.resources import ParticipantType as Type

#: Characters per field. Redis counts bytes: as many, unless an address has other characters than those of ASCII.
_SIZE: Final = 64
#: The first of two fields ends with one of these.
SEPARATORS: Final = ("\t", "\n")
#: `updated_at`, the digest, `stay`, and the number of a _KINDS.
_FIXED: Final = struct.Struct(">QQBB")
_FIXED_END: Final = len(MARKER.current) + 24
#: Type, target, `has_hung_up`, `is_ours` and `is_present`. Their order is part of the format; new types go to the end.
_KINDS: Final = tuple(
    product(
        ("", *map(str, (Type.CUSTOMER, Type.AI_AGENT, Type.HUMAN_AGENT, Type.AGENT, Type.UNKNOWN))),
        (None, str(Target.AI_AGENT), str(Target.HUMAN_AGENT)),
        *[(False, True)] * 3,
    )
)
_NUMBERS: Final = {kind: number for number, kind in enumerate(_KINDS)}


class _MarkerJson(BaseModel):
    """A marker in JSON."""

    model_config = ConfigDict(extra="ignore")

    format: str = MARKER.current
    version: Version
    digest: str = ""
    type: str = ""
    is_present: bool = True
    is_ours: bool = False
    stay: int = 1
    target: str | None = None
    addresses: tuple[str, ...] = ()
    calls: tuple[str, ...] = ()
    has_hung_up: bool = False
    aliases: tuple[str, ...] = ()


def pack_marker(marker: Marker) -> tuple[str, str | None]:
    """Return the text of a marker for one field, and the rest of it for a second one, if it needs one."""
    version, digest, kind, is_present, is_ours, stay, target, addresses, calls, has_hung_up, aliases = marker
    names = addresses + calls + aliases
    try:
        number = _NUMBERS[kind, target, has_hung_up, is_ours, is_present]
        fixed = _FIXED.pack(version[0], int(digest, 16), stay, number)
    except (KeyError, ValueError, struct.error):
        return _to_json(marker), None
    if "" in names or not "".join(names).isprintable() or fixed[8:16].hex() != digest:
        return _to_json(marker), None
    lists = "\n".join(addresses)
    if calls or aliases:
        lists = "\t".join((lists, "\n".join(calls), "\n".join(aliases))).rstrip("\t")
    text = f"{MARKER.current}{b2a_base64(fixed, newline=False).decode()}{version[1] - version[0]}"
    if lists:
        text = f"{text}\t{lists}"
    return (text, None) if len(text) <= _SIZE else _divide(text)


def _to_json(marker: Marker) -> str:
    return _MarkerJson(**marker._asdict()).model_dump_json()


def _divide(text: str) -> tuple[str, str | None]:
    cut = max(text.rfind(one, 0, _SIZE) for one in SEPARATORS) + 1
    return (text[:cut], text[cut:]) if cut else (text, None)


@lru_cache(maxsize=1024)  # customers write more than once, and markers rarely change
def read_marker(text: str) -> Marker:
    """Parse the whole text of a marker.

    Raises OtherFormatError if another release wrote it, ValidationError if it is none.
    """
    if text.startswith(MARKER.current) and (marker := _unpack(text)) is not None:
        return marker
    MARKER.require(_format_of(text))  # first: the other fields may have other types there
    return Marker(**{name: value for name, value in _MarkerJson.model_validate_json(text) if name != FORMAT})


def _unpack(text: str) -> Marker | None:
    """Return a packed marker, None if it is none."""
    head, _, lists = text.partition("\t")
    try:
        updated_at, digest, stay, number = _FIXED.unpack(a2b_base64(head[len(MARKER.current) : _FIXED_END]))
        version = Version(updated_at, updated_at + int(head[_FIXED_END:]))
        kind, target, has_hung_up, is_ours, is_present = _KINDS[number]
    except (IndexError, ValueError, struct.error):
        return None
    addresses, _, lists = lists.partition("\t")
    calls, _, aliases = lists.partition("\t")
    return Marker(
        version,
        f"{digest:016x}",
        kind,
        is_present,
        is_ours,
        stay,
        target,
        tuple(addresses.split("\n")) if addresses else (),
        tuple(calls.split("\n")) if calls else (),
        has_hung_up,
        tuple(aliases.split("\n")) if aliases else (),
    )


def _format_of(text: str) -> str:
    if text[:1].isdecimal():
        return text[0]
    try:
        found = json.loads(text)
    except (ValueError, RecursionError):  # it is no marker
        return FIRST
    return str(found.get(FORMAT, FIRST)) if isinstance(found, dict) else FIRST
