"""Format versions: the last two are read, any other is left to another release."""

import pytest

from router.core.formats import Format, OtherFormatError


@pytest.mark.parametrize(
    ("current", "readable"), [pytest.param(1, {"1"}, id="first"), (2, {"1", "2"}), (10, {"9", "10"})]
)
def test_the_last_two_versions_are_read(current, readable):
    """The newest version is written; it and the one before are read."""
    one = Format("marker", current)
    assert one.current == str(current)
    assert one.readable == readable
    for found in readable:
        one.require(found)


@pytest.mark.parametrize("found", ["8", "11", "99", "", "next"])
def test_another_version_names_itself_and_what_is_read(found):
    """The error says what was found, and what this release reads."""
    with pytest.raises(OtherFormatError, match=f"marker in format {found}; this release reads 9 and 10"):
        Format("marker", 10).require(found)
