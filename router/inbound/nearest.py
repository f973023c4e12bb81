"""The event source that an authentic webhook was meant for, if its URL is not one of the routes.

The path decides where it differs from a route in spelling only: case, slashes, punctuation, something in front of it.
Where it does not, or where its parser refuses the webhook, the content decides.
"""

from __future__ import annotations

import re
from difflib import SequenceMatcher
from typing import TYPE_CHECKING, Final
from urllib.parse import unquote_to_bytes

from router.core.errors import UnreadableError
from router.core.events import SourceName
from router.inbound.sources import FORM, JSON, SOURCES, Source

if TYPE_CHECKING:
    from router.inbound.webhook import Webhook

_SPELLING: Final = re.compile(rb"[^a-z0-9]+")
#: Characters of a path that are compared, from its end: more than a route has.
_COMPARED: Final = 64
#: How similar a misspelt path is to its route, from 0 to 1.
_ALIKE: Final = 0.9
#: Parameters that forms of one source have, in this order: classic webhooks about messages have MessageSid too.
_MARKS: Final = (
    ("EventType", SourceName.CLASSIC),
    ("MessageSid", SourceName.MESSAGING),
    ("SmsSid", SourceName.MESSAGING),
    ("CallSid", SourceName.VOICE),
)


def find_nearest(path: bytes, webhook: Webhook, account_id: str) -> Source:
    """Return the source that a webhook of this account was meant for; `path` is as on the wire, without its query."""
    kind = FORM if len(webhook.form) else JSON
    by_path, likeness = _rank(path)[0]
    ranked = [by_path] if likeness >= _ALIKE else []
    ranked += [SOURCES[name] for mark, name in _MARKS if webhook.form.get(mark)]
    ranked += SOURCES.values()
    fitting = [source for source in ranked if source.content_type == kind]
    return next((source for source in fitting if _takes(source, webhook, account_id)), by_path)


def _rank(path: bytes) -> list[tuple[Source, float]]:
    """Return all sources and how similar their routes are to a path, the most similar first."""
    given = _spelling(path)[-_COMPARED:]
    found = [(source, _likeness(given, _spelling(source.path.encode()))) for source in SOURCES.values()]
    return sorted(found, key=lambda pair: -pair[1])


def _likeness(given: bytes, route: bytes) -> float:
    return 1.0 if given.endswith(route) else SequenceMatcher(None, given, route, autojunk=False).ratio()


def _spelling(path: bytes) -> bytes:
    """Return letters and digits of a path, in lower case."""
    return _SPELLING.sub(b"", unquote_to_bytes(path).lower())


def _takes(source: Source, webhook: Webhook, account_id: str) -> bool:
    """Tell whether the parser of a source reads a webhook."""
    try:
        source.split(webhook, account_id)
    except UnreadableError:
        return False
    return True
