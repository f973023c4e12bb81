"""People who look at the operations pages, and what there is to see."""

import pytest

from router.console.app import make_app
from router.console.hub import running
from router.console.roles import Role
from router.console.serve import make_ports
from router.process.apis import close_clients, make_apis
from router.streams.client.connection import connect
from tests.console.operations.scenes import Scenes
from tests.console.operations.views import Reader
from tests.console.people import PEOPLE, Visitor, bearer, make_settings
from tests.harness.serving import serving
from tests.support.waiting import scaled


@pytest.fixture
async def reader(visitors):
    """Return a function that signs somebody in and gives what opens pages for them (views.Reader)."""

    async def make(role=Role.OPERATOR):
        return Reader(await visitors(role), bearer(role))

    return make


@pytest.fixture
async def own_ports(own_server, users_file):
    """The ports of a console on a server of the test's own."""
    settings = make_settings(own_server.url, ROUTER_CONSOLE_USERS=str(users_file))
    apis, redis = make_apis(settings), connect(own_server.url, timeout=scaled(2))
    ports = make_ports(settings, redis, apis)
    yield ports
    await ports.jobs.close()
    await close_clients(apis, redis)


@pytest.fixture
async def alone(own_ports):
    """An operator at that console."""
    async with running(own_ports.hub), serving(make_app(own_ports)) as url:
        visitor = Visitor(url)
        await visitor.sign_in(PEOPLE[Role.OPERATOR])
        yield Reader(visitor, bearer(Role.OPERATOR))
        await visitor.close()


@pytest.fixture
def scenes(redis, ports):
    """What makes dead letters, refused webhooks and other things to see."""
    return Scenes(redis, ports.keys)
