"""Answers of pages: JSON for programs, HTML for people, and the same for errors."""

from __future__ import annotations

import json
from http import HTTPStatus
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import quote

import orjson
from aiohttp import web

from router.console.identity import NOBODY, Caller, is_of_program
from router.console.rendering import Frame, NavigationItem, Renderer
from router.core.printable import visible_json

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from router.console.pages import LiveEvent, Page, Redirect, View

#: Seconds after which somebody may try again while Redis is away; a page does so by itself.
RETRY_AFTER: Final = 5
#: The header of a request for a part of a page.
HTMX: Final = "HX-Request"
_TITLES: Final = {
    400: "This request cannot be read",
    401: "Please sign in",
    403: "This is not allowed",
    404: "There is nothing here",
    405: "This is not allowed",
    409: "This is not possible now",
    413: "This is too large",
    429: "Please wait",
    500: "This page has failed",
    503: "Not available now",
}


def wants_json(raw: web.Request) -> bool:
    """Return whether the answer is to be JSON: it is asked for, or a program that does not ask for HTML calls."""
    accept = raw.headers.get("Accept", "")
    if "text/html" in accept:
        return False
    return "application/json" in accept or is_of_program(raw) or raw.content_type == "application/json"


class Answers:
    """Makes the answers of all pages."""

    def __init__(self, renderer: Renderer, pages: Sequence[Page]) -> None:
        self._renderer = renderer
        self._navigation = [page for page in pages if page.navigation]

    def view(self, raw: web.Request, caller: Caller, page: Page, view: View) -> web.Response:
        """Return a page."""
        template = view.template or page.template
        if not template or wants_json(raw):
            return _with_hints(_json(view.data, view.status))
        frame = self._frame(raw, caller, page.title)
        return _with_hints(self._html(template, view.data | view.extra, frame, view.status))

    def redirect(self, raw: web.Request, redirect: Redirect) -> web.Response:
        """Return the way to another page, or for programs the data."""
        if wants_json(raw):
            return _json(redirect.data, 200)
        return web.Response(status=303, headers={"Location": redirect.path})

    def fragments(self, raw: web.Request, caller: Caller, page: Page) -> Callable[[LiveEvent], str]:
        """Return a function that makes the content of each server-sent event of a page."""
        if wants_json(raw):
            return lambda event: _to_json(event.data)
        frame = self._frame(raw, caller, page.title)
        return lambda event: self._renderer.render(event.template or page.template, event.data | event.extra, frame)

    def error(self, raw: web.Request, status: int, message: str, caller: Caller = NOBODY) -> web.Response:
        """Return an error; a page that Redis does not answer for renews itself until it does."""
        if status == HTTPStatus.UNAUTHORIZED and not wants_json(raw):
            return _to_sign_in(raw)
        if wants_json(raw):
            response = _json({"error": message}, status)
        else:
            title = _TITLES.get(status, "This is not possible")
            is_passing = status == HTTPStatus.SERVICE_UNAVAILABLE and raw.method == "GET"
            data = {"message": message, "retry": RETRY_AFTER if is_passing else 0}
            template = "error-part.html" if HTMX in raw.headers else "error.html"
            response = self._html(template, data, self._frame(raw, caller, title), status)
        return _with_hints(response)

    def _html(self, template: str, data: dict[str, Any], frame: Frame, status: int) -> web.Response:
        text = self._renderer.render(template, data, frame)
        return web.Response(text=text, status=status, content_type="text/html", charset="utf-8")

    def _frame(self, raw: web.Request, caller: Caller, title: str) -> Frame:
        items = tuple(
            NavigationItem(page.navigation, page.path, page.path == raw.path)
            for page in self._navigation
            if caller.user and page.allows(caller.role)
        )
        return Frame(title=title, caller=caller, path=raw.path, navigation=items)


def _with_hints(response: web.Response) -> web.Response:
    """Say how to sign in, or when to try again, if that is what the status is about."""
    if response.status == HTTPStatus.UNAUTHORIZED:
        response.headers["WWW-Authenticate"] = "Bearer"
    if response.status == HTTPStatus.SERVICE_UNAVAILABLE:
        response.headers["Retry-After"] = str(RETRY_AFTER)
    return response


def _json(data: dict[str, Any], status: int) -> web.Response:
    return web.Response(text=_to_json(data), status=status, content_type="application/json", charset="utf-8")


def _to_json(data: dict[str, Any]) -> str:
    """Return data as one line of JSON; halves of characters, which orjson refuses, become their escapes."""
    try:
        text = orjson.dumps(data).decode()
    except orjson.JSONEncodeError:
        text = json.dumps(data)
    return visible_json(text)


def _to_sign_in(raw: web.Request) -> web.Response:
    """Send a person to the sign-in page, and afterwards back; a part of a page lets its whole page go there."""
    if HTMX in raw.headers:
        return web.Response(status=401, headers={"HX-Redirect": "/sign-in"})
    back = f"?next={quote(raw.path_qs)}" if raw.method == "GET" and raw.path != "/" else ""
    return web.Response(status=303, headers={"Location": f"/sign-in{back}"})
