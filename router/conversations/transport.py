"""Calls to one API host: deadlines, retries, a limit on requests in flight, and one report for each finished call.

The transport knows methods, paths, JSON objects and forms, and nothing of conversations. It never repeats a POST that
may have had an effect (conversations.retry) and never waits past a call's deadline. The asyncio client of Twilio's
library is not used: it sends the JSON bodies of v2 form-encoded.
"""

from __future__ import annotations

import asyncio
import random as randomness
import time
from copy import copy
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, Self

import orjson

from router.conversations.limiter import Limiter
from router.conversations.responses import ApiResponse, RawResponse, parse_date, to_error, to_response
from router.conversations.retry import REPEATABLE_METHODS, RetryPolicy
from router.conversations.session import OK, Request, Session
from router.conversations.urls import encode_query, fill_path, follow_link, generalize, trim_base
from router.core.errors import (
    ApiError,
    RateLimitError,
    RequestError,
    TransportError,
    UnavailableError,
    had_no_effect,
)

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping, Sequence


#: Seconds within which a response must come for its Date to tell the API's time.
PROMPT: Final = 1.0


@dataclass(frozen=True, slots=True)
class CallDetails:
    """The report of one finished call; nothing in it names a resource or a person.

    `status` is that of the last response (0 without one), `attempts` the number of requests sent, `error` a class name.
    """

    method: str
    route: str
    status: int
    seconds: float
    attempts: int
    error: str | None


def observe_nothing(_details: CallDetails) -> None:
    """Ignore the report of a call: the default observer."""


@dataclass(slots=True)
class _Call:
    """The state of a call: its deadline, the number of requests sent, and whether one may have had an effect."""

    started: float
    deadline: float
    attempts: int = 0
    is_sent: bool = False


