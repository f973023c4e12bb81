"""Entries in the clear, for people: what rests sealed is opened as far as the keys allow (router.core.sealing)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import orjson

from router.core.errors import RouterError
from router.core.sealed_texts import SEALED, open_texts
from router.core.sealing import SealedKind

if TYPE_CHECKING:
    from collections.abc import Mapping

    from router.core.sealing import Sealer

#: The fields that hold a CloudEvent, and what is sealed in it.
_DOCUMENTS: Final = {b"event": SealedKind.ENTRY, b"command": SealedKind.COMMAND}


def open_entry(fields: Mapping[bytes, bytes], sealer: Sealer) -> dict[bytes, bytes]:
    """Return the fields of an entry in the clear; what cannot be opened stays as it is. Never raises."""
    return {name: _open(name, value, sealer) for name, value in fields.items()}


def _open(name: bytes, value: bytes, sealer: Sealer) -> bytes:
    try:
        if name == b"body":
            return sealer.open_body(value, SealedKind.INBOUND)
        return _open_document(value, sealer, _DOCUMENTS[name]) if name in _DOCUMENTS else value
    except (RouterError, ValueError):
        return value


def _open_document(value: bytes, sealer: Sealer, kind: SealedKind) -> bytes:
    document: Any = orjson.loads(value)
    if not isinstance(document, dict) or SEALED not in document or not isinstance(document.get("data"), dict):
        return value
    sealed = document.pop(SEALED)
    return orjson.dumps(document | {"data": open_texts(sealed, document["data"], sealer, kind)})
