"""Fixtures of all tests: one real server for the whole run, and a client that reports every key left behind."""

from __future__ import annotations

import asyncio
import contextlib
import io
import os

import orjson
import pytest
from hypothesis import HealthCheck, settings

import router.settings.environment
import router.settings.load
from router import logs
from router.streams.client.connection import connect
from tests.harness.dev import running_dev
from tests.harness.redis_server import RedisServer
from tests.support.keys import problems_of
from tests.support.secrecy import Secrecy
from tests.support.source import ROOT, SHIPPED
from tests.support.waiting import scaled, slowness

# A slow machine is no counterexample. `--hypothesis-profile=thorough` searches longer.
settings.register_profile("usual", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.register_profile("thorough", deadline=None, max_examples=5000, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("usual")

# No setting of the user's: neither the variables of the shell nor the files in `config`.
for _name in list(os.environ):
    if _name.startswith(("ROUTER_", "TWILIO_")) or _name in {"REDIS_URL", "PUBLIC_BASE_URL", "PORT"}:
        del os.environ[_name]
os.environ["ROUTER_CONFIG_DIR"] = str(SHIPPED)
router.settings.load.HERE = SHIPPED  # for environments that a test makes
router.settings.environment.STATE_DIR = SHIPPED / "state"  # no `dev` of the user's either


@pytest.fixture(scope="session")
def redis_url(tmp_path_factory):
    """One real server for the whole run; every test gets it emptied."""
    server = RedisServer(tmp_path_factory.mktemp("valkey"), fsync="everysec")
    asyncio.run(server.start())
    yield server.url
    server.kill()


@pytest.fixture
async def redis(redis_url):
    """An empty database; afterwards every key left has a TTL, or none because its kind is permanent in core.keys."""
    client = connect(redis_url, timeout=scaled(5))
    await client.flushall()
    yield client
    problems = await problems_of(client)
    await client.flushall()
    await client.aclose()
    assert not problems, f"keys without a TTL whose kind is not permanent: {problems}"


@pytest.fixture
def output(monkeypatch):
    """The log of this process, in memory."""
    stream = io.StringIO()
    monkeypatch.setattr(logs._Output, "stream", stream)
    monkeypatch.setattr(logs._Output, "is_json", True)
    return stream


@pytest.fixture
def lines(output):
    """Return a function that gives the log lines so far, of one event or of all."""

    def find(event=None):
        found = [orjson.loads(text) for text in output.getvalue().splitlines()]
        return [line for line in found if event in {None, line["event"]}]

    return find


@pytest.fixture
async def own_server(tmp_path):
    """A running server of the test's own, which it may stall, fill and kill."""
    server = RedisServer(tmp_path)
    await server.start()
    yield server
    server.kill()


@pytest.fixture
async def clients():
    """Return a function that connects to a Redis URL; all clients are closed at the end."""
    async with contextlib.AsyncExitStack() as stack:

        def make(url, **options):
            client = connect(url, **({"timeout": scaled(20)} | options))
            stack.push_async_callback(client.aclose)
            return client

        yield make


@pytest.fixture(scope="session")
def dev(tmp_path_factory):
    """A running `dev --no-demo`, and the dev.env that it wrote."""
    with running_dev(tmp_path_factory.mktemp("state")) as environment:
        yield environment
        problems = asyncio.run(_problems_at(environment["REDIS_URL"]))
        assert not problems, f"keys without a TTL whose kind is not permanent: {problems}"


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_auto_num_workers() -> int:
    """Two more than there are cores, as half of what tests do is waiting; at most 5: more disturb each other."""
    return min(len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1, 3) + 2


def pytest_configure(config):
    """Have every log line of the run checked (tests/support/secrecy.py)."""
    secrecy = Secrecy()
    secrecy.install()
    config.pluginmanager.register(secrecy, "secrecy")


async def _problems_at(url: str) -> list[str]:
    """Return the keys that the tests of the whole run have left in a server and should not have."""
    client = connect(url, timeout=scaled(20))
    try:
        return await problems_of(client)
    finally:
        await client.aclose()


def pytest_ignore_collect(collection_path):
    """Leave the browser tests out unless they are named: `make browser` installs what they need."""
    return True if collection_path == ROOT / "tests" / "browser" else None


def pytest_collection_modifyitems(items):
    """Mark as `real` each test that asks for a real server."""
    for item in items:
        if {"redis_url", "own_server", "dev"} & set(item.fixturenames):
            item.add_marker(pytest.mark.real)


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_runtest_protocol(item):
    """Give each test its timeout in the measure of this machine (tests/support/waiting.py)."""
    marker = item.get_closest_marker("timeout")
    seconds = marker.args[0] if marker else item.config.getoption("timeout") or item.config.getini("timeout")
    item.add_marker(pytest.mark.timeout(scaled(float(seconds))), append=False)
    return (yield)


def pytest_terminal_summary(terminalreporter):
    """Report how many of the passed tests used a real server or real processes, and how slow the machine was."""
    passed = terminalreporter.stats.get("passed", [])
    real = sum("real" in report.keywords for report in passed)
    processes = sum("processes" in report.keywords for report in passed)
    terminalreporter.write_line(f"{real} of {len(passed)} ran against the real server, {processes} with real processes")
    if terminalreporter.config.args_source is pytest.Config.ArgsSource.TESTPATHS:
        terminalreporter.write_line("tests/browser was left out: `make browser` runs it, in Chromium")
    terminalreporter.write_line(f"deadlines were multiplied by {slowness():.1f}, the slowness factor of this run")
