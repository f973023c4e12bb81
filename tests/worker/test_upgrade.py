"""Conversations of the release before, which noted no holder: nothing of them is lost, and nobody waits unseen.

The data is kept here as that release wrote it; it is not made by the code that is tested.
"""

from __future__ import annotations

import time

import pytest

from router.core.keys import Keys, Target
from router.core.routing.team import Team, TeamMember
from router.streams.delivery import Done
from tests.support.accounts import ACCOUNT, CONFIGURATION, CUSTOMER, OURS
from tests.worker.payloads import spoken
from tests.worker.test_floor import Place

CONVERSATION = "conv_conversation_01m7w9zwnqf81rbzmvad0wbymv"
PARTICIPANT = "conv_participant_01m7w9zwnqf3vbpv664xfnytnd"
PERSON = "conv_participant_01m7w9zwnqf3vbpv664xfnyttt"
#: The customer; TARGET and CALLER stand for the conversation's target and the number.
MARKER = (
    '{"format":"2","version":[1767787200000000,1767787200000000],"digest":"4f2a7c9b01d3e586","type":"CUSTOMER",'
    '"is_present":true,"is_ours":false,"stay":1,"target":"TARGET","addresses":["SMS|CALLER"],"calls":[],'
    '"has_hung_up":false,"aliases":[]}'
)
#: Whoever was let join by the consumer of that release, at ADDRESS: one of our own side.
JOINED = (
    '{"format":"2","version":[1767787205000000,1767787205000000],"digest":"9b01d3e5864f2a7c","type":"HUMAN_AGENT",'
    '"is_present":true,"is_ours":true,"stay":1,"target":null,"addresses":["ADDRESS"],"calls":[],'
    '"has_hung_up":false,"aliases":[]}'
)


def ledger_of(target, address=None):
    """Return a conversation's hash as that release left it, with a person at an address."""
    fields = {
        "rev": "3",
        "format": "2",
        "status": "ACTIVE",
        "version": "1767787200000000.1767787200000000",
        "configuration_id": CONFIGURATION,
        "target": target,
        "reason": "service-desk (recipient)",
        "told": "1767787200000000",
        "day": "20460",
        "r:SMS": OURS,
        f"p:{PARTICIPANT}": MARKER.replace("TARGET", target).replace("CALLER", CUSTOMER),
        f"a:SMS|{CUSTOMER}": PARTICIPANT,
    }
    return fields | ({f"p:{PERSON}": JOINED.replace("ADDRESS", address)} if address else {})


class Old(Place):
    """A worker beside a conversation of the release before; its clock is ahead of what is received now."""

    async def put(self, target, address=None, **changes):
        self.now = int(time.time() * 1000) + 60_000
        key = self.keys.conversation(ACCOUNT, CONVERSATION)
        await self.redis.hset(key, mapping=ledger_of(target, address) | changes)
        await self.redis.expire(key, 3600)

    async def command(self, kind, **data):
        return await self.send(kind, conversation=CONVERSATION, **data)

    async def heard(self, target=Target.HUMAN_AGENT):
        return [entry.type for entry in await self.told(target, conversation_id=CONVERSATION)]


@pytest.fixture
def old(redis):
    return Old(redis, Keys())


async def say(harness):
    """The customer says something else, as the API reports it."""
    address = {"channel": "SMS", "address": CUSTOMER, "channelId": None}
    author = {"id": PARTICIPANT, "conversationId": CONVERSATION, "addresses": [address]}
    harness._number += 1
    await harness.settle(spoken(harness, author, "still there?", number=harness._number))


async def test_the_ai_agent_goes_on_in_epoch_0(harness, old):
    """What the customer says next goes to it, and a handoff begins as of any conversation."""
    await old.put("ai-agent")
    await say(harness)
    (entry,) = await old.told(Target.AI_AGENT, conversation_id=CONVERSATION)
    assert (entry.type, entry.data.epoch, entry.data.communication.text) == (
        "communication.received",
        0,
        "still there?",
    )
    await old.send("agent.available", agent="dana")
    assert await old.command("handoff.request", reason="wants a person", epoch=0) == Done()
    made = await old.last("offer.made")
    assert (made.agent.identity, made.participant.id, made.epoch) == ("dana", PARTICIPANT, 0)
    await old.send("offer.accept", offer=made.offer.id, agent="dana")
    changed = await old.last("holder.changed", Target.AI_AGENT)
    assert (changed.from_.target, changed.to.agent, changed.epoch) == ("ai-agent", "dana", 1)
    await say(harness)
    assert (await old.told(Target.HUMAN_AGENT, conversation_id=CONVERSATION))[-1].data.epoch == 1


async def test_a_conversation_that_nobody_had_taken_asks_with_its_next_message(harness, old):
    """The queue of that release is gone; the customer's next message finds a person, and comes before the offer."""
    await old.put("human-agent")
    await old.send("agent.available", agent="dana", life=600)
    await say(harness)
    await old.loop.round()
    assert await old.heard() == ["communication.received", "handoff.requested", "offer.made"]
    requested = await old.last("handoff.requested")
    assert (requested.request.reason, requested.request.queue, requested.epoch) == (
        "service-desk (recipient)",
        "default",
        0,
    )
    made = await old.last("offer.made")
    assert (made.agent.identity, made.participant.id) == ("dana", PARTICIPANT)
    await say(harness)
    await old.loop.round()
    assert (await old.heard()).count("handoff.requested") == 1


