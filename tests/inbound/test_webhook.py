"""What forms of all sources have in common once they are text."""

import pytest

from router.core.errors import UnreadableError
from router.inbound.webhook import require


def test_require():
    """Every parameter that is missing or blank is named, and nothing is said where all are there."""
    require({"From": "+1", "To": "+2"}, "From", "To")
    with pytest.raises(UnreadableError, match=r"^missing or blank: From, MessageSid, To$"):
        require({"From": "", "To": " \t"}, "From", "MessageSid", "To")
