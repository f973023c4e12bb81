"""Every exception of the project, as one tree, by who has to act.

    RouterError
    ├── SettingsError            the operator: the start is refused with all problems at once
    │   ├── PolicyError          the operator: routing.toml, with the line
    │   └── TemplateError        the operator: a TwiML template, with the line
    ├── WebhookError             the caller: the receiver refuses the webhook with `status`
    │   ├── SignatureError 403   AccountError 403   UnreadableError 400
    │   └── WrongTypeError 415   TooLargeError 413   RouteError 404 405
    ├── NotDurableError          us: nothing durable can take the event now (503, retry later)
    ├── FieldNotReadError        us, inside the worker: read the ledger again with one more field (core.ledger)
    ├── OtherFormatError         a process of another release: it reads this version of the data (core.formats)
    │   └── SealedError          the operator: ROUTER_SEAL_KEYS lacks a key; the event waits (core.sealing)
    ├── UnusableError            nobody: an authentic event that can never become an entry (poison)
    │   └── TamperedError        somebody has changed a sealed value (core.sealing)
    ├── QueryError               who asks for a story: the query is empty, or would match everything
    └── ApiError                 the Conversations API's answer, by HTTP status
        ├── RequestError 4xx     NotFoundError 404 410   ConflictError 409
        ├── AuthenticationError  401 402 403 407: needs operator action; the event waits
        └── UnavailableError     wait and retry: the event is not at fault
            ├── RateLimitError 429
            ├── NotProcessedError (412 420 421 423 424 425 451; what refuses the way of asking: 405 406 411 415 417
            │                      426 428 431; and proxies: 463 494 to 497)
            └── ServerError 5xx 408  TransportError (no answer; `is_sent` says whether it may have had an effect)

The names follow the *reason*, because the reason decides what happens next: a `WebhookError` is answered and
quarantined; `UnavailableError` and `AuthenticationError` make the event wait (an outage never makes a dead letter);
every other `ApiError`, and `UnusableError`, counts as poison.
"""

from __future__ import annotations


class RouterError(Exception):
    """Base of all errors that this project raises on purpose."""


class SettingsError(RouterError):
    """Wrong or missing settings; `problems` lists all of them, each naming its variable or file and line."""

    def __init__(self, problems: list[str]) -> None:
        self.problems = problems
        super().__init__("\n".join(problems))

    def report(self) -> list[str]:
        """Return all problems as lines for standard error."""
        return ["Wrong or missing settings:", *(f"  {problem}" for problem in self.problems)]


class PolicyError(SettingsError):
    """An invalid routing policy."""


class TemplateError(SettingsError):
    """TwiML templates that Twilio would reject, or would read differently from what their author meant."""


class WebhookError(RouterError):
    """A webhook that the receiver refuses.

    `status` is the HTTP status, `reason` a fixed word for the log, the metrics and the quarantine. The caller sees
    the status only (and of RouteError the right URL), because Twilio may send a response body on to a customer.
    """

    status = 400
    reason = "unreadable"


class SignatureError(WebhookError):
    """The signature is missing or does not match: not proven to come from Twilio."""

    status = 403
    reason = "signature"


class AccountError(WebhookError):
    """Authentic, but from an account that is not configured here."""

    status = 403
    reason = "account"


class UnreadableError(WebhookError):
    """The body lacks what this route needs, or cannot be parsed."""


class TooLargeError(WebhookError):
    """The body is over the limit."""

    status = 413
    reason = "too-large"


class WrongTypeError(WebhookError):
    """The content type is not the one that this route takes."""

    status = 415
    reason = "content-type"


class RouteError(WebhookError):
    """Authentic, but sent to a URL (404) or with a method (405) that is not a route."""

    reason = "route"

    def __init__(self, message: str, status: int) -> None:
        super().__init__(message)
        self.status = status


class QueryError(RouterError):
    """A query for a story that names nothing."""


class NotDurableError(RouterError):
    """Neither Redis nor the spool can take the event now; the caller has to repeat it."""


class UnusableError(RouterError):
    """An event that was accepted but can never become an entry; a retry cannot help."""


class ApiError(RouterError):
    """A Conversations API response other than 2xx, or no response.

    Attributes: `status` (HTTP status, 0 without a response), `code` (Twilio's error code, sometimes the HTTP status),
    `conflicting_id` (header X-Conflicting-Resource-Id), `retry_after` (seconds), `body` (raw, for the log).
    """

    def __init__(
        self,
        message: str,
        *,
        status: int = 0,
        code: int | None = None,
        conflicting_id: str | None = None,
        retry_after: float | None = None,
        body: str = "",
    ) -> None:
        super().__init__(message)
        self.status = status
        self.code = code
        self.conflicting_id = conflicting_id
        self.retry_after = retry_after
        self.body = body


class RequestError(ApiError):
    """4xx: the request is wrong; repeating it cannot help."""


class AuthenticationError(ApiError):
    """Wrong credentials, a missing permission or payment, a proxy's login: 401, 402, 403 or 407.

    Needs operator action; the event waits as in an outage.
    """


class NotFoundError(ApiError):
    """404 or 410: there is no such resource in this account, or not any more."""


class ConflictError(ApiError):
    """409: a resource with the same addresses exists; `conflicting_id` is its id if the API named it."""


class UnavailableError(ApiError):
    """The API cannot process the request now; the event waits."""


class RateLimitError(UnavailableError):
    """429: not processed, safe to repeat after `retry_after`."""


class NotProcessedError(UnavailableError):
    """Refused before it was processed, for a reason that is not in the event: safe to repeat.

    Now (locked, too early, misdirected), or in the place or way of asking, which is the same for all events: region,
    method, headers, content type. https://www.rfc-editor.org/rfc/rfc9110#section-15.5
    """


class ServerError(UnavailableError):
    """5xx, or a 408 and other signs of a request that was not answered: a POST may or may not have had an effect."""


class TransportError(UnavailableError):
    """No response. `is_sent` is False only if the request cannot have reached the API (connection refused)."""

    def __init__(self, message: str, *, is_sent: bool = True) -> None:
        super().__init__(message)
        self.is_sent = is_sent


def had_no_effect(error: ApiError) -> bool:
    """Return whether a failed request certainly changed nothing: it was refused, or it never reached the API.

    The answer decides whether a POST may be repeated, as the API has no idempotency key. A 503 says "not now" but not
    "not done", so it does not count, with or without Retry-After.
    """
    if isinstance(error, TransportError):
        return not error.is_sent
    return isinstance(error, RateLimitError | NotProcessedError) or not isinstance(error, UnavailableError)
