"""Calls to one API host: deadlines, repeats, a cap in flight, and one report per finished call.

It knows methods, paths, JSON objects and forms, and nothing of conversations. It never repeats a POST whose fate is
unknown (conversations.retry) and never waits past a call's deadline. The official library's asyncio client is not
used: it sends the JSON bodies of version 2 form-encoded.
"""

from __future__ import annotations

import asyncio
import random as randomness
import time
from copy import copy
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, Self

import orjson

from router.conversations.answers import ApiResponse, RawAnswer, to_answer, to_error
from router.conversations.limiter import Limiter
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

_SERVER_ERRORS: Final = range(500, 600)


@dataclass(frozen=True, slots=True)
class CallDetails:
    """What an observer learns of one finished call; nothing in it names a resource or a person.

    `status` is the last answer's (0 without one), `attempts` the requests that went out, `error` a class name.
    """

    method: str
    route: str
    status: int
    seconds: float
    attempts: int
    error: str | None


def observe_nothing(_details: CallDetails) -> None:
    """Stand in where nobody observes."""


@dataclass(slots=True)
class _Call:
    """The changing half of a call: its deadline, the requests that went out, and whether one may have had an effect."""

    started: float
    deadline: float
    attempts: int = 0
    is_sent: bool = False


class Transport:
    """Sends requests to one API host.

    `base_url` has no version; `timeout` is the seconds of one attempt, `deadline` those of a call with its repeats
    and waits, `retries` the repeats after the first attempt. `on_call` gets one `CallDetails` per finished call and
    must not raise. `clock` is monotonic, `wall_clock` reads dates in Retry-After. Use `async with`, or `close`.
    Raises ValueError for settings that cannot be meant.
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
        self._ask: Callable[[Limiter], Awaitable[None]] | None = None

    def __repr__(self) -> str:
        return f"Transport({self._base!r})"

    async def __aenter__(self) -> Self:
        self._session.open()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    def in_background(self, ask: Callable[[Limiter], Awaitable[None]]) -> Transport:
        """Return a transport for calls that can wait, over the same connections and limits; this one is to be closed.

        `ask` is awaited before each call, and no call is repeated.
        """
        background = copy(self)
        background._policy = RetryPolicy(0)  # noqa: SLF001 - one of ourselves
        background._ask = ask  # noqa: SLF001 - one of ourselves
        return background

    async def close(self) -> None:
        """Close the session for good; calls that are still under way end as TransportError."""
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
        """Send one call with its repeats and return its 2xx answer.

        `path` begins with the version and is best a template whose `{names}` are filled from `ids`. `body` goes out
        as JSON, `form` urlencoded. A `link` is a URL that an answer to `path` gave to go on with: it is followed on
        the base's origin and nowhere else. `is_repeatable` None leaves it to the method; True for a POST is a promise
        that doing it twice is doing it once.
        Raises an ApiError by the HTTP status; TransportError without an answer, `is_sent` over all attempts.
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
            answer = await self._persist(request, call)
        except BaseException as error:
            status = error.status if isinstance(error, ApiError) else 0
            self._report(request, call, status, type(error).__name__)
            raise
        self._report(request, call, answer.status, None)
        return answer

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
            error.is_sent = call.is_sent  # a refused connection does not undo what an earlier attempt may have done
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
            return self._judge(await self._session.exchange(request, limit), started)

    def _judge(self, raw: RawAnswer, started: float) -> ApiResponse:
        """Tell the limiter what the answer says of the API's state, and turn it into a value or an exception."""
        if raw.status in OK:
            self.limiter.succeed()
            return to_answer(raw, hide=self._session.hide)
        error = to_error(raw, now=self._wall_clock(), hide=self._session.hide)
        if isinstance(error, RateLimitError):
            self.limiter.throttle(started=started)
        elif raw.status not in _SERVER_ERRORS:
            self.limiter.succeed()
        if isinstance(error, UnavailableError) and error.retry_after:
            self.limiter.hold(error.retry_after)
        raise error

    def _report(self, request: Request, call: _Call, status: int, error: str | None) -> None:
        seconds = self._clock() - call.started
        self._on_call(CallDetails(request.method, request.route, status, seconds, call.attempts, error))


def _write(
    label: str, body: Mapping[str, Any] | None, form: Mapping[str, str | Sequence[str]] | None
) -> tuple[bytes | None, dict[str, str]]:
    """Return the content of a request and the header that names its type."""
    try:
        if form is not None:
            return encode_query(form).encode(), {"Content-Type": "application/x-www-form-urlencoded"}
        if body is not None:
            return orjson.dumps(body), {"Content-Type": "application/json"}
    except (TypeError, UnicodeEncodeError) as error:  # lone surrogates among others: no body can carry them
        kind = "JSON" if form is None else "a form"
        raise RequestError(f"{label}: the body cannot be written as {kind}") from error
    return None, {}
