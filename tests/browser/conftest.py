"""A browser for each run, windows for each test, and a console in this process."""

import asyncio

import pytest
from playwright.async_api import async_playwright

from tests.browser.chromium import find_chromium, running_chromium
from tests.browser.windows import make_window
from tests.console.conftest import changes, clock, console, ports, users_file
from tests.console.operations.scenes import Scenes
from tests.operations.conftest import Deployment

__all__ = ["changes", "clock", "console", "ports", "users_file"]  # fixtures


def pytest_addoption(parser):
    """Add --screens."""
    parser.addoption("--screens", action="store_true", help="write the pictures of docs/images again")


def pytest_configure(config):
    """Refuse to run without a browser."""
    if find_chromium() is None:
        raise pytest.UsageError("Chromium is not installed. On Debian and Ubuntu: apt-get install chromium")


@pytest.fixture(scope="session")
def chromium(tmp_path_factory):
    """The browser of all windows."""
    with running_chromium(tmp_path_factory.mktemp("chromium")) as one:
        asyncio.run(one.until_ready())
        yield one


@pytest.fixture
async def driver():
    """What steers browsers."""
    async with async_playwright() as one:
        yield one


@pytest.fixture
async def browser(driver, chromium):
    """The browser, steered by this test."""
    one = await driver.chromium.connect_over_cdp(chromium.url)
    yield one
    await one.close()


@pytest.fixture
async def windows(browser):
    """Return a function that opens a window at a URL; whatever a window complains of fails the test."""
    opened = []

    async def make(url, **options):
        opened.append(await make_window(browser, url, **options))
        return opened[-1]

    yield make
    complaints = [complaint for window in opened for complaint in window.complaints]
    for window in opened:
        await window.context.close()
    assert complaints == []


@pytest.fixture
async def window(windows, console, ports):
    """Return a function that opens the console in a window, signed in with a role or not; path "" opens no page."""

    async def make(role=None, path=None, **options):
        opened = await windows(console, **options)
        if role is not None:
            await opened.enter(role)
        where = path if path is not None or role is None else "/"
        if where:
            await opened.open(where)
        return opened

    return make


@pytest.fixture
def scenes(redis, ports):
    """What makes dead letters, refused webhooks and other things to see."""
    return Scenes(redis, ports.keys)


@pytest.fixture
def deployment(redis, ports):
    """What lets processes be alive and events wait."""
    return Deployment(redis, ports.settings)


@pytest.fixture
async def at_desk(windows, console, ports):
    """Return a function that opens a page of the desk for a person of the office."""

    async def make(name, path="/desk"):
        one = await windows(console)
        await one.enter_as(name)
        await one.open(path)
        return one

    return make
