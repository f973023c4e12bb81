"""The CloudEvents 1.0 envelope of an Event Streams event: the attributes that matter, and the account.

Attributes: https://github.com/cloudevents/spec/blob/v1.0.2/cloudevents/spec.md
"""

from __future__ import annotations

import re
from typing import Any, Final

from router.core.errors import UnreadableError
from router.core.values import Value
from router.inbound.webhook import get_text

_ACCOUNT: Final = re.compile(r"AC[0-9a-fA-F]{32}")
#: Names of the account's field in the data of different products.
_ACCOUNT_NAMES: Final = ("accountSid", "accountId", "AccountSid", "account_sid")


class CloudEvent(Value):
    """One event; `time` is text as received, `data` the payload of its type."""

    id: str
    type: str
    account_id: str
    time: str | None
    data: dict[str, Any]

    def text(self, name: str) -> str | None:
        """Return a field of the data by its PascalCase name, in that spelling or in camelCase."""
        return get_text(self.data, name) or get_text(self.data, name[:1].lower() + name[1:])


def read_cloud_event(element: Any, default_account: str) -> CloudEvent:
    """Return the event of a JSON value; raises UnreadableError naming what is missing."""
    if not isinstance(element, dict):
        raise UnreadableError("the element is not an object")
    event_id, event_type = get_text(element, "id"), get_text(element, "type")
    if event_id is None or event_type is None:
        raise UnreadableError("id or type is missing")
    data = element.get("data")
    if data is None:  # optional in CloudEvents
        data = {}
    if not isinstance(data, dict):
        raise UnreadableError("data is not an object")
    account_id = _account(element, data) or default_account
    return CloudEvent(event_id, event_type, account_id, get_text(element, "time"), data)


def _account(element: dict[str, Any], data: dict[str, Any]) -> str | None:
    """Return the account in the data, or else in the source, whose path holds the SID for some products."""
    named = next((data[name] for name in _ACCOUNT_NAMES if get_text(data, name)), None)
    match = _ACCOUNT.search(get_text(element, "source") or "")
    return named or (match.group() if match else None)
