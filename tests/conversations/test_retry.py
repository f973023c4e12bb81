"""When a call is repeated, and after how long."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from router.conversations.retry import RetryPolicy
from router.core.errors import RateLimitError, ServerError, TransportError

POLICY = RetryPolicy()


def decide(error, *, is_repeatable, attempt=1, remaining=60.0, random=lambda: 1.0):
    return POLICY.delay(error, attempt=attempt, is_repeatable=is_repeatable, remaining=remaining, random=random)


@pytest.mark.parametrize(
    ("error", "for_put", "for_post"),
    [
        pytest.param(RateLimitError("", status=429), True, True, id="429"),
        pytest.param(ServerError("", status=500), True, False, id="500"),
        pytest.param(ServerError("", status=503), True, False, id="503"),
        pytest.param(ServerError("", status=503, retry_after=1), True, False, id="503-retry-after"),
        pytest.param(ServerError("", status=200), True, False, id="200-unreadable"),
        pytest.param(ServerError("", status=302), False, False, id="redirect"),
        pytest.param(TransportError("", is_sent=False), True, True, id="refused"),
        pytest.param(TransportError("", is_sent=True), True, False, id="no-answer"),
    ],
)
def test_what_is_repeated(error, for_put, for_post):
    """A request of unknown fate is repeated only if repeating it is harmless."""
    assert (decide(error, is_repeatable=True) is not None) == for_put
    assert (decide(error, is_repeatable=False) is not None) == for_post


def test_back_off_doubles_up_to_the_ceiling():
    """The interval doubles from a quarter of a second to eight seconds."""
    policy = RetryPolicy(retries=9)
    error = ServerError("", status=500)
    delays = [
        policy.delay(error, attempt=attempt, is_repeatable=True, remaining=60.0, random=lambda: 1.0)
        for attempt in range(1, 9)
    ]
    assert delays == [0.25, 0.5, 1.0, 2.0, 4.0, 8.0, 8.0, 8.0]


def test_retries_end():
    """After the last retry the error is the caller's."""
    assert decide(ServerError("", status=500), is_repeatable=True, attempt=4) is not None
    assert decide(ServerError("", status=500), is_repeatable=True, attempt=5) is None


@given(
    st.one_of(st.none(), st.floats(0, 1e5)),
    st.integers(1, 6),
    st.floats(0, 100),
    st.floats(0, 1, exclude_max=True),
)
def test_bounds(retry_after, attempt, remaining, dice):
    """A delay never reaches the deadline, never undercuts Retry-After, and is jittered over the whole interval."""
    error = RateLimitError("", status=429, retry_after=retry_after)
    delay = decide(error, is_repeatable=False, attempt=attempt, remaining=remaining, random=lambda: dice)
    if delay is not None:
        assert (retry_after or 0) <= delay < remaining
        assert delay - (retry_after or 0) <= POLICY.ceiling + 1e-6
