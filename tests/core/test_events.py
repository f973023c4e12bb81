"""Events: immutable values, and the order of versions."""

import pytest

from router.core.events import Change, InboundEntry, SourceName, Version
from tests.support.accounts import ACCOUNT


@pytest.mark.parametrize(
    ("older", "newer"),
    [
        pytest.param(Version(1, 9), Version(2, 0), id="resource-first"),
        pytest.param(Version(1, 1), Version(1, 2), id="then-event"),
    ],
)
def test_order_of_versions(older, newer):
    """The resource's own time decides which fact is newer, then the time of the event."""
    assert older < newer
    assert max(newer, older) == newer


def test_sources_and_changes_are_words():
    """Sources and changes are written as the words that logs, metrics and routing rules use."""
    assert f"{SourceName.EVENT_STREAMS} {Change.REMOVED}" == "event-streams removed"


def test_an_entry_is_not_redelivered_by_default():
    """An inbound entry counts as never tried, unless another consumer may have started on it."""
    assert not InboundEntry("1-0", "messaging", ACCOUNT, "k", "s", 0, b"").is_redelivered
