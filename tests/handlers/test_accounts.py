"""Consumers of several accounts: every call goes to the API of the account that an entry is of."""

from __future__ import annotations

import asyncio
from dataclasses import replace

import pytest

from handlers.app import consuming, load_settings
from handlers.joiners import Joiners
from router.conversations import ConversationsV2
from router.core.accounts import Account
from router.core.errors import AuthenticationError
from router.core.keys import Target
from router.process.apis import Apis
from router.streams.delivery import Done
from router.tasks import end
from tests.handlers.test_human_agent import DANA, DANA_SITS, Office, people
from tests.handlers.world import ACCOUNT, KEY, OTHER, SECRET, delivery_of, make_transport, until

HELLO = "Hello!"


@pytest.fixture
async def other_world(world, other_sandbox_url):
    """The same Redis, and the API of the other account."""
    async with make_transport(other_sandbox_url) as transport:
        yield replace(world, url=other_sandbox_url, client=ConversationsV2(transport))


@pytest.fixture
async def apis(world, other_world):
    """The APIs of both accounts."""
    made = Apis(
        [(Account(ACCOUNT), make_transport(world.url)), (Account(OTHER), make_transport(other_world.url))],
    )
    yield made
    await made.close()


async def test_the_ai_agent_joins_and_answers_in_the_account_of_the_entry(world, other_world, apis):
    """One consumer, an entry of each account: it sits and has spoken in both conversations."""
    options = {"apis": apis, "joiners": Joiners(apis, world.store)}
    agent = world.ai_agent(HELLO, **options)
    for where, account in ((world, ACCOUNT), (other_world, OTHER)):
        opened = await where.open()
        assert isinstance(await agent.attempt(delivery_of(opened.entry(account_id=account))), Done)
        assert await where.types(opened.id) == ["AI_AGENT", "CUSTOMER"]
        await until(lambda where=where, opened=opened: where.texts(opened.id))


async def test_a_person_joins_in_the_account_of_the_entry(world, other_world, apis):
    """The same roster serves both accounts, each conversation through its own API."""
    office = Office(world, replace(DANA, capacity=2), joiners=Joiners(apis, world.store))
    for where, account in ((world, ACCOUNT), (other_world, OTHER)):
        opened = await where.open()
        await office.take(opened.entry(account_id=account))
        assert await where.types(opened.id) == ["CUSTOMER", "HUMAN_AGENT"]


async def test_an_account_whose_api_hangs_holds_up_no_other_in_the_sweep(world, other_world, apis, lines):
    """Conversations of both wait for a place; the sweep seats those of the one while the other's API says nothing."""
    joiners = Joiners(apis, world.store)
    full = Office(world, replace(DANA, capacity=1), joiners=joiners)
    first, theirs, ours = await world.open(), await other_world.open(), await world.open()
    for account, opened in ((ACCOUNT, first), (OTHER, theirs), (ACCOUNT, ours)):
        await full.take(opened.entry(account_id=account))
    assert [line["result"] for line in lines("consumed")] == ["joined", "waiting", "waiting"]
    await other_world.fault("GET", "/Participants", hang=True, times=100)
    roomy = Office(world, replace(DANA, capacity=3), joiners=joiners)
    sweeping = asyncio.create_task(roomy.sweeper.run())
    await until(lambda: lines("roster.assigned"), timeout=4)  # sooner than a call gives up
    assert await people(world, ours.id) == DANA_SITS
    await end(sweeping)


async def test_a_consumer_is_put_together_from_the_accounts_file(world, other_world, redis_url, tmp_path, lines):
    """Its settings name both accounts and where each one's API is: entries of both are consumed."""
    (tmp_path / "accounts.toml").write_text(
        f'[[account]]\nsid = "{OTHER}"\napi_key_env = "OTHER_KEY"\napi_secret_env = "OTHER_SECRET"\n'
        f'conversations_url = "{other_world.url}"\n'
    )
    settings = load_settings(
        {
            "REDIS_URL": redis_url,
            "ROUTER_CONFIG_DIR": str(tmp_path),
            "TWILIO_ACCOUNT_SID": ACCOUNT,
            "TWILIO_API_KEY": KEY,
            "TWILIO_API_SECRET": SECRET,
            "TWILIO_CONVERSATIONS_URL": world.url,
            "OTHER_KEY": KEY,
            "OTHER_SECRET": SECRET,
        }
    )
    stream = world.keys.participants(0, Target.AI_AGENT)
    opened = {ACCOUNT: await world.open(), OTHER: await other_world.open()}
    async with consuming("ai_agent", settings):
        for account, one in opened.items():
            await world.redis.xadd(stream, one.entry(account_id=account).to_fields())
        await world.redis.xadd(stream, {"type": "participant.joined", "event": b"not JSON"})
        await until(lambda: len(lines("consumed")) == 2 and lines("event.dead"))
    assert await world.types(opened[ACCOUNT].id) == ["AI_AGENT", "CUSTOMER"]
    assert await other_world.types(opened[OTHER].id) == ["AI_AGENT", "CUSTOMER"]


async def test_an_entry_of_an_account_that_is_not_configured_waits(world):
    """Nothing of it goes to another account's API; the consumer keeps it until the account is configured."""
    opened = await world.open()
    with pytest.raises(AuthenticationError, match="not configured"):
        await world.ai_agent(HELLO).attempt(delivery_of(opened.entry(account_id=OTHER)))
    assert await world.types(opened.id) == ["CUSTOMER"]
