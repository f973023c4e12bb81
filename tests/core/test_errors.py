"""The tree of errors: the reason decides what happens to the event."""

import pytest

from router.core import errors


@pytest.mark.parametrize(
    ("error", "status", "reason"),
    [
        pytest.param(errors.SignatureError, 403, "signature", id="signature"),
        pytest.param(errors.AccountError, 403, "account", id="account"),
        pytest.param(errors.UnreadableError, 400, "unreadable", id="unreadable"),
        pytest.param(errors.TooLargeError, 413, "too-large", id="too-large"),
        pytest.param(errors.WrongTypeError, 415, "content-type", id="content-type"),
    ],
)
def test_refusals_have_a_status_and_a_reason(error, status, reason):
    """Every refusal has its HTTP status and its fixed word for logs and quarantine."""
    assert issubclass(error, errors.WebhookError)
    assert (error.status, error.reason) == (status, reason)


@pytest.mark.parametrize("status", [404, 405])
def test_a_request_without_a_route_has_the_status_of_its_fault(status):
    """The path or the method is wrong."""
    error = errors.RouteError("not the URL", status)
    assert (error.status, error.reason, str(error)) == (status, "route", "not the URL")


@pytest.mark.parametrize(
    "error", [errors.RateLimitError, errors.ServerError, errors.TransportError], ids=["429", "5xx", "no-answer"]
)
def test_outages(error):
    """Errors of an API that is unavailable make the event wait."""
    assert issubclass(error, errors.UnavailableError)


@pytest.mark.parametrize(
    "error",
    [errors.RequestError, errors.AuthenticationError, errors.NotFoundError, errors.ConflictError],
    ids=["4xx", "401", "404", "409"],
)
def test_refusals_of_the_api_are_no_outages(error):
    """A request that the API refuses is not an outage."""
    assert issubclass(error, errors.ApiError)
    assert not issubclass(error, errors.UnavailableError)


def test_every_error_is_ours():
    """One except clause catches everything that the project raises on purpose."""
    classes = [one for one in vars(errors).values() if isinstance(one, type)]
    assert classes
    assert all(issubclass(one, errors.RouterError) for one in classes)


def test_settings_error_lists_all_problems():
    """A SettingsError has all problems, one per line."""
    error = errors.SettingsError(["PORT: not a number", "REDIS_URL: missing"])
    assert error.problems == ["PORT: not a number", "REDIS_URL: missing"]
    assert str(error) == "PORT: not a number\nREDIS_URL: missing"


def test_an_api_error_carries_the_response():
    """An ApiError has the fields of the response, and defaults for missing ones."""
    error = errors.ConflictError("exists", status=409, code=400, conflicting_id="conv_1", retry_after=2.0, body="{}")
    fields = (error.status, error.code, error.conflicting_id, error.retry_after, error.body)
    assert fields == (409, 400, "conv_1", 2.0, "{}")
    blank = errors.ApiError("no details")
    assert (blank.status, blank.code, blank.conflicting_id, blank.retry_after, blank.body) == (0, None, None, None, "")


def test_a_lost_response_may_have_had_an_effect():
    """Without a response a request counts as sent, unless it cannot have reached the API."""
    assert errors.TransportError("reset").is_sent
    assert not errors.TransportError("refused", is_sent=False).is_sent
    assert errors.TransportError("reset").status == 0


@pytest.mark.parametrize(
    ("error", "had_none"),
    [
        pytest.param(errors.RequestError("", status=400), True, id="400"),
        pytest.param(errors.AuthenticationError("", status=401), True, id="401"),
        pytest.param(errors.ConflictError("", status=409), True, id="409"),
        pytest.param(errors.RateLimitError("", status=429), True, id="429"),
        pytest.param(errors.TransportError("", is_sent=False), True, id="not-sent"),
        pytest.param(errors.TransportError("", is_sent=True), False, id="answer-lost"),
        pytest.param(errors.ServerError("", status=500), False, id="500"),
        pytest.param(errors.ServerError("", status=503, retry_after=1.0), False, id="503-retry-after"),
        pytest.param(errors.UnavailableError(""), False, id="unavailable"),
    ],
)
def test_requests_that_certainly_changed_nothing(error, had_none):
    """A refusal and a request that never left had no effect; of every other failure it is unknown."""
    assert errors.had_no_effect(error) is had_none
