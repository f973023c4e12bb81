"""One worker with two accounts, each with its own sandbox: neither affects the other."""

from __future__ import annotations

import pytest

from router.conversations import Transport
from router.core.accounts import Account
from router.process.apis import Apis
from router.settings.policy_file import read_policy
from router.simulator.messages import message
from router.streams.store.ledgers import Store
from router.worker.app import Resolver, working
from router.worker.startup import find_captured, find_configurations
from tests.harness.deployment import count_parked
from tests.support.accounts import (
    ACCOUNT,
    CONFIGURATION,
    CUSTOMER,
    DESK,
    KEY,
    OTHER_ACCOUNT,
    OTHER_TOKEN,
    OURS,
    SECRET,
    TOKEN,
)
from tests.support.policies import PLAIN
from tests.support.waiting import until
from tests.worker.payloads import participant_of

EVENTS, WINDOW = 200, 5
ACCOUNTS_FILE = f"""
[[account]]
sid = "{OTHER_ACCOUNT}"
auth_token_env = "OTHER_TOKEN"
configuration_id = "{CONFIGURATION}"
"""
CAPTURING = {
    "id": CONFIGURATION,
    "displayName": "tests",
    "description": "captures what comes to the desk",
    "conversationGroupingType": "GROUP_BY_PARTICIPANT_ADDRESSES_AND_CHANNEL_TYPE",
    "channelSettings": {"SMS": {"captureRules": [{"from": "*", "to": DESK}]}},
    "statusCallbacks": [],
}


class Pair:
    """The harnesses of two accounts, and one resolver for both."""

    def __init__(self, ours, theirs, folder):
        self.ours, self.theirs = ours, theirs
        (folder / "accounts.toml").write_text(ACCOUNTS_FILE)
        self.environment = {
            "ROUTER_CONFIG_DIR": str(folder),
            "OTHER_TOKEN": OTHER_TOKEN,
            "ROUTER_WINDOW": str(WINDOW),
            "ROUTER_BATCH": "50",
            "ROUTER_GRACE": "0.2",
        }
        self._transports = [
            Transport(one.url, KEY, SECRET, timeout=30.0, random=lambda: 0.01) for one in (ours, theirs)
        ]
        accounts = [Account(sid, configuration_id=CONFIGURATION) for sid in (ACCOUNT, OTHER_ACCOUNT)]
        self.apis = Apis(zip(accounts, self._transports, strict=True))
        self.resolver = self.resolve_with({})

    def resolve_with(self, captured, policy=PLAIN):
        return Resolver(
            store=Store(self.ours.redis, self.ours.keys, marker_ttl=3600),
            apis=self.apis,
            policy=read_policy(policy),
            route_ttl=60,
            captured=captured,
            clock=self.ours.clock,
        )

    def sms(self, account, number=0, sender=CUSTOMER, to=OURS):
        return message("sms", account_sid=account, sender=sender, recipient=to, body="hi", sid=f"SM{number:032x}")

    async def enter_many(self, account, count, first=0):
        for number in range(first, first + count):
            await self.ours.append(self.sms(account, number, sender=f"+1555{number:07d}"))

    async def joined(self, account):
        """The joined entries of an account so far."""
        return [entry for entry in await self.ours.entries() if entry.data.account_id == account]

    def consuming(self):
        return self.ours.consuming(self.resolver, **self.environment)


@pytest.fixture
async def pair(make_harness, tmp_path):
    ours, theirs = await make_harness(configurations=(CAPTURING,)), await make_harness(account_sid=OTHER_ACCOUNT)
    pair = Pair(ours, theirs, tmp_path)
    yield pair
    theirs.clear_faults()
    await pair.apis.close()


async def test_each_event_is_resolved_in_its_own_account(pair):
    """The same message to two accounts leads to a conversation, a participant and an entry in each."""
    await pair.ours.settle(pair.sms(ACCOUNT), pair.sms(OTHER_ACCOUNT), by=pair.resolver)
    assert [len(await one.conversations()) for one in (pair.ours, pair.theirs)] == [1, 1]
    entries = await pair.ours.entries()
    assert sorted(entry.data.account_id for entry in entries) == sorted([ACCOUNT, OTHER_ACCOUNT])
    assert len({entry.id for entry in entries}) == 2


async def test_a_route_is_used_in_its_account_only(pair):
    """A route of one account is not used in another."""
    await pair.ours.settle(pair.sms(ACCOUNT, 1), by=pair.resolver)
    calls = await pair.ours.total()
    await pair.ours.settle(pair.sms(OTHER_ACCOUNT, 2), by=pair.resolver)
    assert await pair.theirs.total() > 0
    await pair.ours.settle(pair.sms(ACCOUNT, 3), pair.sms(OTHER_ACCOUNT, 4), by=pair.resolver)
    assert await pair.ours.total() == calls
    assert len(await pair.ours.entries()) == 2


