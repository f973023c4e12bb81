"""Fixtures of the commands: a receiver that refuses webhooks, and the environment of an operator."""

from __future__ import annotations

import pytest

from tests.harness.commands import run_command
from tests.receiver.conftest import start  # noqa: F401 - a fixture
from tests.support.accounts import ACCOUNT, BASE_URL, TOKEN


@pytest.fixture
def environment(monkeypatch, redis_url, tmp_path):
    """Set the variables of this process as an operator's shell does; returns the monkeypatch."""
    values = {"REDIS_URL": redis_url, "TWILIO_ACCOUNT_SID": ACCOUNT, "TWILIO_AUTH_TOKEN": TOKEN}
    values["ROUTER_SPOOL_DIR"] = str(tmp_path / "spool")
    for name, value in {**values, "PUBLIC_BASE_URL": BASE_URL}.items():
        monkeypatch.setenv(name, value)
    return monkeypatch


@pytest.fixture
def run(dev):
    """Run a command beside a running `dev`, with changes of its environment; returns status and output."""

    async def run(*arguments, **changes):
        return await run_command(*arguments, environment=dev | changes)

    return run
