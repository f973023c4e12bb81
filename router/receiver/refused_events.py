"""The events that a refused webhook would have been: unproven, for whoever asks what became of one of them.

Nothing is decoded of what nobody can have signed: strangers send it by the thousand.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from multidict import CIMultiDict

from router.core.errors import RouterError
from router.core.signing.form import NO_FORM, parse_form
from router.core.signing.twilio import read_settings, require_shape
from router.inbound.sources import FORM, JSON, SOURCES
from router.inbound.webhook import Webhook
from router.receiver.requests import SIGNATURE, TOKEN, stated_settings

if TYPE_CHECKING:
    from router.core.events import Identity
    from router.core.refused import Refused


def events_of(refused: Refused) -> list[Identity]:
    """Return the identities of a refused webhook's events; none of a large one, of a mail, or of what is unreadable."""
    source = next((one for one in SOURCES.values() if one.name == refused.source), None)
    if source is None or source.content_type not in {FORM, JSON} or not refused.is_whole or refused.is_large:
        return []
    headers = CIMultiDict(refused.headers)
    body = refused.body or refused.raw_path.partition(b"?")[2]
    try:
        require_shape(headers.get(SIGNATURE), read_settings(stated_settings(headers)))
        form = parse_form(body) if source.content_type == FORM else NO_FORM
        return [piece.identity for piece in source.split(Webhook(body, form, headers.get(TOKEN)), refused.account_id)]
    except RouterError:
        return []
