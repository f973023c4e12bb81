"""A request as the handler of a page sees it: who asks, what for, and what it may work with.

Forms and JSON objects are read alike, with limits on their size and number of fields, and checked before the handler
runs; a handler never sees headers or cookies.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import parse_qsl

import orjson

from router.console.roles import UNMASKED, ConsoleError, Role

if TYPE_CHECKING:
    from collections.abc import Mapping

    from aiohttp import web

    from router.console.identity import Caller
    from router.console.ports import ConsolePorts

#: Bytes of a form or JSON document.
MAX_FORM: Final = 256 * 1024
#: Fields of a form.
MAX_FIELDS: Final = 1000
#: The field of a form with the CSRF token.
CSRF_FIELD: Final = "csrf"


@dataclass(slots=True)
class Note:
    """The note of an action for the audit stream, besides who, when and which page."""

    what: str = ""
    detail: str = ""


@dataclass(slots=True)
class ConsoleRequest:
    """One request for a page."""

    ports: ConsolePorts
    caller: Caller
    raw: web.Request
    audit_note: Note | None = field(default_factory=Note)
    #: Of signing in and out: the cookie that the answer sets, empty: it removes the cookie.
    new_cookie: str | None = None
    _form: dict[str, Any] | None = None

    @property
    def user(self) -> str:
        """The name of the user or token; of an agent, the identity in the roster."""
        return self.caller.user

    @property
    def role(self) -> Role:
        """The role of the user or token."""
        return self.caller.role

    @property
    def sees_unmasked(self) -> bool:
        """Whether addresses, names and texts of customers are shown as they are."""
        return self.role in UNMASKED

    @property
    def query(self) -> Mapping[str, str]:
        """The query parameters."""
        return self.raw.query

    @property
    def parts(self) -> Mapping[str, str]:
        """The parts of the path that the row names in braces."""
        return self.raw.match_info

    def acts_as(self, user: str, role: Role) -> None:
        """Say for the audit stream who has signed in."""
        self.caller = replace(self.caller, user=user, role=role)

    def note(self, what: str, detail: str = "") -> None:
        """Say for the audit stream on what the action worked, and with which result; no text of a customer."""
        self.audit_note = Note(what, detail)

    def leave_no_note(self) -> None:
        """Keep out of the audit stream what anybody can do as often as they like: it would displace the actions."""
        self.audit_note = None

    async def form(self) -> dict[str, Any]:
        """Return the fields of the form, or the JSON object, without the CSRF token; a repeated field is a list.

        Raises ConsoleError.
        """
        if self._form is None:
            self._form = await _read_form(self.raw)
        return {name: one for name, one in self._form.items() if name != CSRF_FIELD}

    async def given_csrf(self) -> str:
        """Return the CSRF token that came with the request, in a header or in the form; raises ConsoleError."""
        header = self.raw.headers.get("X-CSRF-Token")
        if header is not None:
            return header
        await self.form()
        given = (self._form or {}).get(CSRF_FIELD)
        return given if isinstance(given, str) else ""


async def _read_form(raw: web.Request) -> dict[str, Any]:
    content = await raw.read()
    if not content:
        return {}
    if raw.content_type == "application/json":
        return _read_json(content)
    if raw.content_type != "application/x-www-form-urlencoded":
        raise ConsoleError(415, "The content type must be application/x-www-form-urlencoded or application/json.")
    try:
        pairs = parse_qsl(content.decode(), keep_blank_values=True, max_num_fields=MAX_FIELDS, errors="strict")
    except ValueError as error:  # too many fields, or no UTF-8
        raise ConsoleError(400, "The form cannot be read.") from error
    fields: dict[str, Any] = {}
    for name, text in pairs:
        before = fields.get(name)
        fields[name] = text if before is None else [*(before if isinstance(before, list) else [before]), text]
    return fields


def _read_json(content: bytes) -> dict[str, Any]:
    try:
        document = orjson.loads(content)
    except ValueError as error:
        raise ConsoleError(400, "The body is no JSON.") from error
    if not isinstance(document, dict):
        raise ConsoleError(400, "The body must be a JSON object.")
    return document
