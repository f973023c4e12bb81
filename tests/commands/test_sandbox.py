"""`sandbox --set`: switches from the command line are what they mean, and a misspelt one is named."""

import re

import pytest

from router.__main__ import make_parser
from router.commands.options import GROUPING_TYPES
from router.commands.sandbox import make_options
from router.core.errors import SettingsError
from router.sandbox.admin import ROUTES
from router.settings.load import load


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


def test_help_names_what_there_is(capsys):
    """The routes of the admin API and the switches that `sandbox --help` shows exist; the clock is among them."""
    with pytest.raises(SystemExit):
        make_parser().parse_args(["sandbox", "--help"])
    shown = capsys.readouterr().out
    routes = set(re.findall(r"^  (GET|POST) +(/sandbox/\w+)", shown, re.MULTILINE))
    assert ("POST", "/sandbox/clock") in routes <= {(route.method, route.path) for route in ROUTES}
    for switch in re.findall(r"--set ([a-z_]+=\w+)", shown):
        options(switch)
