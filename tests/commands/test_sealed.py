"""Commands on sealed data: shown in the clear with the key, and said to be closed without it."""

from __future__ import annotations

import os
from base64 import b64encode
from dataclasses import replace
from functools import partial

import orjson
import pytest

from router.__main__ import make_parser
from router.commands.check.sealing import check_sealing
from router.commands.dead_letters import run_dead_letters
from router.commands.quarantine import run_quarantine
from router.core.aes_gcm import make_sealer
from router.core.refused import Bounds
from router.core.sealing import SealedKind
from router.settings.load import load
from router.streams.store.quarantine import keep
from tests.operations.conftest import Deployment, settings  # noqa: F401 - a fixture
from tests.operations.test_sealing import REFUSED
from tests.support.accounts import ACCOUNT

pytestmark = pytest.mark.real
KEY = bytes(range(32))
SEALER = make_sealer([KEY], partial(os.urandom, 12))


@pytest.fixture
def deployment(redis, settings, environment):  # noqa: F811 - the fixture
    return Deployment(redis, settings)


@pytest.fixture
def with_key(environment):
    """Return a function that gives the operator's shell the key."""
    return lambda: environment.setenv("ROUTER_SEAL_KEYS", b64encode(KEY).decode())


async def test_dead_letters_say_that_they_cannot_be_opened(deployment, with_key, capsys):
    """In the list, in one letter, and for programs; with the key they are shown."""
    body = SEALER.seal_body(b"From=x&Body=secret", SealedKind.INBOUND)
    name = await deployment.bury(deployment.webhook() | {"body": body})

    async def run(*arguments):
        assert await run_dead_letters(make_parser().parse_args(["dead-letters", *arguments])) == 0
        return capsys.readouterr()

    assert "ROUTER_SEAL_KEYS" in (await run("list")).out
    assert "ROUTER_SEAL_KEYS" in orjson.loads((await run("list", "--json")).out)["problem"]
    assert "ROUTER_SEAL_KEYS" in (await run("show", name)).err
    with_key()
    assert "ROUTER_SEAL_KEYS" not in (await run("list")).out
    shown = await run("show", name, "--unmasked")
    assert "secret" in shown.out
    assert shown.err == ""


async def test_a_refused_webhook_says_that_it_cannot_be_opened(deployment, with_key, capsys):
    """It is not replayed either, and stays for the key."""
    refused = replace(REFUSED, account_id=ACCOUNT)
    entry_id = await keep(deployment.redis, deployment.keys, refused, Bounds(10, 10_000, 600), SEALER)

    async def run(*arguments):
        status = await run_quarantine(make_parser().parse_args(["quarantine", *arguments]))
        return status, capsys.readouterr().out

    status, shown = await run("show", entry_id)
    assert (status, "ROUTER_SEAL_KEYS" in shown) == (0, True)
    status, shown = await run("replay", entry_id)
    assert (status, "ROUTER_SEAL_KEYS" in shown) == (1, True)
    assert await deployment.redis.xlen(deployment.keys.quarantine()) == 1
    with_key()
    status, shown = await run("show", entry_id, "--unmasked")
    assert (status, "secret" in shown) == (0, True)


async def test_check_names_the_key_that_seals_and_the_streams_whose_key_is_missing(deployment):
    """FAIL for what no process can open, ok with the ids of the keys."""
    redis, own = deployment.redis, {"REDIS_URL": deployment.settings.redis}
    assert await check_sealing(redis, deployment.settings) == []
    key_id = SEALER.key_ids[0]
    keyed = load(environment=own | {"ROUTER_SEAL_KEYS": b64encode(KEY).decode()})
    (finding,) = await check_sealing(redis, keyed)
    assert (finding.level, finding.subject, key_id in finding.text) == ("ok", "ROUTER_SEAL_KEYS", True)
    await redis.xadd(deployment.inbound, {"body": SEALER.seal_body(b"x", SealedKind.INBOUND)})
    (finding,) = await check_sealing(redis, deployment.settings)
    assert (finding.level, finding.subject, key_id in finding.text) == ("FAIL", deployment.inbound, True)
    assert {one.level for one in await check_sealing(redis, keyed)} == {"ok"}
