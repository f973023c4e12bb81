"""The retry policy: which calls are repeated, and after which delay."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from router.conversations.retry import RetryPolicy
from router.core.errors import RateLimitError, ServerError, TransportError

POLICY = RetryPolicy()


def delay_of(error, *, is_repeatable, attempt=1, remaining=60.0, random=lambda: 1.0):
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
def test_repeated_requests(error, for_put, for_post):
    """A request that may have had an effect is repeated only if its method is repeatable."""
    assert (delay_of(error, is_repeatable=True) is not None) == for_put
    assert (delay_of(error, is_repeatable=False) is not None) == for_post


def test_back_off_doubles_up_to_the_ceiling():
    """The longest delay doubles from a quarter of a second to eight seconds."""
    policy = RetryPolicy(retries=9)
    error = ServerError("", status=500)
    delays = [
        policy.delay(error, attempt=attempt, is_repeatable=True, remaining=60.0, random=lambda: 1.0)
        for attempt in range(1, 9)
    ]
    assert delays == [0.25, 0.5, 1.0, 2.0, 4.0, 8.0, 8.0, 8.0]


def test_retries_end():
    """After the last retry there is no further delay."""
    assert delay_of(ServerError("", status=500), is_repeatable=True, attempt=4) is not None
    assert delay_of(ServerError("", status=500), is_repeatable=True, attempt=5) is None


@given(
    st.one_of(st.none(), st.floats(0, 1e5)),
    st.integers(1, 6),
    st.floats(0, 100),
    st.floats(0, 1, exclude_max=True),
)
def test_bounds(retry_after, attempt, remaining, chance):
    """A delay ends before the deadline, is at least Retry-After, and has jitter up to the ceiling."""
    error = RateLimitError("", status=429, retry_after=retry_after)
    delay = delay_of(error, is_repeatable=False, attempt=attempt, remaining=remaining, random=lambda: chance)
    if delay is not None:
        assert (retry_after or 0) <= delay < remaining
        assert delay - (retry_after or 0) <= POLICY.ceiling + 1e-6
