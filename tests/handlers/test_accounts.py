"""Consumers with several accounts: every call goes to the API of the entry's account."""

from __future__ import annotations

import asyncio
from dataclasses import replace

import pytest

from handlers.app import consuming, load_settings
from router.agents.joiners import Joiners
from router.conversations import ConversationsV2
from router.core.accounts import Account
from router.core.errors import AuthenticationError
from router.core.keys import Target
from router.process.apis import Apis
from router.streams.delivery import Done
from router.tasks import end
from tests.handlers.harness import DANA, DANA_JOINED, HELLO, HumanAgentProcess, delivery_of, make_transport
from tests.harness.sandbox import running_sandbox
from tests.support.accounts import ACCOUNT, KEY, OTHER_ACCOUNT, SECRET
from tests.support.entries import fields_of
from tests.support.waiting import until


@pytest.fixture
async def other_harness(harness):
    """A harness with the same Redis and the API of the other account."""
    async with running_sandbox(account_sid=OTHER_ACCOUNT) as sandbox, make_transport(sandbox.url) as transport:
        yield replace(harness, sandbox=sandbox, client=ConversationsV2(transport))


@pytest.fixture
async def apis(harness, other_harness):
    """The APIs of both accounts; a request that hangs does so for longer than any test."""
    urls = {ACCOUNT: harness.sandbox.url, OTHER_ACCOUNT: other_harness.sandbox.url}
    made = Apis([(Account(account), make_transport(url, timeout=600)) for account, url in urls.items()])
    yield made
    await made.close()


async def test_the_ai_agent_joins_and_answers_in_the_account_of_the_entry(harness, other_harness, apis):
    """One consumer gets an entry of each account, and joins and answers in both conversations."""
    options = {"apis": apis, "joiners": Joiners(apis, harness.store)}
    agent = harness.ai_agent(HELLO, **options)
    for where, account in ((harness, ACCOUNT), (other_harness, OTHER_ACCOUNT)):
        opened = await where.open()
        assert isinstance(await agent.attempt(delivery_of(opened.entry(account_id=account))), Done)
        assert await where.types(opened.id) == ["AI_AGENT", "CUSTOMER"]
        await until(lambda where=where, opened=opened: where.texts(opened.id))


async def test_a_person_joins_in_the_account_of_the_entry(harness, other_harness, apis):
    """One roster serves both accounts, each conversation through its own API."""
    process = HumanAgentProcess(harness, replace(DANA, capacity=2), joiners=Joiners(apis, harness.store))
    for where, account in ((harness, ACCOUNT), (other_harness, OTHER_ACCOUNT)):
        opened = await where.open()
        await process.handle(opened.held_by("dana", account_id=account))
        assert await where.types(opened.id) == ["CUSTOMER", "HUMAN_AGENT"]


async def test_an_account_whose_api_hangs_delays_no_other_persons_joining(harness, other_harness, apis):
    """Dana holds a conversation in each of two accounts: she joins in one while the API of the other hangs."""
    process = HumanAgentProcess(harness, DANA, joiners=Joiners(apis, harness.store))
    theirs, ours = await other_harness.open(), await harness.open()
    await other_harness.fault("GET", "/Participants", hang=True, times=100)
    stuck = asyncio.create_task(process.handle(theirs.held_by("dana", account_id=OTHER_ACCOUNT)))

    async def hangs():
        return (await other_harness.sandbox.ask("GET", "/sandbox/faults"))["faults"][0]["applied"]

    await until(hangs)
    await process.handle(ours.held_by("dana"))
    assert await harness.our_participants(ours.id) == DANA_JOINED
    assert not stuck.done()
    await end(stuck)


async def test_a_consumer_reads_the_accounts_file(harness, other_harness, environment, tmp_path, lines):
    """The file names the other account and the URL of its API; entries of both accounts are consumed."""
    (tmp_path / "accounts.toml").write_text(
        f'[[account]]\nsid = "{OTHER_ACCOUNT}"\napi_key_env = "OTHER_KEY"\napi_secret_env = "OTHER_SECRET"\n'
        f'conversations_url = "{other_harness.sandbox.url}"\n'
    )
    keys = {"OTHER_KEY": KEY, "OTHER_SECRET": SECRET}
    settings = load_settings(environment | keys | {"ROUTER_CONFIG_DIR": str(tmp_path)})
    stream = harness.keys.participants(0, Target.AI_AGENT)
    opened = {ACCOUNT: await harness.open(), OTHER_ACCOUNT: await other_harness.open()}
    async with consuming("ai_agent", settings):
        for account, one in opened.items():
            await harness.redis.xadd(stream, fields_of(one.entry(account_id=account)))
        await harness.redis.xadd(stream, {"type": "participant.joined", "event": b"not JSON"})
        await until(lambda: len(lines("consumed")) == 2 and lines("event.dead"))
    assert await harness.types(opened[ACCOUNT].id) == ["AI_AGENT", "CUSTOMER"]
    assert await other_harness.types(opened[OTHER_ACCOUNT].id) == ["AI_AGENT", "CUSTOMER"]


async def test_an_entry_of_an_account_that_is_not_configured_waits(harness):
    """No call goes to another account's API; the entry is kept until its account is configured."""
    opened = await harness.open()
    with pytest.raises(AuthenticationError, match="not configured"):
        await harness.ai_agent(HELLO).attempt(delivery_of(opened.entry(account_id=OTHER_ACCOUNT)))
    assert await harness.types(opened.id) == ["CUSTOMER"]
