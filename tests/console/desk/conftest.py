"""An office: a console, a worker and a sandbox in this process, and people who are signed in."""

import contextlib
import shutil

import pytest

from router.console.app import make_app
from router.console.hub import running
from router.console.serve import make_ports
from router.process.apis import make_apis
from router.settings.load import load
from router.worker.app import working
from tests.console.desk.office import ROSTER, Colleague, Office, office_users
from tests.harness.sandbox import running_sandbox
from tests.harness.serving import serving
from tests.harness.settings import make_environment, quick_recovery
from tests.support.source import SHIPPED
from tests.support.waiting import scaled
from tests.worker.harness import WorkerHarness


@pytest.fixture
def users_file(tmp_path):
    """The users and tokens of the office."""
    path = tmp_path / "console-users.toml"
    path.touch(mode=0o600)
    path.write_text(office_users(), encoding="utf-8")
    return path


@pytest.fixture
async def sandbox():
    """The API of the office."""
    async with running_sandbox() as running_one:
        yield running_one


@pytest.fixture
def office_settings(redis_url, sandbox, users_file, tmp_path, request):
    """The settings of all processes of the office, with those that a module of tests has in SETTINGS."""
    config = tmp_path / "config"
    shutil.copytree(SHIPPED, config)
    (config / "roster.toml").write_text(ROSTER, encoding="utf-8")
    further = getattr(request.module, "SETTINGS", {})
    changes = quick_recovery(ROUTER_CONSOLE_USERS=str(users_file), ROUTER_CONFIG_DIR=str(config), **further)
    return load(environment=make_environment(redis_url, sandbox.url, **changes))


@pytest.fixture
async def ports(redis, office_settings):
    """The ports of the office's console, which reaches the sandbox."""
    apis = make_apis(office_settings)
    ports = make_ports(office_settings, redis, apis)
    ports.desk.sender.patience = scaled(4.0)
    yield ports
    await apis.close()


@pytest.fixture
async def console(ports):
    """The URL of the console, without a worker."""
    async with running(ports.hub), ports.desk.running(), serving(make_app(ports)) as url:
        yield url


@pytest.fixture
async def idle_office(console, redis, redis_url, sandbox, office_settings, output):
    """An office whose worker does not run."""
    harness = WorkerHarness(redis, redis_url, sandbox)
    yield Office(console, harness, office_settings.sealer)
    await harness.close()


@pytest.fixture
async def office(idle_office, office_settings):
    """An office whose worker runs."""
    async with working(office_settings):
        yield idle_office


@pytest.fixture
async def colleagues(console):
    """Return a function that makes a person of the office, who is signed in."""
    async with contextlib.AsyncExitStack() as stack:

        async def make(identity):
            person = Colleague(console, identity)
            stack.push_async_callback(person.close)
            assert await person.sign_in(identity) == 303
            return person

        yield make
