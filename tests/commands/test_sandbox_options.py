"""`sandbox --set`: switches from the command line are what they mean, and a misspelt one is named."""

import pytest

from router.commands.options import GROUPING_TYPES
from router.commands.sandbox import make_options
from router.core.errors import SettingsError
from router.settings import load


def options(*switches):
    return make_options(load(environment={}), callback_url=None, grouping=GROUPING_TYPES[0], switches=list(switches))


@pytest.mark.parametrize(
    ("switch", "name", "value"),
    [
        ("closed_status=400", "closed_status", 400),
        ("error_shape=C", "error_shape", "C"),
        ("embed_participants=false", "embed_participants", False),
        ("callback_delay_seconds=0.5", "callback_delay_seconds", 0.5),
    ],
)
def test_a_switch_has_the_type_that_it_needs(switch, name, value):
    """Numbers and booleans are not taken for text."""
    assert getattr(options(switch), name) == value


@pytest.mark.parametrize("switch", ["closed_satus=400", "closed_status=418"])
def test_a_switch_that_is_not_there_is_named(switch):
    """A misspelt switch or value is an error that says which."""
    with pytest.raises(SettingsError, match=switch.partition("=")[0]):
        options(switch)
