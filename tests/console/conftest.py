"""A console in this process, on the shared server, and people and programs who use it."""

import time
from dataclasses import replace

import pytest

from router.console.app import make_app
from router.console.hub import running
from router.console.serve import make_ports
from router.process.apis import make_apis
from tests.console.people import PEOPLE, Visitor, make_settings, users_text
from tests.harness.serving import serving


@pytest.fixture
def users_file(tmp_path):
    """The console's file of users: a person and a token of each role."""
    path = tmp_path / "console-users.toml"
    path.touch(mode=0o600)
    path.write_text(users_text(), encoding="utf-8")
    return path


class SteppedClock:
    """The time, and as much later as a test has moved it."""

    def __init__(self):
        self.ahead = 0

    def __call__(self):
        return time.time_ns() // 1000 + self.ahead


@pytest.fixture
def clock():
    """The clock of the console."""
    return SteppedClock()


@pytest.fixture
def changes():
    """Settings of the console that a test changes."""
    return {}


@pytest.fixture
async def ports(redis, redis_url, users_file, clock, changes):
    """The ports of a console; `apis` reach nobody."""
    settings = make_settings(redis_url, ROUTER_CONSOLE_USERS=str(users_file), **changes)
    apis = make_apis(settings)
    ports = replace(make_ports(settings, redis, apis), clock=clock)
    yield ports
    await ports.jobs.close()
    await apis.close()


@pytest.fixture
async def console(ports):
    """The URL of a console with all its pages."""
    async with running(ports.hub), ports.desk.running(), serving(make_app(ports)) as url:
        yield url


@pytest.fixture
async def visitors(console):
    """Make a visitor, who is signed in as `role`, or not at all."""
    made = []

    async def make(role=None):
        visitor = Visitor(console)
        made.append(visitor)
        if role is not None:
            await visitor.sign_in(PEOPLE[role])
        return visitor

    yield make
    for each in made:
        await each.close()
