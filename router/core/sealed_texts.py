"""The private values of documents: which they are, how they are taken out to be sealed, and put back.

A document of the participants or commands streams stays a CloudEvent with all of its fields. Its private values are
taken out of `data`, sealed together as JSON, and stand in the attribute `sealed`; placeholders take their places, so
that the document still conforms to its schema and nobody takes a placeholder for nothing. Ids, types, times and
addresses stay: routing needs them. To open one: merge what is in `sealed` into `data`, object by object.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, Final

from router.core.sealing import PREFIX, TamperedError

if TYPE_CHECKING:
    from router.core.sealing import SealedKind, Sealer

#: Takes the place of a sealed text.
PLACEHOLDER: Final = "(sealed)"
#: The attribute of a document that holds its sealed values.
SEALED: Final = "sealed"

#: Of each private value its placeholder; a table with rows is that of an object, a list with a table that of each item.
_COMMUNICATION: Final[dict[str, Any]] = {
    "text": PLACEHOLDER,
    "media": (),
    "location": None,
    "reply": None,
    "referral": None,
    "provider": {},
}
_REQUEST: Final[dict[str, Any]] = {
    "reason": PLACEHOLDER,
    "summary": PLACEHOLDER,
    "context": None,
    "note": PLACEHOLDER,
}
#: The data of commands.
COMMAND: Final[dict[str, Any]] = {**_REQUEST, "text": PLACEHOLDER}
#: The data of entries.
ENTRY: Final[dict[str, Any]] = {
    "username": PLACEHOLDER,
    "profile_name": PLACEHOLDER,
    "note": PLACEHOLDER,
    "participant": {"name": PLACEHOLDER},
    "communication": _COMMUNICATION,
    "communications": [_COMMUNICATION],
    "request": _REQUEST,
    "offer": _REQUEST,
    "command": {"data": COMMAND},
}


def take_texts(data: dict[str, Any], table: dict[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return data with placeholders in the places of its private values, and these values; changes nothing."""
    shown, texts = dict(data), dict[str, Any]()
    for name, rule in table.items():
        value = data.get(name)
        if not value:  # nothing, an empty text or list: there is nothing to hide
            continue
        if isinstance(rule, list):
            shown[name] = [take_texts(one, rule[0])[0] for one in value]
            texts[name] = value
        elif isinstance(rule, dict) and rule:
            shown[name], inner = take_texts(value, rule)
            if inner:
                texts[name] = inner
        else:
            shown[name], texts[name] = rule, value
    return shown, texts


def put_texts(data: dict[str, Any], texts: dict[str, Any]) -> dict[str, Any]:
    """Return data with private values in the places of their placeholders; changes nothing."""
    merged = dict(data)
    for name, value in texts.items():
        known = merged.get(name)
        merged[name] = put_texts(known, value) if isinstance(known, dict) and isinstance(value, dict) else value
    return merged


def seal_document(document: dict[str, Any], table: dict[str, Any], sealer: Sealer, kind: SealedKind) -> dict[str, Any]:
    """Return a document with its private values sealed; changes nothing. One without private values stays as it is."""
    data, texts = take_texts(document["data"], table)
    if not texts:
        return document
    text = json.dumps(texts, ensure_ascii=False, separators=(",", ":"))
    return document | {"data": data, SEALED: sealer.seal_text(text, kind)}


def open_texts(sealed: Any, data: dict[str, Any], sealer: Sealer, kind: SealedKind) -> dict[str, Any]:
    """Return the data of a document whose attribute is `sealed`, with its private values in their places.

    Raises SealedError and TamperedError.
    """
    if not isinstance(sealed, str) or not sealed.startswith(PREFIX):
        raise TamperedError(kind)
    try:
        texts = json.loads(sealer.open_text(sealed, kind))
    except ValueError as error:
        raise TamperedError(kind) from error
    return put_texts(data, texts) if isinstance(texts, dict) else data