class Transport:
    """Sends requests to one API host.

    `base_url` has no version. `timeout` limits the seconds of one attempt, `deadline` those of a call with its retries
    and waits. `retries` is the number of repeats after the first attempt. `on_call` gets one `CallDetails` for each
    finished call and must not raise. `clock` is monotonic, `wall_clock` is for dates in Retry-After. Use `async with`,
    or `close`. Raises ValueError for impossible settings.
    """

    def __init__(
        self,
        base_url: str,
        username: str,
        password: str,
        *,
        max_in_flight: int = 64,
        timeout: float = 15.0,
        deadline: float = 60.0,
        retries: int = 4,
        clock: Callable[[], float] = time.monotonic,
        wall_clock: Callable[[], float] = time.time,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
        random: Callable[[], float] = randomness.random,
        on_call: Callable[[CallDetails], None] = observe_nothing,
    ) -> None:
        if timeout <= 0 or deadline <= 0 or retries < 0:
            raise ValueError("timeout and deadline must be over 0 and retries 0 or more")
        self.limiter = Limiter(max_in_flight, clock=clock, sleep=sleep)
        self._session = Session(username, password, connections=max_in_flight)
        self._base = trim_base(base_url)
        self._timeout = timeout
        self._deadline = deadline
        self._policy = RetryPolicy(retries)
        self._clock, self._wall_clock, self._sleep, self._random = clock, wall_clock, sleep, random
        self._on_call = on_call
        self._dated = "", 0.0
        self._ask: Callable[[Limiter], Awaitable[None]] | None = None

    def __repr__(self) -> str:
        return f"Transport({self._base!r})"

    async def __aenter__(self) -> Self:
        self._session.open()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    def in_background(self, ask: Callable[[Limiter], Awaitable[None]]) -> Transport:
        """Return a transport for background calls over the same connections and limits; it is closed with this one.

        `ask` is awaited before each background call, and no background call is repeated.
        """
        background = copy(self)
        background._policy = RetryPolicy(0)  # noqa: SLF001 - an instance of this class
        background._ask = ask  # noqa: SLF001 - an instance of this class
        return background

    @property
    def server_time(self) -> float | None:
        """The API's own time by the Date of a response: seconds since 1970, within a second; None if it gave none."""
        text, received_at = self._dated
        date = parse_date(text)  # without its fraction of a second
        return None if date is None else date + 0.5 + self._clock() - received_at

    async def close(self) -> None:
        """Close the session; calls in progress end with TransportError."""
        await self._session.close()

    async def request(
        self,
        method: str,
        path: str,
        *,
        ids: Mapping[str, str] | None = None,
        query: Mapping[str, str | Sequence[str]] | None = None,
        body: Mapping[str, Any] | None = None,
        form: Mapping[str, str | Sequence[str]] | None = None,
        headers: Mapping[str, str] | None = None,
        link: str | None = None,
        is_repeatable: bool | None = None,
    ) -> ApiResponse:
        """Make one call with its retries and return the 2xx response.

        `path` begins with the version and should be a template whose `{names}` are filled from `ids`. `body` is sent
        as JSON, `form` urlencoded. `link` is the URL of the next page from an earlier response to `path`; it is
        followed only on the origin of the base. `is_repeatable` None leaves the decision to the method; True for a POST
        promises that doing it twice has the effect of doing it once.
        Raises the ApiError of the HTTP status, or TransportError without a response; its `is_sent` covers all attempts.
        """
        method, route = method.upper(), generalize(path) if ids is None else path
        content, content_type = _write(f"{method} {route}", body, form)
        request = Request(
            method=method,
            route=route,
            url=self._locate(path, ids, query) if link is None else follow_link(self._base, link, f"{method} {route}"),
            content=content,
            is_repeatable=method in REPEATABLE_METHODS if is_repeatable is None else is_repeatable,
            headers={**(headers or {}), **content_type},
        )
        return await self._run(request)

    async def _run(self, request: Request) -> ApiResponse:
        if self._ask is not None:
            await self._ask(self.limiter)
        now = self._clock()
        call = _Call(started=now, deadline=now + self._deadline)
        try:
            response = await self._persist(request, call)
        except BaseException as error:
            status = error.status if isinstance(error, ApiError) else 0
            self._report(request, call, status, type(error).__name__)
            raise
        self._report(request, call, response.status, None)
        return response

    def _locate(self, path: str, ids: Mapping[str, str] | None, query: Mapping[str, str | Sequence[str]] | None) -> str:
        search = f"?{encode_query(query)}" if query else ""
        return f"{self._base}{path if ids is None else fill_path(path, ids)}{search}"

    async def _persist(self, request: Request, call: _Call) -> ApiResponse:
        while True:
            try:
                return await self._attempt(request, call)
            except UnavailableError as error:
                delay = self._decide(request, call, error)
                if delay is None:
                    raise
            await self._sleep(delay)

    def _decide(self, request: Request, call: _Call, error: UnavailableError) -> float | None:
        call.is_sent = call.is_sent or not had_no_effect(error)
        if isinstance(error, TransportError):
            error.is_sent = call.is_sent  # an earlier attempt may have had an effect
        if self._session.is_closed:
            return None
        return self._policy.delay(
            error,
            attempt=max(1, call.attempts),
            is_repeatable=request.is_repeatable,
            remaining=call.deadline - self._clock(),
            random=self._random,
        )

    async def _attempt(self, request: Request, call: _Call) -> ApiResponse:
        async with self.limiter.slot(call.deadline):
            started = self._clock()
            limit = min(self._timeout, call.deadline - started)
            if limit <= 0:
                raise TransportError(f"{request.label}: the deadline has passed", is_sent=False)
            call.attempts += 1
            return self._evaluate(await self._session.exchange(request, limit), started)

    def _evaluate(self, raw: RawResponse, started: float) -> ApiResponse:
        """Report a response to the limiter, and return it as a value or raise it as an exception."""
        if (now := self._clock()) - started < PROMPT:
            self._dated = raw.headers.get("Date", ""), now
        if raw.status in OK:
            self.limiter.succeed()
            return to_response(raw, hide=self._session.hide)
        error = to_error(raw, now=self._wall_clock(), hide=self._session.hide)
        if isinstance(error, RateLimitError):
            self.limiter.throttle(started=started)
            self.limiter.hold(error.retry_after or 0.0)
        elif not isinstance(error, UnavailableError):  # the Retry-After of an outage is for the call that got it
            self.limiter.succeed()
        raise error

    def _report(self, request: Request, call: _Call, status: int, error: str | None) -> None:
        seconds = self._clock() - call.started
        self._on_call(CallDetails(request.method, request.route, status, seconds, call.attempts, error))


def _write(
    label: str, body: Mapping[str, Any] | None, form: Mapping[str, str | Sequence[str]] | None
) -> tuple[bytes | None, dict[str, str]]:
    """Return the content of a request and its Content-Type header."""
    try:
        if form is not None:
            return encode_query(form).encode(), {"Content-Type": "application/x-www-form-urlencoded"}
        if body is not None:
            return orjson.dumps(body), {"Content-Type": "application/json"}
    except (TypeError, UnicodeEncodeError) as error:  # lone surrogates, for example, cannot be encoded
        kind = "JSON" if form is None else "a form"
        raise RequestError(f"{label}: the body cannot be written as {kind}") from error
    return None, {}
