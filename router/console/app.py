"""The application: each row of the table becomes a route that identifies, checks, runs, notes and answers.

Who asks (identity), may that role open the page, and for a POST: did it come from a page of ours (security)? Then the
handler of the row runs, a POST is noted in the audit stream, and the answer is JSON or HTML (answers) with the headers
of `security`.
"""

from __future__ import annotations

import asyncio
import time
from contextlib import suppress
from typing import TYPE_CHECKING, Final

from aiohttp import web

from router import metrics
from router.console.answers import Answers, wants_json
from router.console.checking import check_input
from router.console.identity import BACKGROUND_HEADER, NOBODY, Caller, cookie_name, identify, is_https
from router.console.live import stream
from router.console.openapi import make_document
from router.console.pages import Answer, Live, Page, Redirect, View
from router.console.rendering import Renderer
from router.console.request import MAX_FORM, ConsoleRequest
from router.console.roles import HOMES, ConsoleError
from router.console.security import check_action, check_origin, protect
from router.console.static import PREFIX, load_static
from router.console.table import PAGES
from router.logs import describe, describe_fully, log
from router.streams.client.connection import RedisError
from router.streams.client.error_replies import is_refusal

if TYPE_CHECKING:
    from collections.abc import Sequence

    from aiohttp.typedefs import Handler

    from router.console.ports import ConsolePorts

_AWAY: Final = "Redis does not answer. This page comes back by itself once it does."
_UNSURE: Final = "Redis has not confirmed it. What you asked for may have been done or not: look before you repeat it."
_REFUSED: Final = "Redis has refused this. The log of the console has the reason."
_FAILED: Final = "This page has failed. The log of the console has the reason."
_CALLER: Final = web.RequestKey("caller", Caller)
_PAGE: Final = web.RequestKey("page", Page)


