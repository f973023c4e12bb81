"""`sandbox`: switches of the command line, the help, and the end by a signal."""

import re
import signal

import aiohttp
import pytest

from router.__main__ import make_parser
from router.commands.options import GROUPING_TYPES
from router.commands.sandbox import make_options
from router.core.errors import SettingsError
from router.sandbox.admin import ROUTES
from router.settings.load import load
from tests.harness.processes import start_process
from tests.support.waiting import until


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
def test_the_type_of_a_switch(switch, name, value):
    """Numbers and booleans are read as such, not as text."""
    assert getattr(options(switch), name) == value


@pytest.mark.parametrize("switch", ["closed_satus=400", "closed_status=418"])
def test_an_unknown_switch_is_named(switch):
    """A wrong switch or value is an error that names the switch."""
    with pytest.raises(SettingsError, match=switch.partition("=")[0]):
        options(switch)


def test_the_help(capsys):
    """The routes of the admin API and the switches in `sandbox --help` exist; the clock is among them."""
    with pytest.raises(SystemExit):
        make_parser().parse_args(["sandbox", "--help"])
    shown = capsys.readouterr().out
    routes = set(re.findall(r"^  (GET|POST) +(/sandbox/\w+)", shown, re.MULTILINE))
    assert ("POST", "/sandbox/clock") in routes <= {(route.method, route.path) for route in ROUTES}
    switches = re.findall(r"--set '?([a-z_]+=[^\s']+)", shown)
    assert 'refused_channels=["EMAIL"]' in switches
    for switch in switches:
        options(switch)


@pytest.mark.processes
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
async def test_a_signal_ends_the_sandbox(tmp_path, number):
    """Port 0 takes a free port and prints it; a signal ends the process with status 0 and releases the port."""
    process = await start_process(tmp_path, "router", "sandbox", "--port", "0")
    found = await until(lambda: re.search(r"^TWILIO_CONVERSATIONS_URL=(\S+)$", process.text, re.MULTILINE))
    async with aiohttp.ClientSession() as session:
        async with session.get(f"{found[1]}/healthz") as response:
            assert response.status == 200
        assert await process.stop(number) == 0
        with pytest.raises(aiohttp.ClientConnectorError):
            await session.get(f"{found[1]}/healthz")
