"""Who wrote a message: names are bounded and on one line, whatever they contain."""

import pytest

from router.core.events import Person
from router.inbound.persons import read_person


@pytest.mark.parametrize(
    ("given", "name"),
    [
        pytest.param("Ana", "Ana", id="plain"),
        pytest.param("  Zoë \u9673 ", "Zoë \u9673", id="other-scripts"),
        pytest.param("Ana\r\nBcc:\tx\x1b[2J\u202e", "Ana Bcc: x [2J", id="control-characters"),
        pytest.param("x" * 1000, "x" * 256, id="long"),
        pytest.param(" \u200b ", None, id="nothing-to-see"),
        pytest.param("", None, id="empty"),
        pytest.param(None, None, id="missing"),
    ],
)
def test_profile_name(given, name):
    """A profile's name is text from outside: it stays on one line."""
    assert read_person({"ProfileName": given} if given is not None else {}) == Person(profile_name=name)
