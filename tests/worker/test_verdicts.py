"""The verdict on a delivery after a resolution that found no participant: no field of the wait is lost."""

import pytest

from router.core.errors import AuthenticationError, RateLimitError, RequestError, ServerError, UnusableError
from router.core.resolution.requests import Unusable, Wait
from router.core.values import replace
from router.streams.delivery import Later, Poison
from router.worker.verdicts import after_failed_read, to_verdict

#: `missing` is judged before (Patience).
FIELDS = [name for name in Wait.__struct_fields__ if name != "missing"]
WAIT = Wait("an outage", 2.5)


@pytest.mark.parametrize(
    "wait",
    [
        WAIT,
        replace(WAIT, is_unsure=True),
        replace(WAIT, is_usual=True),
        Wait("both", 0.5, is_unsure=True, is_usual=True),
    ],
    ids=["plain", "unsure", "usual", "both"],
)
def test_a_wait_keeps_every_field(wait):
    """Each field of a wait has the same name and value in its verdict."""
    verdict = to_verdict(wait)
    assert isinstance(verdict, Later)
    assert {name: getattr(verdict, name) for name in FIELDS} == {name: getattr(wait, name) for name in FIELDS}


def test_a_certain_refusal_is_poison():
    """An event that can certainly never be resolved is poison, with the reason."""
    assert to_verdict(Unusable("no")) == Poison("no")


def test_an_uncertain_refusal_is_a_failed_attempt():
    """An event that can perhaps never be resolved raises, so that it is tried a few more times."""
    with pytest.raises(UnusableError, match="perhaps"):
        to_verdict(Unusable("perhaps", is_certain=False))


@pytest.mark.parametrize(
    ("error", "verdict"),
    [
        (ServerError("down", status=503, retry_after=3.0), Later("fetching: ServerError 503", 3.0)),
        (ServerError("down", status=500), Later("fetching: ServerError 500", 0.5)),
        (AuthenticationError("no", status=401), Later("fetching: AuthenticationError 401", 0.01)),
        (RateLimitError("slow down", status=429, retry_after=7.0), Later("fetching: RateLimitError 429", 7.0)),
        (RequestError("no", status=400), Poison("fetching: RequestError 400 no")),
    ],
    ids=["503", "500", "401", "429", "400"],
)
def test_a_failed_read_is_never_unsure(error, verdict):
    """An outage of a GET request makes the event wait as the API says, or for the pause; a refusal is poison."""
    assert after_failed_read(error, "fetching", pause=0.5) == verdict
