"""Helpers of all parsers: required parameters and text fields."""

import pytest

from router.core.errors import UnreadableError
from router.inbound.webhook import require


def test_require():
    """The error names every parameter that is missing or blank."""
    require({"From": "+1", "To": "+2"}, "From", "To")
    with pytest.raises(UnreadableError, match=r"^missing or blank: From, MessageSid, To$"):
        require({"From": "", "To": " \t"}, "From", "MessageSid", "To")
