"""The fields of a stored entry as people may see them: opened as far as possible. Pure; for display, never for work."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, Final

from router.core.sealed_texts import SEALED, open_texts
from router.core.sealing import SealedError, SealedKind, TamperedError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from router.core.sealing import Sealer

_BODY: Final = b"body"
#: The fields that hold a document, and how its values are sealed.
_DOCUMENTS: Final = {b"event": SealedKind.ENTRY, b"command": SealedKind.COMMAND}
_MARK: Final = f'"{SEALED}"'.encode()


def open_stored(fields: Mapping[bytes, bytes], sealer: Sealer) -> tuple[dict[bytes, bytes], str]:
    """Return the fields of an entry of any of our streams in the clear, and why some cannot be opened ("" if all can).

    What cannot be opened is shown without its private values: a body is empty, a document has placeholders.
    """
    shown, problem = dict(fields), ""
    try:
        if _BODY in fields:
            shown[_BODY] = b""
            shown[_BODY] = sealer.open_body(fields[_BODY], SealedKind.INBOUND)
    except (SealedError, TamperedError) as error:
        problem = str(error)
    for name, kind in _DOCUMENTS.items():
        if _MARK in fields.get(name, b""):
            shown[name], problem = _open_document(fields[name], sealer, kind)
    return shown, problem


def _open_document(text: bytes, sealer: Sealer, kind: SealedKind) -> tuple[bytes, str]:
    try:
        document: Any = json.loads(text)
    except (ValueError, RecursionError):
        return text, ""
    if not isinstance(document, dict) or SEALED not in document or not isinstance(document.get("data"), dict):
        return text, ""
    sealed, problem = document.pop(SEALED), ""
    try:
        document["data"] = open_texts(sealed, document["data"], sealer, kind)
    except (SealedError, TamperedError) as error:
        problem = str(error)
    return json.dumps(document, ensure_ascii=False).encode("utf-8", "surrogatepass"), problem