class Console:
    """The routes of one process."""

    def __init__(self, ports: ConsolePorts, pages: Sequence[Page]) -> None:
        self._ports = ports
        self._static = load_static()
        self._answers = Answers(Renderer(self._static.url), pages)
        self._stopping = asyncio.Event()
        self._pages = (*pages, Page("GET", "/openapi.json", self._show_openapi, None, "OpenAPI document"))

    def make_app(self) -> web.Application:
        """Return the application."""

        @web.middleware
        async def errors(request: web.Request, handler: Handler) -> web.StreamResponse:
            response = await self._answer(request, handler)
            if _PAGE in request:
                page = request[_PAGE]
                metrics.count("router_console_requests", f"{page.method} {page.path}", str(response.status))
            return response

        app = web.Application(middlewares=[errors], client_max_size=MAX_FORM)
        for page in self._pages:
            app.router.add_route(page.method, page.path, self._route(page))
        app.router.add_get(f"{PREFIX}/{{name}}", self._static.handle)
        app.router.add_get("/healthz", _healthz)
        app.on_response_prepare.append(self._protect)
        app.on_shutdown.append(self._stop)
        return app

    async def _show_openapi(self, _: ConsoleRequest) -> View:
        """Describe all pages."""
        return View(make_document(self._pages))

    async def _protect(self, _: web.Request, response: web.StreamResponse) -> None:
        protect(self._ports.settings, response)

    async def _stop(self, _: web.Application) -> None:
        self._stopping.set()

    def _route(self, page: Page) -> Handler:
        async def handle(raw: web.Request) -> web.StreamResponse:
            started = time.monotonic()
            raw[_PAGE] = page
            request = ConsoleRequest(self._ports, await self._identify(raw, page), raw)
            raw[_CALLER] = request.caller
            if not page.is_public and not page.allows(request.caller.role):
                return self._refuse(raw, request.caller)
            if page.method != "GET":
                await check_action(request)
            await check_input(page, request)
            answer = await self._run(page, request)
            response = await self._respond(page, request, answer)
            self._set_cookie(request, response)
            elapsed = round((time.monotonic() - started) * 1000, 1)
            log(
                "console",
                level="debug" if page.method == "GET" else "info",
                method=page.method,
                route=page.path,
                status=response.status,
                user=request.user,
                ms=elapsed,
            )
            return response

        return handle

    async def _identify(self, raw: web.Request, page: Page) -> Caller:
        """Return who asks; raises ConsoleError if nobody has signed in and the page is not public."""
        if page.is_public:
            return NOBODY
        caller = await identify(raw, self._ports, renew=BACKGROUND_HEADER not in raw.headers)
        if caller is None:
            raise ConsoleError(401, "Sign in, or send a bearer token.")
        return caller

    def _refuse(self, raw: web.Request, caller: Caller) -> web.Response:
        """Refuse a page of another role; the first page of all sends everybody to their own."""
        if raw.path == "/" and HOMES[caller.role] != "/":
            return web.Response(status=303, headers={"Location": HOMES[caller.role]})
        return self._answers.error(raw, 403, f"This page is not for the role {caller.role}.", caller)

    async def _run(self, page: Page, request: ConsoleRequest) -> Answer:
        """Run the handler; an action is noted in the audit stream with its outcome, whatever that is."""
        if page.method == "GET":
            return await page.handler(request)
        outcome = "failed"
        try:
            answer = await page.handler(request)
            outcome = "done" if not hasattr(answer, "status") else str(answer.status)
        except ConsoleError as error:
            outcome = f"{error.status}: {error.message}"
            raise
        finally:
            await self._note(page, request, outcome)
        return answer

    async def _note(self, page: Page, request: ConsoleRequest, outcome: str) -> None:
        """Note an action; if Redis is away by now, in the log: the answer must say what was done, or keep the form."""
        note = request.audit_note
        if note is None:
            return
        what = note.what or request.raw.path
        detail = f"{outcome}: {note.detail}" if note.detail else outcome
        action = f"{page.method} {page.path}"
        try:
            await self._ports.audit.note(request.user, request.role, action, what, detail)
        except (RedisError, OSError) as error:
            reason = describe(error)
            log(
                "console.audit",
                level="error",
                user=request.user,
                action=action,
                what=what,
                detail=detail,
                reason=reason,
            )

    async def _respond(self, page: Page, request: ConsoleRequest, answer: Answer) -> web.StreamResponse:
        if isinstance(answer, Redirect):
            return self._answers.redirect(request.raw, answer)
        if isinstance(answer, Live):
            assert page.is_live, page.path  # noqa: S101 - the OpenAPI document says so
            return await stream(request, page, answer, self._answers, self._stopping)
        return self._answers.view(request.raw, request.caller, page, answer)

    def _set_cookie(self, request: ConsoleRequest, response: web.StreamResponse) -> None:
        if request.new_cookie is None:
            return
        settings = self._ports.settings
        life = settings.console_session if request.new_cookie else 0
        response.set_cookie(
            cookie_name(settings),
            request.new_cookie,
            max_age=life,
            path="/",
            httponly=True,
            samesite="Strict",
            secure=is_https(settings),
        )

    async def _answer(self, raw: web.Request, handler: Handler) -> web.StreamResponse:
        """Answer every failure with a page or JSON of ours; no reader gets a traceback."""
        try:
            return await handler(raw)
        except ConsoleError as error:
            return await self._error(raw, error.status, error.message)
        except web.HTTPException as error:
            response = await self._error(raw, error.status, error.reason)
            if "Allow" in error.headers:
                response.headers["Allow"] = error.headers["Allow"]
            return response
        except (RedisError, OSError) as error:
            return await self._without_redis(raw, error)
        except Exception as error:  # noqa: BLE001 - the root of all requests
            log("console.failed", level="error", route=raw.path, reason=describe(error))
            return await self._error(raw, 500, _FAILED)

    async def _without_redis(self, raw: web.Request, error: RedisError | OSError) -> web.Response:
        """Answer an outage of Redis with 503, and what does not end by itself with 500."""
        if not is_refusal(error):
            log("console.failed", level="warning", route=raw.path, reason=describe(error))
            return await self._error(raw, 503, _AWAY if raw.method == "GET" else _UNSURE)
        log("console.failed", level="error", route=raw.path, reason=describe_fully(error))
        return await self._error(raw, 500, _REFUSED if isinstance(error, RedisError) else _FAILED)

    async def _error(self, raw: web.Request, status: int, message: str) -> web.Response:
        """Return an error, or the page that keeps what a person wrote."""
        caller, page = raw.get(_CALLER, NOBODY), raw.get(_PAGE)
        if page is not None and page.keep is not None and not wants_json(raw):
            with suppress(ConsoleError, web.HTTPException, OSError):  # there is nothing that could be kept
                check_origin(raw, self._ports.settings)  # first: the page has a token that makes it the person's own
                kept = await page.keep(ConsoleRequest(self._ports, caller, raw), status, message)
                return self._answers.view(raw, caller, page, kept)
        return self._answers.error(raw, status, message, caller)


async def _healthz(_: web.Request) -> web.Response:
    """Answer 200 as long as the event loop runs."""
    return web.json_response({"status": "ok"})


def make_app(ports: ConsolePorts, pages: Sequence[Page] = PAGES) -> web.Application:
    """Return the console with these pages."""
    return Console(ports, pages).make_app()
