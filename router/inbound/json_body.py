"""JSON bodies of signed webhooks, read even if a name or a text in them is cut or in another charset.

RFC 8259 demands UTF-8, and orjson refuses everything else, half of a surrogate pair included. One such byte in a name
that nobody needs would lose the whole event, because a refused webhook is not sent again. It is therefore replaced by
U+FFFD. An id, a type or an address that is read would be another one with it: `require_exact` refuses it.
https://www.rfc-editor.org/rfc/rfc8259#section-8.1
"""

from __future__ import annotations

from typing import Any, Final

import orjson

from router.core.errors import UnreadableError
from router.core.lenient_json import replace_broken
from router.core.signing.form import REPLACEMENT

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
