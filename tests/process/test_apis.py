"""The clock of an account's API, compared with ours."""

import pytest

from router.core.accounts import Account
from router.process.apis import LEAST_SKEW, Apis
from tests.support.accounts import ACCOUNT, OTHER_ACCOUNT

SECOND = 1_000_000


class Told:
    """A transport whose API says what time it is."""

    def __init__(self, server_time):
        self.server_time = server_time


@pytest.mark.parametrize(
    ("server_time", "now", "ahead"),
    [
        (1000.5, 1000 * SECOND, 0),  # less than a date in whole seconds can tell
        (1001.9, 1000 * SECOND, 0),
        (1061.0, 1000 * SECOND, 61 * SECOND),
        (1000.0, 4600 * SECOND, -3600 * SECOND),
        (None, 1000 * SECOND, 0),
    ],
)
def test_only_a_difference_that_is_certain_counts(server_time, now, ahead):
    """Clocks that are in step are compared as they are, to the millisecond."""
    apis = Apis([(Account(ACCOUNT), Told(server_time)), (Account(OTHER_ACCOUNT), Told(9e9))])
    assert apis.ahead_of(ACCOUNT, lambda: now) == ahead
    assert abs(ahead) >= LEAST_SKEW or ahead == 0


def test_an_account_that_is_not_configured_has_no_api():
    """Its events wait for an operator, and none of them is compared."""
    assert Apis([]).ahead_of(ACCOUNT, lambda: 0) == 0