async def test_it_is_asked_for_once_by_several_workers(harness, old):
    """Whoever looks first; the others find the request."""
    await old.put("human-agent")
    await say(harness)
    await old.loop.round()
    await old.floor.look(ACCOUNT, CONVERSATION)
    await old.later(2)
    assert (await old.heard()).count("handoff.requested") == 1


async def test_a_refused_command_asks_too(old):
    """The first command about it shows that somebody is interested; it is answered as of any conversation."""
    await old.put("human-agent")
    await old.command("conversation.release", agent="dana", epoch=0)
    assert (await old.last("command.refused")).why == "not-the-holder"
    await old.loop.round()
    assert await old.heard() == ["command.refused", "handoff.requested"]


async def test_a_command_may_ask_first(old):
    """A request by command is the only one."""
    await old.put("human-agent")
    await old.command("handoff.request", reason="take over", agent="eli", epoch=0)
    await old.later(1)
    (requested,) = await old.told(Target.HUMAN_AGENT, conversation_id=CONVERSATION)
    assert (requested.type, requested.data.request.agent) == ("handoff.requested", "eli")


SHARED = {"SMS": "+15557650002"}
DESK = {
    "dana": TeamMember("dana", "Dana", 2, addresses={"WHATSAPP": "whatsapp:+15557650003", **SHARED}),
    "eli": TeamMember("eli", "Eli", 2, addresses=SHARED),
}


@pytest.mark.parametrize("address", ["CHAT|dana", "WHATSAPP|+15557650003"])
async def test_a_person_who_had_joined_holds(harness, old, address):
    """Under their identity, or at an address of theirs alone; nobody else is asked."""
    await old.put("human-agent", address)
    old.team = Team(DESK)
    await old.send("agent.available", agent="eli", life=600)
    await say(harness)
    await old.loop.round()
    assert await old.heard() == ["communication.received"]
    await old.command("conversation.say", agent="dana", epoch=0, text="hello")
    assert len(old.spoken) == 1
    await old.command("conversation.release", agent="eli", epoch=0)
    assert (await old.last("command.refused")).why == "not-the-holder"
    await old.command("conversation.release", agent="dana", epoch=0, note="done")
    back = await old.last("holder.changed", Target.AI_AGENT)
    assert (back.from_.agent, back.to.target, back.note, back.epoch) == ("dana", "ai-agent", "done", 1)


@pytest.mark.parametrize("address", ["CHAT|gone", "SMS|+15557650002"])
async def test_somebody_unknown_holds_until_they_leave(harness, old, address):
    """Taken off the roster, or at a shared address: their conversation is nobody else's, unless it is asked for."""
    await old.put("human-agent", address)
    old.team = Team(DESK)
    await old.send("agent.available", agent="eli", life=600)
    await say(harness)
    await old.loop.round()
    assert await old.heard() == ["communication.received"]
    gone = {
        "id": PERSON,
        "conversationId": CONVERSATION,
        "accountId": ACCOUNT,
        "name": "Somebody",
        "type": "HUMAN_AGENT",
        "profileId": None,
        "addresses": [{"channel": address.partition("|")[0], "address": address.partition("|")[2], "channelId": None}],
        "createdAt": "2026-01-07T12:00:05.000Z",
        "updatedAt": "2026-01-07T12:30:00.000Z",
    }
    await harness.settle(harness.callback("PARTICIPANT_REMOVED", gone))
    await old.loop.round()
    assert await old.heard() == ["communication.received", "handoff.requested", "offer.made"]


async def test_another_person_can_be_asked_for(old):
    """The one who had joined keeps the floor until somebody accepts."""
    await old.put("human-agent", "CHAT|dana")
    await old.send("agent.available", agent="eli")
    await old.command("handoff.request", reason="a second opinion")
    made = await old.last("offer.made")
    assert made.agent.identity == "eli"
    await old.send("offer.accept", offer=made.offer.id, agent="eli")
    changed = await old.last("holder.changed")
    assert (changed.from_.agent, changed.to.agent, changed.epoch) == ("dana", "eli", 1)


@pytest.mark.parametrize("target", Target)
async def test_a_closed_one_stays_closed(old, target):
    """Commands are refused, and nobody is asked."""
    await old.put(str(target), status="CLOSED")
    await old.send("agent.available", agent="dana", life=600)
    await old.command("handoff.request", reason="x")
    assert (await old.last("command.refused")).why == "conversation-closed"
    await old.later(5)
    assert set(await old.heard()) == {"command.refused"}


async def test_a_closing_by_a_worker_of_the_release_before(old):
    """It notes the status and no more: the conversation is closed for commands, and its agent is free in the end."""
    await old.put("ai-agent")
    await old.send("agent.available", agent="dana", life=5)
    await old.command("handoff.request", reason="x")
    await old.send("offer.accept", offer=(await old.last("offer.made")).offer.id, agent="dana")
    key = old.keys.conversation(ACCOUNT, CONVERSATION)
    await old.redis.hset(key, mapping={"status": "CLOSED", "rev": int(await old.redis.hget(key, "rev")) + 1})
    await old.command("conversation.say", agent="dana", epoch=1, text="x")
    assert (await old.last("command.refused")).why == "conversation-closed"
    await old.later(6)
    (agent,), _ = await old.desk.look()
    assert agent.load == 0
