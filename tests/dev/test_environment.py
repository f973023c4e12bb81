"""The variables of `dev`: credentials stay the same over starts, also over one that fails."""

from __future__ import annotations

import socket
import stat

import pytest

from router.core.errors import SettingsError
from router.dev.environment import DevOptions, make_environment, write_dev_env
from router.dev.memory import Keep

CREDENTIALS = (
    "TWILIO_ACCOUNT_SID",
    "TWILIO_AUTH_TOKEN",
    "TWILIO_API_KEY",
    "TWILIO_API_SECRET",
    "TWILIO_CLASSIC_SERVICE_SID",
    "ROUTER_CONSOLE_TOKEN",
)


def start(folder, port=None):
    return make_environment(DevOptions(port, None, None, None, folder, keep=Keep.TOGETHER))


def credentials_of(environment):
    return {name: environment[name] for name in CREDENTIALS}


def test_a_start_that_fails_keeps_the_credentials(tmp_path):
    """Without them the next start would take the data of earlier runs for another account's, and delete it."""
    first = start(tmp_path)
    write_dev_env(tmp_path / "dev.env", first)
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        with pytest.raises(SettingsError, match="--port"):
            start(tmp_path, taken.getsockname()[1])
    start(tmp_path)  # ends before everything is up: dev.env is not written
    assert credentials_of(start(tmp_path)) == credentials_of(first)
    assert not (tmp_path / "dev.env").exists()
    (kept,) = (path for path in tmp_path.iterdir() if first["TWILIO_AUTH_TOKEN"] in path.read_text())
    assert stat.S_IMODE(kept.stat().st_mode) == 0o600


def test_the_newest_credentials_are_kept(tmp_path):
    """Somebody may have changed dev.env by hand: the next start goes by it."""
    write_dev_env(tmp_path / "dev.env", start(tmp_path))
    write_dev_env(tmp_path / "dev.env", start(tmp_path) | {"TWILIO_AUTH_TOKEN": "made-up"})
    assert start(tmp_path)["TWILIO_AUTH_TOKEN"] == "made-up"
