"""JSON bodies of signed webhooks, read even if a name or a text in them is cut or in another charset.

RFC 8259 demands UTF-8, and orjson refuses everything else, half of a surrogate pair included. One such byte in a name
that nobody needs would lose the whole event, because a refused webhook is not sent again. It is therefore replaced by
U+FFFD. An id, a type or an address that is read would be another one with it: `require_exact` refuses it.
https://www.rfc-editor.org/rfc/rfc8259#section-8.1
"""

from __future__ import annotations

import re
from itertools import islice
from typing import Any, Final

import orjson

from router.core.errors import UnreadableError
from router.core.lenient_json import replace_broken
from router.core.signing.form import REPLACEMENT

#: A string, a string without end, or what separates elements.
_TOKEN: Final = re.compile(rb'"[^"\\]*+(?:\\.[^"\\]*+)*+"|["\[\]{},]', re.DOTALL)
_MAX_TOKENS: Final = 100_000
_REPLACED: Final = REPLACEMENT.encode()
#: Members that hold an id, a type or an address that `normalize` of a source reads, in lower case and without
#: underscores: v2 resources, then messages and CloudEvents, then classic resources.
_IDS: Final = frozenset(
    [
        "id",
        "accountid",
        "actionid",
        "channelid",
        "configurationid",
        "conversationid",
        "participantid",
        "profileid",
        "resourceid",
        "type",
        "eventtype",
        "conversationgroupingtype",
        "channel",
        "status",
        "address",
        "author",
        "accountsid",
        "externaluserid",
        "from",
        "messagesid",
        "recipients",
        "testid",
        "to",
        "chatservicesid",
        "conversationsid",
        "identity",
        "participantsid",
        "proxyaddress",
        "projectedaddress",
        "state",
        "stateto",
    ]
)
#: Members whose content belongs to the sender, whatever its names; nothing in it is read.
_FREE: Final = frozenset({"attributes", "metadata"})


def read_json(body: bytes) -> tuple[Any, bool]:
    """Return the document, and whether all its texts are as they were sent; raises UnreadableError for other bodies.

    If it is False, something was replaced, perhaps before it reached us: check with `require_exact`.
    """
    try:
        return orjson.loads(body), _REPLACED not in body
    except orjson.JSONDecodeError as error:
        try:
            return orjson.loads(replace_broken(body)), False
        except orjson.JSONDecodeError:
            raise UnreadableError("the body is not JSON") from error


def split_array(body: bytes) -> list[bytes]:
    """Return the elements of an array, of which some may be no JSON; none if it is no array or has an empty element.

    Brackets outside of strings must match in number, and be few enough (_MAX_TOKENS): nothing else is read meanwhile.
    """
    body, depth, start, elements = body.strip(), 0, 1, []
    for token in islice(_TOKEN.finditer(body), _MAX_TOKENS):
        first = token[0][:1]
        if first in b"[{":
            depth += 1
        elif first in b"]}":
            depth -= 1
        if (first == b"," and depth == 1) or depth == 0:
            elements.append(body[start : token.start()].strip())
            start = token.end()
        if depth == 0 or token[0] == b'"':  # the end of the array, or a string without end
            break
    is_whole = body[:1] == b"[" and body[-1:] == b"]" and depth == 0 and start == len(body)
    return elements if is_whole and all(elements) else []


def require_exact(document: Any) -> None:
    """Raise UnreadableError, naming the member, if an id, a type or an address that is read has a replaced character.

    Members that nobody reads cost no event.
    """
    waiting = [("", document, False)]
    while waiting:
        path, found, is_id = waiting.pop()
        if isinstance(found, dict):
            waiting += [
                (f"{path}.{name}".lstrip("."), each, _is_id(name))
                for name, each in found.items()
                if name.lower() not in _FREE
            ]
        elif isinstance(found, list):
            waiting += [(path, each, is_id) for each in found]
        elif is_id and isinstance(found, str) and REPLACEMENT in found:
            raise UnreadableError(f"not JSON: {path[:64]} is not UTF-8")


def _is_id(name: str) -> bool:
    return name.lower().replace("_", "") in _IDS