async def test_a_captured_address_is_ours_in_its_account_only(pair):
    """A captured address is our side in its account; in another one it may be a customer's."""
    captured = find_captured(await find_configurations(pair.apis))
    assert [bool(captured[sid]) for sid in (ACCOUNT, OTHER_ACCOUNT)] == [True, False]
    resolver = pair.resolve_with(captured)
    for harness, account in ((pair.ours, ACCOUNT), (pair.theirs, OTHER_ACCOUNT)):
        made = await harness.capture(to=DESK, agentType="UNKNOWN")
        unknown = participant_of(made["conversation"], "UNKNOWN")
        await pair.ours.settle(pair.ours.callback("PARTICIPANT_ADDED", unknown | {"accountId": account}), by=resolver)
    assert [entry.data.account_id for entry in await pair.ours.entries()] == [OTHER_ACCOUNT]


async def test_a_rule_may_ask_for_the_account(pair):
    """A rule on the account decides for messages and callbacks alike."""
    rule = f'\n[[rule]]\nname = "theirs"\naccount = "{OTHER_ACCOUNT}"\ntarget = "human-agent"\n'
    resolver = pair.resolve_with({}, PLAIN + rule)
    await pair.ours.settle(pair.sms(ACCOUNT), pair.sms(OTHER_ACCOUNT), by=resolver)
    made = await pair.theirs.capture(sender="+15551230009")
    customer = participant_of(made["conversation"], "CUSTOMER") | {"accountId": OTHER_ACCOUNT}
    await pair.ours.settle(pair.ours.callback("PARTICIPANT_ADDED", customer), by=resolver)
    decided = sorted(
        (entry.data.account_id, entry.data.target, entry.data.reason) for entry in await pair.ours.entries()
    )
    theirs = (OTHER_ACCOUNT, "human-agent", "theirs (account)")
    assert decided == sorted([(ACCOUNT, "ai-agent", "default"), theirs, theirs])


@pytest.mark.parametrize(
    "fault", [{"hang": True}, {"status": 429}, {"status": 429, "retryAfter": 60}, {"status": 503}], ids=str
)
async def test_an_outage_of_one_account_does_not_slow_another(pair, fault):
    """While more events than fit wait for one account's API, those of another account go through."""
    await pair.ours.ensure_group()
    pair.theirs.fault(**fault)
    await pair.enter_many(OTHER_ACCOUNT, EVENTS)
    async with pair.consuming():
        await pair.enter_many(ACCOUNT, EVENTS)
        await until(lambda: _count(pair, ACCOUNT, EVENTS))
        assert await pair.joined(OTHER_ACCOUNT) == []
        assert await pair.ours.dead_letters() == []


async def test_events_that_were_parked_are_settled_once_after_the_outage(pair):
    """After the outage every event that was parked is settled once."""
    await pair.ours.ensure_group()
    pair.theirs.fault(status=503)
    await pair.enter_many(OTHER_ACCOUNT, EVENTS)
    async with pair.consuming():
        await pair.enter_many(ACCOUNT, 20)
        await until(lambda: _count(pair, ACCOUNT, 20))
        assert await count_parked(pair.ours.redis, pair.ours.inbound.key)
        pair.theirs.clear_faults()
        await pair.ours.finished(timeout=60)
    entries = await pair.joined(OTHER_ACCOUNT)
    assert len(entries) == len({entry.data.address for entry in entries}) == EVENTS
    assert len(await pair.theirs.conversations()) == EVENTS
    assert await pair.ours.dead_letters() == []


async def test_the_worker_reads_its_accounts_from_the_accounts_file(pair, tmp_path, lines):
    """The worker uses both accounts' APIs, and a waiting event's log line names its account."""
    (tmp_path / "routing.toml").write_text(PLAIN)
    (tmp_path / "accounts.toml").write_text(f'{ACCOUNTS_FILE}conversations_url = "{pair.theirs.url}"\n')
    async with working(pair.ours.settings(**pair.environment | {"OTHER_TOKEN": TOKEN})):
        pair.theirs.fault(status=503)
        for account in (ACCOUNT, OTHER_ACCOUNT):
            await pair.ours.append(pair.sms(account))
        await until(lambda: lines("event.waiting"))
        pair.theirs.clear_faults()
        await until(lambda: _count(pair, OTHER_ACCOUNT, 1))
    assert [len(await one.conversations()) for one in (pair.ours, pair.theirs)] == [1, 1]
    assert len(await pair.joined(ACCOUNT)) == 1
    assert {line["account"] for line in lines("event.waiting")} == {OTHER_ACCOUNT}


async def _count(pair, account, number):
    return len(await pair.joined(account)) == number
