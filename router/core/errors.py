"""Every exception of the project, as one tree; each says whose fault it is.

    RouterError
    ├── SettingsError            the operator's: the start is refused, all problems at once
    │   ├── PolicyError          the operator's, in routing.toml, with its line
    │   └── TemplateError        the operator's, in a TwiML template, with its line
    ├── WebhookError             the caller's: refused at the door with `status`
    │   ├── SignatureError 403   AccountError 403   UnreadableError 400
    │   └── WrongTypeError 415   TooLargeError 413
    ├── NotDurableError          ours: nothing durable can take the event now (503, retry later)
    ├── FieldNotReadError        ours, inside the worker: the ledger must be read with one more field (core.ledger)
    ├── UnusableError            the event's: authentic, but it can never become an entry (poison)
    └── ApiError                 the Conversations API's answer, by HTTP status
        ├── RequestError 4xx     NotFoundError 404   ConflictError 409
        ├── AuthenticationError  401/403: an operator must mend it; the event waits
        └── UnavailableError     wait and try again: nothing is the event's fault
            ├── RateLimitError 429
            └── ServerError 5xx  TransportError (no answer; `is_sent` says whether it may have had an effect)

The names follow the *reason*, because the reason decides what happens next: a `WebhookError` is answered and
quarantined, `UnavailableError` and `AuthenticationError` make the event wait (an outage never makes a dead letter),
everything else in `ApiError` and `UnusableError` counts as poison.
"""

from __future__ import annotations


class RouterError(Exception):
    """Base of all errors that this project raises on purpose."""


class SettingsError(RouterError):
    """Wrong or missing settings; `problems` lists all of them, each naming its variable or file and line."""

    def __init__(self, problems: list[str]) -> None:
        self.problems = problems
        super().__init__("\n".join(problems))

    def report(self) -> str:
        """Return all problems as lines for standard error."""
        return "\n".join(["Wrong or missing settings:", *(f"  {problem}" for problem in self.problems)])


class PolicyError(SettingsError):
    """A routing policy that cannot be meant as it is written."""


class TemplateError(SettingsError):
    """TwiML templates that Twilio would not take, or would take differently from how they are meant."""


class WebhookError(RouterError):
    """A webhook that is refused at the door.

    `status` is the HTTP answer, `reason` a fixed word for the log, the metrics and the quarantine; the caller never
    sees more than the status, because Twilio may send a body on to a customer.
    """

    status = 400
    reason = "unreadable"


class SignatureError(WebhookError):
    """The signature is missing or does not match: not proven to come from Twilio."""

    status = 403
    reason = "signature"


class AccountError(WebhookError):
    """Authentic, but of an account that is not configured here."""

    status = 403
    reason = "account"


class UnreadableError(WebhookError):
    """The body does not hold what this route needs."""


class TooLargeError(WebhookError):
    """The body is over the limit."""

    status = 413
    reason = "too-large"


class WrongTypeError(WebhookError):
    """The content type is not the one of this route."""

    status = 415
    reason = "content-type"


class NotDurableError(RouterError):
    """Nothing durable can take the event at the moment; the caller shall repeat it."""


class UnusableError(RouterError):
    """An event that was accepted but can never become an entry, whatever is tried."""


class ApiError(RouterError):
    """An answer of the Conversations API other than 2xx, or no answer.

    Attributes: `status` (HTTP status, 0 without an answer), `code` (Twilio's number, may be an HTTP number),
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
    """4xx: the request is wrong, repeating it will not help."""


class AuthenticationError(ApiError):
    """401 or 403: the credentials are wrong or lack the permission. Waits like an outage: an operator must mend it."""


class NotFoundError(ApiError):
    """404: there is no such resource in this account."""


class ConflictError(ApiError):
    """409: a resource with the same addresses exists; `conflicting_id` names it where the API says so."""


class UnavailableError(ApiError):
    """The API cannot do it now; the event waits."""


class RateLimitError(UnavailableError):
    """429: not processed, safe to repeat after `retry_after`."""


class ServerError(UnavailableError):
    """5xx: for a POST it is unknown whether it had an effect."""


class TransportError(UnavailableError):
    """No answer. `is_sent` is False only if the request cannot have reached the API (connection refused)."""

    def __init__(self, message: str, *, is_sent: bool = True) -> None:
        super().__init__(message)
        self.is_sent = is_sent
