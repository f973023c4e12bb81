"""Entries of the release before, which had no epoch: consumers of this one take them as of epoch 0.

The entry is kept here as that release wrote it; it is not made by the code that is tested.
"""

from __future__ import annotations

import pytest

from router.core.entries import read_entry
from router.streams.delivery import Done
from tests.handlers.harness import HELLO, HumanAgentProcess, delivery_of
from tests.support.accounts import ACCOUNT, OURS
from tests.support.waiting import until

#: CONVERSATION, PARTICIPANT and CALLER stand for what the sandbox made.
ENTRY = (
    '{"specversion":"1.0","id":"ent_01m7w9zwnqf81rbzmvad0wbymv","source":"/participant-router/router",'
    '"type":"participant.joined","subject":"PARTICIPANT","time":"2026-11-30T09:00:00.000000Z",'
    '"datacontenttype":"application/json","data":{"target":"TARGET","reason":"default","account_id":"ACCOUNT",'
    '"conversation":{"id":"CONVERSATION","configuration_id":null,"status":"ACTIVE","classic_sid":null},'
    '"cause":{"source":"messaging","event_type":"message","resource_id":"SM1","idempotency_key":"k1",'
    '"received_at":"2026-11-30T09:00:00.000000Z"},"channel":"SMS","address":"CALLER",'
    '"recipient":{"channel":"SMS","address":"OURS"},"aliases":[],"person":null,"origin":"created","opt_out":null,'
    '"participant":{"id":"PARTICIPANT","conversation_id":"CONVERSATION","account_id":"ACCOUNT","name":"CALLER",'
    '"type":"CUSTOMER","profile_id":null,"addresses":[{"channel":"SMS","address":"CALLER","channel_id":null}],'
    '"created_at":null,"updated_at":null}}}'
)


def entry_of(opened, target):
    """Return the entry of the release before about an opened conversation."""
    values = {
        "CONVERSATION": opened.id,
        "PARTICIPANT": opened.customer.id,
        "CALLER": opened.customer.addresses[0].address,
        "ACCOUNT": ACCOUNT,
        "OURS": OURS,
        "TARGET": target,
    }
    text = ENTRY
    for name, value in values.items():
        text = text.replace(name, value)
    return text.encode()


@pytest.mark.parametrize("fields", [{}, {"epoch": "0"}], ids=["no epoch", "epoch 0"])
async def test_the_ai_agent_answers_an_entry_without_an_epoch(harness, fields):
    """Whether the conversation has an epoch by now or not: its holder has never changed."""
    opened = await harness.open()
    if fields:
        key = harness.keys.conversation(ACCOUNT, opened.id)
        await harness.redis.hset(key, mapping=fields)
        await harness.redis.expire(key, 600)
    event = entry_of(opened, "ai-agent")
    assert read_entry(event).data.epoch == 0
    assert isinstance(await harness.ai_agent(HELLO).attempt(delivery_of(event)), Done)
    await until(lambda: harness.texts(opened.id))
    assert await harness.texts(opened.id) == [HELLO]


async def test_the_ai_agent_does_not_answer_it_once_somebody_else_holds(harness, lines):
    """The entry waited through the upgrade, and a person has taken the conversation meanwhile."""
    opened = await harness.open()
    key = harness.keys.conversation(ACCOUNT, opened.id)
    await harness.redis.hset(key, "epoch", "1")
    await harness.redis.expire(key, 600)
    await harness.ai_agent(HELLO).attempt(delivery_of(entry_of(opened, "ai-agent")))
    assert await harness.texts(opened.id) == []
    assert lines("consumed")[0]["reply"] == "stale-epoch"


async def test_the_human_agents_leave_it_to_the_worker(harness, lines):
    """Nobody joins for it: the worker asks for a person with the next entry of the conversation."""
    process, opened = HumanAgentProcess(harness), await harness.open()
    await process.handle(read_entry(entry_of(opened, "human-agent")))
    assert [(one["result"], one["epoch"]) for one in lines("consumed")] == [("waiting", 0)]
    assert await harness.our_participants(opened.id) == []
