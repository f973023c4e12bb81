"""Printable forms of webhooks and entries for operators, without addresses and texts unless they ask for them.

Names are shown and values masked, except those of parameters that hold ids, types and states. Any bytes can be shown.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import unquote_to_bytes

from router.core.addresses import mask
from router.core.errors import UnreadableError
from router.core.printable import masked, visible
from router.core.signing.form import parse_form

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

#: Endings of the names of form parameters whose values are not private.
_PUBLIC_ENDINGS: Final = ("Sid", "Status", "Type", "Version", "Direction", "NumMedia", "NumSegments", "RetryCount")
#: JSON members whose values are not private.
_PUBLIC_MEMBERS: Final = frozenset(
    {"accountId", "configurationId", "conversationId", "participantId", "serviceId", "createdAt", "updatedAt", "time"}
    | {"timestamp", "eventType", "type", "specversion", "datacontenttype", "dataschema", "channel", "status"}
)
_MAX_LINES: Final = 100
_MAX_DEPTH: Final = 8
_MAX_SHOWN: Final = 100


def shown_body(content_type: str, body: bytes, *, unmasked: bool = False) -> list[str]:
    """Return `name: value` lines of a form or of JSON, values masked; no lines for other content types."""
    kind = content_type.partition(";")[0].strip().lower()
    hide = _unchanged if unmasked else mask
    try:
        if kind == "application/x-www-form-urlencoded":
            lines = _form_lines(body, hide)
        elif kind.endswith("json"):
            lines = _json_lines(json.loads(body), "", hide)
        else:
            return []
        return _bounded(lines)
    except (ValueError, RecursionError, UnreadableError):
        return ["(cannot be read as its content type)"]


def shown_content(body: bytes, *, unmasked: bool = False) -> list[str]:
    """Return the lines of `shown_body` for the body of an entry, which is JSON or a form."""
    is_json = body.lstrip()[:1] in {b"{", b"["}
    kind = "application/json" if is_json else "application/x-www-form-urlencoded"
    return shown_body(kind, body, unmasked=unmasked)


def masked_subject(subject: str) -> str:
    """Return the subject of an event: a pair of addresses masked, whatever their form; an id as it is."""
    channel, is_pair, addresses = subject.partition("|")
    return f"{channel}|{'|'.join(map(mask, addresses.split('|')))}" if is_pair else subject


def _unchanged(text: str) -> str:
    return text


def _public(text: str, hide: Callable[[str], str]) -> str:
    """Return a value that is not private by its name; a stranger may have written a number there all the same."""
    return text if hide is _unchanged else masked(text, has_ids=False)


def masked_path(raw_path: bytes) -> str:
    """Return path and query, with the values of the query masked except the digest of the body."""
    path, question, query = raw_path.partition(b"?")
    return plain(path) + question.decode() + "&".join(_masked_part(part) for part in query.split(b"&"))


def plain(value: bytes | str) -> str:
    """Return one printable line: control characters and bytes that are not UTF-8 are escaped."""
    if isinstance(value, str):
        value = value.encode("utf-8", "surrogatepass")
    return visible(value.decode("utf-8", "backslashreplace"))


def _masked_part(part: bytes) -> str:
    name, equals, value = part.partition(b"=")
    if name == b"bodySHA256" or not equals:
        return plain(part)
    return f"{plain(name)}={plain(mask(unquote_to_bytes(value).decode('utf-8', 'backslashreplace')))}"


def _form_lines(body: bytes, hide: Callable[[str], str]) -> Iterator[str]:
    for raw_name, raw_value in parse_form(body):
        name, value = plain(raw_name), raw_value.decode("utf-8", "backslashreplace")
        yield f"{name}: {plain(_public(value, hide) if name.endswith(_PUBLIC_ENDINGS) else hide(value))}"


def _json_lines(value: Any, name: str, hide: Callable[[str], str], depth: int = 0) -> Iterator[str]:
    """Yield a line for each leaf, with its path."""
    members: list[tuple[str, Any]] = []
    if isinstance(value, dict):
        members = [(f"{name}.{key}" if name else key, each) for key, each in value.items()]
    elif isinstance(value, list):
        members = [(f"{name}[{index}]", each) for index, each in enumerate(value)]
    if members and depth < _MAX_DEPTH:
        for path, each in members:
            yield from _json_lines(each, path, hide, depth + 1)
    elif isinstance(value, dict | list):
        yield f"{plain(name)}: ({len(value)} members)"
    elif name.rpartition(".")[2] in _PUBLIC_MEMBERS or value is None or isinstance(value, bool):
        yield f"{plain(name)}: {plain(_public(value, hide) if isinstance(value, str) else str(value))}"
    else:
        yield f"{plain(name)}: {plain(hide(str(value)))}"


def _bounded(lines: Iterator[str]) -> list[str]:
    found = [line if len(line) <= _MAX_SHOWN else f"{line[:_MAX_SHOWN]}..." for line in lines]
    return found if len(found) <= _MAX_LINES else [*found[:_MAX_LINES], f"... and {len(found) - _MAX_LINES} more"]
