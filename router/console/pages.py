"""A page of the console: the row of its table, what its handler gets and gives, and who may open it.

`Page.handler` gets a ConsoleRequest and returns
- a View: its `data` as JSON for programs, its template rendered with `data` for people; so both never differ;
- a Redirect, after an action of a person (a program gets its `data`);
- a Live answer: server-sent events, until the reader or the session is gone.
It raises ConsoleError for what the reader is to know, with its status.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from router.console.roles import GRANTS, ConsoleError, Role

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Mapping

    from pydantic import BaseModel

    from router.console.request import ConsoleRequest


@dataclass(frozen=True, slots=True)
class View:
    """The content of a page; `data` can be written as JSON. `template` replaces that of the row.

    `extra` are further variables of the template, such as the form that was filled in; programs do not get them.
    """

    data: dict[str, Any]
    status: int = 200
    template: str = ""
    extra: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Redirect:
    """The way to another page after an action; a program gets `data` with status 200 in its place."""

    path: str
    data: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class LiveEvent:
    """One server-sent event: a page gets `template` rendered with `data`, a program `data` as JSON.

    `template` replaces that of the row, `extra` are further variables of it. htmx puts only events without a `name`
    into the page; one with a name becomes an event of the DOM.
    """

    data: dict[str, Any]
    name: str | None = None
    event_id: str | None = None
    template: str = ""
    extra: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Live:
    """Server-sent events; the iterator is closed when the reader is gone, its session has ended or the console stops.

    A connection that `keeps_session` counts as use of the session, like opening a page (the desk's does). In a page,
    `hx-sse:connect="PATH"` opens it; htmx closes it while the tab is in the background unless the element has
    `hx-config='{"sse": {"pauseOnBackground": false}}'`.
    """

    events: AsyncGenerator[LiveEvent, None]
    keeps_session: bool = False


__all__ = ["Answer", "ConsoleError", "Live", "LiveEvent", "Page", "Parameter", "Redirect", "Role", "View"]

Answer = View | Redirect | Live
PageHandler = Callable[["ConsoleRequest"], Awaitable[Answer]]
Keeper = Callable[["ConsoleRequest", int, str], Awaitable[View]]


@dataclass(frozen=True, slots=True)
class Parameter:
    """A query parameter of a page, for the OpenAPI document; texts unless `schema` says otherwise.

    Of `schema`, `type` (string or integer), `minimum`, `maximum`, `enum` and `maxLength` are checked.
    """

    name: str
    description: str
    schema: Mapping[str, Any] = field(default_factory=lambda: {"type": "string"})
    is_required: bool = False


@dataclass(frozen=True, slots=True)
class Page:
    """A row of the table: a route, who may open it, and how it looks.

    `role` None: everybody who is signed in; with `is_public`: everybody. `navigation` is its label in the navigation,
    empty if it is not there. `query`, `body` and `answer` describe it in the OpenAPI document; `body` is the model of
    the form or JSON object that a POST takes, `answer` that of its data. Parameters and bodies are checked against them
    before the handler runs (router.console.checking), unless the handler checks the body itself (`checks_body`), for
    example to give back what somebody wrote. A page that answers Live `is_live`. `other_statuses`: those with which it
    gives the same data as with 200, such as 404 for a search that has found nothing. `keep` makes the page that people
    see in place of an error, with what they wrote, of the status and the reason; it raises ConsoleError if the form
    is empty or cannot be read. It is not called for a form of another site.
    """

    method: str
    path: str
    handler: PageHandler
    role: Role | None
    title: str
    template: str = ""
    navigation: str = ""
    query: tuple[Parameter, ...] = ()
    body: type[BaseModel] | None = None
    answer: type[BaseModel] | None = None
    is_public: bool = False
    is_live: bool = False
    other_statuses: tuple[int, ...] = ()
    checks_body: bool = False
    keep: Keeper | None = None

    def allows(self, role: Role) -> bool:
        """Whether somebody with this role may open the page."""
        return self.role is None or self.role in GRANTS[role]
