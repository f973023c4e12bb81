"""Back-off: delays double up to a ceiling, and jitter only shortens them."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from router.core.backoff import MAX_DOUBLINGS, backoff


def test_delay_doubles_up_to_the_ceiling():
    """Each try doubles the delay until the ceiling is reached."""
    assert [backoff(0.1, tries, ceiling=30.0) for tries in (0, 1, 2, 1000)] == [0.1, 0.2, 0.4, 30.0]


@pytest.mark.parametrize("tries", [MAX_DOUBLINGS, MAX_DOUBLINGS + 1, 100_000])
def test_delay_without_a_ceiling_ends_all_the_same(tries):
    """After some doublings the delay stays the same, so no number of tries overflows it."""
    assert backoff(1.0, tries) == 1024.0


@given(tries=st.integers(0, 10_000), jitter=st.floats(0.0, 1.0))
def test_jitter_only_shortens_a_delay(tries, jitter):
    """With jitter the delay lies between zero and the delay without it."""
    assert 0.0 <= backoff(0.1, tries, ceiling=5.0, jitter=jitter) <= backoff(0.1, tries, ceiling=5.0)
